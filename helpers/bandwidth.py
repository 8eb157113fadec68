"""The bandwidth law, measured: how fast memory is read, and how fast a model speaks.

To speak a token, all active weights are read once, so tokens/s is at most memory
bandwidth / bytes read (claim B3). The arithmetic of it stands in `helpers.calculator`.

Run it:  python -m helpers.bandwidth   (prints the bandwidth of this machine)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from helpers import calculator, lora, runtime

if TYPE_CHECKING:
    from llama_cpp import Llama
    from matplotlib.figure import Figure
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

    Speeds = Mapping[str, tuple[float, float]]  # name: (bytes read a token, tokens/s)

__all__ = ["decode_rate", "fit_overhead", "law_figure", "law_table"]
__all__ += ["measure_bandwidth", "random_llama", "random_speeds"]


def measure_bandwidth(
    *, megabytes: int = 256, repeats: int = 5, device: str = "cpu"
) -> float:
    """Return the bytes/s at which this machine reads weights, the best of `repeats`.

    It reads a float32 matrix of `megabytes` (10**6 bytes) in two ways, times a vector
    and in search of its largest number; the quicker one counts, since neither library
    call can be quicker than the memory. Take several times the processor's cache.
    Raises ValueError for less than 1 megabyte or 1 repeat.
    """
    import torch

    if megabytes < 1 or repeats < 1:
        raise ValueError(
            f"megabytes={megabytes} and repeats={repeats}, expected 1 or more of each"
        )
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else int
    vector = torch.ones(1000, device=device)
    matrix = torch.ones(megabytes * 250, 1000, device=device)
    ways, seconds = (lambda: matrix @ vector, matrix.amax), []
    for read in ways * (repeats + 1):
        wait()
        start = time.perf_counter()
        read()
        wait()
        seconds.append(time.perf_counter() - start)
    return matrix.nbytes / min(seconds[len(ways) :])  # the first ones only warm up


def decode_rate(llama: Llama, *, tokens: int = 32, repeats: int = 3) -> float:
    """Return the tokens/s of a `llama_cpp.Llama` fed one at a time, best of `repeats`.

    Nothing is sampled: this is the raw loop. Raises ValueError for tokens that do not
    fit the context with the one before them.
    """
    if repeats < 1 or not 1 <= tokens < llama.n_ctx():
        raise ValueError(
            f"tokens={tokens} and repeats={repeats}, expected 1 or more of each, and "
            f"fewer tokens than the context of {llama.n_ctx()}"
        )
    token, rates = max(llama.token_bos(), 0), []
    for _ in range(repeats):
        llama.reset()
        llama.eval([token])  # may build what is kept between calls
        start = time.perf_counter()
        for _ in range(tokens):
            llama.eval([token])
        rates.append(tokens / (time.perf_counter() - start))
    llama.reset()
    return max(rates)


def fit_overhead(
    read_bytes: Sequence[float], rates: Sequence[float]
) -> tuple[float, float]:
    """Return (seconds a token, bytes/s) of the line seconds = a + bytes / bandwidth.

    `rates` are tokens/s measured on models that read `read_bytes` a token. What no
    smaller model can save is `a`: it is why a tiny model departs from the law. Raises
    ValueError for fewer than two different sizes, or rates not above 0.

    >>> overhead, bandwidth = fit_overhead([1e8, 2e8], [1 / 0.011, 1 / 0.021])
    >>> round(overhead, 4), round(bandwidth / 1e9, 2)
    (0.001, 10.0)
    """
    import numpy as np

    if len(read_bytes) != len(rates) or len(set(read_bytes)) < 2 or min(rates) <= 0:
        raise ValueError(
            f"got {len(read_bytes)} sizes and {len(rates)} rates, expected a rate "
            "above 0 for each of at least two different sizes"
        )
    slope, overhead = np.polyfit(read_bytes, 1 / np.asarray(rates, dtype=float), 1)
    return float(overhead), float(1 / slope)


def random_llama(
    *,
    megabytes: int = 200,
    vocab_size: int = 8192,
    hidden_size: int = 1024,
    seed: int = 0,
) -> LlamaForCausalLM:
    """Return a float16 Llama of random weights, about `megabytes` (10**6 bytes) large.

    It speaks nonsense at the speed of a real one. Rows are multiples of 256, as
    K-quants need them. Raises ValueError where that leaves no room for a layer.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=1,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=hidden_size // 64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    parts = lora.weight_parts(config)
    room = megabytes * 10**6 // 2 - parts["other"]
    config.num_hidden_layers = round(room / parts["linear"])
    if hidden_size % 256 or config.num_hidden_layers < 1:
        need = 2 * (parts["other"] + parts["linear"]) // 10**6
        raise ValueError(
            f"megabytes={megabytes} and hidden_size={hidden_size}, expected about "
            f"{need} or more for one layer, and a multiple of 256"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).half().eval()


