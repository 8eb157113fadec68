"""Models by role: which one plays it here, how to load it, how large it is.

A notebook asks for a role ("base", "chat"), never for a name. In the embedded tier
the role is a folder of data/models, in the hub tier a model of the Hugging Face hub.
A folder may hold an adapter alone: its base.json then names the folder beside it that
holds the base, and loading merges the two.

Run it:  python -m helpers.models   (prints the table of roles and sizes)
"""

from __future__ import annotations

import json
import math
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import adapters, runtime
from helpers.roles import ROLES, check_room, find_role, from_hub

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["MODELS", "ROLES", "check_folder", "check_memory", "layers", "load", "locate"]
__all__ += ["memory_bytes", "n_params", "size_table", "stored_params", "weight_bytes"]

MODELS = runtime.ROOT / "data" / "models"


def load(
    role: str | Path = "base",
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a role's model, or a folder's (a Path), and its tokenizer, in eval mode.

    `device` and `dtype` default to what `runtime.detect` chose: on a CPU, float32. An
    adapter is merged into its base, in float32. Raises ValueError for an unknown role,
    a half-written model or an adapter of another base, FileNotFoundError for one that
    this copy of the course lacks, OSError if the hub cannot give it or it has no room.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    here = isinstance(role, Path)
    place = None if here else find_role(role)  # an unknown one is said before all else
    rt = runtime.detect()
    device = device or rt.device
    if dtype is None:
        dtype = rt.dtype if torch.device(device).type == rt.device else torch.float32
    parts = []
    if local := here or rt.tier == "embedded":
        source, *parts = layers(role if here else locate(role))
    else:
        source = place.hub
        check_memory(role, device=device, bits=8 * dtype.itemsize)
    options = {"local_files_only": local}
    options |= {} if local else {"revision": place.revision}
    with nullcontext() if local else from_hub(role):
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32 if parts else dtype, use_safetensors=True, **options
        )
    for part in parts:
        model = adapters.merge(model, part)
        model.name_or_path = str(part)
    return model.to(device=device, dtype=dtype).eval(), tokenizer


def check_memory(role: str, *, device: str, bits: float) -> None:
    """Raise OSError if a role's hub model has no room here, on the disk or in memory.

    `bits` are those of a number once it is loaded.
    """
    import psutil
    import torch
    from huggingface_hub.constants import HF_HUB_CACHE

    on_gpu = torch.device(device).type == "cuda"
    free = torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available
    memory = memory_bytes(find_role(role).hub_params, bits=bits)
    place = {"free_memory": free, "cache": Path(HF_HUB_CACHE)}
    check_room(find_role(role), memory=memory, **place)


def locate(role: str = "base") -> Path:
    """Return the folder of a role's embedded model, once it is known to be whole.

    Raises ValueError for an unknown role or a half-written model, FileNotFoundError
    for a model that is not shipped or has a file missing.
    """
    folder = MODELS / find_role(role).embedded
    if not folder.is_dir():
        shipped = [name for name, r in ROLES.items() if (MODELS / r.embedded).is_dir()]
        raise FileNotFoundError(
            f"the model of the role {role!r} is not shipped yet (no folder "
            f"data/models/{folder.name}): use one of {', '.join(shipped) or 'none'}"
        )
    check_folder(folder)
    return folder


def layers(folder: Path) -> list[Path]:
    """Return the folders that make up a model: a whole one, then adapters in order.

    Raises FileNotFoundError and ValueError as `check_folder` does.
    """
    found = [folder]
    while adapters.is_adapter(found[0]):
        base = adapters.check_adapter(found[0])["base"]
        below = folder.parent / (base or "?")
        if below.parent != folder.parent or below in found or not below.is_dir():
            raise FileNotFoundError(
                f"{found[0]} is an adapter for {base!r}, expected that folder beside "
                "it: copy the base there"
            )
        found.insert(0, below)
    return found


