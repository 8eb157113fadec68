"""Where rounding hurts: change one part of a model at a time, and measure the loss.

The weights are changed in place and put back as they were, so it takes no second copy
of the model.

>>> import torch
>>> model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
>>> sensitivity(model, lambda m: m[0].weight.sum().item(), change=torch.zeros_like)
{'all': ..., 'layer 0': ...}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

__all__ = ["changed", "sensitivity", "weight_groups"]


def weight_groups(model: Module, *, by: str = "layer") -> dict[str, list[str]]:
    """Return the names of a model's weight matrices, by "layer" or by "kind".

    A kind is the last name of a module: q_proj, down_proj, embed_tokens. A matrix
    outside the numbered layers makes a group of its own; a tied one is named once.
    Raises ValueError for another `by`.
    """
    if by not in ("layer", "kind"):
        raise ValueError(f"by is {by!r}, expected 'layer' or 'kind'")
    groups: dict[str, list[str]] = {}
    for name, weight in model.named_parameters():
        parts = name.split(".")[:-1]
        number = next((part for part in parts if part.isdigit()), None)
        layer = parts[-1] if number is None and parts else f"layer {number}"
        if weight.ndim == 2 and parts:
            group = layer if by == "layer" else parts[-1]
            groups.setdefault(group, []).append(name)
    return groups


@contextmanager
def changed(
    model: Module, names: Sequence[str], change: Callable[[Tensor], Tensor]
) -> Iterator[Module]:
    """Put `change(weight)` in place of some weights; after the block all are back.

    Raises ValueError for a name that the model does not have, and for a change that
    gives another shape; all weights are back then, too.
    """
    known = dict(model.named_parameters())
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"the model has no weight {unknown[0]!r}: see weight_groups")
    before = {name: known[name].data for name in names}
    try:
        for name, weight in before.items():
            new = change(weight)
            if new.shape != weight.shape:
                raise ValueError(
                    f"change made {name} {tuple(new.shape)}, expected the shape it "
                    f"had, {tuple(weight.shape)}"
                )
            known[name].data = new
        yield model
    finally:
        for name, weight in before.items():
            known[name].data = weight


def sensitivity(
    model: Module,
    loss: Callable[[Module], float],
    *,
    change: Callable[[Tensor], Tensor],
    by: str = "layer",
) -> dict[str, float]:
    """Return how much `loss(model)` rises when one group after another is changed.

    The first entry, "all", has every group changed at once. `change` takes a weight
    and returns a new one; it must not write into the one it is given. Raises what
    `weight_groups` and `changed` do.
    """
    groups = weight_groups(model, by=by)
    groups = {"all": sum(groups.values(), []), **groups}
    base, rises = loss(model), {}
    for group, names in groups.items():
        with changed(model, names, change):
            rises[group] = loss(model) - base
    return rises
