"""Checks for the exercises of notebook 05, preferences: `check_05_k(answer)`; see `checks`."""

from __future__ import annotations

import math
from typing import Any

from helpers.checks import Words, exercise, near, short, try_it

__all__ = ["check_05_1", "check_05_2", "check_05_3"]


@exercise(look="section 3: two rewards, their margin, the log of its sigmoid")
def check_05_1(answer: Any) -> tuple[bool, Any]:
    """Check the loss of a pair whose log ratios are +3 and -7 nats, at beta 0.1."""
    expected = math.log(1 + math.exp(-0.1 * (3 + 7)))
    return near(answer, expected, rel=0.005), round(expected, 4)


@exercise(look="the log ratios of section 3, and the square of what is missing")
def check_05_2(answer: Any) -> tuple[bool, Any]:
    """Check the IPO loss of 64 pairs at two betas."""
    import torch

    dice = torch.Generator().manual_seed(1)
    four = [-9 * torch.rand(64, generator=dice) for _ in range(4)]
    for beta in (0.1, 0.5):
        ratios = (four[0] - four[2]) - (four[1] - four[3])
        expected = (ratios - 1 / (2 * beta)) ** 2
        result = try_it(answer, *[one.clone() for one in four], beta)
        if not (hasattr(result, "shape") and result.shape == expected.shape):
            return False, Words("a loss for each of the 64 pairs")
        if not torch.allclose(result, expected, rtol=1e-4, atol=1e-4):
            told = f"{expected[0]:.3f} for the first pair at beta {beta}"
            return False, Words(f"{told}, not {short(round(result[0].item(), 3))}")
    return True, Words("the IPO loss")


@exercise(look="sft.answers with temperature and seed; preferences.rank_replies")
def check_05_3(answer: Any) -> tuple[bool, Any]:
    """Check how many of twelve requests give a pair of the chat model's own replies."""
    from helpers import models, preferences, sft

    model, tokenizer = models.load("chat")
    asked = [p.example for p in preferences.make_split(12, mixture={"dish": 1})]
    options = {"temperature": 0.9}
    drawn = [sft.answers(model, tokenizer, asked, seed=s, **options) for s in range(4)]
    expected = len(preferences.rank_replies(asked, [list(four) for four in zip(*drawn)]))
    # A long reply may differ from machine to machine in a token, and so may one grade.
    return isinstance(answer, int) and abs(answer - expected) <= 1, expected
