"""Memory and speed by arithmetic: any number of parameters, any format, any machine.

To speak a token, all active weights are read once, so tokens/s is at most memory
bandwidth / bytes read (claim B3). `helpers.bandwidth` measures both sides of that.

Run it:  python -m helpers.calculator 46.7 --active 12.9   (billions of parameters)

>>> total, active = count_params(MIXTRAL)  # "8x7B", claim B5
>>> print(f"{total / 1e9:.1f} billion, {active / 1e9:.1f} of them for each token")
46.7 billion, 12.9 of them for each token
>>> print(table(calculate(total, active=active, bits={"Q4_K_M": 4.89})))
format   bits     GB      consumer CPU  GPU, Xeon, Apple        A100, H100
Q4_K_M   4.89   28.5         2.54-12.7          25.4-114           254-381
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from helpers import lora, models

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["BITS", "HARDWARE", "MIXTRAL", "bits_per_weight", "calculate"]
__all__ += ["count_params", "kv_bytes", "predict_rate", "table"]

HARDWARE = {  # bytes/s, from and to (claim B3)
    "consumer CPU": (20e9, 100e9),
    "GPU, Xeon, Apple": (200e9, 900e9),
    "A100, H100": (2e12, 3e12),
}
# Bits a weight. K_M, Q2_K and Q4_0 files mix several kinds of blocks: for these it is
# what llama.cpp tells of Llama 3 8B; a small model, rich in embeddings, takes more.
# NF4 is that of the linear layers: bitsandbytes leaves the tables in 16 bits.
BITS = {"float32": 32, "16-bit": 16, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.7}
BITS |= {"Q4_K_M": 4.89, "Q4_0": 4.64, "NF4": 4 + round(lora.constant_bits(), 3)}
BITS |= {"Q3_K_M": 4.0, "Q2_K": 3.16}
MIXTRAL = SimpleNamespace(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    num_local_experts=8,
    num_experts_per_tok=2,
    tie_word_embeddings=False,
)


def bits_per_weight(bits: float, *, block_size: int, constant_bits: int = 16) -> float:
    """Return the bits that a weight takes, with its share of its block's constant.

    Raises ValueError for a block_size below 1.

    >>> bits_per_weight(4, block_size=32), bits_per_weight(8, block_size=32)
    (4.5, 8.5)
    """
    if block_size < 1:
        raise ValueError(f"block_size is {block_size}, expected 1 weight or more")
    return bits + constant_bits / block_size


def predict_rate(bandwidth: float, read_bytes: float) -> float:
    """Return the most tokens/s that a bandwidth (bytes/s) allows (claim B3).

    Raises ValueError unless both are above 0.

    >>> predict_rate(50e9, 5e9)
    10.0
    """
    if not (bandwidth > 0 and read_bytes > 0):
        raise ValueError(
            f"bandwidth is {bandwidth} bytes/s and read_bytes {read_bytes}, expected "
            "both above 0"
        )
    return bandwidth / read_bytes


def count_params(config: PretrainedConfig) -> tuple[int, int]:
    """Return a Llama- or Mixtral-like model's parameters: all, and those for a token.

    Experts share attention and embeddings, and a token passes through
    `num_experts_per_tok` of `num_local_experts`; a dense model uses all (claim B5).

    >>> count_params(lora.KNOWN["TinyLlama-1.1B"])
    (1100048384, 1100048384)
    """
    dense = sum(lora.weight_parts(config).values())
    experts = getattr(config, "num_local_experts", 1)
    if experts == 1:
        return dense, dense
    shapes = lora.linear_shapes(config)
    expert = sum(out * inn for out, inn in list(shapes.values())[-3:])
    router, layers = config.hidden_size * experts, config.num_hidden_layers
    total = dense + layers * ((experts - 1) * expert + router)
    active = dense + layers * ((config.num_experts_per_tok - 1) * expert + router)
    return total, active


def kv_bytes(config: PretrainedConfig, n_tokens: int, *, bits: float = 16) -> int:
    """Return the bytes of the keys and values of `n_tokens` past tokens.

    They lie in memory beside the weights, and each new token reads them, too.

    >>> kv_bytes(MIXTRAL, 4096) // 10**6
    536
    """
    width, _ = lora.linear_shapes(config)["k_proj"]
    numbers = 2 * config.num_hidden_layers * width * n_tokens
    return models.memory_bytes(numbers, bits=bits)


def calculate(
    n_params: int,
    *,
    active: int | None = None,
    past_bytes: int = 0,
    bits: Mapping[str, float] = BITS,
    hardware: Mapping[str, tuple[float, float]] = HARDWARE,
) -> list[dict[str, Any]]:
    """Return a row a format: its bits, memory in bytes, and tokens/s by hardware.

    `active` parameters are read for each token (all of them if None), and `past_bytes`
    of keys and values. tokens/s is (from, to): a bound, not a promise. Raises
    ValueError for active above n_params, and what `models.memory_bytes` does.
    """
    active = n_params if active is None else active
    if not 0 < active <= n_params:
        raise ValueError(
            f"active is {active} of {n_params} parameters, expected at least 1 and at "
            "most all of them"
        )
    rows = []
    for name, wide in bits.items():
        read = models.memory_bytes(active, bits=wide) + past_bytes
        rates = {
            kind: (predict_rate(low, read), predict_rate(high, read))
            for kind, (low, high) in hardware.items()
        }
        size = models.memory_bytes(n_params, bits=wide) + past_bytes
        rows.append({"format": name, "bits": wide, "bytes": size, "rates": rates})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `calculate` as text: GB of memory, then tokens/s."""
    wide = max([6, *(len(row["format"]) for row in rows)])
    lines = []
    for row in rows:
        if not lines:
            heads = "".join(f"{name:>18}" for name in row["rates"])
            lines = [f"{'format':{wide}} {'bits':>6} {'GB':>6}{heads}"]
        spans = (f"{_three(a)}-{_three(b)}" for a, b in row["rates"].values())
        text = f"{row['format']:{wide}} {row['bits']:6.2f}"
        text += f" {_three(row['bytes'] / 1e9):>6}"
        lines.append(text + "".join(f"{span:>18}" for span in spans))
    return "\n".join(lines)


def _three(number: float) -> str:
    """Write a number with three digits: 0.250, 2.54, 25.4, 254, 2,543."""
    return f"{number:,.0f}" if number >= 99.95 else f"{number:#.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("billions", type=float, help="parameters of the model")
    parser.add_argument("--active", type=float, help="of these, for each token")
    args = parser.parse_args()
    counts = [args.billions, args.active or args.billions]
    total, active = (round(billions * 1e9) for billions in counts)
    print("tokens/s at most\n" + table(calculate(total, active=active)))


if __name__ == "__main__":
    main()
