"""LoRA and QLoRA: what they cost, by arithmetic, and how a model gets an adapter.

The arithmetic needs no more than a model's `config`; `KNOWN` holds two to compute with.
`helpers.adapters` saves, loads and merges what `attach` adds and training fills.

>>> lora_params(KNOWN["LLaMA-65B"], r=8, target_modules=["q_proj"]) // 80  # a layer
131072
>>> for method in ("full", "lora", "qlora"):  # claim E3: 780 GB and 48 GB
...     need = training_memory(KNOWN["LLaMA-65B"], method=method, r=64)
...     print(method, round(need["total"] / 1e9), "GB")
full 783 GB
lora 143 GB
qlora 47 GB
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from helpers import models, roles, runtime
from helpers.adapters import is_adapter, refuse_wrapped
from helpers.fingerprints import file_fingerprint, fingerprint

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ALL_LINEAR", "KNOWN", "attach", "constant_bits", "linear_shapes"]
__all__ += ["load_4bit", "lora_params", "training_memory", "weight_parts"]

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL_LINEAR += ("gate_proj", "up_proj", "down_proj")
BLOCK, SUPER_BLOCK = 64, 256  # NF4: weights that share a constant, constants likewise
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
SIZES += ("num_attention_heads", "num_key_value_heads")
KNOWN = {
    name: SimpleNamespace(**dict(zip(SIZES, sizes)), tie_word_embeddings=False)
    for name, sizes in {
        "TinyLlama-1.1B": (32000, 2048, 5632, 22, 32, 4),
        "LLaMA-65B": (32000, 8192, 22016, 80, 64, 64),
    }.items()
}


def linear_shapes(config: PretrainedConfig) -> dict[str, tuple[int, int]]:
    """Return (out, in) of each linear layer in one block of a Llama-like model.

    >>> linear_shapes(KNOWN["TinyLlama-1.1B"])["k_proj"]
    (256, 2048)
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    shapes = [(queries, hidden), (keys, hidden), (keys, hidden), (hidden, queries)]
    shapes += [(inner, hidden), (inner, hidden), (hidden, inner)]
    return dict(zip(ALL_LINEAR, shapes))


def lora_params(
    config: PretrainedConfig, *, r: int, target_modules: Sequence[str] = ALL_LINEAR
) -> int:
    """Return the parameters of an adapter: r x (out + in) a layer, not out x in.

    Raises ValueError for r < 1 or an unknown layer. Source: LoRA, arXiv 2106.09685.
    """
    shapes = linear_shapes(config)
    if r < 1 or isinstance(target_modules, str) or set(target_modules) - set(shapes):
        raise ValueError(
            f"got r={r} and target_modules={target_modules!r}, expected r >= 1 and a "
            f"list of some of {', '.join(shapes)}"
        )
    pairs = sum(sum(shapes[name]) for name in set(target_modules))
    return r * pairs * config.num_hidden_layers


def weight_parts(config: PretrainedConfig) -> dict[str, int]:
    """Return a model's parameters: those in "linear" layers, and the "other" ones.

    >>> sum(weight_parts(KNOWN["TinyLlama-1.1B"]).values())
    1100048384
    """
    layers, hidden = config.num_hidden_layers, config.hidden_size
    linear = layers * sum(out * inn for out, inn in linear_shapes(config).values())
    tables = 1 if config.tie_word_embeddings else 2  # embedding, output
    other = tables * config.vocab_size * hidden + (2 * layers + 1) * hidden
    return {"linear": linear, "other": other}


def constant_bits(*, double_quant: bool = True) -> float:
    """Return the bits a parameter that NF4's constants take (claim E5: 0.5, 0.127).

    >>> constant_bits(double_quant=False), round(constant_bits(), 3)
    (0.5, 0.127)
    """
    return 8 / BLOCK + 32 / (BLOCK * SUPER_BLOCK) if double_quant else 32 / BLOCK


