"""The model card that is written from a run."""

import pytest

from helpers.model_card import write_model_card
from helpers.sft import Rate

GIVEN = {"name": "오늘 뭐 먹지?", "about": "Recommends a dish.", "base": "tiny-tale-chat"}
GIVEN |= {"settings": {"rate": 1e-3}, "figures": {"fits": Rate(9, 10)}, "limits": ["Small."]}


def test_a_card_has_front_matter_figures_and_limits(tmp_path):
    import yaml

    text = write_model_card(tmp_path / "new", **GIVEN).read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "cc0-1.0", "language": ["ko"], "base_model": "tiny-tale-chat",
    }
    assert "| fits | 0.90 0.60-0.98 |" in body and "- Small." in body


@pytest.mark.parametrize("missing", ["figures", "limits"])
def test_a_card_that_promises_more_than_it_knows_is_refused(tmp_path, missing):
    with pytest.raises(ValueError, match="measure it first"):
        write_model_card(tmp_path, **GIVEN | {missing: ()})
    assert not list(tmp_path.iterdir())


def test_a_bar_in_a_value_does_not_break_the_table(tmp_path):
    path = write_model_card(tmp_path, **GIVEN | {"settings": {"a": "x | y\nz"}})
    assert r"| a | x \| y z |" in path.read_text(encoding="utf-8")
