"""Checks for the exercises: `check_NN_k(answer)` for exercise k of notebook NN.

A check prints "pass"; or your answer, the expected one and where to look; or, for
`...` and None, that it is not answered yet. It never raises, so a notebook runs from
first cell to last whatever stands in its exercises. The checks of notebook NN stand in
`checks_NN`; `checks.check_NN_k` finds them.

>>> from helpers.checks import check_00_1
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
import re
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["Judge", "NotAnswered", "Words", "exercise", "near", "same_text", "short"]
__all__ += ["try_it"]

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
        answer = Words(f"{short(answer)} raised {type(error).__name__}: {error}")
    if right:
        return "pass"
    return (
        f"not yet\n  yours     {short(answer)}\n"
        f"  expected  {short(expected)}\n  look at   {look}"
    )


def short(value: Any, *, width: int = 200) -> str:
    """Return `value` in at most `width` characters, on one line."""
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    try:
        text = " ".join(repr(value).split())
    except Exception as error:  # an object that cannot even be shown
        text = f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    return text if len(text) <= width else text[: width - 1] + "…"


def __getattr__(name: str) -> Callable[..., None]:
    """Find `check_NN_k` in `helpers.checks_NN`, which is imported when first asked for."""
    found = re.fullmatch(r"check_(\d\d)_\d", name)
    module = f"helpers.checks_{found[1]}" if found else ""
    if found and find_spec(module):
        return getattr(import_module(module), name)
    raise AttributeError(f"there is no check {name!r}; expected check_NN_k, such as check_01_1")
