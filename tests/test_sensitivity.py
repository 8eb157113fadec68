"""helpers.sensitivity: groups of weights, changed one at a time and put back."""

from copy import deepcopy

import pytest
import torch

from helpers.sensitivity import changed, sensitivity, weight_groups
from tests.model_fixtures import encode, tiny_model


def loss(model):
    ids = torch.tensor([encode("Once upon a time a small fox lived near the hill.")])
    with torch.inference_mode():
        return model(ids, labels=ids).loss.item()


def state(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def test_every_matrix_is_in_one_group():
    model = tiny_model()
    matrices = {name for name, w in model.named_parameters() if w.ndim == 2}
    for by in ("layer", "kind"):
        groups = weight_groups(model, by=by)
        assert sorted(sum(groups.values(), [])) == sorted(matrices)
    assert list(weight_groups(model)) == ["embed_tokens", "layer 0", "layer 1"]
    kinds = weight_groups(model, by="kind")
    assert len(kinds) == 8 and len(kinds["q_proj"]) == 2


def test_weights_come_back_bit_for_bit_whatever_happens():
    model = tiny_model()
    before, names = state(model), sum(weight_groups(model).values(), [])
    with changed(model, names, torch.zeros_like):
        assert all(not model.get_parameter(name).any() for name in names)
        assert not model.lm_head.weight.any()  # tied to the embedding
    with pytest.raises(RuntimeError, match="stop"):
        with changed(model, names, torch.zeros_like):
            raise RuntimeError("stop")
    with pytest.raises(ValueError, match="expected the shape it had"):
        with changed(model, names, lambda w: w[1:]):
            pass
    assert all(weight.equal(before[name]) for name, weight in state(model).items())


@pytest.mark.parametrize("by", ["layer", "kind"])
def test_rises_are_those_of_changed_copies(by):
    model, half = tiny_model(), lambda weight: weight / 2
    found = sensitivity(model, loss, change=half, by=by)
    groups = weight_groups(model, by=by)
    assert list(found) == ["all", *groups]
    for group, names in {"all": sum(groups.values(), []), **groups}.items():
        copy = deepcopy(model)
        for name in names:
            copy.get_parameter(name).data /= 2
        expected = loss(copy) - loss(model)
        assert found[group] == pytest.approx(expected, abs=1e-5)


def test_no_change_costs_nothing():
    assert set(sensitivity(tiny_model(), loss, change=torch.clone).values()) == {0.0}


def test_bad_names_are_said():
    with pytest.raises(ValueError, match="by is 'size', expected 'layer' or 'kind'"):
        weight_groups(tiny_model(), by="size")
    with pytest.raises(ValueError, match="no weight 'lm_head.bias': see weight_groups"):
        with changed(tiny_model(), ["lm_head.bias"], torch.clone):
            pass
