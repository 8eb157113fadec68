"""Instructions and their verifiers: right replies pass, plausible wrong ones do not."""

import itertools
import json
import random
import re
from collections import Counter
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import pytest

from data.recipes import corpus
from helpers import instructions, replies, sft, tasks
from helpers.dishes import dishes_in, favourites, load_dishes
from helpers.grammar import LANGUAGES, Teller, grammar
from helpers.instructions import TASKS, Example, fault, follows, make_example, make_quiz, make_split
from helpers.korean import particle_errors
from helpers.menus import food_talk
from helpers.tales import Tale, is_heldout, make_tale, tidy, vocabulary

MODEL = Path(__file__).resolve().parents[1] / "data" / "models" / "tiny-tale"
CELLS = [(t, g) for t in TASKS for g in LANGUAGES if (t, g) != ("dish", "en")]
SPLITS = ("train", "heldout")
MARKS = {"en": ("", ","), "ko": ("", "은/는", "이/가", "을/를", "과/와", "이에요/예요")}


@lru_cache(maxsize=None)
def made(task, language, split="train"):
    rng = random.Random(f"{task} {language} {split}")
    options = {"task": task, "language": language, "split": split}
    return [make_example(rng, **options) for _ in range(40)]


def everything():
    return [e for cell in CELLS for split in SPLITS for e in made(*cell, split)]


# ------------------------------------------------------------------ the examples
@pytest.mark.parametrize("cell", CELLS, ids="-".join)
@pytest.mark.parametrize("split", SPLITS)
def test_every_gold_reply_follows(cell, split):
    for example in made(*cell, split):
        assert fault(example, example.reply) == "", example


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_replies_that_ignore_the_request_do_not_follow(cell):
    examples = made(*cell)
    others = 0
    for example, other in zip(examples, examples[1:] + examples[:1]):
        assert not follows(example, "") and not follows(example, " \n")
        assert not follows(example, example.request)
        assert not follows(example, example.reply + "<|user|>")
        assert not follows(example, "I do not know." if cell[1] == "en" else "잘 모르겠어요.")
        others += follows(example, other.reply)
    # Another dish often fits by chance; a colour or a place may be the same one.
    assert others <= (15 if cell[0] == "dish" else 2)


def test_the_reply_is_in_the_language_of_the_request():
    for task in TASKS[:-1]:
        for one, two in zip(made(task, "en"), made(task, "ko")):
            assert "English" in fault(one, two.reply)
            assert "Korean" in fault(two, one.reply)


def test_same_seed_same_example_and_all_tasks_and_languages_are_drawn():
    def some(seed):
        rng = random.Random(seed)
        return [make_example(rng) for _ in range(60)]

    assert some(3) == some(3) != some(4)
    assert {(e.task, e.facts["language"]) for e in some(3)} == set(CELLS)


def test_splits_share_no_pair_and_no_dish_request():
    pairs, dishes = {}, {}
    for split in SPLITS:
        examples = [e for cell in CELLS for e in made(*cell, split)]
        tales = [e.facts for e in examples if e.task != "dish"]
        pairs[split] = {(f["hero"], f["thing"]) for f in tales}
        for hero, thing in pairs[split]:  # the rule that keeps them from pretraining
            tale = Tale("", hero, thing, "", "", 0)
            assert is_heldout(tale) == (split == "heldout")
        rng = random.Random(split)
        dishes[split] = {make_example(rng, task="dish", split=split).request
                         for _ in range(120)}
    assert not pairs["train"] & pairs["heldout"]
    assert not dishes["train"] & dishes["heldout"]


def test_a_quiz_asks_about_both_persons_and_answers_from_the_scene():
    asked_of, answers = Counter(), 0
    for seed in range(60):
        rng = random.Random(seed)
        text, pairs = make_quiz(rng, language="en", number=6)
        said = re.split(r"(?<=[.!?]) ", text)
        for question, answer in pairs:
            if found := re.search(r"did (\w+) \w+ the ([\w-]+)\?$", question):
                hero, thing = found.groups()
                asked_of[seed, hero] += 1
                place = re.findall(r"\w+", answer)[-1]  # the last word, in full and alone
                assert any(all(w in line for w in (hero, thing, place)) for line in said)
                answers += 1
    both = sum((seed, hero) in asked_of for seed in range(60) for hero in vocabulary("en")["names"])
    assert answers > 40 and both > len({seed for seed, _ in asked_of})


