"""helpers.calculator: against the library's own models, B1, B3, B5, and errors."""

import gguf
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers import MixtralConfig, MixtralForCausalLM

from helpers import calculator, lora, models
from helpers.calculator import calculate, count_params, kv_bytes, predict_rate, table

SMALL = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48}
SMALL |= {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_of_a_dense_model(tied):
    config = LlamaConfig(**SMALL, tie_word_embeddings=tied)
    total = models.n_params(LlamaForCausalLM(config))
    assert count_params(config) == (total, total)


@pytest.mark.parametrize(("experts", "used"), [(4, 2), (8, 1), (2, 2)])
def test_parameters_of_a_mixture_of_experts(experts, used):
    counts = {"num_local_experts": experts, "num_experts_per_tok": used}
    config = MixtralConfig(**SMALL, **counts)
    model = MixtralForCausalLM(config)
    total, active = count_params(config)
    assert total == models.n_params(model)
    inside = sum(w.numel() for n, w in model.named_parameters() if ".experts." in n)
    assert active == total - inside + inside * used // experts


def test_mixtral_is_not_56_billion():
    total, active = count_params(MixtralConfig())  # the library's usual one is 8x7B
    assert (total, active) == count_params(calculator.MIXTRAL)
    assert round(total / 1e9, 1) == 46.7 and round(active / 1e9, 1) == 12.9


def test_past_tokens_take_what_the_cache_takes():
    config = LlamaConfig(**SMALL)
    model = LlamaForCausalLM(config)
    with torch.inference_mode():
        ids = torch.ones(1, 7, dtype=torch.long)
        cache = model(ids, use_cache=True).past_key_values
    held = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
    assert kv_bytes(config, 7, bits=32) == held == 2 * kv_bytes(config, 7)


def test_blocks_take_the_bits_that_gguf_says():
    for name in ("Q4_0", "Q8_0"):
        weights, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        bits = calculator.bits_per_weight(int(name[1]), block_size=weights)
        assert bits == 8 * size / weights
    nf4 = calculator.bits_per_weight(4, block_size=64, constant_bits=32)
    assert nf4 == 4 + lora.constant_bits(double_quant=False)
    assert calculator.BITS["Q8_0"] == calculator.bits_per_weight(8, block_size=32)
    assert list(calculator.BITS.values()) == sorted(calculator.BITS.values())[::-1]


def test_eight_billion_parameters_take_16_or_32_gb():
    rows = {row["format"]: row for row in calculate(8_000_000_000)}
    assert rows["16-bit"]["bytes"] == 16e9 and rows["float32"]["bytes"] == 32e9
    assert rows["float32"]["rates"]["A100, H100"] == (2e12 / 32e9, 3e12 / 32e9)


def test_a_mixture_is_as_large_as_all_and_as_fast_as_what_it_reads():
    hardware = {"mine": (50e9, 50e9)}
    [mixture] = calculate(1000, active=250, bits={"x": 8}, hardware=hardware)
    [dense] = calculate(1000, bits={"x": 8}, hardware=hardware)
    assert mixture["bytes"] == dense["bytes"]
    assert mixture["rates"]["mine"][0] == 4 * dense["rates"]["mine"][0]
    [later] = calculate(1000, past_bytes=1000, bits={"x": 8}, hardware=hardware)
    assert later["bytes"] == 2000
    assert later["rates"]["mine"][0] == dense["rates"]["mine"][0] / 2
    assert dense["rates"]["mine"][0] == predict_rate(50e9, 1000)


def test_the_table_has_a_line_a_format_and_columns_that_line_up():
    rows = calculate(1_100_048_384)
    lines = table(rows).splitlines()
    assert len(lines) == 1 + len(calculator.BITS)
    assert len({len(line) for line in lines}) == 1 and len(lines[0]) <= 79
    assert table([]) == ""


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: calculate(0), "active is 0 of 0 parameters"),
        (lambda: calculate(10, active=11), "active is 11 of 10"),
        (lambda: calculate(10, active=0), "expected at least 1"),
        (lambda: calculate(10, bits={"x": 0}), "bits > 0"),
        (lambda: predict_rate(0, 1), "expected both above 0"),
        (lambda: predict_rate(1, float("nan")), "expected both above 0"),
        (lambda: calculator.bits_per_weight(4, block_size=0), "block_size is 0"),
    ],
)
def test_bad_numbers_are_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_command_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["calculator", "46.7", "--active", "12.9"])
    calculator.main()
    assert "Q4_K_M" in capsys.readouterr().out
