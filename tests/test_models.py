"""Tests of helpers.models: roles, loading, sizes, and what is said when one fails.

The models here are tiny and random. The hub is a cache folder laid out as the hub
lays it out, so the code that loads from the hub is the code that is tested.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers import adapters, lora, models, runtime
from model_fixtures import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a random Llama in float16 and its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-tale"
    tiny_tokenizer().save_pretrained(folder)
    copy.deepcopy(tiny_model()).half().save_pretrained(folder)
    return folder


@pytest.fixture
def shipped(tiny, monkeypatch, tmp_path):
    """The embedded tier on a CPU, with a copy of the tiny model as tiny-tale."""
    monkeypatch.setenv("COURSE_TIER", "embedded")
    monkeypatch.setattr(models, "MODELS", tmp_path)
    return Path(shutil.copytree(tiny, tmp_path / "tiny-tale"))


def test_the_base_model_loads_ready_to_generate(shipped):
    model, tokenizer = models.load("base", device="cpu")
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    ids = tokenizer("Lily found a magic", return_tensors="pt").input_ids
    assert model(ids).logits.shape == (1, ids.shape[1], len(tokenizer))
    assert tokenizer.decode(ids[0]) == "Lily found a magic"


def test_another_dtype_can_be_asked_for(shipped):
    model, _ = models.load(device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("role", ["Base", "chatt", "", None, ["base"]])
def test_an_unknown_role_is_refused_with_the_known_ones(role):
    with pytest.raises(ValueError, match="unknown role .* expected base, chat"):
        models.load(role)


def test_a_misspelt_role_is_guessed():
    with pytest.raises(ValueError, match="did you mean 'chat'"):
        models.locate("chatt")


def test_a_role_that_is_not_shipped_says_which_are(shipped):
    with pytest.raises(
        FileNotFoundError,
        match="role 'draft' is not shipped yet .*tiny-tale-draft.* one of base, tune",
    ):
        models.load("draft")


@pytest.mark.parametrize(
    "name, words",
    [
        ("model.safetensors", "no model.safetensors .weights missing.*git checkout"),
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer.json or tokenizer.model"),
    ],
)
def test_a_missing_file_is_named(shipped, name, words):
    (shipped / name).unlink()
    with pytest.raises(FileNotFoundError, match=words):
        models.load("base")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_half_written_weights_are_refused(shipped, keep):
    path = shipped / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    with pytest.raises(ValueError, match="model.safetensors .*git checkout"):
        models.load("base")
    if keep == -1:
        with pytest.raises(ValueError, match=f"{len(whole) - 1:,} of {len(whole):,}"):
            models.locate("base")


def test_a_file_of_another_kind_is_refused(shipped):
    for content in (
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x04" + b"\0" * 9,
    ):
        (shipped / "model.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="not a (whole )?safetensors file"):
            models.locate("base")


@pytest.fixture
def chat(shipped):
    """An adapter on the tiny model, as tiny-tale-chat beside it."""
    wrapped = lora.attach(models.load(shipped)[0], r=4, init_lora_weights=False)
    return adapters.save_adapter(wrapped, shipped.with_name("tiny-tale-chat"))


def logits(model):
    with torch.no_grad():
        return model(torch.arange(10, 42).reshape(2, 16)).logits.float()


def test_an_adapter_is_merged_into_its_base(shipped, chat):
    model, tokenizer = models.load("chat", device="cpu")
    expected = adapters.load_adapter(models.load("base", device="cpu")[0], chat)
    torch.testing.assert_close(logits(model), logits(expected), rtol=1e-3, atol=5e-3)
    assert not any("lora_" in name for name, _ in model.named_parameters())
    assert not model.training and len(tokenizer) == model.config.vocab_size
    again, _ = models.load("chat", device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
    assert models.layers(chat) == [shipped, chat]


def test_an_adapter_may_stand_on_a_merged_one(shipped, chat):
    wrapped = lora.attach(models.load("chat")[0], r=2, init_lora_weights=False)
    place = adapters.save_adapter(wrapped, chat.with_name("tiny-tale-dpo"))
    assert models.layers(place) == [shipped, chat, place]
    model, _ = models.load("dpo", device="cpu")
    torch.testing.assert_close(logits(model), logits(wrapped), rtol=1e-3, atol=5e-3)


def test_an_adapter_without_its_own_base_is_refused(shipped, chat, tmp_path):
    file = chat / "base.json"
    text = file.read_text("utf-8")
    for name in ("tiny-other", "../models/tiny-tale", "tiny-tale-chat", ""):
        file.write_text(text.replace('"tiny-tale"', json.dumps(name)), "utf-8")
        with pytest.raises(FileNotFoundError, match="expected that folder beside it"):
            models.locate("chat")
    file.write_text(text, "utf-8")
    with pytest.raises(ValueError, match="holds an adapter, expected a whole model"):
        lora.load_4bit("chat")
    other, _ = models.load("base")
    with torch.no_grad():
        other.model.embed_tokens.weight[5] += 1
    other.half().save_pretrained(shipped)
    with pytest.raises(ValueError, match="trained on other weights"):
        models.load("chat")
    (shipped / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="tiny-tale/model.safetensors is not a whole"):
        models.locate("chat")


def test_the_table_counts_an_adapter_alone(shipped, chat):
    [line] = [x for x in models.size_table().splitlines() if x.startswith("chat    tiny")]
    million = models.stored_params(chat) / 1e6
    assert "tiny-tale-chat, on tiny-tale " in line and f" {million:,.1f} " in line
    assert 0 < models.stored_params(chat) < models.stored_params(shipped)


def test_parameters_are_counted_once_in_the_file_and_in_the_model(shipped):
    model, _ = models.load("base", device="cpu")
    tied = model.config.vocab_size * 32  # the output shares the embedding
    layer = 3 * 32 * 32 + 3 * 32 * 64 + 2 * 32  # attention, MLP, two norms
    assert models.n_params(model) == tied + 2 * layer + 32
    assert models.stored_params(shipped) == models.n_params(model)


def test_memory_is_bits_times_parameters():
    """Claim B1: 8 billion parameters take 16 GB in 16 bits, 32 GB in float32."""
    assert models.memory_bytes(8 * 10**9) == 16 * 10**9
    assert models.memory_bytes(8 * 10**9, bits=32) == 32 * 10**9
    assert models.memory_bytes(8 * 10**9, bits=4) == 4 * 10**9
    assert models.memory_bytes(3, bits=4) == 2  # half a byte is a byte
    assert models.memory_bytes(1000, bits=4.127) == 516


@pytest.mark.parametrize("n, bits", [(-1, 16), (1, 0), (1, -4), (1, float("nan"))])
def test_memory_of_nonsense_is_refused(n, bits):
    with pytest.raises(ValueError, match="expected n_params >= 0 and bits > 0"):
        models.memory_bytes(n, bits=bits)


def test_memory_is_what_the_weights_take(shipped):
    for dtype, bits in ((torch.float32, 32), (torch.bfloat16, 16)):
        model, _ = models.load("base", device="cpu", dtype=dtype)
        taken = sum(p.numel() * p.element_size() for p in model.parameters())
        assert taken == models.memory_bytes(models.n_params(model), bits=bits)


def test_the_table_lists_every_role_and_what_is_shipped(shipped):
    table = models.size_table()
    for name, role in models.ROLES.items():
        assert f"{name:8}{role.hub}" in table
    assert "base    tiny-tale " in table and "chat    tiny-tale-chat" not in table


def hub_cache(home, tiny, repo, *, without=()):
    """Lay `tiny` out as the cache of the hub lays out a model."""
    place = home / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot = place / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123abcd")
    for file in tiny.iterdir():
        if file.name not in without:
            (snapshot / file.name).write_bytes(file.read_bytes())


def in_hub_tier(home, code):
    """Run code in a fresh Python, in the hub tier, offline, on the cache `home`."""
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    env |= {"COURSE_TIER": "hub", "PYTHONPATH": str(runtime.ROOT)}
    env.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_hub_tier_loads_from_a_hub_cache_and_says_what_is_not_there(tiny, tmp_path):
    hub_cache(tmp_path, tiny, models.ROLES["base"].hub)
    said = in_hub_tier(
        tmp_path,
        "import json\n"
        "from helpers import models\n"
        "model, tokenizer = models.load('base', device='cpu')\n"
        "print(json.dumps([models.n_params(model), model.training, str(model.dtype),"
        " len(tokenizer)]))\n"
        "try:\n    models.load('korean')\n"
        "except OSError as error:\n    print(error)\n",
    )
    found, error = said.splitlines()
    pieces = len(tiny_tokenizer())
    expected = [models.stored_params(tiny), False, "torch.float32", pieces]
    assert json.loads(found) == expected
    assert "did not give Qwen/Qwen2.5-1.5B-Instruct for the role 'korean'" in error
    assert "COURSE_TIER=embedded" in error


def test_roles_name_models_of_the_hub():
    for role in models.ROLES.values():
        owner, name = role.hub.split("/")
        assert owner and name and role.hub_params > 1e8
    assert {"base", "chat", "dpo", "draft"} <= models.ROLES.keys()


def test_the_shipped_model_is_whole_small_and_loads_within_a_second():
    folder = models.locate("base")
    assert (folder / "model.safetensors").stat().st_size <= 21_000_000
    models.load("base", device="cpu")  # imports and disk, once
    start = time.process_time()  # a busy machine is no slow load
    model, tokenizer = models.load("base", device="cpu")
    assert time.process_time() - start < 1
    assert 9e6 < models.n_params(model) < 11e6
    assert len(tokenizer) == model.config.vocab_size