def check_folder(folder: Path) -> None:
    """Raise FileNotFoundError if a file is missing, ValueError if one is cut off.

    The base of an adapter is looked at, too.
    """
    cure = "run `git checkout -- data/models`, or `make data` to build it again"
    files = {"config.json": ["config.json"], "weights": ["model.safetensors"]}
    files["tokenizer"] = ["tokenizer.json", "tokenizer.model"]
    base = layers(folder)[0]
    for what, names in files.items():
        if not any((base / name).is_file() for name in names):
            raise FileNotFoundError(
                f"{base} has no {' or '.join(names)} ({what} missing): {cure}"
            )
    try:
        _header(base / "model.safetensors")
    except ValueError as error:
        raise ValueError(f"{error}: {cure}") from None


def stored_params(folder: Path) -> int:
    """Return the number of parameters in a folder's safetensors file, read in 1 ms."""
    name = adapters.WEIGHTS if adapters.is_adapter(folder) else "model.safetensors"
    shapes = (t["shape"] for t in _header(folder / name).values())
    return sum(math.prod(shape) for shape in shapes)


def n_params(model: torch.nn.Module) -> int:
    """Return the number of parameters; tied ones (embedding and output) count once."""
    return sum(p.numel() for p in model.parameters())


def weight_bytes(model: torch.nn.Module) -> int:
    """Return the bytes that a model's weights take, bitsandbytes' scales included."""
    parts = [*model.parameters(), *model.buffers()]
    for module in model.modules():
        weight, ran = getattr(module, "weight", None), getattr(module, "state", None)
        nf4 = getattr(weight, "quant_state", None)
        parts += [one.absmax for one in (nf4, getattr(nf4, "state2", None)) if one]
        parts += [getattr(one, "SCB", None) for one in (weight, ran)]  # of int8
    return sum(part.nbytes for part in parts if part is not None)


def memory_bytes(n_params: int, *, bits: float = 16) -> int:
    """Return the bytes that `n_params` weights take at `bits` bits each (claim B1).

    Weights only: activations and the cache of past tokens come on top. Raises
    ValueError unless n_params >= 0 and bits > 0.

    >>> memory_bytes(8_000_000_000), memory_bytes(8_000_000_000, bits=32)
    (16000000000, 32000000000)
    """
    if n_params < 0 or not bits > 0:
        raise ValueError(
            f"memory_bytes got n_params={n_params} and bits={bits}, expected "
            "n_params >= 0 and bits > 0, such as 32, 16, 8 or 4"
        )
    return math.ceil(n_params * bits / 8)


def size_table() -> str:
    """Return a table of the roles: model, parameters, and MB in float32 and 16 bits.

    Of an adapter it is the adapter alone that counts.
    """
    lines = [f"{'role':8}{'model':53}{'million':>8}{'MB, 32 bit':>12}{'16 bit':>8}"]
    for name, role in ROLES.items():
        rows = [(role.hub, role.hub_params)]
        if (folder := MODELS / role.embedded).is_dir():
            base = layers(folder)[-2:][0].name
            what = folder.name if base == folder.name else f"{folder.name}, on {base}"
            rows.insert(0, (what, stored_params(folder)))
        for model, params in rows:
            mb = [memory_bytes(params, bits=bits) / 1e6 for bits in (32, 16)]
            sizes = f"{params / 1e6:8,.1f}{mb[0]:12,.0f}{mb[1]:8,.0f}"
            lines.append(f"{name:8}{model:53}{sizes}")
    return "\n".join(lines)


def _header(path: Path) -> dict[str, dict]:
    """Return the tensors' entries of a safetensors file; ValueError if cut off."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError(f"{path} is not a whole safetensors file ({size:,} bytes)")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise ValueError(f"{path} is not a safetensors file") from None
    tensors = {key: value for key, value in header.items() if key != "__metadata__"}
    ends = [tensor["data_offsets"][1] for tensor in tensors.values()]
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        raise ValueError(f"{path} is cut off: it has {size:,} of {whole:,} bytes")
    return tensors


if __name__ == "__main__":
    print(size_table())
