"""GGUF files: write a Llama and its tokenizer as one, and see what is in any.

Such a file is a list of facts (shape, tokenizer, chat template, licence), a list of
tensors, and the tensors. These are transformers' own under other names; only the rows
of q and k stand in another order. To mark a position, transformers turns row i of a
head's first half together with row i of its second, llama.cpp two neighbours.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.gguf_vocab import CONVERTER, add_tokenizer

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    Pair = tuple[PreTrainedModel, PreTrainedTokenizerBase]

__all__ = ["GGUFInfo", "TensorInfo", "inspect", "llama_cpp_rows", "write_gguf"]

DTYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16"}
SHAPE = {  # llama.cpp's word and transformers'
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "head_count": "num_attention_heads",
    "head_count_kv": "num_key_value_heads",
    "key_length": "head_dim",
    "value_length": "head_dim",
    "rope_dimension_count": "head_dim",
    "rope_freq_base": "rope_theta",
    "layer_norm_rms_eps": "rms_norm_eps",
    "vocab_size": "vocab_size",
}


def write_gguf(
    source: str | Path | Pair,
    path: str | Path,
    *,
    dtype: str = "f16",
    name: str | None = None,
    license: str | None = None,
) -> Path:
    """Write a Llama with a SentencePiece tokenizer as a GGUF file; return its path.

    `source` is a folder, or a pair (model, tokenizer) as `models.load` gives it.
    Matrices are stored as one of `DTYPES`, all else as float32. `name` and `license`
    (say "apache-2.0") default to the folder's model card. Raises ValueError for what
    this writer does not know and for weights that are not finite in `dtype`, OSError
    if the file cannot be written. On any error the file is as it was before.
    """
    import gguf

    path, card = Path(path), gguf.Metadata()
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    if isinstance(source, (str, Path)):
        card = gguf.Metadata.load(model_path=Path(source))
        source = _load(Path(source))
    if not isinstance(source, tuple):
        raise TypeError("expected a folder or a pair (model, tokenizer) as the source")
    model, tokenizer = source
    _check(model.config, model)
    card.name, card.license = name or card.name or path.stem, license or card.license
    card.size_label = gguf.size_label(model.num_parameters(), 0, 0, 0)  # "10M"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    writer = gguf.GGUFWriter(partial, "llama")
    try:
        writer.add_type("model")
        card.set_gguf_meta_model(writer)
        writer.add_file_type(gguf.LlamaFileType[DTYPES[dtype]])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for ours, theirs in SHAPE.items():
            getattr(writer, f"add_{ours}")(getattr(model.config, theirs))
        add_tokenizer(writer, tokenizer, size=model.config.vocab_size)
        _add_tensors(writer, model, gguf.GGMLQuantizationType[dtype.upper()])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(partial, path)
    except OSError as error:
        raise OSError(f"{path} was not written, free some space ({error})") from error
    finally:
        writer.close()
        partial.unlink(missing_ok=True)
    return path


def llama_cpp_rows(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Return the rows of q or k, shape (n_heads * dim, ...), in llama.cpp's order.

    >>> import numpy as np
    >>> llama_cpp_rows(np.arange(8), n_heads=2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    halves = weight.reshape(n_heads, 2, -1, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _load(folder: Path) -> Pair:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"there is no model in {folder}: it has no config.json")
    _check(AutoConfig.from_pretrained(folder))  # before all weights are read
    options = {"dtype": "auto", "use_safetensors": True}
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    return model, AutoTokenizer.from_pretrained(folder)


def _check(config: Any, model: PreTrainedModel | None = None) -> None:
    scaling = (getattr(config, "rope_scaling", None) or {}).get("rope_type", "default")
    found = [config.model_type, getattr(config, "hidden_act", None), scaling]
    if found != ["llama", "silu", "default"]:
        found = f"a {found[0]} with {found[1]} and {found[2]} rotary positions"
        raise ValueError(f"{found}, expected a llama, silu and default: {CONVERTER}")
    if model and any("lora_" in name for name, _ in model.named_modules()):
        raise ValueError("the model has an adapter inside: `adapters.merge` it first")
    if getattr(model, "is_quantized", False):
        raise ValueError("the weights are quantized, expected them in 16 or 32 bits")


def _add_tensors(writer: GGUFWriter, model: PreTrainedModel, dtype: Any) -> None:
    import gguf
    import numpy as np

    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.named_parameters():  # tied weights come once
        ours = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if ours is None:
            raise ValueError(f"a Llama of llama.cpp has no {name}: {CONVERTER}")
        values = weight.detach().float().cpu().numpy()
        if n_heads := heads.get(name.split(".")[-2]):
            values = llama_cpp_rows(values, n_heads)
        kind = dtype if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        with np.errstate(over="ignore"):  # that is said below
            stored = gguf.quants.quantize(values, kind)
        if not np.isfinite(gguf.quants.dequantize(stored, kind)).all():
            cure = "choose dtype='f32', unless the model itself is broken"
            raise ValueError(f"{name} has numbers that {kind.name} cannot hold: {cure}")
        writer.add_tensor(ours, stored, raw_dtype=kind)


@dataclass(frozen=True)
class TensorInfo:
    """A tensor in a GGUF file."""

    name: str
    type: str  # such as "F16" or "Q4_K"
    shape: tuple[int, ...]  # rows first, as torch counts
    n_weights: int
    n_bytes: int

    @property
    def bits(self) -> float:
        """The bits that a weight takes, with its share of a block's scale."""
        return 8 * self.n_bytes / self.n_weights


