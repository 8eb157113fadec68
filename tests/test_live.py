"""helpers.live: one figure, redrawn in place, also where nobody sees it."""

import base64
import sys
from types import SimpleNamespace

import pytest

from helpers import live

ROWS = [{"step": i, "loss": 3.0 / i} for i in range(1, 8)]
ROWS[3] = ROWS[3] | {"heldout": 1.0}


@pytest.fixture
def published(monkeypatch):
    """A notebook that remembers what it was given."""
    seen = []

    def publish(data, metadata, *, transient, update):
        seen.append((data, metadata, transient["display_id"], update))

    shell = SimpleNamespace(display_pub=SimpleNamespace(publish=publish))
    fake = SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0))
    monkeypatch.setitem(sys.modules, "IPython", fake)
    return seen


@pytest.mark.parametrize("every, drawn", [(1, 8), (3, 4), (10, 2)])
def test_one_figure_is_drawn_again_and_again(published, capsys, every, drawn):
    with live.Curve(alt="The loss  falls.", every=every) as curve:
        for row in ROWS:
            curve(row)
    assert len(published) == drawn and len({name for _, _, name, _ in published}) == 1
    assert [update for *_, update in published] == [False] + [True] * (drawn - 1)
    data, metadata, *_ = published[-1]
    assert metadata["image/png"]["alt"] == "The loss falls."
    assert capsys.readouterr().out == "The loss falls.\n"  # once, under the figure
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    pictures = [data["image/png"] for data, *_ in published]
    assert len(set(pictures)) >= drawn - 1  # it grows


def test_a_run_that_breaks_off_leaves_its_curve(published):
    with pytest.raises(FloatingPointError), live.Curve(alt="It breaks.") as curve:
        curve(ROWS[0])
        raise FloatingPointError
    assert published[-1][-1] is True


def test_nothing_trained_nothing_drawn(published, monkeypatch, capsys):
    with live.Curve(alt="Nothing."):
        pass
    assert not published
    monkeypatch.delitem(sys.modules, "IPython")
    with live.Curve(alt="It falls.") as curve:
        curve(ROWS[0])
    assert capsys.readouterr().out == "It falls.\n" and not published


def test_a_curve_says_what_is_seen():
    with pytest.raises(ValueError, match="expected an alt that says what is seen"):
        live.Curve(alt=" ")
