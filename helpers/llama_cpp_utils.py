"""Load a GGUF file with llama.cpp, and quantize one with llama.cpp's own quantizer.

Both go through llama-cpp-python, keep quiet, and say in one sentence what went wrong.

Run it:  python -m helpers.llama_cpp_utils in.gguf out.gguf Q4_K_M   (quantizes)
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.gguf_utils import inspect

if TYPE_CHECKING:
    from llama_cpp import Llama

__all__ = ["TYPES", "load_llama", "quantize"]

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0")
TYPES += ("Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K")
FLOATS = {"F32", "F16", "BF16"}


def load_llama(path: str | Path, *, n_ctx: int = 512, **options: Any) -> Llama:
    """Return a `llama_cpp.Llama` that runs a GGUF file, without its pages of log.

    `options` are those of Llama; `helpers.gguf_eval` needs `logits_all=True`. Raises
    FileNotFoundError, ImportError, and ValueError for a file that is none, is cut off,
    or holds a model that this llama.cpp cannot run.
    """
    cpp = _llama_cpp()
    with _log(cpp) as said:
        try:
            llm = cpp.Llama(str(path), n_ctx=n_ctx, **{"verbose": False} | options)
        except ValueError as error:
            inspect(path)  # says more clearly if the file itself is at fault
            why = _reason(said) or error
            raise ValueError(f"llama.cpp cannot run {path}: {why}") from None
    last = weakref.ref(llm)  # while Python shuts down, closing it would fail aloud
    atexit.register(lambda: (alive := last()) and alive.close())
    return llm


def quantize(
    path: str | Path,
    out: str | Path,
    *,
    type: str = "Q4_K_M",
    nthread: int = 0,
    pure: bool = False,
    allow_requantize: bool = False,
    progress: bool = True,
) -> Path:
    """Quantize a GGUF file with llama.cpp's quantizer; return the path of the new one.

    `type` is one of `TYPES`. `pure` gives it to every matrix, where llama.cpp keeps
    some in more bits. A type with a K needs rows of a multiple of 256; a warning says
    how many tensors got another type. `nthread` 0: one thread a core. Raises
    FileNotFoundError, ImportError, ValueError for an unknown type and for a file that
    is quantized already (`allow_requantize` rounds twice), OSError if llama.cpp fails
    or the disk is full. On any error `out` is as it was before.
    """
    from tqdm import tqdm

    path, out = Path(path), Path(out)
    if type not in TYPES:
        raise ValueError(f"type is {type!r}, expected one of {', '.join(TYPES)}")
    kinds = {tensor.type for tensor in inspect(path).tensors}
    if not (kinds <= FLOATS or allow_requantize):
        raise ValueError(
            f"{path} is quantized already ({', '.join(sorted(kinds - FLOATS))}), "
            "expected 16 or 32 bits: begin with the file that it was made from"
        )
    cpp = _llama_cpp()
    params = cpp.llama_model_quantize_default_params()
    which = "ALL" if type == "F32" else "MOSTLY"
    params.ftype = getattr(cpp, f"LLAMA_FTYPE_{which}_{type}")
    params.nthread, params.pure = nthread, pure
    params.allow_requantize = allow_requantize
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
    bar = tqdm(desc=type, unit=" tensors", disable=not progress, leave=False, mininterval=0)

    def advance(text: str) -> None:
        if found := re.match(r"\[ *(\d+)/ *(\d+)\]", text):
            bar.total = int(found[2])
            bar.update(int(found[1]) - bar.n)

    try:
        with bar, _log(cpp, advance) as said:
            cpp.llama_backend_init()
            names = str(path).encode(), str(partial).encode()
            failed = cpp.llama_model_quantize(*names, ctypes.byref(params))
        if failed:
            why = _reason(said) or "it gave no reason"
            raise OSError(f"llama.cpp could not quantize {path} to {out}: {why}")
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    if other := "".join(said).count("falling back to"):
        warnings.warn(
            f"{other} tensors have rows of a length that {type} cannot hold, so they "
            f"got other types: see gguf_utils.inspect({str(out)!r})",
            stacklevel=2,
        )
    return out


def _llama_cpp() -> Any:
    try:
        import llama_cpp
    except (ImportError, RuntimeError, OSError) as error:  # missing, or badly built
        raise ImportError(
            f"llama-cpp-python cannot be used ({error}): run `make lab`, or "
            '`pip install -e ".[gguf]"`'
        ) from error
    return llama_cpp


@contextmanager
def _log(
    cpp: Any, heard: Callable[[str], object] | None = None
) -> Iterator[list[str]]:
    """Collect what llama.cpp says, and raise afterwards what came up meanwhile."""
    from llama_cpp._logger import llama_log_callback

    said: list[str] = []
    raised: list[BaseException] = []

    @cpp.llama_log_callback
    def listen(_level: int, text: bytes, _data: Any) -> None:
        try:
            said.append(text.decode("utf-8", "replace"))
            if heard:
                heard(said[-1])
        except BaseException as error:  # Ctrl-C too: in a callback it would be lost
            raised.append(error)

    cpp.llama_log_set(listen, None)
    try:
        yield said
    finally:
        cpp.llama_log_set(llama_log_callback, None)
    if raised:
        raise raised[0]


def _reason(said: list[str]) -> str:
    """Return llama.cpp's last line about an error, without the function's name."""
    text = "".join(said)
    lines = re.findall(".*error.*", text) or re.findall(".*fail.*", text)
    return re.sub(r"^\w+: ", "", lines[-1]) if lines else ""


if __name__ == "__main__":
    print(inspect(quantize(sys.argv[1], sys.argv[2], type=sys.argv[3])))
