"""Checks for the exercises of notebook 01, sampling: `check_01_k(answer)`; see `checks`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from helpers.checks import Words, exercise, near, short, try_it

__all__ = ["check_01_1", "check_01_2", "check_01_3"]


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
            return False, Words(f"{told} for {texts}, not {short(result)}")
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
