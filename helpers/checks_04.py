"""Checks for the exercises of notebook 04, QLoRA: `check_04_k(answer)`; see `checks`."""

from __future__ import annotations

import random
from typing import Any

from helpers.checks import Words, exercise, near, short, try_it

__all__ = ["check_04_1", "check_04_2", "check_04_3"]


@exercise(look="lora.lora_params and lora.KNOWN, section 1")
def check_04_1(answer: Any) -> tuple[bool, Any]:
    """Check the parameters of source E's adapter: rank 64, all layers of TinyLlama."""
    from helpers import lora

    expected = lora.lora_params(lora.KNOWN["TinyLlama-1.1B"], r=64)
    return near(answer, expected), expected


@exercise(look="section 3: trained is what stands between a start and its end token")
def check_04_2(answer: Any) -> tuple[bool, Any]:
    """Check a function from ids to labels: -100 outside the assistant's turns."""
    dice = random.Random(0)
    for turns in (1, 2, 3):
        ids, expected = [1], [-100]
        for _ in range(turns):
            words = [dice.randrange(20, 90) for _ in range(dice.randint(2, 4))]
            said = [dice.randrange(20, 90) for _ in range(dice.randint(1, 3))]
            ids += [5, 10, *words, 2, 10, 6, 10, *said, 2, 10]
            expected += [-100] * (len(words) + 6) + [*said, 2, -100]
        result = try_it(answer, list(ids), [6, 10], 2)
        if hasattr(result, "tolist"):
            result = result.tolist()
        if not isinstance(result, (list, tuple)) or len(result) != len(ids):
            return False, Words(f"{len(ids)} labels for {ids}, not {short(result)}")
        for i, (yours, right) in enumerate(zip(result, expected)):
            if yours != right:
                last = f"the last id in {ids[max(0, i - 9) : i + 1]} has the label {right}"
                return False, Words(f"{last}, not {yours!r} (turns: {turns}, place: {i})")
    return True, Words("labels")


@exercise(look="torch.linalg.svdvals, squared and summed")
def check_04_3(answer: Any) -> tuple[bool, Any]:
    """Check a function (matrix, k) -> share of its squares in k directions."""
    import torch

    dice = torch.Generator().manual_seed(0)
    for rows, columns, rank, k in ((30, 20, 20, 5), (64, 48, 6, 3), (16, 40, 4, 4)):
        left = torch.randn(rows, rank, generator=dice, dtype=torch.float64)
        right = torch.randn(rank, columns, generator=dice, dtype=torch.float64)
        delta = left @ right
        squares = torch.linalg.svdvals(delta) ** 2
        expected = float(squares[:k].sum() / squares.sum())
        result = try_it(answer, delta.clone(), k)
        if not near(result, expected, rel=1e-4):
            size = f"{rows} x {columns} of rank {rank}"
            told = f"{expected:.4f} for {size} and k = {k}, not {short(result)}"
            return False, Words(told)
    return True, Words("the share of the first k directions")
