"""Quantization: weights as small whole numbers, and what the rounding costs.

Every scheme is a few lines of torch: absmax and zero-point with one scale a row, Q4_0
and Q8_0 in the bytes of a GGUF file, NF4 and double quantization as in QLoRA.
`round_trip` does and undoes any; `helpers.sensitivity` tells where that hurts.

>>> import torch
>>> q, scale = quantize_absmax(torch.tensor([1.0, -0.5, 0.1, 0.0]))
>>> q.tolist(), (q * scale).max().item()
([127, -64, 13, 0], 1.0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SCHEMES", "dequantize_nf4", "dequantize_q4_0", "dequantize_q8_0"]
__all__ += ["nf4_code", "quantize_absmax", "quantize_double", "quantize_nf4"]
__all__ += ["quantize_q4_0", "quantize_q8_0", "quantize_zero_point"]
__all__ += ["relative_error", "round_trip"]

GGUF_BLOCK, NF4_BLOCK = 32, 64
NF4_EDGE = 0.9677083  # the outermost quantile, as bitsandbytes writes it


def quantize_absmax(x: Tensor, *, bits: int = 8) -> tuple[Tensor, Tensor]:
    """Return int8 codes and a scale for each row (..., 1); codes * scale gives x back.

    The largest weight of a row gets the last code, 127 for 8 bits, and zero stays
    zero; none is off by more than scale / 2. Raises TypeError or ValueError for
    weights that are not finite floats, and ValueError for bits outside 2 to 8.
    """
    import torch

    x = _floats(x, bits=bits)
    scale = x.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    scale[scale == 0] = 1  # a row of zeros
    return (x / scale).round().to(torch.int8), scale


def quantize_zero_point(x: Tensor, *, bits: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Return uint8 codes, scale and zero for each row; (codes - zero) * scale is x.

    The codes, 0 to 255 for 8 bits, cover a row from its lowest to its highest weight;
    zero has one of its own and stays zero. Raises what `quantize_absmax` does.
    """
    import torch

    x = _floats(x, bits=bits)
    low = x.amin(-1, keepdim=True).clamp(max=0)
    high = x.amax(-1, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale[scale == 0] = 1
    zero = (-low / scale).round()
    codes = ((x / scale).round() + zero).clamp(0, 2**bits - 1)
    return codes.to(torch.uint8), scale, zero


def quantize_q4_0(x: Tensor) -> Tensor:
    """Return Q4_0's bytes, shape (blocks of 32 weights, 18): 4.5 bits a weight.

    A block is its scale in float16, then 16 bytes: weight i in the low half of byte i,
    weight i + 16 in the high half. The weight farthest from zero gets code 0, for -8
    scales. Bit for bit what the `gguf` package writes. Raises what `quantize_absmax`
    does, and ValueError for rows that are no whole blocks.
    """
    import torch

    blocks = _blocks(x, GGUF_BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = largest / -8
    inverse = torch.where(scale == 0, 0, 1 / scale)
    codes = (blocks * inverse + 8.5).to(torch.uint8).clamp(max=15)
    packed = codes[:, :16] | codes[:, 16:] << 4
    return torch.cat([_half(scale).view(torch.uint8), packed], dim=1)


def dequantize_q4_0(data: Tensor) -> Tensor:
    """Return the float32 weights (blocks, 32) in Q4_0's bytes (blocks, 18)."""
    import torch

    scale, packed = _scale_of(data, 18), data[:, 2:]
    codes = torch.cat([packed & 15, packed >> 4], dim=1)
    return (codes.float() - 8) * scale


def quantize_q8_0(x: Tensor) -> Tensor:
    """Return Q8_0's bytes, shape (blocks of 32 weights, 34): 8.5 bits a weight.

    A block is its scale in float16, then 32 int8 codes; halves are rounded away from
    zero. Bit for bit what the `gguf` package writes. Raises what `quantize_q4_0` does.
    """
    import torch

    blocks = _blocks(x, GGUF_BLOCK)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    steps = blocks * torch.where(scale == 0, 0, 1 / scale)
    whole = steps.trunc()
    codes = (whole + (2 * (steps - whole)).trunc()).to(torch.int8)
    return torch.cat([part.view(torch.uint8) for part in (_half(scale), codes)], 1)


def dequantize_q8_0(data: Tensor) -> Tensor:
    """Return the float32 weights (blocks, 32) in Q8_0's bytes (blocks, 34)."""
    import torch

    scale, codes = _scale_of(data, 34), data[:, 2:].contiguous().view(torch.int8)
    return codes.float() * scale


def nf4_code() -> Tensor:
    """Return the 16 values of NF4, -1 to 1: quantiles of the normal distribution.

    Eight quantiles above zero, seven below it, and zero itself, divided by the
    largest. Equal to bitsandbytes' table. Source: QLoRA, arXiv 2305.14314.

    >>> [round(value, 3) for value in nf4_code().tolist()][6:10]
    [-0.091, 0.0, 0.08, 0.161]
    """
    from statistics import NormalDist

    import torch

    quantile = NormalDist().inv_cdf
    above = [quantile(p) for p in torch.linspace(NF4_EDGE, 0.5, 9).tolist()[:-1]]
    below = [-quantile(p) for p in torch.linspace(NF4_EDGE, 0.5, 8).tolist()[:-1]]
    code = torch.tensor(sorted([*below, 0.0, *above]))
    return code / code.max()


def quantize_nf4(x: Tensor, *, block_size: int = NF4_BLOCK) -> tuple[Tensor, Tensor]:
    """Return the codes, two a byte, and the largest weight of each block, both 1-D.

    Each weight is divided by its block's largest and gets the number of the nearest
    value of `nf4_code`; the first of two stands in the high half of their byte. Equal
    to bitsandbytes. Raises what `quantize_q4_0` does.
    """
    import torch

    if block_size % 2:
        raise ValueError(f"block_size is {block_size}, expected an even number")
    blocks, code = _blocks(x, block_size), nf4_code().to(x.device)
    absmax = blocks.abs().amax(1)
    inside = blocks * (1 / absmax.clamp(min=1e-38))[:, None]
    middles = (code[1:] + code[:-1]) / 2
    codes = torch.bucketize(inside.clamp(-1, 1), middles).to(torch.uint8).view(-1, 2)
    return codes[:, 0] << 4 | codes[:, 1], absmax


def dequantize_nf4(packed: Tensor, absmax: Tensor) -> Tensor:
    """Return the float32 weights (1-D) of NF4 codes and their blocks' largest."""
    import torch

    if not len(absmax) or (2 * len(packed)) % len(absmax):
        found = f"got {len(packed)} bytes and {len(absmax)} blocks"
        raise ValueError(f"{found}, expected the two that quantize_nf4 returned")
    codes = torch.stack([packed >> 4, packed & 15], dim=1).long()
    values = nf4_code().to(packed.device)[codes].view(len(absmax), -1)
    return (values * absmax[:, None]).flatten()


def quantize_double(absmax: Tensor, *, block_size: int = 256) -> tuple[Tensor, ...]:
    """Return int8 codes, scales and mean of NF4's constants: they are quantized, too.

    (codes * scales).flatten() + mean gives them back. 8 bits for a block of 64 and 32
    for 256 blocks are 0.127 bits a weight, not 0.5 (claim E5). bitsandbytes does the
    same with 256 unequal steps. Raises what `quantize_q4_0` does.
    """
    mean = _floats(absmax).mean()
    return *quantize_absmax(_blocks(absmax - mean, block_size)), mean


def relative_error(x: Tensor, y: Tensor) -> float:
    """Return the root mean square of y - x over that of x: 0 is equal, 1 is lost."""
    return ((y - x).double().norm() / x.double().norm().clamp(min=1e-300)).item()


_SCHEMES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "absmax": lambda x, bits: _times(*quantize_absmax(x, bits=bits)),
    "zero-point": lambda x, bits: _times(*quantize_zero_point(x, bits=bits)),
    "nf4": lambda x, _: dequantize_nf4(*quantize_nf4(x, block_size=x.shape[-1])),
    "q4_0": lambda x, _: dequantize_q4_0(quantize_q4_0(x)),
    "q8_0": lambda x, _: dequantize_q8_0(quantize_q8_0(x)),
}
SCHEMES = tuple(_SCHEMES)


def round_trip(
    x: Tensor, *, scheme: str = "absmax", bits: int = 8, block_size: int | None = None
) -> Tensor:
    """Quantize and undo it: what is left of x, in its shape and number format.

    `bits` is for absmax and zero-point. `block_size` weights share a constant; without
    it a row does, or 64 weights for nf4; q4_0 and q8_0 always have 32. Raises what the
    schemes do, and ValueError for an unknown one.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme is {scheme!r}, expected {', '.join(SCHEMES)}")
    usual = {"nf4": NF4_BLOCK, "q4_0": GGUF_BLOCK, "q8_0": GGUF_BLOCK}.get(scheme)
    size = usual if block_size is None else block_size
    if usual == GGUF_BLOCK and size != usual:
        raise ValueError(f"block_size is {size}, expected 32 or None for {scheme}")
    blocks = _floats(x) if size is None else _blocks(x, size)
    return _SCHEMES[scheme](blocks, bits).view(x.shape).to(x.dtype)


def _times(codes: Tensor, scale: Tensor, zero: Tensor | float = 0.0) -> Tensor:
    return (codes - zero) * scale


def _floats(x: Tensor, *, bits: int = 8) -> Tensor:
    """Return x in float32 once it is known to be quantizable."""
    if not hasattr(x, "is_floating_point") or not x.is_floating_point():
        kind = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"x is {kind}, expected a torch tensor of float weights")
    if bits not in range(2, 9):
        raise ValueError(f"bits is {bits!r}, expected a whole number from 2 to 8")
    if x.numel() and x.ndim and (x := x.detach().float()).isfinite().all():
        return x
    found = f"x of shape {tuple(x.shape)} is empty, a single number or not finite"
    raise ValueError(f"{found}, expected rows of finite weights")


def _blocks(x: Tensor, size: int) -> Tensor:
    x = _floats(x)
    if size < 1 or x.shape[-1] % size:
        found = f"a row has {x.shape[-1]} weights, expected a multiple of {size}"
        raise ValueError(f"{found}, a block: pad it with zeros or choose other blocks")
    return x.reshape(-1, size)


def _half(scale: Tensor) -> Tensor:
    half = scale.half()
    if not half.isfinite().all():
        found = f"a block needs a scale of {scale.abs().max():.3g}"
        raise ValueError(f"{found}, expected at most 65,504, the largest float16")
    return half


def _scale_of(data: Tensor, width: int) -> Tensor:
    import torch

    if data.dtype != torch.uint8 or data.ndim != 2 or data.shape[1] != width:
        found = f"data is {data.dtype} of shape {tuple(data.shape)}"
        raise ValueError(f"{found}, expected bytes (uint8) of shape (blocks, {width})")
    return data[:, :2].contiguous().view(torch.float16).float()
