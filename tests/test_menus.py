"""Dishes, requests, the verifier, and the text about food."""

import doctest
import json
import random
import re
from collections import Counter
from dataclasses import replace

import pytest

from helpers import dishes, food_phrases, food_requests, menus
from helpers.korean import particle_errors
from helpers.menus import KINDS, Request, fitting, load_dishes, make_request, satisfies

NAMES = [d.name for d in load_dishes()]
LISTS = food_phrases._wordings()
NOUNS = NAMES + [
    "음식", "메뉴", "요리", "국물", "맛", "식감", "예산", "열량", "칼로리", "값", "가격",
    "한식", "중식", "일식", "양식", "분식", "점심", "저녁", "아침", "간식", "야식", "추천",
    "죽", "둘", "사람", "손님", "종류", *LISTS["who"], *LISTS["people"], *LISTS["drink"],
    *LISTS["topic"], *LISTS["asker"], *LISTS["replier"],
]
HELDOUT_WORDINGS = ("ask", "open", "rec", "mood")


def clean(text):
    """Nothing left of the grammar, no wrong particle, no odd spaces."""
    assert not re.search(r"[\[\]{}|;()]|[가-힣]/[가-힣]|  | [.,?!]", text), text
    assert not re.search(r"<(?!noinput>)|@", text), text
    assert particle_errors(text, NOUNS) == [], text
    return text


@pytest.mark.parametrize("module", [dishes, food_phrases, food_requests, menus])
def test_doctests(module):
    assert doctest.testmod(module).failed == 0


def test_dishes():
    assert len(NAMES) == len(set(NAMES)) >= 130
    for d in load_dishes():
        assert d.taste and d.meal and d.company, d
        assert set(d.meal) <= {"아침", "점심", "저녁", "간식", "야식"}, d
        assert set(d.company) <= {"혼자", "여럿"}, d
        assert d.cuisine in ("한식", "중식", "일식", "양식", "분식", "아시아"), d
        assert d.temperature in ("뜨거운", "차가운", "보통"), d
        assert 1000 <= d.price <= max(food_requests.PRICES), d
        assert 100 <= d.kcal <= max(food_requests.KCALS), d
        assert not (d.vegetarian and d.base in ("고기", "해산물")), d
        assert f"base_{d.base}" in LISTS and f"fact_base_{d.base}" in LISTS, d
        assert all(f"adj_{t}" in LISTS and f"go_{t}" in LISTS for t in d.taste), d


def test_heldout_dishes_come_from_every_cuisine():
    held = Counter(d.cuisine for d in load_dishes("heldout"))
    for cuisine, number in Counter(d.cuisine for d in load_dishes()).items():
        assert 0.08 <= held[cuisine] / number <= 0.16, cuisine


def test_a_heldout_name_is_part_of_no_other_name():
    for d in load_dishes("heldout"):
        assert [n for n in NAMES if d.name in n] == [d.name]


def test_a_broken_line_is_named(tmp_path, monkeypatch):
    lines = (dishes.FOLDER / "dishes.jsonl").read_text(encoding="utf-8").splitlines()
    broken = json.dumps({"name": "김밥"})
    (tmp_path / "dishes.jsonl").write_text(f"{lines[0]}\n{broken}\n", encoding="utf-8")
    monkeypatch.setattr(dishes, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="line 2"):
        dishes.load_dishes.__wrapped__()


@pytest.mark.parametrize("call", [
    lambda: load_dishes("test"), lambda: make_request(random.Random(0), split="test"),
    lambda: menus.food_talk(random.Random(0), split="test"),
    lambda: menus.food_talk(random.Random(0), kind="poem"),
])
def test_unknown_split_or_kind_is_refused(call):
    with pytest.raises(ValueError, match="expected one of"):
        call()


def test_every_list_of_wordings_exists_and_is_balanced():
    for name, items in LISTS.items():
        assert items, name
        for item in items:
            assert set(re.findall(r"<(\w+)>", item)) <= set(LISTS), item
            assert item.count("[") == item.count("]"), item
            assert item.count("(") == item.count(")"), item
            for forms in re.findall(r"\(([^()]*)\)", item):
                assert forms.count(";") == 3, item


