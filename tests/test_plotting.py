"""Tests of helpers.plotting: labels, alternative text, colours, Korean."""

import base64
import sys
from types import SimpleNamespace

import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from helpers import plotting

plt.switch_backend("agg")  # no window, and no hook into a notebook


@pytest.fixture
def notebook(monkeypatch):
    """Pretend to be in a notebook, and return the list of what it is shown."""
    import IPython

    shown = []
    publisher = SimpleNamespace(
        publish=lambda data, metadata: shown.append((data, metadata))
    )
    shell = SimpleNamespace(display_pub=publisher)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    return shown


@pytest.fixture
def no_korean_font(monkeypatch):
    monkeypatch.setattr(plotting, "korean_font", lambda: None)
    monkeypatch.setattr(plotting, "_said", False)


def chart(**labels):
    return plotting.lines(
        {"a": ([0, 1, 2], [1, 2, 3]), "b": ([0, 1], [1, 2], [0, 1], [2, 3])},
        **{"xlabel": "temperature", "ylabel": "entropy (nats)", **labels},
    )


def test_a_shown_figure_has_its_alternative_text_under_it(notebook, capsys):
    plotting.show(chart(), alt="Entropy rises\n  with temperature.")
    ((data, metadata),) = notebook
    assert capsys.readouterr().out == "Entropy rises with temperature.\n"
    assert metadata == {"image/png": {"alt": "Entropy rises with temperature."}}
    assert list(data) == ["image/png"]  # with a plain form it would be said twice
    picture = base64.b64decode(data["image/png"])
    assert picture.startswith(b"\x89PNG") and len(picture) < 80_000


def test_the_same_figure_is_the_same_picture(notebook):
    for _ in range(2):
        plotting.show(chart(), alt="Twice the same.")
    assert notebook[0] == notebook[1]


def test_the_text_comes_after_the_picture(monkeypatch, notebook, capsys):
    import IPython

    publisher = SimpleNamespace(publish=lambda data, metadata: print("the picture"))
    shell = SimpleNamespace(display_pub=publisher)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    plotting.show(chart(), alt="Entropy rises.")
    assert capsys.readouterr().out == "the picture\nEntropy rises.\n"


def test_a_long_text_is_broken_into_lines(notebook, capsys):
    alt = "Entropy rises with temperature, from nothing to all that there is. " * 3
    plotting.show(chart(), alt=alt)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 79 and said.split() == alt.split()
    assert notebook[0][1]["image/png"]["alt"] == alt.strip()


def test_outside_a_notebook_the_text_is_printed(capsys):
    plotting.show(chart(), alt="Entropy rises.")
    assert capsys.readouterr().out == "Entropy rises.\n"


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_needs_alternative_text(alt):
    with pytest.raises(ValueError, match="alt is empty, expected a sentence"):
        plotting.show(chart(), alt=alt)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_figure_needs_labels_on_its_axes(axis):
    with pytest.raises(ValueError, match=f"panel 1 .* no label on its {axis} axis"):
        plotting.show(chart(**{f"{axis}label": ""}), alt="No label.")


def test_one_label_may_serve_all_panels(notebook):
    fig, axes = plotting.figure(cols=2)
    axes[0].set_ylabel("loss")
    with pytest.raises(ValueError, match="panel 1 .* x axis"):
        plotting.show(fig, alt="Two panels.")
    fig.supxlabel("step")
    fig.supylabel("loss")
    plotting.show(fig, alt="Two panels.")
    assert len(notebook) == 1


def test_a_figure_of_pyplot_is_closed_after_it_is_shown(notebook):
    fig, ax = plt.subplots()
    ax.set(xlabel="x", ylabel="y")
    plotting.show(fig, alt="Nothing in it.")
    assert not plt.fignum_exists(fig.number)


def test_lines_have_intervals_a_legend_and_a_marker_each():
    ax = chart(title="A title").axes[0]
    assert len(ax.collections) == 1  # the band of b
    assert [line.get_marker() for line in ax.lines] == list(plotting.MARKERS[:2])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert (
        plotting.lines({"a": ([0], [1])}, xlabel="x", ylabel="y").axes[0].get_legend()
        is None
    )


