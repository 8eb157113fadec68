"""One model in many formats: made, measured on the same texts, compared.

`measure` runs a version of a model, in torch or as a GGUF file: its size and memory,
-log p of each text, which requests it followed, tokens/s. `costs` compares versions
text by text, so that easy and hard texts cancel out.

>>> old = Version("float32", 40, 20, [1.0, 3.0], [True, True], 90.0, 60.0)
>>> new = Version("Q4_K_M", 6, 20, [1.1, 3.1], [True, False], 400.0, 20.0)
>>> mean, low, high = costs([old, new])["Q4_K_M"]
>>> round(mean, 3), new.bits
(0.1, 2.4)
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import bandwidth, gguf_utils, lora, metrics, models, runtime
from helpers.replies import Example, follows

if TYPE_CHECKING:
    from llama_cpp import Llama
    from matplotlib.figure import Figure
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["FILES", "TORCH", "Version", "costs", "figure", "llama_replies"]
__all__ += ["load_torch", "measure", "table", "torch_replies", "write_files"]

TORCH = ("float32", "float16", "int8", "NF4")  # the last two by bitsandbytes
FILES = ("F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")
ANSWER = {"temperature": 0, "max_new_tokens": 100}


@dataclass(frozen=True)
class Version:
    """A model in one format, and what was measured of it."""

    name: str
    n_bytes: int  # its weights in memory, scales included, or its file
    n_weights: int
    nats: list[float]  # -log p a token of each text
    followed: list[bool]  # of each request
    rate: float  # tokens/s for one user
    rss_mb: float  # by how much loading and running it raised the process's memory

    @property
    def bits(self) -> float:
        """The bits that a weight takes, scales and tables included."""
        return 8 * self.n_bytes / self.n_weights


def write_files(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    types: Sequence[str] = FILES,
) -> dict[str, Path]:
    """Write a model as float16 GGUF and quantize that; return the files by type.

    The model itself lies in `folder`/torch then, where `load_torch` finds it. Raises
    what `gguf_utils.write_gguf` and `llama_cpp_utils.quantize` do.
    """
    from helpers import llama_cpp_utils

    folder = Path(folder)
    model.save_pretrained(folder / "torch")
    tokenizer.save_pretrained(folder / "torch")
    first = gguf_utils.write_gguf((model, tokenizer), folder / "F16.gguf")
    files = {"F16": first}
    for kind in types:
        if kind != "F16":
            files[kind] = folder / f"{kind}.gguf"
            llama_cpp_utils.quantize(first, files[kind], type=kind, progress=False)
    return files


def load_torch(folder: str | Path, name: str) -> PreTrainedModel:
    """Load the model in a folder in one of the formats `TORCH`, ready to generate.

    bitsandbytes quantizes the linear layers while it loads them; the rest has 16 bits
    (claim B2). Raises ValueError for another format, for a half-written model, and for
    rows that NF4 cannot hold; FileNotFoundError where there is no model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

    if name not in TORCH:
        raise ValueError(f"format is {name!r}, expected one of {', '.join(TORCH)}")
    models.check_folder(Path(folder))
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if name == "int8":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    if name == "NF4":
        if config.hidden_size % lora.BLOCK or config.intermediate_size % lora.BLOCK:
            found = f"{config.hidden_size} and {config.intermediate_size} weights"
            raise ValueError(f"rows have {found}, expected multiples of {lora.BLOCK}")
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float16,
        )
    options["dtype"] = torch.float32 if name == "float32" else torch.float16
    options["device_map"] = {"": runtime.detect().device}
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def measure(
    name: str,
    path: str | Path,
    *,
    texts: Sequence[str],
    examples: Sequence[Example],
    n_gpu_layers: int = 0,
) -> Version:
    """Run one version of a model: a GGUF file, or a folder in a format of `TORCH`.

    Texts are plain; -log p of a text's tokens is counted as `metrics.nats_per_token`
    does. Requests are answered greedily. `n_gpu_layers` is llama.cpp's, whose threads
    are as many as torch's. Raises what `load_torch` and `load_llama` do.
    """
    import psutil

    runtime.release_memory()  # what an earlier version has left
    before = psutil.Process().memory_info().rss / 1e6
    if Path(path).is_dir():
        from transformers import AutoTokenizer

        with runtime.Meter() as meter:
            model = load_torch(path, name)
            size = models.weight_bytes(model)  # some processors repack it to run it
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            rate = _torch_rate(model, tokenizer)
        weights = models.stored_params(Path(path))
        nats = metrics.nats_per_token(model, tokenizer, texts)
        replies = torch_replies(model, tokenizer, examples)
    else:
        from helpers import gguf_eval, llama_cpp_utils

        found = gguf_utils.inspect(path)
        size, weights = found.n_bytes, found.n_weights
        with runtime.Meter() as meter:
            options = {"logits_all": True, "n_threads": runtime.detect().threads}
            options["n_gpu_layers"] = n_gpu_layers
            llama = llama_cpp_utils.load_llama(path, **options)
            rate = bandwidth.decode_rate(llama)
        nats = gguf_eval.nats_per_token(llama, texts)
        replies = llama_replies(llama, examples)
        llama.close()
    good = [follows(example, reply) for example, reply in zip(examples, replies)]
    return Version(name, size, weights, nats, good, rate, meter.rss_mb - before)


