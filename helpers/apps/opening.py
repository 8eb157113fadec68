"""What all front ends share: open a model to talk to, and say how an answer went.

>>> from helpers.chat_log import Reply
>>> describe(Reply("Hi!", "end", n_tokens=3, first_seconds=0.12, seconds=0.5))
'3 tokens in 0.5 s, the first after 0.12 s'
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from helpers import models
from helpers.acceptance_trial import PLAIN
from helpers.backends import make_backend
from helpers.chat_log import Reply, message
from helpers.gguf_utils import inspect
from helpers.llama_cpp_utils import load_llama

__all__ = ["WHY", "context_size", "describe", "make_parser", "new_log"]
__all__ += ["open_backend"]

MOST_CONTEXT = 4096  # what some files allow, 128k, would fill a laptop's memory
WHY = {"length": "cut off: no room for more tokens", "interrupted": "stopped"}


def open_backend(
    path: str | Path | None = None,
    *,
    plain: bool = False,
    family: str | None = None,
    n_ctx: int | None = None,
) -> tuple[Any, bool]:
    """Return a backend for `ChatSession`, and whether the model continues a text.

    `path` is a GGUF file, which llama.cpp runs, or a folder with a model, which
    transformers runs; without it, that is the course's own chat model. A model
    without a chat template knows no turns: what is said and what it writes are one
    text that goes on. `plain` asks for this of any model, and means the course's base
    model where there is no `path`. `family` is one of `chat_templates.FAMILIES`.
    Raises FileNotFoundError, ImportError, and ValueError for what is no model and for a
    template that does not work.
    """
    path = None if path is None else Path(path).expanduser()
    if path is None or path.is_dir():
        if path:
            models.check_folder(path)
        model, tokenizer = models.load(path or ("base" if plain else "chat"))
        has_template = bool(tokenizer.chat_template)
    else:
        model, tokenizer = load_llama(path, n_ctx=n_ctx or context_size(path)), None
        has_template = "tokenizer.chat_template" in model.metadata
    plain = plain or not (family or has_template)
    backend = make_backend(model, tokenizer, family=PLAIN if plain else family)
    backend.encode([message("user", "Hi.")])  # a template may be broken; and it warms up
    return backend, plain


def context_size(path: str | Path) -> int:
    """Return the tokens of context that a GGUF file is made for, `MOST_CONTEXT` at most.

    Raises FileNotFoundError, and ValueError for a file that is no GGUF.
    """
    facts = inspect(path).metadata
    known = facts.get(f"{facts.get('general.architecture')}.context_length")
    return min(known or MOST_CONTEXT, MOST_CONTEXT)


def describe(reply: Reply) -> str:
    """Return the figures of an answer in one line, and why it stopped short, if so."""
    said = f"{reply.n_tokens} tokens in {reply.seconds:.1f} s"
    said += f", the first after {reply.first_seconds:.2f} s"
    return f"{said}; {WHY[reply.reason]}" if reply.reason in WHY else said


def new_log(folder: str | Path) -> Path:
    """Return where to write a conversation: no two conversations have the same place."""
    return Path(folder) / time.strftime(f"%Y%m%d-%H%M%S-{uuid4().hex[:6]}.jsonl")


def make_parser(description: str | None, *, model: str) -> argparse.ArgumentParser:
    """Return a parser of the options that all front ends have."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("model", nargs="?", help=model)
    parser.add_argument("--family", help="its chat format, such as chatml (its own)")
    parser.add_argument("--n-ctx", type=int, help="tokens of context of a GGUF file")
    return parser
