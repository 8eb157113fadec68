"""Checks for the exercises of notebook 00, start here: `check_00_k(answer)`; see `checks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers.checks import Words, exercise, near, same_text, short, try_it

__all__ = ["check_00_1", "check_00_2", "check_00_3", "check_00_4"]


@exercise(look="the device card in section 1")
def check_00_1(answer: Any) -> tuple[bool, Any]:
    """Check the tier that runs on a laptop without a GPU; section 5 shows it at work."""
    return same_text(answer, "embedded"), "embedded"


@exercise(look="tokenizer.tokenize in section 2, and len")
def check_00_2(answer: Any) -> tuple[bool, Any]:
    """Check a dict from names, whichever they are, to how many tokens each has."""
    named = isinstance(answer, Mapping) and all(isinstance(n, str) for n in answer)
    if not named or not answer:
        return False, Words('a dict from each name to a number, as in {"Mina": ...}')
    from helpers import models

    _, tokenizer = models.load("base")
    expected = {name: len(tokenizer.tokenize(name)) for name in answer}
    return near(dict(answer), expected), expected


@exercise(look="section 4: parameters times bits, over 8, over 10**9")
def check_00_3(answer: Any) -> tuple[bool, Any]:
    """Check the gigabytes of TinyLlama's weights in 16 bits (claim B1)."""
    from helpers import models

    expected = models.memory_bytes(models.ROLES["tune"].hub_params, bits=16) / 1e9
    return near(answer, expected), round(expected, 2)


@exercise(look="str.find, or re.search(r'[.!?]', text)")
def check_00_4(answer: Any) -> tuple[bool, Any]:
    """Check a function that returns the first sentence of a story."""
    for story, expected in (
        ("Lily had a kite. It was red.", "Lily had a kite."),
        ("Where is it? Tom looked.", "Where is it?"),
        ("Oh! The end.", "Oh!"),
    ):
        result = try_it(answer, story)
        if result != expected:
            return False, Words(f"{expected!r} for {story!r}, not {short(result)}")
    return True, Words("the first sentence")
