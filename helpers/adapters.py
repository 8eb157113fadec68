"""Adapters on disk and in weights: save, load, merge, each onto the right base only.

An adapter is a difference to one set of weights. Its folder therefore keeps, beside
PEFT's two files, the fingerprint of that base and not only a name, which may be wrong
or edited. A folder is written whole or not at all.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.fingerprints import fingerprint, merged_fingerprint, same_base

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel

__all__ = ["check_adapter", "is_adapter", "load_adapter", "merge", "newest"]
__all__ += ["refuse_wrapped", "replace_folder", "save_adapter"]

# bitsandbytes, when imported, misses a kernel for some CPUs aloud; nothing needs it.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"


def refuse_wrapped(model: nn.Module) -> None:
    """Raise ValueError if a model already has an adapter's layers inside."""
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise ValueError(
            "the model already has an adapter, expected a base without one: train the "
            "adapter it has, `merge` it first, or load the base again"
        )


def save_adapter(
    model: PeftModel, folder: str | Path, *, dtype: torch.dtype | None = None
) -> Path:
    """Save an adapter, in another dtype if given, with its base's fingerprint.

    Returns the folder; its other files stay. If anything fails, a full disk say,
    OSError is raised and the folder is as before. TypeError for a model without an
    adapter, ValueError for a folder that holds something else.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import save_file

    if not isinstance(model, PeftModel):
        name = type(model).__name__
        raise TypeError(f"{name} has no adapter to save, expected one from `attach`")
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds something else: choose a new folder")
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    config = copy.copy(model.active_peft_config)
    config.inference_mode = True
    name = config.base_model_name_or_path or ""
    name = Path(name).name if Path(name).is_dir() else name  # no path of this machine
    config.base_model_name_or_path = name or None

    def write(partial: Path) -> None:
        config.save_pretrained(str(partial))
        plain = {"device": "cpu", "dtype": dtype}
        tensors = {key: t.to(**plain).contiguous() for key, t in state.items()}
        save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
        sizes = {file: (partial / file).stat().st_size for file in (CONFIG, WEIGHTS)}
        base = {"base": name, "fingerprint": fingerprint(model), "bytes": sizes}
        (partial / BASE).write_text(json.dumps(base, indent=1) + "\n", "utf-8")

    replace_folder(folder, write)
    return folder


def load_adapter(
    model: PreTrainedModel, folder: str | Path, *, is_trainable: bool = False
) -> PeftModel:
    """Put a saved adapter on the base it was trained on; the base is wrapped.

    Raises FileNotFoundError for a folder or file that is not there, ValueError for a
    half-written folder, another base, or a model that has an adapter already.
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    folder = Path(folder)
    base = check_adapter(folder)
    refuse_wrapped(model)
    mark = fingerprint(model)
    if not same_base(base["fingerprint"], mark):
        raise ValueError(
            f"the adapter in {folder} was trained on other weights than this model's, "
            f"expected those of {base['base'] or 'its own base'}: an adapter works on "
            "its own base only"
        )
    config = LoraConfig.from_pretrained(str(folder))
    config.inference_mode = not is_trainable
    config.base_model_name_or_path = None  # what counts was compared already
    wrapped = get_peft_model(model, config)
    set_peft_model_state_dict(wrapped, load_file(folder / WEIGHTS))
    wrapped.base_fingerprint = mark
    return wrapped if is_trainable else wrapped.eval()


def merge(
    base: PreTrainedModel, adapter: str | Path | PeftModel, *, allow_4bit: bool = False
) -> PreTrainedModel:
    """Return a copy of the base with the adapter's difference added to its weights.

    `adapter` is a folder or a model that was trained, on the same base in 4 bits say.
    Raises ValueError for another base, a wrapped one, and one in 4 bits: each sum would
    be rounded to 16 values again (`allow_4bit` does it all the same), and what
    `load_adapter` raises for a folder.
    """
    import tempfile

    refuse_wrapped(base)
    if getattr(base, "is_loaded_in_4bit", False) and not allow_4bit:
        raise ValueError(
            "the base is in 4 bits, where a merge rounds the sum to 16 values again, "
            "expected it in 16 or 32 bits: use `models.load`, or allow_4bit=True to see"
        )
    if not isinstance(adapter, (str, Path)):
        with tempfile.TemporaryDirectory() as folder:
            path = save_adapter(adapter, Path(folder) / "adapter")
            return merge(base, path, allow_4bit=allow_4bit)
    wrapped = load_adapter(copy.deepcopy(base), adapter)
    alpha, mark = wrapped.active_peft_config.lora_alpha, wrapped.base_fingerprint
    merged, file = wrapped.merge_and_unload(safe_merge=True), Path(adapter) / WEIGHTS
    if getattr(base, "is_loaded_in_4bit", False):
        del merged.base_fingerprint  # its weights were rounded, and do not show
    else:
        merged.base_fingerprint = merged_fingerprint(merged, mark, file, lora_alpha=alpha)
    return merged

def newest(base: PreTrainedModel, folder: str | Path) -> Path | None:
    """Return the newest whole adapter in `folder`/*/adapter that was trained on `base`.

    Folders of runs are named by their time. None if there is no such adapter: nothing
    was trained, or the base is another one by now.
    """
    mark = fingerprint(base)
    for place in sorted(Path(folder).glob("*/adapter"), reverse=True):
        try:
            found = check_adapter(place)["fingerprint"]
        except (FileNotFoundError, ValueError):  # half-written: an older one may be whole
            continue
        if same_base(found, mark):
            return place
    return None


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a copy of the folder, then put the copy in its place.

    Raises OSError if that fails; the folder is then as it was.
    """
    from safetensors import SafetensorError  # what it raises when the disk is full

    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    former = folder.with_name(f"{folder.name}.{os.getpid()}.former")
    try:
        if folder.is_dir():
            shutil.copytree(folder, partial)
        partial.mkdir(parents=True, exist_ok=True)
        write(partial)
        if folder.is_dir():
            os.replace(folder, former)
        try:
            os.replace(partial, folder)
        except BaseException:
            if former.is_dir():
                os.replace(former, folder)
            raise
    except (OSError, RuntimeError, SafetensorError) as error:
        raise OSError(
            f"{folder} was not saved ({error}): what was there before is as it was; "
            "free some space and save again"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(former, ignore_errors=True)


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter, whole or not, and no model."""
    return any((folder / name).is_file() for name in (CONFIG, WEIGHTS, BASE))


def check_adapter(folder: Path) -> dict:
    """Return what base.json says (base, fingerprint, bytes) of a whole folder.

    Raises FileNotFoundError for a file that is missing, ValueError for one cut off.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no adapter folder {folder}: check the path")
    for name in (CONFIG, WEIGHTS, BASE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is half-written or no adapter of this course: it has no "
                f"{name}; save it again with `save_adapter`"
            )
    cure = "it is half-written; save or copy it again"
    try:
        base = json.loads((folder / BASE).read_text("utf-8"))
        sizes, _ = base["bytes"], (base["fingerprint"], base["base"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / BASE} cannot be read: {cure}") from None
    for name, size in sizes.items():
        found = (folder / name).stat().st_size
        if found != size:
            raise ValueError(
                f"{folder / name} has {found:,} bytes, expected {size:,}: {cure}"
            )
    return base
