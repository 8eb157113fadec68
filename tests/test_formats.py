"""helpers.formats: a tiny model in every format, against direct measures; errors."""

import math
import random

import pytest
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from helpers import formats, instructions, lora, metrics, models
from helpers.formats import Version, costs, measure, table

TEXTS = ["Once upon a time a small fox lived near a river.", "Mia was glad.", "여우"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with a tiny model in torch and GGUF, and the files by type."""
    import torch

    pytest.importorskip("llama_cpp")
    tokenizer = AutoTokenizer.from_pretrained(models.MODELS / "tiny-tale")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    folder = tmp_path_factory.mktemp("formats")
    model = LlamaForCausalLM(config).eval()
    files = formats.write_files(model, tokenizer, folder, types=("Q8_0", "Q4_0"))
    return folder, files, (model, tokenizer)


def example():
    return instructions.make_example(random.Random(1), task="happy", language="en")


def version(name="float32", *, nats=(1.0, 2.0), followed=(True, False)):
    return Version(name, 8_000_000, 2_000_000, list(nats), list(followed), 100.0, 10.0)


@pytest.mark.parametrize("name", formats.TORCH)
def test_every_torch_format_is_loaded_and_measured(made, name, monkeypatch):
    folder, _, pair = made
    monkeypatch.setattr(formats, "ANSWER", {"temperature": 0, "max_new_tokens": 3})
    found = measure(name, folder / "torch", texts=TEXTS, examples=[example()])
    whole = metrics.nats_per_token(*pair, TEXTS)
    near = {"NF4": 0.5, "int8": 0.1}.get(name, 0.01)
    assert found.nats == pytest.approx(whole, abs=near)
    assert found.n_weights == models.n_params(pair[0])
    assert {"float32": 31.9, "float16": 15.9}.get(name, 8) <= found.bits < 33
    assert found.rate > 0 and len(found.followed) == 1
    linear = lora.weight_parts(pair[0].config)["linear"]
    scales = {"int8": 4 * 7 * 256, "NF4": linear * lora.constant_bits() / 8}
    if name in scales:  # counted, too: a float32 a row, or double quantization's
        codes = linear * {"int8": 1, "NF4": 0.5}[name]
        rest = 2 * (found.n_weights - linear)
        assert found.n_bytes == pytest.approx(codes + rest + scales[name], rel=1e-3)
    if name == "NF4":  # rounded, and not by another format
        assert found.nats != pytest.approx(whole, abs=1e-3)


def test_files_are_measured_as_torch_is(made, monkeypatch):
    _, files, pair = made
    monkeypatch.setattr(formats, "ANSWER", {"temperature": 0, "max_new_tokens": 3})
    assert list(files) == ["F16", "Q8_0", "Q4_0"]
    found = [measure(k, p, texts=TEXTS, examples=[example()]) for k, p in files.items()]
    whole = metrics.nats_per_token(*pair, TEXTS)
    for one, near in zip(found, (0.02, 0.1, 0.5)):
        assert one.nats == pytest.approx(whole, abs=near)
        assert one.n_bytes == files[one.name].stat().st_size
    assert found[0].bits > found[1].bits > found[2].bits


def test_both_kinds_give_the_same_replies(made, monkeypatch):
    from helpers import gguf_utils, llama_cpp_utils

    folder, _, pair = made
    monkeypatch.setattr(formats, "ANSWER", {"temperature": 0, "max_new_tokens": 2})
    path = gguf_utils.write_gguf(pair, folder / "F32.gguf", dtype="f32")
    llama = llama_cpp_utils.load_llama(path)
    ours = formats.torch_replies(*pair, [example()])
    theirs = formats.llama_replies(llama, [example()])
    assert [one.strip() for one in ours] == [one.strip() for one in theirs]


def test_costs_are_taken_text_by_text():
    old = version(nats=(1.0, 5.0, 9.0))
    new = version("Q8_0", nats=(1.1, 5.1, 9.1))
    found = costs([old, new])
    assert found["float32"] == (0, 0, 0)
    assert found["Q8_0"] == pytest.approx((0.1, 0.1, 0.1))  # far surer than the texts
    worse = version("Q2_K", nats=(2.0, 5.0, 9.0))
    mean, low, high = costs([old, worse])["Q2_K"]
    assert mean == pytest.approx(1 / 3) and low == 0 < mean < high


def test_the_table_has_what_was_measured():
    head, first, second = table([version(), version("Q8_0")]).splitlines()
    assert first.split()[:4] == ["float32", "8.0", "32.00", f"{math.exp(1.5):.3f}"]
    assert "0.000  (0.000 to 0.000)" in first and "1/2 0.09-0.91" in second
    assert len(head) == len(first) == len(second) <= 79


def test_the_figure_has_a_line_a_maker():
    [ax] = formats.figure([version(), version("Q8_0"), version("Q4_0")]).axes
    assert [len(line.get_xdata()) for line in ax.get_lines()] == [1, 2]
    assert [text.get_text() for text in ax.texts] == ["float32", "Q8_0", "Q4_0"]


def test_bad_input_is_said(made, tmp_path):
    folder, _, _ = made
    with pytest.raises(ValueError, match="format is 'int3', expected one of float32"):
        formats.load_torch(folder / "torch", "int3")
    with pytest.raises(FileNotFoundError, match="config.json missing"):
        formats.load_torch(tmp_path, "NF4")
    with pytest.raises(FileNotFoundError):
        measure("F16", tmp_path / "no.gguf", texts=TEXTS, examples=[])
    with pytest.raises(ValueError, match="expected 'float32' among them"):
        costs([version("Q8_0")])
    with pytest.raises(ValueError, match="the same texts for all"):
        costs([version(), version("Q8_0", nats=(1.0,))])


def test_rows_that_nf4_cannot_hold_are_said(tmp_path, made):
    _, _, (_, tokenizer) = made
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 40}
    LlamaForCausalLM(LlamaConfig(**sizes, **heads)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="32 and 64 weights, expected multiples of 64"):
        formats.load_torch(tmp_path, "NF4")
