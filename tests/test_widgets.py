"""helpers.widgets: sliders in a live notebook, printed examples elsewhere."""

import ipywidgets
import pytest

from helpers import widgets

SLIDERS = {"t": (0, 2, 0.1), "p": (0.1, 1, 0.1)}
EXAMPLES = [{"t": 0.5, "p": 1}, {"t": 1.5, "p": 0.9}]


def say(t, p):
    print(f"drawn at {t} and {p}")


def test_nobody_can_move_a_slider_in_a_test(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not widgets.live()


def test_examples_stand_in_for_sliders(monkeypatch, capsys):
    monkeypatch.setattr(widgets, "live", lambda: False)
    widgets.try_by_hand(say, sliders=SLIDERS, examples=EXAMPLES)
    assert capsys.readouterr().out == (
        "t = 0.5, p = 1\ndrawn at 0.5 and 1\nt = 1.5, p = 0.9\ndrawn at 1.5 and 0.9\n"
    )


def test_a_live_notebook_gets_sliders(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/01_sampling.ipynb")
    shown = {}
    monkeypatch.setattr(
        ipywidgets, "interact", lambda f, **controls: shown.update(controls)
    )
    assert widgets.live()
    widgets.try_by_hand(say, sliders=SLIDERS, examples=EXAMPLES)
    t = shown["t"]
    assert (t.value, t.min, t.max, t.step) == (0.5, 0, 2, 0.1)
    assert not t.continuous_update and list(shown) == ["t", "p"]


def test_without_ipywidgets_there_are_no_sliders(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/01_sampling.ipynb")
    monkeypatch.setattr(widgets, "find_spec", lambda name: None)
    assert not widgets.live()


@pytest.mark.parametrize("examples", [[], [{"t": 1}]])
def test_examples_must_set_every_slider(examples):
    with pytest.raises(ValueError, match="expected a value for each of t, p"):
        widgets.try_by_hand(say, sliders=SLIDERS, examples=examples)
