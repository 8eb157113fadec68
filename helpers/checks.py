"""Checks for the exercises: `check_NN_k(answer)` for exercise k of notebook NN.

A check prints "pass"; or your answer, the expected one and where to look; or, for
`...` and None, that it is not answered yet. It never raises, so a notebook runs from
first cell to last whatever stands in its exercises.

>>> check_00_1(...)
check_00_1: not answered yet
>>> check_00_1("hub")
check_00_1: not yet
  yours     'hub'
  expected  'embedded'
  look at   the device card in section 1
>>> check_00_1("Embedded")
check_00_1: pass
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

__all__ = ["Judge", "NotAnswered", "Words", "exercise", "near", "same_text", "try_it"]
__all__ += ["check_00_1", "check_00_2", "check_00_3"]
__all__ += ["check_01_1", "check_01_2", "check_01_3"]

Judge = Callable[[Any], tuple[bool, Any]]


class NotAnswered(Exception):
    """Raised by a judge that finds the answer still empty."""


class Words(str):
    """What was expected, in words: printed without quotation marks."""

    def __repr__(self) -> str:
        return str(self)


def exercise(*, look: str) -> Callable[[Judge], Callable[..., None]]:
    """Turn a judge into a check; `look` says where the answer can be found.

    A judge takes the answer and returns (right, expected), where `expected` is a
    value or some `Words`. It may raise: the check prints what was raised.

    >>> @exercise(look="your ten fingers")
    ... def check_99_1(answer):
    ...     return near(answer, 10), 10
    >>> check_99_1("ten")
    check_99_1: not yet
      yours     'ten'
      expected  10
      look at   your ten fingers
    """

    def make(judge: Judge) -> Callable[..., None]:
        @wraps(judge)
        def check(answer: Any = ...) -> None:
            print(f"{judge.__name__}: {_verdict(judge, answer, look)}")

        return check

    return make


def near(answer: Any, expected: Any, *, rel: float = 0.01, abs: float = 0.0) -> bool:
    """Say whether numbers agree within `rel` (a share) or `abs`, also in lists.

    Anything that is not a number, or a list of another length, is not near.

    >>> near([1.0, 2.001], [1, 2]), near("2", 2), near([1], [1, 2])
    (True, False, False)
    """
    if isinstance(expected, Mapping):
        same = isinstance(answer, Mapping) and answer.keys() == expected.keys()
        return same and all(
            near(answer[key], expected[key], rel=rel, abs=abs) for key in expected
        )
    if isinstance(expected, (list, tuple)):
        same = hasattr(answer, "__len__") and len(answer) == len(expected)
        return same and all(
            near(a, e, rel=rel, abs=abs) for a, e in zip(answer, expected)
        )
    if isinstance(answer, (str, bool)) or not hasattr(answer, "__float__"):
        return False
    return math.isclose(float(answer), float(expected), rel_tol=rel, abs_tol=abs)


def same_text(answer: Any, expected: str) -> bool:
    """Say whether two texts agree but for case, spaces and marks around them.

    >>> same_text(" The  kite. ", "the kite")
    True
    """

    def bare(text: str) -> str:
        return " ".join(text.split()).strip("\"'`.!? ").casefold()

    return isinstance(answer, str) and bare(answer) == bare(expected)


def try_it(function: Any, *args: Any) -> Any:
    """Call a learner's function; raises NotAnswered if it still returns nothing."""
    result = function(*args)
    if _empty(result):
        raise NotAnswered
    return result


def _empty(answer: Any) -> bool:
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if isinstance(answer, (list, tuple)) and answer:
        return all(map(_empty, answer))
    return answer is None or answer is ...


def _verdict(judge: Judge, answer: Any, look: str) -> str:
    if _empty(answer):
        return "not answered yet"
    try:
        right, expected = judge(answer)
        right = bool(right)
    except NotAnswered:
        return "not answered yet"
    except Exception as error:  # whatever stands in an exercise, the notebook goes on
        right, expected = False, Words("an answer that can be judged without an error")
        answer = Words(f"{_short(answer)} raised {type(error).__name__}: {error}")
    if right:
        return "pass"
    return (
        f"not yet\n  yours     {_short(answer)}\n"
        f"  expected  {_short(expected)}\n  look at   {look}"
    )


