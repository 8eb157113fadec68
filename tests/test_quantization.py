"""helpers.quantization: against gguf and bitsandbytes, by properties, its errors."""

import bitsandbytes.functional as bnb
import gguf
import numpy as np
import pytest
import torch

from helpers import lora, quantization
from helpers.quantization import relative_error, round_trip

BLOCK_SIZES = (32, 64, 128, 256)


def normal(*shape, seed=0, scale=0.05):
    dice = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=dice)


def awkward():
    """Return blocks of 32 that rounding could get wrong."""
    halves = torch.arange(-16, 16) / 2.0
    return torch.stack(
        [
            torch.zeros(32),
            torch.full((32,), -0.25),
            halves,  # half-way between two codes of Q4_0, and in the next line of Q8_0
            torch.cat([torch.tensor([127.0]), 2.0 * torch.arange(31) - 30.5]),
            torch.cat([torch.tensor([5.6]), 0.7 * (torch.arange(31) % 15 - 6.5)]),
            torch.tensor([5.0, -5.0] * 16),  # two largest of equal size
            normal(32) * 1e-9,  # the scale is too small for float16
            torch.cat([torch.tensor([1000.0]), normal(31)]),  # an outlier
        ]
    )


# ---------------------------------------------------------------- the libraries' own


@pytest.mark.parametrize("kind", ["q4_0", "q8_0"])
@pytest.mark.parametrize("x", [normal(70, 96), awkward(), normal(4, 64).bfloat16()])
def test_gguf_blocks_are_those_of_the_gguf_package(kind, x):
    there = gguf.GGMLQuantizationType[kind.upper()]
    ours = getattr(quantization, f"quantize_{kind}")(x)
    theirs = gguf.quants.quantize(x.float().numpy(), there)
    assert ours.numpy().tobytes() == theirs.tobytes()
    back = getattr(quantization, f"dequantize_{kind}")(ours)
    expected = gguf.quants.dequantize(theirs, there)
    assert np.array_equal(back.numpy().reshape(x.shape), expected)


def test_nf4_has_the_table_of_bitsandbytes():
    table = bnb.get_4bit_type("nf4", device="cpu")
    assert quantization.nf4_code().equal(table)


@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_nf4_blocks_are_those_of_bitsandbytes(block_size):
    code = quantization.nf4_code()
    ties = torch.cat([torch.ones(1), (code[1:] + code[:-1]) / 2]).repeat(1, 16)
    x = torch.cat([normal(40, 256), awkward().repeat(1, 8), ties])
    packed, absmax = quantization.quantize_nf4(x, block_size=block_size)
    theirs, state = bnb.quantize_4bit(x, blocksize=block_size, quant_type="nf4")
    assert packed.equal(theirs.flatten()) and absmax.equal(state.absmax)
    back = quantization.dequantize_nf4(packed, absmax).view_as(x)
    assert torch.allclose(back, bnb.dequantize_4bit(theirs, state), rtol=1e-6, atol=0)


def test_absmax_is_the_row_quantization_of_bitsandbytes():
    x = normal(50, 300).half()
    codes, scale = quantization.quantize_absmax(x)
    theirs, largest, _ = bnb.int8_vectorwise_quant(x.clone())
    apart = (codes.int() - theirs.int()).abs()  # by one, where it lies half-way
    assert apart.max() <= 1 and (apart > 0).float().mean() < 0.01
    assert torch.allclose(scale[:, 0] * 127, largest.float())


def test_zero_point_is_torchs_affine_quantization():
    x = normal(1, 1000) + 0.03
    codes, scale, zero = quantization.quantize_zero_point(x)
    expected = torch.fake_quantize_per_tensor_affine(
        x, scale.item(), int(zero.item()), 0, 255
    )
    off = ((codes - zero) * scale - expected).abs() / scale
    assert off.max() < 1.01 and (off > 0.01).float().mean() < 0.01
    assert codes.min() == 0 and codes.max() == 255


def test_double_quantization_takes_the_bits_that_the_arithmetic_says():
    x = normal(256, 256)
    _, absmax = quantization.quantize_nf4(x)
    codes, scales, mean = quantization.quantize_double(absmax)
    bits = 8 * (codes.nbytes + scales.nbytes) / x.numel()
    assert bits == lora.constant_bits(double_quant=True)
    assert 8 * absmax.nbytes / x.numel() == lora.constant_bits(double_quant=False)
    _, state = bnb.quantize_4bit(x, quant_type="nf4", compress_statistics=True)
    assert 8 * (state.absmax.nbytes + state.state2.absmax.nbytes) / x.numel() == bits
    back = (codes * scales).flatten() + mean
    assert mean == absmax.mean()  # what is left has both signs, and smaller steps
    assert ((back - absmax).view(-1, 256).abs() <= scales * 0.501).all()


# ---------------------------------------------------------------- properties