def training_memory(
    config: PretrainedConfig,
    *,
    method: str = "qlora",
    r: int = 16,
    target_modules: Sequence[str] = ALL_LINEAR,
    weight_bits: int = 16,
    double_quant: bool = True,
) -> dict[str, int]:
    """Return the bytes of training by part: "full", "lora" or "qlora" (E2, E3).

    Weights and full gradients take `weight_bits`, AdamW two float32 numbers for each
    trained parameter; the adapter and its gradients are float32, as PEFT keeps them.
    NF4 covers the linear layers only. Activations come on top: they depend on the
    batch. Raises ValueError for an unknown method.
    """
    if method not in ("full", "lora", "qlora"):
        raise ValueError(f"method is {method!r}, expected 'full', 'lora' or 'qlora'")
    n, wide = weight_parts(config), weight_bits / 8
    parts = {"weights": sum(n.values()) * wide, "constants": 0.0, "adapter": 0.0}
    if method == "full":
        parts |= {"gradients": parts["weights"], "optimizer": sum(n.values()) * 8}
    else:
        extra = lora_params(config, r=r, target_modules=target_modules)
        parts |= {"adapter": extra * 4, "gradients": extra * 4, "optimizer": extra * 8}
    if method == "qlora":
        parts["weights"] = n["linear"] / 2 + n["other"] * wide
        parts["constants"] = n["linear"] * constant_bits(double_quant=double_quant) / 8
    return {k: round(v) for k, v in (parts | {"total": sum(parts.values())}).items()}


def load_4bit(
    source: str | Path = "tune",
    *,
    device: str | None = None,
    compute_dtype: torch.dtype | None = None,
    double_quant: bool = True,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a role's model, or a folder's (a Path), in 4 bits, and its tokenizer.

    The linear layers are frozen NF4 and compute in `compute_dtype` (that of
    `runtime.detect`; float32 on a CPU), the rest is float32 for training. Raises what
    `models.load` raises, and ValueError for rows that NF4 cannot hold on a CPU.
    Source: QLoRA, arXiv 2305.14314.
    """
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from transformers.utils import cached_file

    rt = runtime.detect()
    device = device or rt.device
    on_cpu = torch.device(device).type == "cpu"
    if compute_dtype is None:
        compute_dtype = torch.float32 if on_cpu else rt.dtype
    if local := isinstance(source, Path) or rt.tier == "embedded":
        folder = source if isinstance(source, Path) else models.locate(source)
        models.check_folder(folder)
        if is_adapter(folder):
            raise ValueError(
                f"{folder} holds an adapter, expected a whole model: merge it with "
                "`models.load`, save that with save_pretrained, and load it from there"
            )
        place = str(folder)
    else:
        role = roles.find_role(source)
        place = role.hub
        models.check_memory(source, device=device, bits=5)  # 4, and what stays wider
    plan = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=compute_dtype,
    )
    files = {"local_files_only": local} | ({} if local else {"revision": role.revision})
    options = {"dtype": compute_dtype, "device_map": {"": device}}
    options |= {"use_safetensors": True} | files
    with nullcontext() if local else roles.from_hub(source):
        tokenizer = AutoTokenizer.from_pretrained(place, **files)
        model = AutoModelForCausalLM.from_pretrained(
            place, quantization_config=plan, **options
        )
    for layer in model.modules():
        if type(layer).__name__ != "Linear4bit":
            continue
        if on_cpu and layer.in_features % BLOCK:
            raise ValueError(
                f"a layer has rows of {layer.in_features} weights, expected a multiple "
                f"of {BLOCK}: on a CPU bitsandbytes reads others wrongly"
            )
        # On some CPUs bitsandbytes repacks a layer when it is first evaluated, and
        # a repacked layer passes no gradient back: it could not be trained after.
        layer.support_avx512bf16_for_cpu = False
    file = cached_file(place, "model.safetensors", local_files_only=local)
    mark = file_fingerprint(file, tied=model.config.tie_word_embeddings)
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model.base_fingerprint = mark
    return model.eval(), tokenizer


def attach(
    model: PreTrainedModel,
    *,
    r: int = 16,
    lora_alpha: float = 32,
    lora_dropout: float = 0.0,
    target_modules: Sequence[str] = ALL_LINEAR,
    seed: int = 0,
    **options: Any,
) -> PeftModel:
    """Wrap a model, once, in a new LoRA adapter of float32 weights; the base freezes.

    The same seed gives the same adapter. `options` go to `peft.LoraConfig`. Raises
    ValueError for a model that has an adapter, and for layers it does not have.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    refuse_wrapped(model)
    linear = (n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear))
    known = sorted({name.rpartition(".")[2] for name in linear})
    if isinstance(target_modules, str) or set(target_modules) - set(known) or r < 1:
        raise ValueError(
            f"got r={r} and target_modules={target_modules!r}, expected r >= 1 and a "
            f"list of some of {', '.join(known)}"
        )
    mark = fingerprint(model)
    config = LoraConfig(
        r=r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        target_modules=list(target_modules),
        task_type="CAUSAL_LM",
        **options,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, config)
    wrapped.base_fingerprint = mark
    return wrapped
