"""Turn logits into a token: temperature, top-k, top-p, min-p, repetition penalty.

Every function is pure: it takes logits of shape (..., vocab), natural-log scale, and
returns new logits of the same shape with -inf where a token is ruled out. A setting
is one number for all rows, or a tensor with one value a row (the shape of logits
without its last axis), so that one batch can hold many settings.

transformers and helpers.generation apply them in the order penalty, temperature,
top-k, top-p, min-p. (llama.cpp puts the temperature last.)

>>> import torch
>>> logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
>>> [round(p, 2) for p in softmax(logits, temperature=0.5).tolist()]
[0.86, 0.12, 0.02, 0.0]
>>> top_k(logits, 2).tolist()
[2.0, 1.0, -inf, -inf]
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Setting = float | torch.Tensor

__all__ = [
    "apply_temperature",
    "check_setting",
    "entropy",
    "greedy",
    "min_p",
    "repetition_penalty",
    "sample_token",
    "softmax",
    "top_k",
    "top_p",
]

# name: smallest, largest, whether the smallest itself is allowed, how to say it
RANGES = {
    "temperature": (0.0, math.inf, True, "0 (greedy) or a positive number"),
    "top_k": (0.0, math.inf, True, "a whole number, 0 (off) or more"),
    "top_p": (0.0, 1.0, False, "above 0 and at most 1 (off)"),
    "min_p": (0.0, 1.0, True, "between 0 (off) and 1"),
    "repetition_penalty": (0.0, math.inf, False, "above 0 (1 is off)"),
}


def check_setting(name: str, value: Setting) -> None:
    """Check one of `RANGES`, a number or a tensor of them; raises ValueError.

    >>> check_setting("top_p", 0.0)
    Traceback (most recent call last):
        ...
    ValueError: top_p is 0.0, expected above 0 and at most 1 (off)
    """
    low, high, closed, wanted = RANGES[name]
    for one in value.flatten().tolist() if hasattr(value, "flatten") else [value]:
        good = isinstance(one, (int, float)) and math.isfinite(one)
        good = good and low <= one <= high and (closed or one > low)
        if not good or name == "top_k" and one != int(one):
            raise ValueError(f"{name} is {one!r}, expected {wanted}")


def _check_logits(logits: torch.Tensor) -> None:
    import torch

    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        raise ValueError(
            f"logits are {getattr(logits, 'dtype', type(logits).__name__)}, expected a "
            "tensor of floats: pass model(...).logits or torch.tensor([2.0, 1.0])"
        )
    if logits.ndim == 0 or logits.shape[-1] == 0:
        shape = tuple(logits.shape)
        raise ValueError(f"logits have shape {shape}, expected (..., vocab), vocab > 0")
    if torch.isfinite(logits.amax(dim=-1)).all():  # NaN wins every maximum
        return
    if bad := int(logits.isnan().sum()):
        raise ValueError(
            f"logits hold {bad} NaN, expected numbers: look for an overflow in the "
            "model, such as float16 without scaling"
        )
    raise ValueError(
        "logits have a row whose maximum is infinite, expected a finite one: loosen "
        "the filter that ruled out every token"
    )


def _per_row(name: str, value: Setting, logits: torch.Tensor) -> Setting:
    """Check `value`; give a tensor of one value a row a last axis of length 1."""
    check_setting(name, value)
    if getattr(value, "ndim", 0) == 0:
        return value
    if value.shape != logits.shape[:-1]:
        shapes = f"shape {tuple(value.shape)}, expected {tuple(logits.shape[:-1])}"
        raise ValueError(f"{name} has {shapes}: give one value a row, or one number")
    dtype = logits.dtype if value.is_floating_point() else value.dtype
    return value.to(logits.device, dtype).unsqueeze(-1)


def softmax(logits: torch.Tensor, *, temperature: Setting = 1.0) -> torch.Tensor:
    """Return probabilities, exp(logits / T) over their sum, shape (..., vocab).

    Raises ValueError for NaN logits and for a temperature of 0 or less.
    """
    return apply_temperature(logits, temperature).softmax(dim=-1)


def entropy(probs: torch.Tensor) -> torch.Tensor:
    """Return the entropy in nats of probabilities (..., vocab), shape (...).

    Raises ValueError where a row does not sum to 1.

    >>> import torch
    >>> round(entropy(torch.full((4,), 0.25)).item(), 4) == round(math.log(4), 4)
    True
    """
    import torch

    total = probs.sum(dim=-1)
    if not torch.allclose(total, torch.ones_like(total), atol=1e-3):
        raise ValueError(
            "probs have a row that does not sum to 1, expected probabilities: pass "
            "softmax(logits), not the logits"
        )
    return torch.special.entr(probs).sum(dim=-1)


def greedy(logits: torch.Tensor) -> torch.Tensor:
    """Return the id of the likeliest token, shape (...). Raises for NaN logits."""
    _check_logits(logits)
    return logits.argmax(dim=-1)


def apply_temperature(logits: torch.Tensor, temperature: Setting) -> torch.Tensor:
    """Divide logits by T: below 1 sharpens the distribution, above 1 flattens it.

    Raises ValueError for T < 0, and for T = 0, which is greedy decoding.

    >>> import torch
    >>> apply_temperature(torch.tensor([1.0, 2.0]), 0)
    Traceback (most recent call last):
        ...
    ValueError: temperature is 0, expected a number to divide by: use greedy(logits)
    """
    _check_logits(logits)
    temperature = _per_row("temperature", temperature, logits)
    if (temperature == 0).any() if hasattr(temperature, "any") else temperature == 0:
        raise ValueError(
            "temperature is 0, expected a number to divide by: use greedy(logits)"
        )
    return logits / temperature


def top_k(logits: torch.Tensor, k: int | torch.Tensor) -> torch.Tensor:
    """Keep the k likeliest tokens, and any that tie with the last; k = 0 is off.

    Raises ValueError for k < 0, k above the vocabulary, k not whole.
    """
    import torch

    _check_logits(logits)
    k = _per_row("top_k", k, logits)
    largest, vocab = int(torch.as_tensor(k).max()), logits.shape[-1]
    if largest > vocab:
        raise ValueError(
            f"top_k is {largest}, expected at most {vocab}, the vocabulary"
        )
    k = torch.as_tensor(k, device=logits.device).expand(*logits.shape[:-1], 1)
    best = logits.topk(max(largest, 1), dim=-1).values
    last = best.gather(-1, (k - 1).clamp(min=0).long())
    return logits.masked_fill((logits < last) & (k > 0), -math.inf)


def top_p(logits: torch.Tensor, p: Setting) -> torch.Tensor:
    """Keep the fewest likeliest tokens whose probabilities reach p (the nucleus).

    Raises ValueError for p outside (0, 1]. Source: Holtzman et al. 2020,
    "The curious case of neural text degeneration".
    """
    _check_logits(logits)
    p = _per_row("top_p", p, logits)
    ascending, order = logits.sort(dim=-1)
    below = ascending.softmax(dim=-1).cumsum(dim=-1)  # mass of it and all less likely
    drop = below <= 1 - p
    drop[..., -1] = False
    return logits.masked_fill(drop.scatter(-1, order, drop), -math.inf)


def min_p(logits: torch.Tensor, p: Setting) -> torch.Tensor:
    """Keep tokens at least p times as likely as the likeliest one; p = 0 is off.

    Raises ValueError for p outside [0, 1]. Source: Nguyen et al. 2024,
    "Turning up the heat: min-p sampling".
    """
    _check_logits(logits)
    probs = logits.softmax(dim=-1)
    bar = _per_row("min_p", p, logits) * probs.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probs < bar, -math.inf)


def repetition_penalty(
    logits: torch.Tensor, previous_ids: torch.Tensor, penalty: Setting
) -> torch.Tensor:
    """Make tokens seen before less likely: divide a positive logit, multiply a
    negative one, once a token however often it was seen.

    previous_ids has the shape (..., length). Raises ValueError for a penalty of 0
    or less and for ids outside the vocabulary. Source: Keskar et al. 2019, CTRL.
    """
    _check_logits(logits)
    penalty = _per_row("repetition_penalty", penalty, logits)
    ids, last = previous_ids, logits.shape[-1] - 1
    if ids.numel() and not (0 <= ids.min() and ids.max() <= last):
        found = f"previous_ids reach from {ids.min()} to {ids.max()}"
        raise ValueError(f"{found}, expected ids of the vocabulary, 0 to {last}")
    seen = logits.gather(-1, ids)
    seen = (seen * penalty).where(seen < 0, seen / penalty)
    return logits.scatter(-1, ids, seen)


def sample_token(
    logits: torch.Tensor,
    *,
    u: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Draw one token id a row from softmax(logits), shape (...).

    `u` holds uniform numbers in [0, 1), shape (...): the same u, the same token.
    Without it they come from `generator`. Raises ValueError for NaN logits and for
    u outside [0, 1).

    >>> import torch
    >>> sample_token(torch.tensor([0.0, 0.0, 0.0, 0.0]), u=torch.tensor(0.6)).item()
    2
    """
    import torch

    _check_logits(logits)
    if u is None:
        u = torch.rand(logits.shape[:-1], generator=generator, dtype=torch.float64)
    if u.numel() and not (0 <= u.min() and u.max() < 1):
        raise ValueError("u leaves [0, 1), expected numbers such as torch.rand gives")
    ladder = logits.double().softmax(dim=-1).cumsum(dim=-1)
    rung = u.to(ladder).unsqueeze(-1) * ladder[..., -1:]
    return torch.searchsorted(ladder, rung, right=True).squeeze(-1)