def test_a_particle_after_a_choice_fits_every_alternative():
    for item in sum(LISTS.values(), []):
        for options, rest in re.findall(r"\[([^][()]+)\]([가-힣]+)(?![가-힣/])", item):
            for word in (o.strip().split()[-1] for o in options.split("|") if o.strip()):
                assert particle_errors(word + rest, [word]) == [], item


@pytest.mark.parametrize("split", dishes.SPLITS)
def test_requests(split):
    for seed in range(400):
        request = make_request(random.Random(seed), split=split)
        assert request == make_request(random.Random(seed), split=split)
        clean(request.text)
        assert 1 <= len(request.limits) <= 3
        fits = fitting(request)
        assert sum(d.split == "train" for d in fits) >= 2, request
        if split == "heldout":
            assert any(d.split == "heldout" for d in fits), request


def test_a_request_states_its_constraints():
    for seed in range(400):
        request = make_request(random.Random(seed))
        for limit, value in request.limits.items():
            if limit == "taste":
                assert any(a in request.text for a in LISTS[f"adj_{value}"]), request
            elif limit == "soup":
                assert "국물" in request.text
            elif limit == "meal":
                assert value in request.text
            elif limit == "max_kcal":
                assert str(value) in request.text
            elif limit == "max_price":
                assert "원" in request.text


def told(seed, **how):
    dice = random.Random(seed)
    limits = food_requests.draw_request(dice, count=3)
    writer = food_phrases.Writer(dice, dice.choice((0, 1, 3)))
    return food_requests.told_request(writer, limits, **how)


@pytest.mark.parametrize("how", [{}, {"wide": True}, {"heldout": True}])
def test_a_request_tells_its_constraints_in_their_order(how):
    seen = 0
    for seed in range(300):
        text, limits = told(seed, **how)
        clean(text)
        signs = {"meal": limits.get("meal"), "max_kcal": str(limits.get("max_kcal"))}
        signs |= {"soup": "국물"}
        known = [text.index(signs[k]) for k in limits if text.count(signs.get(k, "~")) == 1]
        seen += len(known) > 1
        assert known == sorted(known), text
    assert seen > 20


def test_wide_requests_have_more_wordings_and_the_others_are_as_they_were():
    plain, wide = ({told(seed, wide=one)[0] for seed in range(600)} for one in (False, True))
    own = [w for name, some in LISTS.items() if name.endswith("_wide") for w in some]
    marks = [w for w in own if not re.search(r"[{<(\[]", w)]
    marks += ["제일 좋아", "아직 못 정했", "소개해 주"]
    assert not any(mark in text for text in plain for mark in marks)
    assert sum(any(mark in text for mark in marks) for text in wide) > 15
    held = {told(seed, heldout=True)[0] for seed in range(300)}
    assert not wide & held


def test_wordings_of_heldout_requests_are_their_own():
    for name in HELDOUT_WORDINGS:
        wide = set(LISTS.get(name + "_wide", ()))
        assert not (set(LISTS[name]) | wide) & set(LISTS[name + "_heldout"]), name
        assert not set(LISTS[name]) & wide, name
    train = {make_request(random.Random(s)).text for s in range(1500)}
    held = {make_request(random.Random(s), split="heldout").text for s in range(300)}
    assert not train & held
    assert len(train) > 1400  # and the wordings vary


def test_the_verifier():
    asked = Request("", soup=True, taste="매운", max_price=10000)
    assert satisfies("김치찌개 어떠세요?", asked)
    assert satisfies("김치찌개를 추천해 드릴게요. 짬뽕도 좋아요.", asked)
    assert satisfies("순두부 찌개는 어떠세요?", asked).dish == "순두부찌개"
    for reply, reason in [
        ("", "no known dish"), ("맛있는 걸 드세요.", "no known dish"),
        ("우주찌개 어떠세요?", "no known dish"), ("딸기짬뽕이 좋아요.", "no known dish"),
        ("짬뽕나라로 가세요.", "no known dish"), ("Try kimchi.", "no known dish"),
        ("된장찌개 어떠세요?", "taste"), ("떡볶이가 좋겠어요.", "soup"),
        ("동태찌개 추천해요.", "price"), ("김치찌개나 떡볶이를 드세요.", "soup"),
    ]:
        verdict = satisfies(reply, asked)
        assert not verdict and reason in verdict.reason, (reply, verdict)
    assert satisfies("떡볶이 말고 김치찌개는 어때요?", asked).dish == "김치찌개"
    assert "before" in satisfies(
        "김치찌개요.", replace(asked, exclude=("김치찌개",))).reason


