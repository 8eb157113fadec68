"""helpers.gpu_memory: a GPU that is full is one sentence, and its advice is right."""

import pytest
import torch

from helpers import gpu_memory
from tests.test_sft import adapter, new_model, one_thread, train  # noqa: F401


@pytest.mark.parametrize("batch, wanted", [(8, (4, 2)), (2, (1, 2)), (6, (3, 2)), (9, (3, 3)), (7, (1, 7))])
def test_the_advice_keeps_the_rows_of_a_step(batch, wanted):
    said = str(gpu_memory.out_of_memory(batch=batch, accumulation=1, held=1, total=2))
    half, times = wanted
    assert half * times == batch
    assert f"batch_size={half} and gradient_accumulation_steps={times}:" in said


def test_one_row_cannot_be_halved():
    said = str(gpu_memory.out_of_memory(batch=1, accumulation=4, held=10**9, total=4 * 10**9))
    assert "other 3.0." in said and "max_length" in said and "gradient_acc" not in said


def test_training_says_it_and_can_be_started_again(tmp_path, monkeypatch):
    model, calls = new_model(), []
    begin, forward = adapter(model), model.base_model.forward

    def full(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return forward(*args, **options)

    monkeypatch.setattr(model.base_model, "forward", full)
    with pytest.raises(MemoryError, match="batch_size=1 and gradient_accumulation_steps=2"):
        train(model, tmp_path)
    monkeypatch.undo()
    smaller = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    assert len(train(model, tmp_path, **smaller).history) == 9
    assert any((adapter(model)[name] != begin[name]).any() for name in begin)