@dataclass(frozen=True)
class GGUFInfo:
    """What is in a GGUF file; as a string, a table of facts and of tensor types."""

    path: Path
    n_bytes: int  # of the whole file
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]

    @property
    def n_weights(self) -> int:
        """The number of weights in all tensors."""
        return sum(tensor.n_weights for tensor in self.tensors)

    @property
    def bits(self) -> float:
        """The mean bits of a weight."""
        return 8 * sum(t.n_bytes for t in self.tensors) / max(self.n_weights, 1)

    def __str__(self) -> str:
        size = f"{self.n_bytes / 1e6:.1f} MB, {self.n_weights:,} weights"
        lines = [f"{self.path.name}: {size}, {self.bits:.2f} bits each"]
        lines += [f"  {key:40}{_short(fact)}" for key, fact in self.metadata.items()]
        lines.append(f"  {'type':8}{'tensors':>8}{'weights':>16}{'bits':>8}{'MB':>8}")
        for kind in dict.fromkeys(tensor.type for tensor in self.tensors):
            of = [tensor for tensor in self.tensors if tensor.type == kind]
            n, size = sum(t.n_weights for t in of), sum(t.n_bytes for t in of)
            row = f"{len(of):8}{n:16,}{8 * size / n:8.2f}{size / 1e6:8.2f}"
            lines.append(f"  {kind:8}{row}")
        return "\n".join(lines)


def inspect(path: str | Path) -> GGUFInfo:
    """Return the metadata and the tensors' types of a GGUF file; no weight is read.

    Raises FileNotFoundError, and ValueError for a file that is none or is cut off.
    """
    import gguf
    import numpy as np

    class Strict(gguf.GGUFReader):  # the library reads past the end without a word
        def _get(self, offset: int, dtype: Any, count: int = 1, *order: Any, **kw: Any):
            if (end := offset + int(count) * np.dtype(dtype).itemsize) > len(self.data):
                raise ValueError(f"it has {len(self.data):,} of {end:,} bytes")
            return super()._get(offset, dtype, count, *order, **kw)

        def _get_field_parts(self, offset: int, kind: int):
            if kind == 9 and self._get(offset + 4, np.uint64)[0] > len(self.data):
                raise ValueError("a list longer than the file")  # would take for ever
            return super()._get_field_parts(offset, kind)

    if not (path := Path(path)).is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path} is not a GGUF file, expected one: check the path")
    try:
        reader = Strict(path)
        fields = {key: field.contents() for key, field in reader.fields.items()}
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"{path} is damaged ({error}): get it anew") from None
    tensors, facts = [], {k: v for k, v in fields.items() if not k.startswith("GGUF.")}
    for t in reader.tensors:
        kind, shape = t.tensor_type.name, tuple(t.shape.tolist()[::-1])
        tensors.append(TensorInfo(t.name, kind, shape, t.n_elements, t.n_bytes))
    return GGUFInfo(path, path.stat().st_size, facts, tuple(tensors))


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value):,} values, such as {value[-1]!r}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = f"{text[:40]}... ({len(text):,} characters)" if len(text) > 60 else text
    return text.replace("\n", "\\n")


if __name__ == "__main__":
    print(inspect(sys.argv[1]))
