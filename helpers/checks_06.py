"""Checks for the exercises of notebook 06, quantization: `check_06_k(answer)`."""

from __future__ import annotations

from typing import Any

from helpers.checks import Words, exercise, near, short, try_it

__all__ = ["check_06_1", "check_06_2", "check_06_3"]


@exercise(look="calculator.predict_rate; bytes are parameters times bits over 8")
def check_06_1(answer: Any) -> tuple[bool, Any]:
    """Check (GB, tokens/s) of 70 billion parameters in 4.89 bits at 60 GB/s."""
    from helpers.calculator import predict_rate
    from helpers.models import memory_bytes

    size = memory_bytes(70_000_000_000, bits=4.89)
    expected = (round(size / 1e9, 1), round(predict_rate(60e9, size), 2))
    return near(answer, expected), expected


@exercise(look="row.abs().topk(k).indices; put zeros there before absmax")
def check_06_2(answer: Any) -> tuple[bool, Any]:
    """Check an 8-bit round trip of a row that keeps its k largest weights."""
    import torch

    from helpers.quantization import round_trip

    row = torch.randn(200, generator=torch.Generator().manual_seed(0))
    row[[3, 50, 120]] = torch.tensor([40.0, -90.0, 7.0])
    for k in (0, 1, 3):
        kept = row.abs().topk(k).indices
        rest = row.clone()
        rest[kept] = 0
        expected = round_trip(rest, bits=8)
        expected[kept] = row[kept]
        result = try_it(answer, row.clone(), k)
        if not (hasattr(result, "shape") and result.shape == row.shape):
            return False, Words("a row of the same shape as the one given")
        if not torch.allclose(result.float(), expected, atol=1e-6):
            off = (result - row).abs().max().item()
            right = (expected - row).abs().max().item()
            told = f"a largest error of {right:.4f} at k = {k}, not {off:.4f}"
            return False, Words(told)
    return True, Words("outliers kept")


@exercise(look="q4_0 in section 2: scale = (high - low) / 15, code 0 is the lowest")
def check_06_3(answer: Any) -> tuple[bool, Any]:
    """Check a round trip through Q4_1 against the gguf package."""
    import gguf
    import torch

    kind = gguf.GGMLQuantizationType.Q4_1
    for shift in (0.0, 1.0):
        x = torch.randn(8, 64, generator=torch.Generator().manual_seed(1)) + shift
        there = gguf.quants.quantize(x.numpy(), kind)
        expected = torch.from_numpy(gguf.quants.dequantize(there, kind))
        result = try_it(answer, x.clone())
        if not (hasattr(result, "shape") and result.numel() == x.numel()):
            return False, Words(f"as many weights as were given, not {short(result)}")
        off = (result.float().reshape(x.shape) - expected).abs().max().item()
        if off > 1e-5:
            return False, Words(f"the weights of gguf's Q4_1, not {off:.4f} beside")
    return True, Words("Q4_1")
