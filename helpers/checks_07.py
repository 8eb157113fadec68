"""Checks for the exercises of notebook 07, GGUF and chat: `check_07_k(answer)`."""

from __future__ import annotations

from typing import Any

from helpers.checks import Words, exercise, near, short, try_it

__all__ = ["check_07_1", "check_07_2", "check_07_3"]


@exercise(look="section 3: what the cache keeps for a token; 16 bits are 2 bytes")
def check_07_1(answer: Any) -> tuple[bool, Any]:
    """Check the MB of TinyLlama's keys and values for 2,048 tokens."""
    expected = round(2048 * 22 * 2 * 4 * 64 * 2 / 1e6, 1)
    return near(answer, expected), expected


@exercise(look="`neighbours` in section 1: which two axes change places?")
def check_07_2(answer: Any) -> tuple[bool, Any]:
    """Check a function that puts llama.cpp's rows back into transformers' order."""
    import numpy as np

    from helpers.gguf_utils import llama_cpp_rows

    for shape, heads in (((8,), 1), ((24, 5), 3), ((12, 2), 2)):
        rows = np.arange(np.prod(shape)).reshape(shape)
        result = try_it(answer, llama_cpp_rows(rows, heads), heads)
        if getattr(result, "shape", None) != shape or not (result == rows).all():
            return False, Words(f"the rows as they were: shape {shape}, {heads} heads")
    return True, Words("every row back in its place")


@exercise(look="section 5: what a prompt has in common with the one before is not read")
def check_07_3(answer: Any) -> tuple[bool, Any]:
    """Check the mean tokens read a turn, for a share to which the history is cut."""
    for share in (0.9, 0.5, 0.1):
        expected, result = _mean_read(share), try_it(answer, share)
        if not near(result, expected, rel=1e-4):
            told = f"{expected:.2f} tokens a turn for a share of {share}"
            return False, Words(f"{told}, not {short(result)}")
    return True, Words("the mean tokens read a turn")


def _mean_read(share: float, turns: int = 1000) -> float:
    history = total = 0
    for _ in range(turns):
        read = 20
        if history + 20 > 480:
            history = int(share * 480) - 20
            read = history + 20
        total += read
        history += 20 + 30
    return total / turns
