"""llama.cpp's settings, measured: what they cost in time and memory, what they write.

The first kind is given to `Llama` when a file is loaded: n_ctx, n_batch, n_gpu_layers.
The second is given with each text: temperature, top_p, repeat_penalty, stop. `costs`
measures the one and `write` shows the other, on texts that a base model and a chat
model can continue alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from helpers import bandwidth, metrics, runtime, tales
from helpers.llama_cpp_utils import load_llama

if TYPE_CHECKING:
    from llama_cpp import Llama

__all__ = ["Cost", "Text", "cost_table", "costs", "hold", "speak", "stream", "text_table"]
__all__ += ["write"]

SOURCE_A = {"max_tokens": 120, "temperature": 0.8, "top_p": 0.9, "repeat_penalty": 1.1}


@dataclass(frozen=True)
class Cost:
    """What one way to load a file costs."""

    read: float  # tokens/s of a prompt
    speak: float  # tokens/s of an answer
    rss_mb: float  # by which the process grew, the prompt read
    words: tuple[int, ...]  # the first greedy tokens after the prompt


@dataclass(frozen=True)
class Text:
    """What a model wrote after a beginning."""

    start: str
    text: str
    n_tokens: int
    ended: bool  # by an end token or a stop string, not for want of tokens


def costs(
    path: str | Path,
    settings: Mapping[str, Mapping[str, Any]],
    *,
    prompt: str,
    tokens: int = 32,
) -> dict[str, Cost]:
    """Load a GGUF file once with each of the named options; read a prompt and speak.

    The options are those of `Llama`. Raises ValueError for a prompt that does not fit
    the context, and what `load_llama` does.
    """
    found = {}
    for name, options in settings.items():
        runtime.release_memory()
        before = _rss_mb()
        llm = load_llama(path, **options)
        ids, seconds = llm.tokenize(prompt.encode(), special=False), []
        room = min(llm.n_ctx(), len(llm.input_ids)) - tokens
        if len(ids) > room:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, expected at most {room} here "
                f"({name}): shorten it, or load the file with a larger n_ctx"
            )
        for _ in range(3):
            llm.reset()
            start = time.perf_counter()
            llm.eval(ids)
            seconds.append(time.perf_counter() - start)
        grown = _rss_mb() - before
        words, _ = speak(llm, prompt, tokens=tokens)
        rate = bandwidth.decode_rate(llm, tokens=tokens)
        found[name] = Cost(len(ids) / min(seconds), rate, grown, tuple(words))
        llm.close()
    return found


def cost_table(found: Mapping[str, Cost], *, start: str = "") -> str:
    """Return a line for each setting; the last column compares with the first line.

    Each line opens with `start`, such as `runtime.HERE`.

    >>> print(cost_table({"as it is": Cost(2000, 400, 12.5, (7, 8))}))
    as it is         reads  2,000, speaks   400 tokens/s,    12 MB, the same words
    """
    first, lines = next(iter(found.values())), []
    for name, cost in found.items():
        same = "the same words" if cost.words == first.words else "other words"
        rates = f"reads {cost.read:6,.0f}, speaks {cost.speak:5,.0f} tokens/s"
        line = f"{name:16} {rates}, {cost.rss_mb:5.0f} MB, {same}"
        lines.append(f"{start} {line}" if start else line)
    return "\n".join(lines)


def speak(llm: Llama, text: str, *, tokens: int = 100) -> tuple[list[int], float]:
    """Return the greedy tokens after a text, end tokens and all, and tokens/s.

    The text has been read before the clock starts. A control token typed in it stays
    text.
    """
    llm.reset()
    ids = llm.tokenize(text.encode(), special=False)
    next(llm.generate(ids, temp=0))
    start = time.perf_counter()
    said = list(islice(llm.generate(ids, temp=0), tokens))
    return said, tokens / (time.perf_counter() - start)


def stream(llm: Llama, start: str, **options: Any) -> Iterator[tuple[str, str | None]]:
    """Continue a text and yield (piece, finish_reason) as llama-cpp-python does.

    Nothing is known from before, so that the same seed gives the same text. `options`
    are those of `Llama.create_completion`, in the place of source A's.
    """
    llm.reset()
    for part in llm(start, stream=True, **SOURCE_A | options):
        [choice] = part["choices"]
        yield choice["text"], choice["finish_reason"]


def write(
    llm: Llama, starts: Sequence[str], *, draws: int = 1, **options: Any
) -> list[list[Text]]:
    """Continue each beginning, `draws` times with seeds 0, 1, and so on.

    Takes the options of `stream`.
    """
    found = []
    for start in starts:
        texts = []
        for seed in range(draws):
            *pieces, (last, reason) = stream(llm, start, **{"seed": seed} | options)
            text = "".join(piece for piece, _ in pieces) + last
            n = len(llm.tokenize(text.encode(), add_bos=False, special=False))
            texts.append(Text(start, text, n, reason == "stop"))
        found.append(texts)
    return found


def hold(text: Text) -> bool:
    """Say whether hero, treasure and words of an English story hold, as far as it goes.

    An unfinished last sentence is left out. See `tales.verify_tale`.
    """
    whole = text.start + text.text
    whole = whole[: max(whole.rfind(mark) for mark in ".!?") + 1]
    checks = tales.verify_tale(whole)
    return checks["hero"] and checks["thing"] and checks["words"]


def text_table(found: Mapping[str, Sequence[Sequence[Text]]], *, start: str = "") -> str:
    """Return a line for each setting, from what `write` gave for it.

    tokens: mean length; ended: share that came to an end; alike: shared words (Jaccard)
    of two draws from one beginning, none for a single draw; again: share of runs of
    four words that had occurred before; holds: share of stories that `hold`.

    >>> texts = [[Text("Lily had a kite.", " Lily had a kite.", 6, True)]]
    >>> print(text_table({"greedy": texts}))
                          tokens   ended   alike   again   holds
    greedy                     6    100%            20%    100%
    """
    title = " " * 18 + "".join(f"{name:>8}" for name in "tokens ended alike again holds".split())
    lines = [f"{start} {title}" if start else title]
    for name, groups in found.items():
        texts = [text for group in groups for text in group]
        pairs = [metrics.mean_jaccard([t.text for t in g]) for g in groups if len(g) > 1]
        again = fmean(metrics.repetition(text.start + text.text) for text in texts)
        shares = [f"{fmean(t.ended for t in texts):8.0%}"]
        shares += [f"{fmean(pairs):8.0%}" if pairs else " " * 8, f"{again:8.0%}"]
        shares += [f"{fmean(map(hold, texts)):8.0%}"]
        line = f"{name:18}{fmean(t.n_tokens for t in texts):8.0f}{''.join(shares)}"
        lines.append(f"{start} {line}" if start else line)
    return "\n".join(lines)


def _rss_mb() -> float:
    import psutil

    return psutil.Process().memory_info().rss / 1e6