def test_lines_of_two_lengths_are_refused():
    with pytest.raises(
        ValueError, match=r"the line 'a' has columns of lengths \[2, 1\]"
    ):
        plotting.lines({"a": ([0, 1], [1])}, xlabel="x", ylabel="y")


def test_lines_draw_into_a_given_panel():
    fig, axes = plotting.figure(cols=2)
    found = plotting.lines({"a": ([0], [1])}, xlabel="x", ylabel="y", ax=axes[1])
    assert found is fig and not axes[0].lines and axes[1].lines


def test_bars_keep_their_order_and_intervals():
    fig = plotting.bars(
        {"greedy": 0.1, "T = 1": 0.9},
        xlabel="share",
        ylabel="setting",
        intervals={"greedy": (0.0, 0.2), "T = 1": (0.8, 1.0)},
    )
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["greedy", "T = 1"]
    assert [round(b.get_width(), 3) for b in ax.patches] == [0.1, 0.9]
    assert ax.yaxis_inverted() and len(ax.containers) == 2


def test_distributions_share_their_axes():
    fig = plotting.distributions(
        {"T = 0.5": [0.9, 0.1], "T = 2": [0.6, 0.4]}, [" kite", " ball"]
    )
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["T = 0.5", "T = 2"]
    assert {ax.get_xlim() for ax in fig.axes} == {fig.axes[0].get_xlim()}
    assert fig.get_supxlabel() == "probability"
    with pytest.raises(ValueError, match="'T = 1' has 1 probabilities for 2 names"):
        plotting.distributions({"T = 1": [1.0]}, ["a", "b"])


def luminance(colour):
    parts = [
        c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_lines_can_be_told_apart_without_colour():
    assert len(set(plotting.COLOURS)) == len(set(plotting.MARKERS)) == 7
    contrast = [1.05 / (luminance(colour) + 0.05) for colour in plotting.COLOURS]
    assert min(contrast) > 2 and contrast[0] > 4.5
    assert plotting.STYLE["font.size"] >= 10


def test_no_text_leaves_the_picture(notebook):
    fig = chart(title="A title of some length, as they come")
    plotting.show(fig, alt="All of it is seen.")
    width, height = fig.canvas.get_width_height()
    for text in (*fig.axes[0].get_legend().get_texts(), fig.axes[0].xaxis.label):
        box = text.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height


def test_without_a_korean_font_hangul_is_spelt_and_it_is_said_once(
    notebook, no_korean_font, capsys
):
    fig = chart(title="국수 and 밥", xlabel="가격")
    fig.axes[0].text(0, 1, "찌개")
    plotting.show(fig, alt="한글은 여기에 그대로 남는다.")
    out, err = capsys.readouterr()
    assert out == "한글은 여기에 그대로 남는다.\n" and err.count("No Korean font") == 1
    assert fig.axes[0].get_title(loc="left") == "guksu and bap"
    assert fig.axes[0].texts[0].get_text() == "jjigae"
    assert notebook[0][1]["image/png"]["alt"] == out.strip()


def test_with_a_korean_font_hangul_stays(monkeypatch, capsys):
    monkeypatch.setattr(plotting, "korean_font", lambda: "DejaVu Sans")
    assert plotting.label("국수") == "국수"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text, spelt",
    [
        ("비빔밥", "bibimbap"),
        ("떡볶음", "tteokbokeum"),
        ("kite", "kite"),
        ("힣", "hit"),
        ("가", "ga"),
        ("쌀국수 1", "ssalguksu 1"),
    ],
)
def test_romanise(text, spelt):
    assert plotting.romanise(text) == spelt


def test_plain_text_asks_for_no_font(no_korean_font, capsys):
    assert plotting.label("kite") == "kite"
    assert capsys.readouterr().err == ""
    assert "matplotlib" in sys.modules


def test_log_axes_have_plain_numbers():
    fig = plotting.lines({"one": ([4, 300], [1, 2000])}, xlabel="MB", ylabel="rate")
    plotting.log_axes(fig.axes[0])
    fig.canvas.draw()
    for axis, some in (("x", {"5", "10", "200"}), ("y", {"1", "500", "1,000"})):
        labels = getattr(fig.axes[0], f"get_{axis}ticklabels")()
        assert some <= {one.get_text() for one in labels}
        assert getattr(fig.axes[0], f"get_{axis}scale")() == "log"