@pytest.mark.parametrize("bits", range(2, 9))
def test_no_weight_is_off_by_more_than_half_a_step(bits):
    x = normal(20, 100)
    codes, scale = quantization.quantize_absmax(x, bits=bits)
    assert ((codes * scale - x).abs() <= 0.501 * scale).all()
    assert codes.abs().max() == 2 ** (bits - 1) - 1
    codes, scale, zero = quantization.quantize_zero_point(x + 0.1, bits=bits)
    # zero itself is rounded to a code, so the ends may lose another half
    assert (((codes - zero) * scale - x - 0.1).abs() <= 1.001 * scale).all()
    assert codes.max() <= 2**bits - 1


@pytest.mark.parametrize("scheme", ["absmax", "zero-point"])
def test_more_bits_are_closer(scheme):
    errors = [
        relative_error(x, round_trip(x, scheme=scheme, bits=bits, block_size=64))
        for x in [normal(64, 256)]
        for bits in range(2, 9)
    ]
    assert errors == sorted(errors, reverse=True)
    ratios = [a / b for a, b in zip(errors[2:], errors[3:])]
    assert all(1.8 < ratio < 2.5 for ratio in ratios)  # a bit halves the step


@pytest.mark.parametrize("scheme", ["absmax", "zero-point", "nf4"])
def test_smaller_blocks_are_closer(scheme):
    x = normal(64, 1024)
    errors = [
        relative_error(x, round_trip(x, scheme=scheme, bits=4, block_size=size))
        for size in BLOCK_SIZES
    ]
    assert errors == sorted(errors)


def test_nf4_suits_normal_weights_better_than_equal_steps():
    x = normal(64, 1024)
    nf4 = relative_error(x, round_trip(x, scheme="nf4"))
    assert nf4 < 0.95 * relative_error(x, round_trip(x, bits=4, block_size=64))


def test_an_outlier_spoils_its_row_or_only_its_block():
    x = normal(1, 1024)
    spoilt = x.clone()
    spoilt[0, 7] = 100 * x.std()

    def rest(**options):  # the error of all the other weights
        return relative_error(x[0, 8:], round_trip(spoilt, **options)[0, 8:])

    assert rest(bits=8) > 10 * relative_error(x, round_trip(x, bits=8))
    assert rest(bits=8, block_size=64) < 0.3 * rest(bits=8)


@pytest.mark.parametrize("scheme", quantization.SCHEMES)
def test_zero_stays_zero_and_the_rest_keeps_its_place(scheme):
    x = normal(3, 4, 128) + 0.02
    x[:, :, ::5] = 0
    x[1, 2] = 0  # a whole row
    before = x.clone()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        y = round_trip(x.to(dtype), scheme=scheme)
        assert y.dtype == dtype and y.shape == x.shape
        assert (y[x == 0] == 0).all() and relative_error(x, y) < 0.2
    assert x.equal(before)


def test_a_second_round_trip_changes_nothing():
    for scheme in ("absmax", "nf4", "q8_0"):
        once = round_trip(normal(8, 128), scheme=scheme)
        assert relative_error(once, round_trip(once, scheme=scheme)) < 1e-3


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("function", ["absmax", "zero_point", "q4_0", "q8_0", "nf4"])
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        ([1.0, 2.0], TypeError, "x is list, expected a torch tensor"),
        (torch.arange(64), TypeError, "x is torch.int64, expected"),
        (torch.zeros(0, 64), ValueError, "empty"),
        (torch.tensor(1.0), ValueError, "a single number"),
        (torch.full((64,), torch.nan), ValueError, "not finite"),
        (torch.full((64,), 1e300, dtype=torch.float64), ValueError, "not finite"),
    ],
    ids=["list", "integers", "empty", "number", "nan", "too large"],
)
def test_what_cannot_be_quantized_is_said(function, x, error, words):
    with pytest.raises(error, match=words):
        getattr(quantization, f"quantize_{function}")(x)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda q, x: q.quantize_absmax(x, bits=1), "bits is 1, expected .* 2 to 8"),
        (lambda q, x: q.quantize_zero_point(x, bits=9), "bits is 9, expected"),
        (lambda q, x: q.quantize_q4_0(x[:, :50]), "50 weights, expected a multiple of"),
        (lambda q, x: q.quantize_q4_0(x * 1e9), "a scale of .*, expected at most"),
        (lambda q, x: q.quantize_nf4(x, block_size=7), "7, expected an even number"),
        (lambda q, x: q.quantize_nf4(x, block_size=0), "expected a multiple of 0"),
        (lambda q, x: q.quantize_nf4(x, block_size=100), "multiple of 100"),
        (lambda q, x: q.dequantize_q4_0(x), r"expected bytes .* \(blocks, 18\)"),
        (lambda q, x: q.dequantize_q8_0(q.quantize_q4_0(x)), r"\(blocks, 34\)"),
        (lambda q, x: q.dequantize_nf4(x[0].byte(), x[0, :3]), "64 bytes and 3 blocks"),
        (lambda q, x: q.round_trip(x, scheme="int3"), "scheme is 'int3', expected"),
        (lambda q, x: q.round_trip(x, scheme="q4_0", block_size=64), "expected 32"),
        (lambda q, x: q.round_trip(x, block_size=0), "multiple of 0"),
    ],
)
def test_a_bad_option_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call(quantization, normal(4, 64))
