"""Which weights a model has, in hashes: so that an adapter finds its own base again.

A name may be wrong, or edited; two models of one name may differ in a weight. A
fingerprint is made of the weights themselves, in each 16-bit format that holds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    Fingerprint = dict[str, str]

__all__ = ["file_fingerprint", "fingerprint", "merged_fingerprint", "same_base"]


def fingerprint(model: nn.Module) -> Fingerprint:
    """Return hashes of a model's own weights, without those of an adapter.

    One hash for each 16-bit format that holds the weights: the same base loaded in 32
    and in 16 bits has one in common. A model brings along what `adapters.merge` put
    together, or `lora.load_4bit` took from its file; raises ValueError for one in 4
    bits that came otherwise.
    """
    if kept := getattr(model, "base_fingerprint", None):
        return kept
    if getattr(model, "is_loaded_in_4bit", False):
        raise ValueError(
            "a model in 4 bits does not show its own weights, expected one that "
            "`lora.load_4bit` has loaded"
        )
    named = {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): weight
        for name, weight in model.named_parameters()
        if "lora_" not in name
    }
    return _hashes((name, named[name].detach()) for name in sorted(named))


def file_fingerprint(path: str | Path, *, tied: bool) -> Fingerprint:
    """Return the `fingerprint` of a safetensors file, read one tensor at a time.

    `tied`: the output layer is the embedding, and does not count twice.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = sorted(set(file.keys()) - ({"lm_head.weight"} if tied else set()))
        return _hashes((name, file.get_tensor(name)) for name in names)


def same_base(one: Fingerprint, other: Fingerprint) -> bool:
    """Say whether two fingerprints are of one base: their first common hash agrees.

    >>> same_base({"float16": "a", "bfloat16": "b"}, {"bfloat16": "b"})
    True
    """
    common = [name for name in one if name in other]
    return bool(common) and one[common[0]] == other[common[0]]


def merged_fingerprint(
    model: nn.Module, base: Fingerprint, weights: str | Path, *, lora_alpha: float
) -> Fingerprint:
    """Return the fingerprint of a base into which an adapter's file was merged.

    It begins with a hash made of theirs, for the sums, and so the hashes of the model's
    own weights, may differ in a last digit from machine to machine.
    """
    added = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    both = f"{base.get('merged') or base['bfloat16']} {added} {lora_alpha}"
    model.base_fingerprint = None  # the weights are others now
    return {"merged": hashlib.sha256(both.encode()).hexdigest(), **fingerprint(model)}


def _hashes(named: Iterable[tuple[str, Tensor]]) -> Fingerprint:
    """Hash (name, tensor) pairs as float16, where it holds them, and bfloat16."""
    import torch

    formats = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    hashes = {name: hashlib.sha256() for name in formats}
    for name, tensor in named:
        if tensor.dtype == torch.bfloat16:
            hashes.pop("float16", None)  # its last bits are gone: no hash to compare
        for kind, running in hashes.items():
            bits = tensor.to(formats[kind]).cpu().contiguous().view(torch.int16)
            running.update(name.encode() + bits.numpy().tobytes())
    return {name: running.hexdigest() for name, running in hashes.items()}
