"""helpers.preferences: which of two replies is better, and pairs that are really so."""

import random
import re
from collections import Counter
from functools import lru_cache

import pytest

from helpers import preferences
from helpers.grammar import FOLDER, Teller
from helpers.instructions import make_example
from helpers.korean import particle_errors
from helpers.orca import orca_fault, orca_pairs
from helpers.preferences import GRADES, flip, grade, make_split
from helpers.preferences import prefer, rank_replies, retell
from helpers.replies import follows, sentences
from helpers.tales import PRONOUNS, tidy, vocabulary

KINDS = [("story", "en"), ("story", "ko"), ("dish", "ko")]
each_kind = pytest.mark.parametrize("kind", KINDS, ids="-".join)


@lru_cache(maxsize=None)
def some(task, language, split="train"):
    rng = random.Random(f"{task} {language}")
    options = {"task": task, "language": language, "split": split}
    return [make_example(rng, **options) for _ in range(30)]


# ------------------------------------------------------------------------ grades
@each_kind
def test_pairs_differ_in_manner_alone(kind):
    rng, lesser = random.Random(0), Counter()
    for example in some(*kind):
        pair = prefer(example, rng)
        assert pair.prompt == example.messages[:-1] and pair.example is example
        assert grade(example, pair.better) == 3
        lesser[grade(example, pair.worse)] += 1
        if kind[0] == "story":  # one story, two ends
            one, two = sentences(pair.better), sentences(pair.worse)
            assert one[:-1] == two[: len(one) - 1]
        else:
            assert follows(example, pair.worse)
    assert set(lesser) == {1, 2} and min(lesser.values()) > 5


@each_kind
@pytest.mark.parametrize("blunt", [0, 1])
def test_blunt_decides_how_bad_the_lesser_reply_is(kind, blunt):
    rng = random.Random(1)
    pairs = [prefer(example, rng, blunt=blunt) for example in some(*kind)[:8]]
    assert {grade(pair.example, pair.worse) for pair in pairs} == {2 - blunt}


def test_a_plain_dish_stops_too_soon_or_goes_on_too_long():
    pairs = make_split(200, mixture={"dish": 1}, blunt=0.0)
    longer = [len(sentences(p.worse)) - len(sentences(p.better)) for p in pairs]
    assert 20 < sum(n > 0 for n in longer) < 100 < sum(n < 0 for n in longer)
    for pair, more in zip(pairs, longer):
        if more > 0:
            *_, before, last = sentences(pair.worse)
            assert before == last and last in pair.better


@each_kind
def test_gold_replies_leave_room_for_improvement(kind):
    """The best grade occurs by chance, and not often: else DPO had nothing to do."""
    marks = Counter(grade(example, example.reply) for example in some(*kind))
    assert not marks[0] and marks[3] < 15 and marks[2] > 10


def test_to_do_as_asked_comes_first():
    story, dish = some("story", "en")[0], some("dish", "ko")[0]
    hero, thing = story.facts["hero"], story.facts["thing"]
    assert grade(story, "Somebody else was kind.") == 0
    assert grade(dish, "안녕하세요? 맛있게 드세요.") == 0
    told = f"{hero} found a {thing}. {hero} took the {thing} home. {hero} "
    for end, mark in (
        ("shared it with a friend.", 3),
        ("helped everyone.", 3),
        ("slept well.", 2),
        ("did not share it.", 1),
        ("never said thank you.", 1),
    ):
        assert grade(story, told + end) == mark, end
    # Only the end counts.
    assert grade(story, f"{hero} was kind. {told}slept.") == 2


def test_a_dish_needs_two_reasons_and_a_wish():
    example = some("dish", "ko")[0]
    name = prefer(example, random.Random(0), blunt=1).worse
    name = re.match("(?:그냥 )?([가-힣]+?)(?:이?나)?(?: 먹| 드세|[.])", name)[1]
    why, more, wish = "따뜻해요.", "값이 싸요.", "맛있게 드세요!"
    first = f"네, 알겠습니다. {name} 어떠세요?"
    assert grade(example, f"{first} {why} {more} {wish}") == 3
    assert grade(example, f"{first} {why} {why} {wish}") == 2  # one reason, twice
    assert grade(example, f"{first} {why} {more}") == 2
    assert grade(example, f"{first} {wish}") == 1
    assert grade(example, f"{name} 먹어. 따뜻해. 값이 싸.") == 1


def test_other_tasks_are_right_or_wrong():
    example = make_example(random.Random(0), task="word", language="en")
    assert grade(example, example.reply) == 2
    assert grade(example, "I do not know.") == 0
    assert len(GRADES) == 4


# -------------------------------------------------------------------- the wording
@pytest.mark.parametrize("language, hero, thing", [("en", "Lily", "kite"), ("ko", "지우", "연")])
def test_endings_are_told_apart(language, hero, thing):
    right, n = Counter(), Counter()
    for seed in range(300):
        teller = Teller(random.Random(seed), language)
        teller.lists = preferences._lists(language)
        teller.slots = {"hero": hero, "thing": thing, **PRONOUNS["girl"]}
        kind = ("unkind", "moral_kind", "moral_share")[seed % 3]
        text = tidy(teller.expand(f"<{kind}>"), language)
        unkind = bool(re.search(preferences.UNKIND[language], text, re.I))
        kindly = bool(re.search(preferences.KIND[language], text, re.I))
        assert unkind == (kind == "unkind"), text
        n[kind] += 1
        right[kind] += kindly and not unkind
        if language == "ko":
            assert not particle_errors(text, vocabulary("ko")["nouns"])
    assert all(right[k] > 0.7 * n[k] for k in ("moral_kind", "moral_share"))


