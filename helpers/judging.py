"""Which of two replies is better: by rules over many requests, or asked of a model.

A win rate counts a tie as half a win. A model that is to judge reads each pair twice,
in both orders: a judge that reads, and does not only like the first place, gives the
same reply both times.

>>> print(WinRate(wins=30, ties=6, losses=4))
30 wins, 6 ties, 4 losses: 0.82 (0.68-0.91)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os.path import commonprefix  # of any two lists
from typing import TYPE_CHECKING, Any

from helpers import sft
from helpers.chat_templates import encode_conversation
from helpers.generation import check_context
from helpers.metrics import wilson_interval
from helpers.preferences import Pair, grade
from helpers.replies import Example
from helpers.rewards import drift
from helpers.sft import Rate
from helpers.sft_data import collate, encode_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Comparison", "Judged", "QUESTION", "WinRate", "compare", "figure", "judge"]
__all__ += ["win_rate"]

QUESTION = "{request}\n\nA: {a}\n\nB: {b}\n\nWhich answer is better? Answer A or B."


@dataclass(frozen=True)
class WinRate:
    """How one model's replies did against another's to the same requests."""

    wins: int
    ties: int
    losses: int

    n = property(lambda self: self.wins + self.ties + self.losses)
    rate = property(lambda self: (self.wins + self.ties / 2) / self.n)
    # A tie spreads less than a win or a loss, so this is on the safe side.
    interval = property(lambda self: wilson_interval(self.wins + self.ties / 2, self.n))

    def __str__(self) -> str:
        return (
            f"{self.wins} wins, {self.ties} ties, {self.losses} losses: "
            "{:.2f} ({:.2f}-{:.2f})".format(self.rate, *self.interval)
        )


def win_rate(
    examples: Sequence[Example],
    ours: Sequence[str],
    theirs: Sequence[str],
    *,
    score: Callable[[Example, str], float] = grade,
) -> WinRate:
    """Compare two replies to each example by `score`, `preferences.grade` by default.

    Raises ValueError if there are no examples, or not one reply of each for all.
    """
    if not len(examples) == len(ours) == len(theirs) or not examples:
        raise ValueError(
            f"got {len(ours)} and {len(theirs)} replies to {len(examples)} examples, "
            "expected one of each for every example, and one example or more"
        )
    ahead = [score(e, a) - score(e, b) for e, a, b in zip(examples, ours, theirs)]
    wins, losses = sum(x > 0 for x in ahead), sum(x < 0 for x in ahead)
    return WinRate(wins, len(ahead) - wins - losses, losses)


@dataclass(frozen=True)
class Comparison:
    """What preference tuning did to a model, on requests it was not trained on."""

    replies: list[str]
    win: WinRate  # against the replies before
    follows: Rate  # how often it does as asked
    words: float  # a reply, in the mean
    drift: float  # KL from its reference, in nats a reply, in the mean

    def __str__(self) -> str:
        return (
            f"{self.win}\n  follows {self.follows}, {self.words:.0f} words a reply, "
            f"drift {self.drift:.2f} nats"
        )


def compare(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    before: Sequence[str],
    **options: Any,
) -> Comparison:
    """Answer the examples' requests and compare with the replies of `before`.

    `options` are those of `sft.answers`. Raises what that and `win_rate` raise.
    """
    replies = sft.answers(model, tokenizer, examples, **options)
    win = win_rate(examples, replies, before)
    said = [{"role": "assistant", "content": text or "."} for text in replies]
    rows = [{"messages": [*e.messages[:-1], s]} for e, s in zip(examples, said)]
    moved = drift(model, encode_rows(tokenizer, rows))
    follows = sft.follow_rates(examples, replies)["all"]
    words = sum(len(text.split()) for text in replies) / len(replies)
    return Comparison(replies, win, follows, words, sum(moved) / len(moved))


def figure(found: Mapping[str, Comparison], *, by_drift: bool = False) -> Figure:
    """Draw win rates with their intervals: as bars, or as a line over the drift."""
    from helpers import plotting

    wins = {name: one.win for name, one in found.items()}
    rates = {name: win.rate for name, win in wins.items()}
    if not by_drift:
        ends = {name: win.interval for name, win in wins.items()}
        names = {"xlabel": "win rate", "ylabel": "trained with"}
        return plotting.bars(rates, intervals=ends, **names)
    order = sorted(found.values(), key=lambda one: one.drift)
    points = [(one.drift, one.win.rate, *one.win.interval) for one in order]
    names = {"xlabel": "drift (nats a reply)", "ylabel": "win rate"}
    return plotting.lines({"models": [*map(list, zip(*points))]}, **names)


@dataclass(frozen=True)
class Judged:
    """What a model said of pairs, each read twice: how much it leans to the better one.

    `first` and `second`: log-odds, in nats, for the better reply, where it stood in the
    first place (A) and in the second (B).
    """

    first: list[float]
    second: list[float]

    @property
    def accuracy(self) -> float:
        """The share of readings that name the better reply; 0.5 is guessing."""
        said = self.first + self.second
        return sum(x > 0 for x in said) / len(said)

    @property
    def chose_first(self) -> float:
        """The share of readings that name the first place; 0.5 has no position bias."""
        a = sum(x > 0 for x in self.first) + sum(x <= 0 for x in self.second)
        return a / (2 * len(self.first))

    @property
    def consistent(self) -> float:
        """The share of pairs of which the same reply is named in both orders."""
        both = zip(self.first, self.second)
        return sum((x > 0) == (y > 0) for x, y in both) / len(self.first)

    @property
    def balanced(self) -> float:
        """The share of pairs that come out right when the two readings are added."""
        return sum(x + y > 0 for x, y in zip(self.first, self.second)) / len(self.first)


def judge(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    *,
    question: str = QUESTION,
    names: tuple[str, str] = ("A", "B"),
    batch_size: int = 16,
    family: str | None = None,
) -> Judged:
    """Ask a model which reply of each pair is better, in both orders.

    `question` has the fields {request}, {a} and {b}; the answer is one of `names`,
    whichever is likelier. Raises ValueError for no pairs, for a question that lacks a
    field or is too long for the model, and for equal names.
    """
    if not pairs or any(f"{{{x}}}" not in question for x in ("request", "a", "b")):
        raise ValueError(
            f"got {len(pairs)} pairs and the question {question!r}, expected a pair or "
            "more, and the fields {request}, {a} and {b} in the question"
        )
    rows, encode = [], partial(encode_conversation, tokenizer, family=family)
    for pair in pairs:
        for a, b in ((pair.better, pair.worse), (pair.worse, pair.better)):
            said = {"request": pair.prompt[-1]["content"], "a": a, "b": b}
            asked = [{"role": "user", "content": question.format(**said)}]
            rows.append(encode(asked, add_generation_prompt=True).ids)
    said = ([*asked, {"role": "assistant", "content": name}] for name in names)
    said = [encode(messages).ids[len(rows[-1]) :] for messages in said]
    shared = commonprefix(said)  # the blank before a name may be a token of its own
    if names[0] == names[1]:
        raise ValueError(f"{names} are the same name: choose two")
    rows = [row + shared for row in rows]
    one, two = (ids[len(shared)] for ids in said)
    check_context(model, rows, 1)
    odds = _log_odds(model, rows, one, two, batch_size)
    return Judged(odds[::2], [-x for x in odds[1::2]])


def _log_odds(model, rows, one, two, batch_size) -> list[float]:
    """Return how much likelier token `one` is than `two` after each row, in nats."""
    import torch

    found = []
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        inputs = collate([{"input_ids": ids, "labels": ids} for ids in part])
        del inputs["labels"]
        inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        with torch.inference_mode():
            logits = model(**inputs, logits_to_keep=1).logits[:, -1].float()
        found += (logits[:, one] - logits[:, two]).tolist()
    return found