def torch_replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
) -> list[str]:
    """Return the greedy replies of a transformers model, all requests in one batch."""
    from helpers.chat_templates import encode_conversation
    from helpers.generation import generate

    options = {"add_generation_prompt": True}
    prompts = [
        list(encode_conversation(tokenizer, one.messages[:-1], **options).ids)
        for one in examples
    ]
    found = generate(model, tokenizer, prompts, **ANSWER)
    return [replies[0] for replies in found]


def llama_replies(llama: Llama, examples: Sequence[Example]) -> list[str]:
    """Return the greedy replies of a `llama_cpp.Llama`, one request after another."""
    from helpers.backends import make_backend
    from helpers.chat import ChatSession

    backend, replies = make_backend(llama), []
    for one in examples:
        session = ChatSession(backend, messages=one.messages[:-2], **ANSWER)
        replies.append(str(session.say(one.request)))
    return replies


def costs(
    versions: Sequence[Version], *, base: str = "float32"
) -> dict[str, tuple[float, float, float]]:
    """Return each version's rise of nats a token over `base`, and its 95% interval.

    The rise is taken text by text. Raises ValueError where there is no such base, or
    where the versions read different numbers of texts.
    """
    known = {version.name: version for version in versions}
    counts = {len(version.nats) for version in versions}
    if base not in known or len(counts) != 1:
        raise ValueError(
            f"versions are {', '.join(known)} with {sorted(counts)} texts, expected "
            f"{base!r} among them and the same texts for all"
        )
    found = {}
    for name, version in known.items():
        rises = [new - old for new, old in zip(version.nats, known[base].nats)]
        found[name] = (sum(rises) / len(rises), *metrics.mean_interval(rises))
    return found


def table(versions: Sequence[Version], *, base: str = "float32") -> str:
    """Return the versions as text, a line each; cost in nats a token, RSS in MB."""
    head = f"{'format':7}{'MB':>7}{'bits':>6}{'ppl':>7}{'cost (95%)':>25}"
    lines = [f"{head}{'followed (95%)':>16}{'tok/s':>6}{'RSS':>5}"]
    for version, cost in zip(versions, costs(versions, base=base).values()):
        good, n = sum(version.followed), len(version.followed)
        low, high = metrics.wilson_interval(good, n)
        mean = math.exp(sum(version.nats) / len(version.nats))
        cost = [round(nats, 3) + 0.0 for nats in cost]  # no -0.000
        line = f"{version.name:7}{version.n_bytes / 1e6:7.1f}{version.bits:6.2f}"
        span = "({:.3f} to {:.3f})".format(*cost[1:])
        line += f"{mean:7.3f} {cost[0]:6.3f} {span:>17}"
        line += f"{f'{good}/{n}':>6} {low:.2f}-{high:.2f}"
        lines.append(f"{line}{version.rate:6,.0f}{version.rss_mb:5,.0f}")
    return "\n".join(lines)


def figure(versions: Sequence[Version], *, base: str = "float32") -> Figure:
    """Draw size against cost, one line for torch and one for files."""
    from helpers import plotting

    found, series = costs(versions, base=base), {}
    for maker in ("torch", "GGUF"):
        some = [v for v in versions if (v.name in TORCH) == (maker == "torch")]
        if some:
            columns = ((v.n_bytes / 1e6, *found[v.name]) for v in some)
            series[maker] = tuple(zip(*columns))
    fig = plotting.lines(series, xlabel="MB of weights", ylabel="cost (nats a token)")
    [ax], style = fig.axes, {"textcoords": "offset points", "rotation": 90}
    plotting.log_axes(ax, "x")
    ax.margins(y=0.25)  # room for the names: of torch below, of files above
    for v in versions:
        side = ("center", "top", -7) if v.name in TORCH else ("center", "bottom", 7)
        at, (ha, va, up) = (v.n_bytes / 1e6, found[v.name][0]), side
        ax.annotate(v.name, at, (0, up), ha=ha, va=va, fontsize=7, **style)
    return fig


def _torch_rate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> float:
    """Return the tokens/s of a model that continues a text greedily, the best of 2."""
    from helpers.generation import draw

    rates = []
    for _ in range(2):
        start = time.perf_counter()
        [[one]] = draw(model, tokenizer, "A", temperature=0, max_new_tokens=32)
        rates.append(len(one.tokens) / (time.perf_counter() - start))
    return max(rates)