def test_the_model_has_met_every_word():
    known = vocabulary("en")["words"]
    for line in preferences._lists("en")["unkind"]:
        text = re.sub(r"\{\w+\}", " ", line.lower())
        assert not set(re.findall("[a-z]+", text)) - known
    read = "".join(p.read_text("utf-8") for p in FOLDER.glob("korean_*.txt"))
    for line in preferences._lists("ko")["unkind"]:
        for word in re.findall("(?<![가-힣/}])[가-힣]+", line):
            assert word[:2].removesuffix("지") in read, word  # its stem: endings vary


# -------------------------------------------------------------------------- splits
def test_a_split_is_the_same_again_and_shares_no_request():
    one, again = make_split(12), make_split(12)
    assert one == again
    assert [p.example.task for p in one].count("dish") == 6
    assert one != make_split(12, seed=1)
    held = make_split(12, split="heldout", mixture={"story": 1})
    assert {p.example.task for p in held} == {"story"}
    both = [{p.prompt[-1]["content"] for p in some} for some in (one, held)]
    assert len(both[0]) == 12 and not both[0] & both[1]
    told = [[p.example.facts for p in some if p.example.task == "story"] for some in (one, held)]
    casts = [{(facts["hero"], facts["thing"]) for facts in some} for some in told]
    assert casts[0] and not casts[0] & casts[1]


def test_flipped_labels_are_counted_and_undone():
    pairs = make_split(10, mixture={"dish": 1})
    wrong = flip(pairs, 0.3, seed=1)
    assert sum(p.flipped for p in wrong) == 3
    for pair, other in zip(pairs, wrong):
        assert (other.better, other.worse) == (pair.better, pair.worse)
        swapped = (pair.rejected, pair.chosen)
        sides = swapped if other.flipped else swapped[::-1]
        assert (other.chosen, other.rejected) == sides
    assert flip(wrong, 0.3, seed=1) == pairs == flip(pairs, 0)
    assert wrong != flip(pairs, 0.3, seed=2)


def test_sampled_replies_are_ranked():
    examples = some("dish", "ko")[:6]
    rng = random.Random(0)
    made = [prefer(example, rng, blunt=0) for example in examples]
    replies = [[p.worse, "모르겠어요.", p.better, p.worse] for p in made]
    replies[2] = [made[2].better] * 3  # all alike: nothing to learn
    ranked = rank_replies(examples, replies)
    assert len(ranked) == 5 and ranked == rank_replies(examples, replies)
    assert all(p.better in [m.better for m in made] for p in ranked)
    assert {p.worse for p in ranked} == {"모르겠어요."}


# ------------------------------------------------------------ the published pairs
ROW = {
    "system": "You are helpful.", "input": "2 + 2?", "chosen": "4", "rejected": "5",
    "generations": ["4", "5"], "rating": [9.0, 2.0], "status": "unchanged",
    "chosen_score": 8.0, "in_gsm8k_train": False,
}


@pytest.mark.parametrize(
    "change, why",
    [
        ({}, ""),
        ({"status": "swapped"}, ""),
        ({"status": "tie"}, "tie"),
        ({"chosen_score": 7.5}, "low score"),
        ({"chosen_score": None}, "low score"),
        ({"in_gsm8k_train": True}, "in GSM8k"),
    ],
    ids=str,
)
def test_the_filter_is_source_es(change, why):
    row = ROW | change
    assert orca_fault(row) == why
    score = row["chosen_score"]
    theirs = row["status"] != "tie" and (score or 0) >= 8 and not row["in_gsm8k_train"]
    assert bool(orca_pairs([row])) == theirs


def test_published_rows_become_pairs():
    one, two = orca_pairs([ROW, ROW | {"status": "tie"}, ROW | {"system": ""}])
    assert [m["role"] for m in one.prompt] == ["system", "user"]
    assert two.prompt == [{"role": "user", "content": "2 + 2?"}]
    assert (one.better, one.worse) == ("4", "5") and one.example is None
    assert one.chosen == [{"role": "assistant", "content": "4"}]
    assert len(orca_pairs([ROW], min_score=8.5)) == 0
    with pytest.raises(ValueError, match="no chosen_score, expected the columns of arg"):
        orca_pairs([{k: v for k, v in ROW.items() if k != "chosen_score"}])


# ---------------------------------------------------------------------- bad input
def test_what_cannot_be_done_is_said():
    word = make_example(random.Random(0), task="word", language="en")
    with pytest.raises(ValueError, match="the task is 'word' .*expected story or dish"):
        prefer(word, random.Random(0))
    with pytest.raises(ValueError, match="blunt 2, expected .* a share 0 to 1"):
        prefer(some("dish", "ko")[0], random.Random(0), blunt=2)
    with pytest.raises(ValueError, match="share is 1.5, expected 0 to 1"):
        flip([], 1.5)
    with pytest.raises(ValueError, match="got 0 lists of replies to 1 examples"):
        rank_replies([word], [])
    with pytest.raises(ValueError, match="number is 0"):
        make_split(0)