@pytest.mark.parametrize("name", NAMES)
def test_every_dish_is_found_with_every_ending(name):
    for end in ("", "이에요/예요.", "을/를 추천해 드릴게요.", "은/는 어떠세요?", " 어떠세요?",
                "이/가 좋겠어요.", "으로/로 하세요.", "이라/라 좋아요.", "입니다."):
        text = "네, " + menus.tidy(name + end)
        assert menus.dishes_in(text) == [name], text


def test_describe_is_clean_and_repeats_by_seed():
    for number, dish in enumerate(load_dishes()):
        for count in (1, 3, 10):
            text = clean(menus.describe(dish, random.Random(number), count=count))
            assert text == menus.describe(dish, random.Random(number), count=count)
            assert text.startswith(dish.name)
            assert menus.dishes_in(text) == [dish.name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", dishes.SPLITS)
def test_documents(kind, split):
    other = [d.name for d in load_dishes() if d.split != split]
    texts = set()
    for seed in range(80):
        text = clean(menus.food_talk(random.Random(seed), split=split, kind=kind))
        assert text == menus.food_talk(random.Random(seed), split=split, kind=kind)
        assert not [n for n in menus.dishes_in(text) if n in other], text
        if split == "train":
            assert not [n for n in other if n in text], text
        assert 10 <= len(text) <= 1400, text
        texts.add(text)
    assert len(texts) > 70


def test_share_of_dialogues():
    assert sum(KINDS.values()) == 100 and 20 <= KINDS["dialogue"] <= 30


@pytest.mark.parametrize("split", dishes.SPLITS)
def test_answers_fit_and_say_what_is_so(split):
    for seed in range(300):
        rng = random.Random(seed)
        request = make_request(rng, split=split)
        dish = rng.choice(fitting(request))
        text = clean(food_phrases.answer(food_phrases.Writer(rng), dish, request))
        verdict = satisfies(text, request)
        assert verdict and verdict.dish == dish.name, (text, verdict)


def test_dialogues_never_suggest_a_dish_twice():
    again = 0
    for seed in range(300):
        turns = menus.dialogue(random.Random(seed))
        assert [r for r, _ in turns] == ["user", "assistant"] * (len(turns) // 2)
        named = [menus.dishes_in(t)[0] for r, t in turns[1::2] if menus.dishes_in(t)]
        asked = [t for r, t in turns[::2] if menus.dishes_in(t)]
        assert len(set(named)) >= len(named) - len(asked)
        again += len(named) > 1
    assert again > 50


def test_out_of_scope_names_no_dish():
    for level in (0, 1, 3):
        for seed in range(100):
            (_, asked), (_, said) = menus.out_of_scope(random.Random(seed), level=level)
            assert clean(asked) and clean(said)
            assert not menus.dishes_in(said)
            assert re.search("음식|메뉴|먹을지|한국어", said), said


def test_the_words_that_a_chatbot_needs():
    text = "\n".join(menus.food_talk(random.Random(seed)) for seed in range(1500))
    for words in ("다른 거 추천해 줘", "다른 거 추천해 주세요", "안녕하세요", "감사합니다",
                  "추천", "메뉴", "음식", "예산은", "칼로리", "kcal", "죄송", "도와드릴",
                  "혼자", "여럿", "국물", "채식", "1. Instruction:", "<noinput>", "###"):
        assert words in text, words


def test_money():
    rng = random.Random(0)
    forms = {n: {menus.won(n, rng) for _ in range(60)} for n in (8500, 10000, 23000)}
    assert forms[8500] == {"8,500원", "8천5백 원", "팔천오백 원"}
    assert forms[10000] == {"10,000원", "만 원"}
    assert forms[23000] == {"23,000원", "2만 3천 원", "이만 삼천 원"}