def random_speeds(
    tokenizer: PreTrainedTokenizerBase,
    *,
    megabytes: int = 250,
    types: Sequence[str] = ("F16", "Q8_0", "Q4_0"),
    hidden_size: int = 1024,
    tokens: int = 32,
    n_gpu_layers: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return (bytes, tokens/s) by type of a `random_llama`, run by llama.cpp.

    Its files, the first one in float16, are written and removed again. It runs on as
    many threads as torch, which measures the bandwidth. Raises what `random_llama`,
    `gguf_utils.write_gguf` and `llama_cpp_utils` do.
    """
    from helpers import gguf_utils, llama_cpp_utils

    sizes = {"vocab_size": len(tokenizer), "hidden_size": hidden_size}
    model, found = random_llama(megabytes=megabytes, **sizes), {}
    with TemporaryDirectory() as folder:
        first = gguf_utils.write_gguf((model, tokenizer), Path(folder) / "F16.gguf")
        del model  # its memory is needed
        for kind in types:
            path = Path(folder) / f"{kind}.gguf"
            if path != first:
                llama_cpp_utils.quantize(first, path, type=kind, progress=False)
            options = {"n_ctx": tokens + 1, "n_gpu_layers": n_gpu_layers}
            options["n_threads"] = runtime.detect().threads
            llama = llama_cpp_utils.load_llama(path, **options)
            size = path.stat().st_size
            found[kind] = (size, decode_rate(llama, tokens=tokens))
            llama.close()
    return found


def law_table(speeds: Speeds, bandwidth: float, *, start: str = "") -> str:
    """Return a line a model: size, the most tokens/s by the law, and those measured.

    Each line opens with `start`, such as `runtime.HERE`.

    >>> print(law_table({"F16": (2e8, 80)}, 20e9))
    F16         200.0 MB   at most      100   measured       80 tokens/s    80%
    """
    lines = []
    for name, (size, rate) in speeds.items():
        bound = calculator.predict_rate(bandwidth, size)
        line = f"{start} {name:8}{size / 1e6:9.1f} MB   at most {bound:8,.0f}"
        lines.append(f"{line}   measured {rate:8,.0f} tokens/s {rate / bound:6.0%}")
    return "\n".join(lines) if start else "\n".join(line[1:] for line in lines)


def law_figure(groups: Mapping[str, Speeds], bandwidth: float) -> Figure:
    """Draw tokens/s against size, a line a group, and the law; the axes are log."""
    from helpers import plotting

    series = {name: sorted(speeds.values()) for name, speeds in groups.items()}
    sizes = sorted(size for points in series.values() for size, _ in points)
    law = f"the law, {bandwidth / 1e9:.0f} GB/s"
    series[law] = [(size, calculator.predict_rate(bandwidth, size)) for size in sizes]
    columns = {
        name: ([size / 1e6 for size, _ in points], [rate for _, rate in points])
        for name, points in series.items()
    }
    fig = plotting.lines(columns, xlabel="MB read a token", ylabel="tokens/s")
    plotting.log_axes(fig.axes[0])
    return fig


if __name__ == "__main__":
    print(f"{measure_bandwidth() / 1e9:.1f} GB/s")