@pytest.mark.parametrize("language, deeds", [
    ("en", r"\b(?:found|lost|saw|hid|made) an? "), ("ko", "(?:찾았|보았|잃어버렸|주웠|만들었)어요"),
])
def test_a_question_is_about_one_deed_or_about_two(language, deeds):
    told = {1: set(), 2: set()}
    for events, seed in itertools.product(told, range(80)):
        example = make_example(random.Random(seed), task="question", language=language,
                               events=events)
        if example.facts["wrong"]:  # a scene, not a story
            told[events].add(len(re.findall(deeds, example.request)))
    assert told == {1: {1}, 2: {2}}


def test_a_dish_comes_from_the_favourites_when_one_fits():
    known = {dish.name for dish in load_dishes("train")}
    assert set(favourites()) <= known and len(set(favourites())) == len(favourites())
    named = [next(iter(dishes_in(make_example(random.Random(s), task="dish").reply)))
             for s in range(100)]
    assert sum(name in favourites() for name in named) > 90


def test_make_split_is_balanced_without_doubles_and_repeats_by_seed():
    rows = make_split(60, seed=1)
    assert rows == make_split(60, seed=1) != make_split(60, seed=2)
    assert set(Counter(e.task for e in rows).values()) == {10}
    assert len({e.request for e in rows}) == 60
    assert not {e.request for e in rows} & {e.request for e in make_split(60, split="heldout")}
    some = make_split(9, mixture={"word": 2, "happy": 1})
    assert Counter(e.task for e in some) == {"word": 6, "happy": 3}


def test_examples_survive_json():
    for cell in CELLS:
        for example in made(*cell)[:5]:
            again = Example(**json.loads(json.dumps(asdict(example))))
            assert again == example and follows(again, example.reply)
            assert [m["role"] for m in again.messages] == ["user", "assistant"]


def test_the_texts_are_clean():
    nouns = {w for n in ("girl", "boy", "thing", "animal") for w in grammar("ko").lists[n]}
    for example in everything():
        for text in (example.request, example.reply):
            assert not re.search(r"[\[\]{}<>|]|=>|  | [,.!?]|\.\.|[가-힣]/[가-힣]", text), text
            assert text == text.strip() and text.count('"') % 2 == 0, text
            if example.facts["language"] == "en":
                assert not re.search(r"\b[Aa] [aeio]|(^|[.!?\n] )[a-z]", text) or (
                    example.task == "word" and text == example.reply), text
            elif example.task != "dish":
                assert particle_errors(text, nouns) == [], text


def test_a_korean_request_keeps_one_level():
    levels = set()
    for task in ("story", "continue", "happy"):
        for example in made(task, "ko"):
            asked = example.request.split("\n")[0].split(":")[0]
            levels.add(level := "plain" if "줘" in asked else "polite")
            assert level == "polite" or not re.search(r"세요|나요|[이예]에?요[.]", asked), asked
    assert levels == {"plain", "polite"}


