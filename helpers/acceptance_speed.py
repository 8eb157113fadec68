"""Checks of what a model costs here: memory, threads, tokens a second, the GPU.

A check takes a `Candidate` and returns its findings, most of them just one.
"""

from __future__ import annotations

import os
from typing import Any

from helpers import bandwidth, calculator
from helpers.acceptance_trial import Candidate, Finding
from helpers.llama_cpp_utils import load_llama

__all__ = ["check_gpu", "check_memory", "check_speed", "check_threads", "kv_bytes"]
__all__ += ["read_bytes"]

TWICE, OWN = 2, 150  # llama.cpp may reorder a copy of the weights; its own MB
READING = 5.0  # tokens/s: as fast as a person reads
SHARE, CALL = 0.1, 0.005  # of the law's speed, beside seconds that any token costs


def check_memory(model: Candidate) -> list[Finding]:
    """Fail if it takes more than twice the calculator's memory, and llama.cpp's own."""
    bits = {"this file": max(model.info.bits, 1e-9)}
    options = {"bits": bits, "past_bytes": kv_bytes(model)}
    [row] = calculator.calculate(max(model.info.n_weights, 1), **options)
    predicted = row["bytes"] / 1e6
    passed = model.rss_mb <= TWICE * predicted + OWN
    said = f"{model.rss_mb:,.0f} MB; the calculator says {predicted:,.0f} MB for weights"
    said += f" and {model.backend.n_ctx:,} past tokens, llama.cpp needs some more"
    return [(passed, said, {"rss_mb": model.rss_mb, "predicted_mb": predicted})]


def check_threads(model: Candidate) -> list[Finding]:
    """Try one thread, half of the cores and all; keep the fastest for what follows.

    Half is what llama-cpp-python takes by itself (claim A5). Fails if that is less
    than half as fast as the best.
    """
    import llama_cpp

    cores, usual, rates = os.cpu_count() or 1, model.llm.n_threads, {}
    tokens = model.tokens(0.02, least=4, most=24)
    for n in sorted({1, usual, cores}):
        llama_cpp.llama_set_n_threads(model.llm.ctx, n, cores)
        rates[n] = bandwidth.decode_rate(model.llm, tokens=tokens, repeats=2)
    best = max(rates, key=rates.__getitem__)
    llama_cpp.llama_set_n_threads(model.llm.ctx, best, cores)
    model.rate = rates[best]
    each = ", ".join(f"n_threads={n}: {rate:,.0f}" for n, rate in rates.items())
    said = f"{each} tokens/s on {cores} cores; llama-cpp-python takes {usual} by itself"
    figures = {"best": best, "usual": usual, "cores": cores}
    return [(rates[usual] >= rates[best] / 2, said, figures)]


def check_speed(model: Candidate) -> list[Finding]:
    """Fail if it writes slower than a person reads, or far below the bandwidth law.

    Far is a tenth of what memory allows (claim B3), beside 5 ms that a token of the
    smallest model may cost.
    """
    speed, read = bandwidth.measure_bandwidth(), read_bytes(model)
    rate, bound = model.rate, calculator.predict_rate(speed, read)
    slow, far = rate < READING, 1 / rate > 1 / (SHARE * bound) + CALL
    said = f"{rate:,.0f} tokens/s, {rate / bound:.0%} of the {bound:,.0f} that"
    said += f" {speed / 1e9:.1f} GB/s allow for {read / 1e6:,.1f} MB"
    if slow:
        said += f": slower than a person reads ({READING:.0f})"
    elif far:
        said += ": something else than memory holds it up"
    figures = {"rate": rate, "bound": bound, "bandwidth": speed, "read_bytes": read}
    return [(not (slow or far), said, figures)]


def check_gpu(model: Candidate) -> list[Finding]:
    """Run it on the GPU, if there is one; fail if this llama.cpp cannot use it (A6)."""
    import llama_cpp
    import torch

    if not llama_cpp.llama_supports_gpu_offload():
        if not torch.cuda.is_available():
            return [(None, "no GPU here", {})]
        said = "there is a GPU, but this llama.cpp was built without it"
        return [(False, f"{said}: install a llama-cpp-python built for CUDA", {})]
    llm = load_llama(model.info.path, n_ctx=64, n_gpu_layers=-1)
    rate = bandwidth.decode_rate(llm, tokens=24, repeats=2)
    llm.close()
    said = f"{rate:,.0f} tokens/s on the GPU, {model.rate:,.0f} on the CPU"
    return [(True, said, {"gpu_rate": rate, "cpu_rate": model.rate})]


def kv_bytes(model: Candidate) -> int:
    """Return the bytes of a full context's keys and values, 2 a number.

    0 for a model that keeps none, or does not tell its shape.
    """
    heads = _number(model.fact("attention.head_count"))
    if not heads:
        return 0
    kv_heads = model.fact("attention.head_count_kv")
    kv_heads = heads if kv_heads is None else _number(kv_heads)
    wide = model.fact("attention.key_length")
    wide = _number(wide) or _number(model.fact("embedding_length")) / heads
    numbers = 2 * _number(model.fact("block_count")) * kv_heads * wide
    return round(2 * numbers * model.backend.n_ctx)


def read_bytes(model: Candidate) -> int:
    """Return the bytes of the weights that are read for one token.

    Of a mixture of experts these are the active ones (claim B5), and of an embedding
    that is not the output as well, one row.
    """
    tensors = model.info.tensors
    untied = any(tensor.name == "output.weight" for tensor in tensors)
    experts = _number(model.fact("expert_count"))
    active = _number(model.fact("expert_used_count")) / experts if experts else 1.0
    total = 0.0
    for tensor in tensors:
        if tensor.name == "token_embd.weight" and untied:
            total += tensor.n_bytes / tensor.shape[0]
        else:
            total += tensor.n_bytes * (active if "_exps" in tensor.name else 1.0)
    return max(1, round(total))


def _number(fact: Any) -> float:
    """Return a fact as a number, the mean of a list (one a layer), 0 if not there."""
    if isinstance(fact, list) and fact:
        return sum(fact) / len(fact)
    return fact if isinstance(fact, (int, float)) else 0
