"""helpers.judging: win rates, and judges whose leanings are known beforehand."""

import random
from types import SimpleNamespace

import pytest
import torch

from helpers import judging
from helpers.instructions import make_example
from helpers.judging import Judged, WinRate, judge, win_rate
from helpers.metrics import wilson_interval
from helpers.preferences import Pair, grade, make_split
from tests.model_fixtures import tiny_model
from tests.test_sft_data import tokenizer

TOK = tokenizer()
SHORT = "{request} A: {a} B: {b} Which?"


def pair(better, worse, flipped=False):
    said = [[{"role": "assistant", "content": text}] for text in (better, worse)]
    sides = said[::-1] if flipped else said
    return Pair([{"role": "user", "content": "Who?"}], *sides, flipped=flipped)


PAIRS = [pair("Tom ran.", "Tom"), pair("A fox.", "The hill"), pair("Lily.", "No", True)]


class Judge:
    """A fake model: `lean` says how much it likes A, given the text it reads."""

    def __init__(self, lean):
        self.device, self.config, self.lean = torch.device("cpu"), tiny_model().config, lean
        self.read = []

    def __call__(self, input_ids, attention_mask, **_):
        logits = torch.zeros(len(input_ids), 1, len(TOK))
        for row, ids in enumerate(input_ids):
            text = TOK.decode(ids[attention_mask[row] == 1])
            self.read.append(text)
            logits[row, 0, TOK("A", add_special_tokens=False).input_ids[0]] = self.lean(text)
        return SimpleNamespace(logits=logits)


# ---------------------------------------------------------------------- win rates
def test_wins_ties_and_losses():
    pairs = make_split(3, mixture={"dish": 1})
    examples = [p.example for p in pairs]
    better, worse = [p.better for p in pairs], [p.worse for p in pairs]
    assert win_rate(examples, better, worse) == WinRate(3, 0, 0)
    assert win_rate(examples, worse, better) == WinRate(0, 0, 3)
    mixed = [better[0], worse[1], ""]
    assert win_rate(examples, mixed, worse) == WinRate(1, 1, 1)
    shorter = win_rate(examples, better, worse, score=lambda _, text: -len(text))
    assert shorter == WinRate(0, 0, 3)


def test_a_rate_counts_ties_as_half_and_mirrors():
    rate, mirror = WinRate(5, 2, 1), WinRate(1, 2, 5)
    assert rate.rate == 0.75 and rate.n == 8
    low, high = rate.interval
    assert low < 0.75 < high and rate.interval == wilson_interval(6, 8)
    assert mirror.interval == pytest.approx((1 - high, 1 - low))
    assert WinRate(4, 0, 0).interval[0] < 1 == WinRate(4, 0, 0).interval[1]
    assert str(rate) == f"5 wins, 2 ties, 1 losses: 0.75 ({low:.2f}-{high:.2f})"


def test_the_interval_covers_the_truth():
    dice, inside, true = random.Random(0), 0, 0.5 + (0.6 - 0.2) / 2
    for _ in range(500):
        drawn = dice.choices("wtl", (0.6, 0.2, 0.2), k=40)
        rate = WinRate(*map(drawn.count, "wtl"))
        inside += rate.interval[0] <= true <= rate.interval[1]
    assert inside / 500 >= 0.94


def test_numbers_that_do_not_fit_are_refused():
    example = make_example(random.Random(0), task="dish")
    for examples, ours, theirs in (([], [], []), ([example], ["a"], []), ([example], [], ["a"])):
        with pytest.raises(ValueError, match="expected one of each for every example"):
            win_rate(examples, ours, theirs)
    assert grade(example, "a") == 0


