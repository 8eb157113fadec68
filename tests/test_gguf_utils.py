"""helpers.gguf_utils and gguf_vocab: read back by the `gguf` package, value by value.

That llama.cpp computes the same with these files is tested in test_gguf_eval.py.
"""

import json
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch

from helpers.gguf_utils import inspect, llama_cpp_rows, write_gguf
from helpers.gguf_vocab import vocabulary
from tests.gguf_fixtures import (
    ROOT,
    SHAPES,
    SHIPPED,
    copied,
    new_tokenizer,
    shipped_pair,
    shipped_tokenizer,
    small_pair,
    small_tokenizer,
    tiny_llama,
)
from tests.model_fixtures import tiny_model, tiny_tokenizer

KIND = gguf.TokenType
LAYER = {  # transformers' names and llama.cpp's
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
OUTSIDE |= {"lm_head": "output"}


def renamed(name):
    stem, end = name.rsplit(".", 1)
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.{end}"
    _, _, layer, kind = stem.split(".", 3)
    return f"blk.{layer}.{LAYER[kind]}.{end}"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A file of a random Llama in float16."""
    path = tmp_path_factory.mktemp("gguf") / "plain.gguf"
    return write_gguf(small_pair(), path, name="Tale", license="cc0-1.0")


def rotated(vector, position, pairs, theta=100.0):
    """Turn the pairs of a head's vector, each by its own angle (rotary positions)."""
    out = vector.copy()
    for i, (a, b) in enumerate(pairs):
        angle = position * theta ** (-i / len(pairs))
        cos, sin = np.cos(angle), np.sin(angle)
        out[a] = vector[a] * cos - vector[b] * sin
        out[b] = vector[b] * cos + vector[a] * sin
    return out


def test_the_new_order_turns_the_same_rows_together():
    dim, heads = 8, 3
    x = np.random.default_rng(0).normal(size=(2, 5))
    halves = [(i, i + dim // 2) for i in range(dim // 2)]
    neighbours = [(2 * i, 2 * i + 1) for i in range(dim // 2)]
    weights = np.random.default_rng(1).normal(size=(2, heads * dim, 5))
    for head in range(heads):
        rows = slice(head * dim, (head + 1) * dim)
        scores = []
        ours = [llama_cpp_rows(weight, heads) for weight in weights]
        for (wq, wk), pairs in ((weights, halves), (ours, neighbours)):
            q = rotated((wq @ x[0])[rows], 3, pairs)
            k = rotated((wk @ x[1])[rows], 11, pairs)
            scores.append(q @ k)
        assert scores[0] == pytest.approx(scores[1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_every_weight_is_in_the_file_once(shape, dtype, tmp_path):
    model, tokenizer = small_pair(shape)
    path = write_gguf((model, tokenizer), tmp_path / "a.gguf", dtype=dtype)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    expected = dict(model.named_parameters())
    assert set(found) == {renamed(name) for name in expected}
    assert ("output.weight" in found) == (shape == "own output")
    as_torch = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    heads = {"q_proj": 4, "k_proj": model.config.num_key_value_heads}
    for name, weight in expected.items():
        tensor = found[renamed(name)]
        kind = dtype.upper() if weight.dim() > 1 else "F32"
        assert tensor.tensor_type.name == kind
        values = weight.detach().to(as_torch[kind.lower()]).float().numpy()
        if n := heads.get(name.split(".")[-2]):
            values = llama_cpp_rows(values, n)
        stored = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(stored.reshape(values.shape), values)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shape_is_that_of_the_configuration(shape, tmp_path):
    model, tokenizer = small_pair(shape)
    path = write_gguf((model, tokenizer), tmp_path / "tale.gguf", dtype="bf16")
    facts, config = inspect(path).metadata, model.config
    assert facts["general.architecture"] == "llama"
    assert facts["general.name"] == "tale"
    assert facts["general.file_type"] == gguf.LlamaFileType.MOSTLY_BF16
    told = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
        "attention.layer_norm_rms_epsilon": pytest.approx(config.rms_norm_eps),
        "rope.freq_base": pytest.approx(config.rope_theta),
    }
    assert {key: facts[f"llama.{key}"] for key in told} == told


def test_the_courses_tokenizer_is_in_the_file(tmp_path):
    from sentencepiece import SentencePieceProcessor

    tokenizer = shipped_tokenizer()
    options = {"name": "Tale", "license": "cc0-1.0"}
    path = write_gguf(shipped_pair(), tmp_path / "a.gguf", **options)
    facts = inspect(path).metadata
    pieces = SentencePieceProcessor(str(SHIPPED / "tokenizer.model"))
    n, get = pieces.vocab_size(), facts.get
    assert get("tokenizer.ggml.tokens") == [pieces.id_to_piece(i) for i in range(n)]
    types, scores = get("tokenizer.ggml.token_type"), get("tokenizer.ggml.scores")
    for i in range(n):
        special = tokenizer.added_tokens_decoder.get(i)
        kind = KIND.BYTE if pieces.is_byte(i) else KIND.NORMAL
        assert types[i] == (KIND.CONTROL if special else kind)
        assert special or scores[i] == pytest.approx(pieces.get_score(i))
    named = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
    for key, kind in named.items():
        token = getattr(tokenizer, f"{kind}_token_id")
        assert get(f"tokenizer.ggml.{key}_token_id") == token
    assert get("tokenizer.ggml.model") == "llama"
    assert get("tokenizer.ggml.add_bos_token") is True
    assert get("tokenizer.ggml.add_eos_token") is False
    assert get("tokenizer.ggml.add_space_prefix") is False
    assert get("tokenizer.chat_template") == tokenizer.chat_template
    assert get("general.name") == "Tale" and get("general.license") == "cc0-1.0"


def test_a_tokenizer_with_a_dummy_prefix_is_marked_so(tmp_path):
    tokenizer = new_tokenizer(tmp_path, prefix=True)
    tokenizer.add_eos_token = True
    pair = tiny_llama(len(tokenizer)), tokenizer
    facts = inspect(write_gguf(pair, tmp_path / "a.gguf")).metadata
    assert facts["tokenizer.ggml.add_space_prefix"] is True
    assert facts["tokenizer.ggml.add_eos_token"] is True
    assert "tokenizer.chat_template" not in facts


def test_several_templates_keep_their_names(tmp_path):
    tokenizer = copied(small_tokenizer())
    tokenizer.chat_template = {"default": "{{ 1 }}", "tool_use": "{{ 2 }}"}
    path = write_gguf((small_pair()[0], tokenizer), tmp_path / "a.gguf")
    facts = inspect(path).metadata
    assert facts["tokenizer.chat_template"] == "{{ 1 }}"
    assert facts["tokenizer.chat_template.tool_use"] == "{{ 2 }}"


def test_added_tokens_and_unused_rows_have_their_place():
    tokenizer = copied(small_tokenizer())
    n = len(tokenizer)
    tokenizer.add_tokens(["zzkite"])
    tokenizer.add_tokens(["<|tool|>"], special_tokens=True)
    pieces, scores, types = vocabulary(tokenizer, size=n + 5)
    assert len(pieces) == len(scores) == len(types) == n + 5
    assert pieces[n:] == ["zzkite", "<|tool|>", *(f"[PAD{n + i}]" for i in (2, 3, 4))]
    assert types[n:] == [KIND.USER_DEFINED, KIND.CONTROL, *[KIND.UNUSED] * 3]


def test_a_folder_and_its_pair_make_the_same_file(tmp_path):
    model, tokenizer = small_pair()
    folder = tmp_path / "model"
    model.half().save_pretrained(folder)
    model.float()
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tale\n")
    one = inspect(write_gguf(str(folder), tmp_path / "a.gguf", name="Tale"))
    pair = (type(model).from_pretrained(folder), tokenizer)
    other = write_gguf(pair, tmp_path / "b.gguf", name="Tale", license="apache-2.0")
    assert one.metadata == inspect(other).metadata
    assert (tmp_path / "a.gguf").read_bytes() == other.read_bytes()


def with_lora(model):
    from peft import LoraConfig, get_peft_model

    options = {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    return get_peft_model(copied(model), LoraConfig(**options))


def changed(model, **config):
    other = copied(model)
    for name, value in config.items():
        setattr(other.config, name, value)
    return other


def huge(model):
    other = copied(model)
    with torch.no_grad():
        other.model.layers[1].mlp.up_proj.weight[0, 0] = 1e5
    return other


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda m: changed(m, model_type="qwen2"), "a qwen2 with silu .*convert_hf_to"),
        (lambda m: changed(m, hidden_act="gelu"), "gelu .*convert_hf_to_gguf.py"),
        (lambda m: changed(m, rope_scaling={"rope_type": "yarn"}), "yarn rotary"),
        (with_lora, "an adapter inside: `adapters.merge` it first"),
        (lambda m: tiny_llama(300), "has [0-9]+ tokens and the model 300"),
        (huge, "layers.1.mlp.up_proj.weight has numbers that F16 cannot hold"),
    ],
)
def test_what_it_does_not_know_is_refused_and_nothing_changes(change, says, tmp_path):
    model, tokenizer = small_pair()
    path = tmp_path / "a.gguf"
    path.write_text("what was there")
    with pytest.raises(ValueError, match=says) as error:
        write_gguf((change(model), tokenizer), path)
    assert "\n" not in str(error.value)
    assert path.read_text() == "what was there" and list(tmp_path.iterdir()) == [path]


def test_numbers_too_large_for_float16_fit_into_the_others(tmp_path):
    model, tokenizer = small_pair()
    for dtype in ("f32", "bf16"):
        write_gguf((huge(model), tokenizer), tmp_path / "a.gguf", dtype=dtype)


@pytest.mark.parametrize(
    "options", [{"model_type": "unigram"}, {"byte_fallback": False}]
)
def test_another_kind_of_sentencepiece_is_refused(options, tmp_path):
    tokenizer = new_tokenizer(tmp_path, vocab_size=400, **options)
    with pytest.raises(ValueError, match="expected one of SentencePiece BPE with byte"):
        vocabulary(tokenizer, size=1000)


def test_a_tokenizer_without_tokenizer_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no tokenizer.model.*convert_hf_to_gguf.py"):
        write_gguf((tiny_model(), tiny_tokenizer()), tmp_path / "a.gguf")
    tokenizer = copied(tiny_tokenizer())
    tokenizer.vocab_file = str(tmp_path / "vocab.json")
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(ValueError, match="no tokenizer.model"):
        vocabulary(tokenizer, size=1000)


def test_two_tokens_of_one_text_are_refused():
    tokenizer = copied(small_tokenizer())
    tokenizer.add_tokens([f"[PAD{len(tokenizer) + 1}]"], special_tokens=True)
    with pytest.raises(ValueError, match=r"'\[PAD\d+\]' occurs twice"):
        vocabulary(tokenizer, size=len(tokenizer) + 3)


@pytest.mark.parametrize(
    "source, options, error, says",
    [
        (None, {"dtype": "q8_0"}, ValueError, "'q8_0', expected one of f32, f16, bf16"),
        ("nowhere", {}, FileNotFoundError, "no model in .*nowhere"),
        (7, {}, TypeError, r"a folder or a pair \(model, tokenizer\)"),
    ],
)
def test_bad_arguments_say_what_was_expected(source, options, error, says, tmp_path):
    source = tmp_path / source if isinstance(source, str) else source or small_pair()
    with pytest.raises(error, match=says):
        write_gguf(source, tmp_path / "a.gguf", **options)


def test_another_architecture_is_refused_before_its_weights_are_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    with pytest.raises(ValueError, match="a gpt_neox with .*convert_hf_to_gguf.py"):
        write_gguf(tmp_path, tmp_path / "a.gguf")


def test_a_full_disk_leaves_what_was_there(plain, tmp_path, monkeypatch):
    def full(self, **_):
        self.fout[0].write(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    path = tmp_path / "a.gguf"
    path.write_bytes(plain.read_bytes())
    with pytest.raises(OSError, match="a.gguf was not written, free some .*No space"):
        write_gguf(small_pair(), path)
    assert path.read_bytes() == plain.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_inspect_tells_types_shapes_and_bits(plain):
    found, (model, _) = inspect(plain), small_pair()
    assert found.n_bytes == plain.stat().st_size
    assert found.n_weights == sum(weight.numel() for weight in model.parameters())
    embedding = next(t for t in found.tensors if t.name == "token_embd.weight")
    assert embedding.shape == tuple(model.model.embed_tokens.weight.shape)
    assert (embedding.type, embedding.bits) == ("F16", 16)
    norm = next(t for t in found.tensors if t.name == "output_norm.weight")
    assert (norm.type, norm.shape, norm.bits) == ("F32", (64,), 32)
    assert 16 < found.bits < 16.1
    table = str(found)
    assert max(map(len, table.splitlines())) <= 120
    for part in ("plain.gguf: ", "general.license", "cc0-1.0", "llama.block_count"):
        assert part in table


def test_inspect_counts_the_bits_of_blocks(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "q.gguf", "llama")
    values = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
        writer.add_tensor(kind.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = inspect(tmp_path / "q.gguf")
    assert [(t.type, t.shape, t.bits) for t in found.tensors] == [
        ("Q8_0", (4, 64), 8.5),
        ("Q4_0", (4, 64), 4.5),
    ]
    assert found.bits == 6.5


def test_a_file_cut_off_anywhere_gets_one_sentence(plain, tmp_path):
    whole, cut = plain.read_bytes(), tmp_path / "cut.gguf"
    lengths = [0, 1, 3, 4, 8, 11, 24, 25, 31, len(whole) - 1]
    lengths += range(40, len(whole), len(whole) // 23)
    for length in lengths:
        cut.write_bytes(whole[:length])
        says = "cut.gguf is damaged" if length >= 4 else "cut.gguf is not a GGUF file"
        with pytest.raises(ValueError, match=says) as error:
            inspect(cut)
        assert "\n" not in str(error.value)


def test_a_damaged_file_is_refused_at_once(plain, tmp_path):
    whole, bad = plain.read_bytes(), tmp_path / "bad.gguf"
    key = b"tokenizer.ggml.token_type"
    array = whole.index(key) + len(key) + 8  # after the types of the fact and its items
    for at, length in ((8, 8), (16, 8), (array, 8)):  # counts, huge now
        bad.write_bytes(whole[:at] + b"\xfe" * length + whole[at + length :])
        with pytest.raises(ValueError, match="bad.gguf is damaged"):
            inspect(bad)


def test_a_file_that_is_none_is_said_so(tmp_path):
    (tmp_path / "a.txt").write_text("GGML, but not quite")
    with pytest.raises(ValueError, match="a.txt is not a GGUF file"):
        inspect(tmp_path / "a.txt")
    for missing in (tmp_path / "b.gguf", tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            inspect(missing)


def test_it_runs_as_a_program(plain):
    command = [sys.executable, "-m", "helpers.gguf_utils", str(plain)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == str(inspect(plain))
