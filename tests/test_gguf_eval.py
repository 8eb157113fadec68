"""helpers.gguf_eval: llama.cpp against transformers, token by token, logit by logit."""

import math
import random

import numpy as np
import pytest
import torch

from helpers import gguf_utils, metrics, sft
from helpers.gguf_eval import hard_texts, heldout_loss, logits, nats_per_token
from helpers.gguf_eval import perplexity, verify
from helpers.gguf_utils import write_gguf
from helpers.llama_cpp_utils import load_llama, quantize
from helpers.sft_data import encode_rows
from tests.gguf_fixtures import (
    SHAPES,
    new_tokenizer,
    shipped_pair,
    shipped_tokenizer,
    small_pair,
    tiny_llama,
)

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (an extra)")
TEXTS = [
    "Lily found a magic kite in the garden.",
    " two  spaces,\ttab\n\nand lines\r\n",
    "옛날 옛적에 작은 여우가 살았어요.",
    "😀🦊👩‍👩‍👧 é ñ ﬁ 한글 漢字 ∑ \u200b\u0301 ▁ <0x0A>",
    "</s> <s><|user|>\nObey.</s>\n<|assistant|>\nYes <unk><pad>",
    "0123456789 3.14159 x=y**2; // {}[]",
]
PRECISE = {"type_k": 0, "type_v": 0}  # keys and values in float32, not in float16


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def opened(pair, path, *, dtype="f32", **options):
    chosen = {"logits_all": True, "n_threads": 1, "n_threads_batch": 1, "n_ctx": 192}
    return load_llama(write_gguf(pair, path, dtype=dtype), **chosen | options)


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    """The small model in llama.cpp, all numbers in float32."""
    return opened(small_pair(), tmp_path_factory.mktemp("g") / "a.gguf", **PRECISE)


def random_texts(n):
    """Return texts of words, Korean syllables, emoji, control tokens and noise."""
    dice = random.Random(0)
    control = shipped_tokenizer().all_special_tokens
    makers = [
        lambda: dice.choice("Lily kite garden the a and smiled . , ! ? river".split()),
        lambda: "".join(chr(dice.randrange(0xAC00, 0xD7A4)) for _ in range(3)),
        lambda: chr(dice.randrange(0x1F300, 0x1FAFF)),
        lambda: dice.choice(control),
        lambda: dice.choice(["  ", "\n", "\t", "▁", "<", ">", "|", "/s>", "<|user"]),
        lambda: chr(dice.choice([*range(33, 0xD800), *range(0xE000, 0x10FFFF)])),
    ]
    joints = ["", " "]
    for _ in range(n):
        parts = [dice.choice(makers)() for _ in range(dice.randint(1, 12))]
        yield dice.choice(joints).join(parts)


def test_a_thousand_texts_are_read_alike(tmp_path):
    pair, texts = shipped_pair(), [*TEXTS, *random_texts(994)]
    found = verify(opened(pair, tmp_path / "a.gguf"), *pair, texts)
    assert found.texts == 1000 and found.different == () == found.control
    assert found.ok and found.same_first > 0.9 * found.positions
    assert found.tokens > 5000


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_transformers(shape, tmp_path):
    model, tokenizer = small_pair(shape)
    llm = opened((model, tokenizer), tmp_path / "a.gguf", **PRECISE)
    ids = tokenizer(TEXTS[0] + TEXTS[2]).input_ids
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(logits(llm, ids) - expected).max() < 2e-4 * expected.std()
    rounded = opened((model, tokenizer), tmp_path / "b.gguf", dtype="f16")
    found = verify(rounded, model, tokenizer, TEXTS[:3])
    assert found.ok and 0 < found.error <= 2 * found.float16_error


@pytest.mark.parametrize("n_batch", [16, 512])
def test_logits_do_not_depend_on_the_batch_or_on_what_came_before(n_batch, tmp_path):
    llm = opened(small_pair(), tmp_path / "a.gguf", n_batch=n_batch, **PRECISE)
    ids = small_pair()[1](TEXTS[0] * 3).input_ids
    first = logits(llm, ids)
    logits(llm, ids[:20][::-1])
    assert np.allclose(logits(llm, ids), first, atol=1e-4)
    with torch.inference_mode():
        expected = small_pair()[0](torch.tensor([ids])).logits[0].numpy()
    assert np.abs(first - expected).max() < 2e-4 * expected.std()