def test_a_comparison_measures_what_was_answered(monkeypatch):
    from helpers import lora, sft
    from tests.test_lora import base

    pairs = make_split(4, mixture={"dish": 1})
    examples = [p.example for p in pairs]
    said = [p.better for p in pairs[:3]] + [""]
    monkeypatch.setattr(sft, "answers", lambda *_, **options: said)
    model = lora.attach(base(max_position_embeddings=2000), r=2)
    found = judging.compare(model, TOK, examples, [p.worse for p in pairs])
    assert found.win == WinRate(3, 0, 1) and found.replies == said
    assert (found.follows.followed, found.follows.n) == (3, 4)
    assert found.words == sum(len(text.split()) for text in said) / 4
    assert found.drift == pytest.approx(0, abs=1e-6)  # a new adapter
    assert str(found).startswith("3 wins, 0 ties, 1 losses: 0.75")
    for by_drift, label in ((False, "win rate"), (True, "drift (nats a reply)")):
        [axes] = judging.figure({"one": found, "two": found}, by_drift=by_drift).axes
        assert axes.get_xlabel() == label


# ------------------------------------------------------------------------- judges
def test_a_judge_that_likes_the_first_place():
    found = judge(Judge(lambda text: 1.0), TOK, PAIRS, question=SHORT)
    assert found.first == [1, 1, 1] and found.second == [-1, -1, -1]
    assert (found.chose_first, found.consistent, found.accuracy) == (1, 0, 0.5)
    assert found.balanced == 0  # nothing is left when the order is taken out
    found = judge(Judge(lambda text: -1.0), TOK, PAIRS, question=SHORT)
    assert (found.chose_first, found.consistent, found.accuracy) == (0, 0, 0.5)


def test_a_judge_that_reads():
    """It likes a full stop: the better replies have one, flipped labels or not."""
    reader = Judge(lambda text: 2.0 if "." in text.split("A:")[1].split("B:")[0] else -2.0)
    found = judge(reader, TOK, PAIRS, question=SHORT, batch_size=4)
    assert (found.accuracy, found.consistent, found.chose_first) == (1, 1, 0.5)
    assert found.balanced == 1 and len(reader.read) == 6
    assert "A: Tom ran. B: Tom Which?" in reader.read[0]
    assert "A: Tom B: Tom ran. Which?" in reader.read[1]
    assert all(text.rstrip(" ").endswith("<|assistant|>\n") for text in reader.read)


def test_a_judge_that_leans_and_reads_a_little():
    found = Judged(first=[3.0, 2.0, 1.0, 1.5], second=[-1.0, -2.5, -0.5, 1.0])
    assert found.accuracy == 5 / 8 and found.chose_first == 7 / 8
    assert found.consistent == 1 / 4 and found.balanced == 3 / 4


def test_what_a_real_model_says_is_its_log_odds():
    from helpers.chat_templates import encode_conversation

    model = tiny_model()
    found = judge(model, TOK, PAIRS[:2], question=SHORT, names=("one", "Two"), batch_size=3)
    asked = SHORT.format(request="Who?", a="Tom ran.", b="Tom")
    user = {"role": "user", "content": asked}
    first, second = (
        encode_conversation(TOK, [user, {"role": "assistant", "content": name}]).ids
        for name in ("one", "Two")
    )
    # what counts is the token at which the two names part
    at = next(i for i, (a, b) in enumerate(zip(first, second)) if a != b)
    with torch.no_grad():
        odds = model(torch.tensor([first[:at]])).logits[0, -1].log_softmax(-1)
    expected = (odds[first[at]] - odds[second[at]]).item()
    assert found.first[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"pairs": []}, "got 0 pairs"),
        ({"question": "{request} {a}"}, "the fields {request}, {a} and {b}"),
        ({"names": ("A", "A")}, "are the same name"),
        ({"question": SHORT + " word" * 200}, "expected at most 160"),
    ],
)
def test_questions_that_cannot_be_asked(options, words):
    options = {"pairs": PAIRS, "question": SHORT} | options
    with pytest.raises(ValueError, match=words):
        judge(tiny_model(), TOK, **options)


def test_the_usual_question_has_its_fields():
    assert judging.QUESTION.format(request="R", a="1", b="2").startswith("R\n\nA: 1\n\nB: 2")