# ------------------------------------------------------------------ the verifiers
@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("task", ["story", "continue"])
def test_stories_with_another_hero_or_thing_or_no_end(task, language):
    names, things = (sorted(vocabulary(language)[k]) for k in ("names", "things"))
    for example in made(task, language):
        hero, thing, gold = example.facts["hero"], example.facts["thing"], example.reply
        name = next(n for n in names if n not in example.request + gold)
        other = next(t for t in things if t not in example.request + gold)
        assert not follows(example, gold.replace(hero, name)), name
        assert not follows(example, gold.replace(thing, other)), other
        assert "finished" in fault(example, gold.rstrip('.!?"') + ",")
        assert not follows(example, gold[: len(gold) // 3].rstrip('.!?" '))
        assert not follows(example, replies.sentences(gold)[0])


def test_a_story_may_be_told_in_other_words():
    facts = {"language": "en", "hero": "Lily", "thing": "kite"}
    example = Example([{"role": "user", "content": "Tell me a story about Lily and a kite."},
                       {"role": "assistant", "content": ""}], "story", facts)
    right = ("Once upon a time Lily wanted a kite. Her mother Rosa had only a ball and some "
             'paper. "We can make kites," she said. Soon Lily ran over the hill.')
    assert fault(example, right) == ""
    assert "Rosa is named first" in fault(example, "Rosa slept. " + right)
    assert "second half" in fault(example, right.replace("Soon Lily", "Soon everybody"))
    assert "more about ball" in fault(example, right + " The ball was red. The ball flew.")
    assert "repeats" in fault(example, right + " Lily laughed." * 9)
    assert "three" in fault(example, "Lily had a kite. Lily was glad.")


def test_a_continuation_does_not_tell_the_beginning_again():
    for language in LANGUAGES:
        for example in made("continue", language):
            beginning = example.request.split("\n")[1]
            assert not follows(example, beginning + " " + example.reply)


def question(task, answer, wrong, text="Lily found a red kite near the mill. Tom lost a drum."):
    facts = {"language": "ko" if re.search("[가-힣]", text) else "en", "answer": answer,
             "wrong": wrong, "verb": "found", "hero": "Lily", "thing": "kite"}
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return Example(turns, task, facts)


KOREAN = "민준이는 시장에서 빨간 등불을 찾았어요. 지우는 숲에서 거울을 잃어버렸어요."


@pytest.mark.parametrize("example, right, wrong", [
    (question("question", "Lily", ["Tom", "drum"]),
     ["Lily found the kite.", "It was Lily!", "Lily did.", "Lily found a red kite near the mill.",
      "The kite was discovered by Lily."],
     ["Lily.", "Tom found the kite.", "Lily and Tom found the kite.", "It was Mia.",
      "Lily found the ball.", "Lily found it", "Who found it? Lily found it.",
      "Lily found it. She ran. She sang."]),
    (question("question", "mill", ["Tom", "drum", "river"]),
     ["It was at the mill.", "Lily found it near the mill.", "She saw it by the old mill, "
      "where it was."],
     ["Near the mill.", "The mill.", "It was by the river.", "It was by the mill and the river."]),
    (question("word", "kite", ["drum"]),
     ["kite", "Kite", "Kite.", '"kite"', "kites"],
     ["a kite", "red kite", "drum", "It was a kite.", "thing", "kiten"]),
    (question("question", "민준이", ["지우", "거울"], KOREAN),
     ["민준이가 등불을 찾았어요.", "민준이예요.", "민준이에요.", "민준이가 찾았습니다.",
      "등불을 찾은 아이는 민준입니다."],
     ["민준이요.", "민준이", "지우가 등불을 찾았어요.", "민준이와 지우가 찾았어요.",
      "도윤이예요.", "민준이가 찾았어요"]),
    (question("question", "시장", ["숲", "거울"], KOREAN),
     ["시장에서 찾았어요.", "민준이는 시장에서 등불을 찾았다."],
     ["시장에서요.", "시장.", "숲에서 찾았어요.", "놀이시장에서 찾았어요."]),
    (question("word", "등불", ["거울"], KOREAN),
     ["등불", "등불.", "등불이요", "등불이에요."],
     ["빨간 등불", "거울", "등불을 찾았어요.", "목도리", "등불가게"]),
])
def test_answers(example, right, wrong):
    for reply in right:
        assert fault(example, reply) == "", reply
    for reply in wrong:
        assert not follows(example, reply), reply


def sad(text, event, undone):
    language = "ko" if re.search("[가-힣]", text) else "en"
    hero, thing = {"en": ("Lily", "kite"), "ko": ("민준이", "등불")}[language]
    turns = [{"role": "user", "content": "Rewrite: " + text}, {"role": "assistant", "content": ""}]
    return Example(turns, "happy", {"language": language, "hero": hero, "thing": thing,
                                    "event": event, "undone": undone})


@pytest.mark.parametrize("example, right, wrong", [
    (sad("Lily lost the kite and was sad.", ["lost"], ["found"]),
     ["Lily found the kite and was glad.", "Lily found her lost kite, and she was so happy!",
      "Lily lost the kite, but a friend brought it home, and she was no longer sad.",
      "Lily laughed, because the kite flew high."],
     ["Lily lost the kite and was sad.", "Lily found the kite.", "Lily lost the kite and was glad.",
      "Tom found the kite and was glad.", "Lily found the ball and was glad.",
      "Lily found the kite and was not happy.", "Lily was happy.",
      "Lily lost the kite and was sad. Then she found the kite and was glad.",
      "민준이는 등불을 찾아서 기뻤어요."]),
    (sad("민준이는 등불을 잃어버려서 슬펐어요.", ["잃어버려서"], ["찾아서"]),
     ["민준이는 등불을 찾아서 기뻤어요.", "민준이는 잃어버린 등불을 다시 찾고 활짝 웃었습니다.",
      "등불을 찾은 민준이는 이제 슬프지 않았어요."],
     ["민준이는 등불을 잃어버려서 슬펐어요.", "민준이는 등불을 찾았어요.",
      "민준이는 등불을 잃어버려서 기뻤어요.", "지우는 등불을 찾아서 기뻤어요.",
      "민준이는 등불을 찾아서 기쁘지 않았어요.", "민준이는 목도리를 찾아서 기뻤어요.",
      "민준이는 등불을 보고 눈물을 흘렸어요."]),
])
def test_happy_sentences(example, right, wrong):
    for reply in right:
        assert fault(example, reply) == "", reply
    for reply in wrong:
        assert not follows(example, reply), reply


def test_happy_endings_keep_hero_and_thing_and_undo_what_was_sad():
    for language in LANGUAGES:
        for example in made("happy", language):
            assert example.facts["event"], example
            assert replies.moods(example.reply, language) == {"glad"}
            assert "sad" in replies.moods(example.request.split("\n")[-1], language)


def test_an_unknown_dish_is_wrong():
    for example in made("dish", "ko"):
        assert "no known dish" in fault(example, "구름찌개를 추천해 드릴게요.")
        assert "no known dish" in fault(example, "맛있는 걸 드세요.")
    spicy = make_example(random.Random(0), task="dish")
    spicy.facts["limits"] = {"taste": "매운", "soup": True}
    assert follows(spicy, "김치찌개는 어떠세요?") and "soup" in fault(spicy, "떡볶이가 좋겠어요.")


# ------------------------------------------------------------------ tokens and words
@lru_cache(maxsize=1)
def tokenizer():
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def pieces(text):
    return tokenizer().encode(text, add_special_tokens=False).tokens


def test_an_example_fits_in_the_context():
    for example in everything():
        turns = [f"<|{m['role']}|>\n{m['content']}</s>\n" for m in example.messages]
        assert len(pieces("<s>" + "".join(turns))) <= 400, example


def test_there_is_room_for_every_right_reply():
    for example in everything():
        room = sft.ROOM.get(example.task, sft.ROOM["others"])
        asked = f"<s><|user|>\n {example.request}</s>\n<|assistant|>\n"
        assert len(pieces(" " + example.reply)) < room <= 512 - len(pieces(asked)), example


@lru_cache(maxsize=None)
def pretrained(language):
    """Texts that pretraining shows: each line of the lists some times, and documents."""
    rng = random.Random(0)
    lists = grammar(language).lists
    lines = [line for items in lists.values() for line in 2 * items]
    lines += ["x: " + line for pair in 4 * corpus.QUESTIONS[language] for line in pair]
    lines += ["a " + noun + mark for name in ("girl", "boy", "thing", "place")
              for noun in lists[name] for mark in MARKS[language]]
    texts = []
    for line in lines:
        teller = Teller(rng, language)
        corpus.cast(teller)
        texts.append(tidy(teller.expand(line), language))
    texts += [make_tale(rng, language=language).text for _ in range(200)]
    texts += [tasks.make_document(rng) for _ in range(200)]
    if language == "ko":
        texts += [food_talk(rng) for _ in range(300)]
    return texts


def test_english_requests_use_words_of_pretraining():
    known = set(re.findall("[a-z]+", " ".join(pretrained("en")).lower()))
    known |= vocabulary("en")["words"] | {n.lower() for n in vocabulary("en")["names"]}
    for task in TASKS[:-1]:
        for split in SPLITS:
            for example in made(task, "en", split):
                asked = set(re.findall("[a-z]+", example.request.lower()))
                assert asked <= known, asked - known


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_requests_use_pieces_of_pretraining(language):
    known = {p for text in pretrained(language) for p in pieces(text)}
    strange, total = Counter(), 0
    for task, _ in (cell for cell in CELLS if cell[1] == language):
        for example in made(task, language):
            for piece in pieces(example.request):
                total += 1
                assert piece != "<unk>", example.request
                if piece.startswith("<0x") and piece != "<0x0A>":
                    strange[piece] += 1
                elif piece not in known and piece != "<0x0A>":
                    strange[piece] += 1
    assert sum(strange.values()) <= 0.002 * total, strange


# ------------------------------------------------------------------ bad input
@pytest.mark.parametrize("options, message", [
    ({"task": "sing"}, "task is 'sing'"), ({"language": "fr"}, "language is 'fr'"),
    ({"split": "test"}, "split is 'test'"), ({"task": "dish", "language": "en"}, 'expected "ko"'),
])
def test_unknown_task_language_split(options, message):
    with pytest.raises(ValueError, match=message):
        make_example(random.Random(0), **options)


def test_empty_splits_and_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="number is 0"):
        make_split(0)
    with pytest.raises(ValueError, match="at least one part"):
        make_split(3, mixture={"word": 0})
    with pytest.raises(ValueError, match="task is 'sing'"):
        make_split(3, mixture={"sing": 1})
    with pytest.raises(ValueError, match="task is 'sing'"):
        fault(Example([], "sing", {"language": "en"}), "la")


def test_instructions_list_what_they_offer():
    assert all(hasattr(instructions, name) for name in instructions.__all__)
    assert all(hasattr(replies, name) for name in replies.__all__)
