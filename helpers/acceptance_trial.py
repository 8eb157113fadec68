"""A GGUF file opened to be judged: first in a process of its own, then in this one.

Of some damaged files llama.cpp dies, and takes Python with it. So another process tries
the file first. It also finds the memory that the model takes, which a notebook could
not tell from what it holds already.

Run it:  python -m helpers.acceptance_trial model.gguf 512   (a context of 512 tokens)
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import bandwidth, runtime
from helpers.backends import make_backend
from helpers.chat_templates import Family, find_family
from helpers.gguf_utils import GGUFInfo, inspect
from helpers.llama_cpp_utils import load_llama

if TYPE_CHECKING:
    import numpy as np
    from llama_cpp import Llama

    from helpers.backends import LlamaCppBackend

__all__ = ["Candidate", "Finding", "PLAIN", "last_logits", "open_candidate", "try_file"]

# What a check returns: passed (None where it does not apply), what was found, figures.
Finding = tuple[bool | None, str, dict[str, Any]]
MOST_CONTEXT = 2048  # a longer one would take a laptop's memory, and minutes to fill
PATIENCE = 600  # seconds for a file to be loaded
SILENT = "the model writes no texts: it may be one that makes embeddings"
TEXT = "Once upon a time a small fox lived near a river. 옛날 옛적에 여우가 살았어요."
# A base model knows no turns: what was said and what it wrote are one text.
PLAIN = Family(
    "plain text",
    "{{ bos_token }}{% for message in messages %}{{ message.content }}"
    "{% if not loop.last %} {% endif %}{% endfor %}",
)


@dataclass(eq=False)
class Candidate:
    """A model to be judged, and what was measured while it was opened."""

    info: GGUFInfo
    llm: Llama
    backend: LlamaCppBackend
    family: str | None  # that was asked for
    chat: bool  # judged in turns, not as one text that goes on
    load_seconds: float
    rss_mb: float  # by how much it raised the memory of a process of its own
    rate: float  # tokens/s, written one after another
    read_rate: float  # tokens/s, read at once
    seconds: float = 120.0  # that all checks may take together, about

    @property
    def has_template(self) -> bool:
        """Whether the file brings a chat template, be it a good one or not."""
        return bool(self.info.metadata.get("tokenizer.chat_template"))

    def fact(self, key: str) -> Any:
        """Return a fact of the file, such as "context_length"; None if it has none."""
        arch = self.info.metadata.get("general.architecture")
        return self.info.metadata.get(f"{arch}.{key}")

    def tokens(self, share: float, *, least: int, most: int) -> int:
        """Return how many tokens it writes in a share of the time, within bounds."""
        fits = int(share * self.seconds * self.rate)
        return max(1, min(most, max(least, fits), self.backend.n_ctx // 4))


def open_candidate(
    path: str | Path,
    *,
    family: str | None = None,
    n_ctx: int | None = None,
    seconds: float = 120.0,
) -> Candidate:
    """Open a GGUF file for checks that take about `seconds` together.

    Without a `family`, one of `chat_templates.FAMILIES`, the file's own template is
    used; "plain" judges it as a base model, and so is one without a template that
    works. `n_ctx` defaults to the file's, up to `MOST_CONTEXT`. Raises
    FileNotFoundError, ImportError, and ValueError for a file that is none, is damaged
    or makes llama.cpp crash, and for an unknown family.
    """
    chosen = PLAIN if family == "plain" else family and find_family(family)
    info = inspect(path)
    parts = info.metadata.get("split.count")
    if isinstance(parts, int) and parts > 1:
        cure = "join them with llama.cpp's `llama-gguf-split --merge`"
        raise ValueError(f"{path} is one of {parts} parts of a model: {cure}")
    arch = info.metadata.get("general.architecture")
    known = info.metadata.get(f"{arch}.context_length")
    known = known if isinstance(known, int) and known > 0 else MOST_CONTEXT
    n_ctx = n_ctx or min(known, MOST_CONTEXT)
    if n_ctx < 64:
        raise ValueError(f"n_ctx is {n_ctx}, expected 64 or more to hold a prompt")
    rss_mb = try_file(path, n_ctx=n_ctx)
    start = time.perf_counter()
    llm = load_llama(path, n_ctx=n_ctx)
    load_seconds = time.perf_counter() - start
    try:
        backend = make_backend(llm, family=chosen)
        backend.encode([{"role": "user", "content": "Hi."}])
    except UnicodeDecodeError as error:
        said = f"{path} is damaged (a control token is no text, {error})"
        raise ValueError(f"{said}: get it anew") from None
    except ValueError:  # no template, or a broken one: a check says which
        if family:
            raise
        chosen = PLAIN
        backend = make_backend(llm, family=chosen)
    rate = bandwidth.decode_rate(llm, tokens=8, repeats=2)
    ids = [max(llm.token_bos(), 0)] * min(128, n_ctx // 2)
    start = time.perf_counter()
    llm.eval(ids)
    read_rate = len(ids) / (time.perf_counter() - start)
    backend.forget()
    measured = (load_seconds, rss_mb, rate, read_rate)
    return Candidate(info, llm, backend, family, chosen is not PLAIN, *measured, seconds)


def try_file(path: str | Path, *, n_ctx: int = 512) -> float:
    """Load a file in another process and read a line; return the MB that it took.

    Raises ValueError if that fails, whatever way, and ImportError without llama.cpp.
    """
    command = [sys.executable, "-m", "helpers.acceptance_trial"]
    command += [str(Path(path).resolve()), str(n_ctx)]
    options = {"cwd": runtime.ROOT, "capture_output": True, "encoding": "utf-8"}
    try:
        done = subprocess.run(command, timeout=PATIENCE, errors="replace", **options)
    except subprocess.TimeoutExpired:
        said = f"llama.cpp does not come to an end within {PATIENCE} s"
        raise ValueError(f"{path} cannot be judged: {said}") from None
    if done.returncode:
        raise ValueError(
            f"{path} makes llama.cpp crash (exit status {done.returncode}): it is "
            "damaged, needs more memory than there is, or is for another llama.cpp"
        )
    found = json.loads(done.stdout.splitlines()[-1])
    if error := found.get("error"):
        raise ImportError(error) if found["kind"] == "import" else ValueError(error)
    return found["rss_mb"]


def last_logits(llm: Llama) -> np.ndarray:
    """Return the logits after the last token read, shape (vocabulary,).

    Raises RuntimeError for a model without any, such as one that makes embeddings.
    """
    import llama_cpp
    import numpy as np

    if not (found := llama_cpp.llama_get_logits_ith(llm.ctx, -1)):
        raise RuntimeError(SILENT)
    return np.ctypeslib.as_array(found, shape=(llm.n_vocab(),)).copy()


def _try_here(path: str, n_ctx: int) -> dict[str, Any]:
    """Load a file and read a line; return its memory, or the error in a sentence."""
    import psutil
    from jinja2 import TemplateError

    with contextlib.suppress(ImportError, RuntimeError, OSError):  # load_llama says why
        import llama_cpp  # before the memory is looked at
    before = psutil.Process().memory_info().rss / 1e6
    try:
        with runtime.Meter() as meter:
            llm = load_llama(path, n_ctx=n_ctx)
            if not llama_cpp.llama_get_memory(llm.ctx):  # of past tokens
                raise RuntimeError(SILENT)
            ids = llm.tokenize(TEXT.encode(), special=False)[: n_ctx // 2]
            llm.eval(ids)
            llm.eval(ids[-1:])
            logits = last_logits(llm)
    except ImportError as error:
        return {"kind": "import", "error": str(error)}
    except TemplateError as error:  # llama-cpp-python reads it while it loads
        said = f"{path} has a chat template that is no Jinja ({error})"
        return {"kind": "file", "error": f"{said}: llama-cpp-python cannot load it"}
    except (ValueError, FileNotFoundError) as error:
        return {"kind": "file", "error": str(error)}
    except (OSError, RuntimeError, MemoryError) as error:  # none of ours
        said = str(error) or "it needs more memory"
        return {"kind": "file", "error": f"{path} cannot be judged: {said}"}
    if not abs(logits).max() < float("inf"):  # false for NaN, too
        said = f"{path} is damaged (the model answers with no numbers)"
        return {"kind": "file", "error": f"{said}: get it anew"}
    return {"rss_mb": meter.rss_mb - before}


if __name__ == "__main__":
    print(json.dumps(_try_here(sys.argv[1], int(sys.argv[2]))))