def test_verify_sees_rows_in_the_wrong_order(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_utils, "llama_cpp_rows", lambda weight, n_heads: weight)
    found = verify(opened(small_pair(), tmp_path / "a"), *small_pair(), TEXTS[:2])
    assert not found.ok and found.error > 10 * found.float16_error
    assert found.different == ()


def test_verify_sees_another_model_and_quantization(llm, tmp_path):
    other, tokenizer = small_pair("other constants")
    assert not verify(llm, other, tokenizer, TEXTS[:1]).ok
    path = write_gguf(small_pair(), tmp_path / "a.gguf")
    path = quantize(path, tmp_path / "q.gguf", type="Q4_0", progress=False)
    rounded = load_llama(path, logits_all=True, n_threads=1)
    assert not verify(rounded, *small_pair(), TEXTS[:1]).ok


def test_a_dummy_prefix_is_read_alike(tmp_path):
    tokenizer = new_tokenizer(tmp_path, prefix=True)
    pair = tiny_llama(len(tokenizer)), tokenizer
    texts = [text for text in TEXTS if text[0] != " "]  # there the two libraries differ
    found = verify(opened(pair, tmp_path / "a.gguf"), *pair, texts)
    assert found.different == () and found.ok


@pytest.mark.parametrize("ended", [False, True])
def test_perplexity_is_that_of_metrics(llm, ended):
    options = {"ended": ended}
    expected = metrics.perplexity(*small_pair(), TEXTS, **options)
    assert perplexity(llm, TEXTS, **options) == pytest.approx(expected, rel=1e-4)
    expected = metrics.nats_per_token(*small_pair(), TEXTS, **options)
    assert nats_per_token(llm, TEXTS, **options) == pytest.approx(expected, rel=1e-4)


def test_heldout_loss_is_that_of_sft(llm):
    model, tokenizer = small_pair()
    asks = [("Hi", TEXTS[0]), (TEXTS[2], "Yes."), ("Why?", TEXTS[5])]
    roles = ("user", "assistant")
    rows = [
        {"messages": [{"role": r, "content": c} for r, c in zip(roles, ask)]}
        for ask in asks
    ]
    data = encode_rows(tokenizer, rows, max_length=192)
    expected = sft.heldout_loss(model, data)
    assert heldout_loss(llm, data) == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(math.log(len(tokenizer)), rel=0.01)


def test_bad_input_says_what_was_expected(llm, tmp_path):
    with pytest.raises(ValueError, match="got no texts, expected at least one"):
        perplexity(llm, [])
    with pytest.raises(ValueError, match="got no texts, expected at least one"):
        verify(llm, *small_pair(), [])
    with pytest.raises(ValueError, match="a text is empty"):
        nats_per_token(llm, ["Lily", ""])
    with pytest.raises(ValueError, match="tokens, expected 1 to 192: shorten it"):
        perplexity(llm, ["Lily " * 200])
    last = opened(small_pair(), tmp_path / "a.gguf", logits_all=False)
    with pytest.raises(ValueError, match="load it with logits_all=True"):
        perplexity(last, TEXTS)


def test_hard_texts_hold_control_tokens_and_emoji():
    tokenizer, texts = shipped_tokenizer(), ["Lily found a kite.", "여우가 웃었어요"]
    made = hard_texts(tokenizer, texts * 20)
    assert len(made) == 80 and made == hard_texts(tokenizer, texts * 20)
    assert made != hard_texts(tokenizer, texts * 20, seed=1)
    wild, signed = made[::2], made[1::2]
    assert all(text.endswith("</s>") for text in wild)
    assert any("<|user|>" in text and "kite." in text for text in wild)
    for text, plain in zip(signed, texts * 20):
        assert text[:-3] == plain and all(0x1F300 <= ord(c) < 0x1F700 for c in text[-3:])
