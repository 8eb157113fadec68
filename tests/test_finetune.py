"""The recipe of the chat model, on a tiny random base; and the chat model shipped."""

import shutil
import sys

import pytest
import torch

from data.recipes import finetune
from helpers import adapters, instructions, models, sft
from helpers.runtime import ROOT
from tests.test_lora import WIDE, base

SHIPPED = ROOT / "data/models"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny random base with the course's own tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-base"
    weights = shutil.ignore_patterns("*.safetensors", "config.json", "README.md")
    shutil.copytree(SHIPPED / "tiny-tale", folder, ignore=weights)
    _, tokenizer = models.load(SHIPPED / "tiny-tale", device="cpu")
    context = {"vocab_size": len(tokenizer), "max_position_embeddings": 512}
    base(**WIDE, **context).half().save_pretrained(folder)
    return folder


OPTIONS = {"steps": 2, "number": 24, "lookups": 12, "heldout": 6, "r": 2, "progress": False}


@pytest.fixture(scope="module")
def made(place, tmp_path_factory):
    """The adapter of a short run, and the rates measured."""
    folder, run = place.with_name("tiny-chat"), tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "measure", short)
        patch.setattr(finetune, "measure_lookups", lookups)
        rates = finetune.finetune(place, folder, run=run, **OPTIONS)
    return folder, run, rates


def lookups(place, seed=0):
    return {"dish": sft.Rate(2, 3)}


def short(place, examples):
    """Answer in a few tokens: a random model would never end."""
    model, tokenizer = models.load(place, device="cpu")
    replies = sft.answers(model, tokenizer, examples, max_new_tokens=3)
    return sft.follow_rates(examples, replies)


def test_the_adapter_is_small_whole_and_on_its_base(place, made):
    folder, _, rates = made
    base_json = adapters.check_adapter(folder)
    assert base_json["base"] == "tiny-base" and models.layers(folder) == [place, folder]
    model, _ = models.load(folder, device="cpu")
    assert not any("lora_" in name for name, _ in model.named_parameters())
    from safetensors.torch import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    assert {t.dtype for t in saved.values()} == {torch.float16}
    assert all(str(place.parent) not in p.read_text("utf-8") for p in folder.glob("*.json"))
    assert set(rates) == {"base", "tuned"}
    assert set(rates["tuned"]) == {*instructions.TASKS, "all"}
    assert rates["tuned"]["all"].n == 6


def test_the_card_tells_what_was_measured(made):
    card = (made[0] / "README.md").read_text("utf-8")
    assert "base_model: tiny-base" in card and "2 steps of 8, 48 examples" in card
    assert finetune.table(made[2]) in card and "None" not in card
    assert finetune.table({"tuned": lookups(None)}) in card


def test_a_finished_run_is_not_trained_again(place, made, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "measure", short)
    monkeypatch.setattr(finetune, "measure_lookups", lookups)
    before = (made[0] / "adapter_model.safetensors").read_bytes()
    finetune.finetune(place, place.with_name("again"), run=made[1], **OPTIONS)
    assert (place.with_name("again") / "adapter_model.safetensors").read_bytes() == before
    with pytest.raises(ValueError, match="belongs to a run with max_steps=2"):
        other = OPTIONS | {"steps": 3}
        finetune.finetune(place, place.with_name("again"), run=made[1], **other)


def test_the_command_passes_its_options_on(place, monkeypatch, capsys):
    seen = {}

    def record(base, folder, **options):
        seen.update(options, base=base, folder=folder)
        return {"base": {"all": sft.Rate(0, 4)}, "tuned": {"all": sft.Rate(3, 4)}}

    monkeypatch.setattr(finetune, "finetune", record)
    call = f"finetune --base {place} --folder {place}-chat --steps 7 --learning-rate 0.001"
    monkeypatch.setattr(sys, "argv", call.split())
    finetune.main()
    assert seen["base"] == place and seen["steps"] == 7 and seen["learning_rate"] == 1e-3
    assert "--steps 7 --number 13600 --lookups 4400 --learning-rate 0.001" in seen["arguments"]
    assert str(place) not in seen["arguments"]
    assert "| all | 0.00 [0.00, 0.49] | 0.75 [0.30, 0.95] |" in capsys.readouterr().out


def test_right_and_wrong_replies_are_counted():
    examples = instructions.make_split(12, seed=3)
    gold = [one.reply for one in examples]
    rates = sft.follow_rates(examples, gold)
    assert list(rates) == [*sorted(instructions.TASKS), "all"]
    assert all(rate.share == 1 for rate in rates.values())
    wrong = ["" if one.task == "word" else one.reply for one in examples]
    rates = sft.follow_rates(examples, wrong)
    assert rates["word"].followed == 0 and rates["all"] == sft.Rate(10, 12)
    with pytest.raises(ValueError, match="got 11 replies to 12 examples, expected one"):
        sft.follow_rates(examples, gold[1:])


chat = pytest.mark.skipif(
    not (SHIPPED / "tiny-tale-chat").is_dir(), reason="no chat model is shipped yet"
)


@chat
def test_the_shipped_chat_model_is_small_and_follows_more_than_its_base():
    folder = models.locate("chat")
    weights = folder / "adapter_model.safetensors"
    assert weights.stat().st_size <= 3_000_000 and (folder / "README.md").is_file()
    model, tokenizer = models.load("chat")
    examples = instructions.make_split(24, split="heldout", seed=1)
    replies = sft.answers(model, tokenizer, examples)
    # `make bench ARGS=model` holds the target, 0.85, and says that it is missed
    followed = sft.follow_rates(examples, replies)["all"].interval[0]
    replies = sft.answers(*models.load("base"), examples)
    assert followed > 0.25 > sft.follow_rates(examples, replies)["all"].interval[1]
