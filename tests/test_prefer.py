"""The recipe of the DPO model, on tiny random weights; and the DPO model shipped."""

import functools
from collections import Counter

import pytest
import torch

from data.recipes import prefer
from helpers import adapters, judging, lora, models, preferences, sft
from helpers.replies import sentences
from helpers.runtime import ROOT
from tests.test_finetune import place  # noqa: F401  (a fixture)

SHIPPED = ROOT / "data/models"


@pytest.fixture
def chat(place):  # noqa: F811
    """A tiny random base with an adapter that says something else than nothing."""
    torch.manual_seed(0)
    model, folder = lora.attach(models.load(place)[0], r=2), place.with_name("tiny-chat")
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.02)
    return adapters.save_adapter(model, folder, dtype=torch.float16)


def test_the_adapter_lies_on_the_chat_model_and_changes_it(chat, tmp_path, monkeypatch):
    short = functools.partial(sft.answers, max_new_tokens=3)
    monkeypatch.setattr(sft, "answers", short)
    folder = chat.with_name("tiny-dpo")
    options = {"number": 48, "stories": 1, "batch": 8, "heldout": 4, "r": 2}
    card = prefer.prefer(chat, folder, run=tmp_path, learning_rate=1e-2, **options)
    assert models.layers(folder) == [chat.with_name("tiny-base"), chat, folder]
    [pair] = preferences.make_split(1)
    ids = torch.tensor([models.load(chat)[1](pair.prompt[-1]["content"]).input_ids])
    before, after = (models.load(one, device="cpu")[0](ids).logits for one in (chat, folder))
    assert not torch.allclose(before, after)
    assert card == (folder / "README.md").read_text("utf-8")
    assert "base_model: tiny-chat" in card and "of 48 requests" in card and "{" not in card


def test_stories_are_the_models_own_and_wrong_ones_are_left_out(monkeypatch):
    def answers(model, tokenizer, requests, *, temperature, seed, progress):
        assert temperature > 0 and {one.task for one in requests} == {"story"}
        texts = [one.reply.replace("!", ".") for one in requests]
        return [*texts[:-1], "Potato."]

    monkeypatch.setattr(sft, "answers", answers)
    pairs = prefer.make_pairs(None, None, 12, mixture={"story": 1, "dish": 1}, blunt=0.5)
    tasks = Counter(pair.example.task for pair in pairs)
    assert tasks == {"story": 5, "dish": 6}
    for pair in pairs:
        assert preferences.grade(pair.example, pair.better) == 3
        assert preferences.grade(pair.example, pair.worse) in (1, 2)
        assert ("메뉴: " in pair.prompt[-1]["content"]) == (pair.example.task == "dish")
        if pair.example.task == "story":
            body = sentences(pair.example.reply)[:-2]
            assert sentences(pair.better)[: len(body)] == body


@pytest.mark.skipif(not (SHIPPED / "tiny-tale-dpo").is_dir(), reason="none is shipped yet")
def test_the_shipped_dpo_model_is_small_and_wins():
    weights = models.locate("dpo") / "adapter_model.safetensors"
    assert weights.stat().st_size <= 3_000_000
    options = {"split": "heldout", "seed": 1, "mixture": {"dish": 1}}
    asked = [pair.example for pair in preferences.make_split(24, **options)]
    before, after = (sft.answers(*models.load(role), asked) for role in ("chat", "dpo"))
    assert judging.win_rate(asked, after, before).rate > 0.7
