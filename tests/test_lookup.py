"""The recipe of the model that looks dishes up, on tiny random weights; and that shipped."""

import pytest
import torch

from data.recipes import finetune, lookup
from helpers import models
from tests.test_finetune import lookups, place  # noqa: F401  (a fixture)
from tests.test_prefer import SHIPPED, chat  # noqa: F401


def test_the_adapter_lies_on_the_chat_model_and_changes_it(chat, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(lookup, "measure_lookups", lookups)
    folder = chat.with_name("tiny-lookup")
    card = lookup.lookup(chat, folder, run=tmp_path, steps=2, number=8, r=2,
                         learning_rate=1e-2)
    assert models.layers(folder) == [chat.with_name("tiny-base"), chat, folder]
    ids = torch.tensor([models.load(chat)[1]("매운 거 주세요.").input_ids])
    before, after = (models.load(one, device="cpu")[0](ids).logits for one in (chat, folder))
    assert not torch.allclose(before, after)
    assert card == (folder / "README.md").read_text("utf-8")
    assert "base_model: tiny-chat" in card and "10 rows from 8 requests" in card
    assert "| dish | 0.67 [0.21, 0.94] | 0.67 [0.21, 0.94] |" in card and "{" not in card


@pytest.mark.skipif(not (SHIPPED / "tiny-tale-lookup").is_dir(), reason="none is shipped")
def test_the_shipped_model_finds_more_than_the_chat_model():
    weights = models.locate("korean") / "adapter_model.safetensors"
    assert weights.stat().st_size <= 3_000_000
    rates = [finetune.measure_lookups(SHIPPED / name)["dish"].share
             for name in ("tiny-tale-chat", "tiny-tale-lookup")]
    assert rates[1] > rates[0] + 0.15