def _short(value: Any, *, width: int = 200) -> str:
    """Return `value` in at most `width` characters, on one line."""
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    try:
        text = " ".join(repr(value).split())
    except Exception as error:  # an object that cannot even be shown
        text = f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    return text if len(text) <= width else text[: width - 1] + "…"


# ---------------------------------------------------------------- 00_start_here


@exercise(look="the device card in section 1")
def check_00_1(answer: Any) -> tuple[bool, Any]:
    """Check the tier that runs on a laptop without a GPU."""
    return same_text(answer, "embedded"), "embedded"


@exercise(look="section 4: parameters times bits, over 8, over 10**9")
def check_00_2(answer: Any) -> tuple[bool, Any]:
    """Check the gigabytes of TinyLlama's weights in 16 bits (claim B1)."""
    from helpers import models

    expected = models.memory_bytes(models.ROLES["tune"].hub_params, bits=16) / 1e9
    return near(answer, expected), round(expected, 2)


@exercise(look="str.find, or re.search(r'[.!?]', text)")
def check_00_3(answer: Any) -> tuple[bool, Any]:
    """Check a function that returns the first sentence of a story."""
    for story, expected in (
        ("Lily had a kite. It was red.", "Lily had a kite."),
        ("Where is it? Tom looked.", "Where is it?"),
        ("Oh! The end.", "Oh!"),
    ):
        result = try_it(answer, story)
        if result != expected:
            return False, Words(f"{expected!r} for {story!r}, not {_short(result)}")
    return True, Words("the first sentence")


# ------------------------------------------------------------------ 01_sampling


@exercise(look="metrics.words and metrics.mean_jaccard")
def check_01_1(answer: Any) -> tuple[bool, Any]:
    """Check a function that returns (mean words a text, mean Jaccard) of texts."""
    for texts, expected in (
        (["the red kite", "The kite!"], (2.5, 2 / 3)),
        (["a b c d"] * 3, (4.0, 1.0)),
        (["one", "two, three"], (1.5, 0.0)),
    ):
        result = try_it(answer, texts)
        if not near(result, expected, abs=1e-6):
            told = tuple(round(number, 3) for number in expected)
            return False, Words(f"{told} for {texts}, not {_short(result)}")
    return True, Words("mean words and mean Jaccard")


@exercise(look="generation.draw: one prompt, three penalties; metrics.repetition, n=1")
def check_01_2(answer: Any) -> tuple[bool, Any]:
    """Check the share of repeated words in greedy text at three penalties."""
    penalties = (1.0, 1.1, 1.3)
    if not isinstance(answer, Mapping) or set(answer) != set(penalties):
        return False, Words("a share for each penalty: {1.0: ..., 1.1: ..., 1.3: ...}")
    from helpers import generation, metrics, models

    prompts = ["Lily found a magic"] * 3
    options = {"temperature": 0, "max_new_tokens": 120}
    drawn = generation.generate(
        *models.load("base"), prompts, repetition_penalty=penalties, **options
    )
    shares = [round(metrics.repetition(row[0], n=1), 3) for row in drawn]
    expected = dict(zip(penalties, shares))
    return near(dict(answer), expected, abs=0.02), expected


@exercise(look="logits.std and logits.max along dim=-1, with keepdim=True")
def check_01_3(answer: Any) -> tuple[bool, Any]:
    """Check a top-n-sigma filter: -inf below the maximum minus n deviations."""
    import torch

    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 60, generator=generator)
    for n in (0.5, 1.0, 2.0):
        bar = logits.amax(-1, keepdim=True) - n * logits.std(-1, keepdim=True)
        expected = logits.masked_fill(logits < bar, -math.inf)
        result = try_it(answer, logits.clone(), n)
        if not (hasattr(result, "shape") and result.shape == expected.shape):
            return False, Words("logits of the same shape as those given")
        kept, wanted = (int(x.isfinite().sum()) for x in (result, expected))
        if not torch.allclose(result, expected):
            return False, Words(f"{wanted} of 240 logits kept at n = {n}, not {kept}")
    return True, Words("top-n-sigma")
