"""One house style, the figures of the notebooks, and alternative text for each.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers; every
line also has its own marker. Figures are made without pyplot, so nothing appears
until `show(fig, alt="...")`, which puts the picture into the notebook and under it a
sentence that says what is in it.

>>> fig = lines({"model": ([0, 1], [2, 3])}, xlabel="step", ylabel="loss (nats)")
>>> show(fig, alt="The loss rises from 2 to 3.")
The loss rises from 2 to 3.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "MARKERS", "STYLE", "bars", "distributions", "figure"]
__all__ += ["korean_font", "label", "lines", "log_axes", "romanise", "show"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
KOREAN_FONTS = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic")
KOREAN_FONTS += ("Apple SD Gothic Neo", "AppleGothic", "NanumBarunGothic", "UnDotum")
STYLE = {
    "figure.dpi": 100,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}

INITIALS = "g kk n d tt r m b pp s ss  j jj ch k t p h".split(" ")
VOWELS = "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i".split()
FINALS = " k k k n n n t l k m l l l p l m p p t t ng t t k t p t".split(" ")

_said = False  # whether the lack of a Korean font has been mentioned


@lru_cache(maxsize=1)
def korean_font() -> str | None:
    """Return the name of an installed font with Korean letters, or None."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in KOREAN_FONTS if name in installed), None)


def romanise(text: str) -> str:
    """Spell Hangul in Latin letters, syllable by syllable (Revised Romanisation).

    >>> romanise("김치 soup")
    'gimchi soup'
    """
    spelt = []
    for letter in text:
        code = ord(letter) - 0xAC00
        if 0 <= code < 11172:
            initial, rest = divmod(code, 588)
            vowel, final = divmod(rest, 28)
            letter = INITIALS[initial] + VOWELS[vowel] + FINALS[final]
        spelt.append(letter)
    return "".join(spelt)


def label(text: str) -> str:
    """Return `text` as a figure can show it: romanised, said once, without a font."""
    global _said
    text = str(text)
    if not any("\uac00" <= letter <= "\ud7a3" for letter in text) or korean_font():
        return text
    if not _said:
        print(
            "No Korean font is installed, so figures spell Korean in Latin letters: "
            "install NanumGothic (or Noto Sans KR) to see Hangul.",
            file=sys.stderr,
        )
    _said = True
    return romanise(text)


def figure(
    *, rows: int = 1, cols: int = 1, size: tuple[float, float] | None = None, **options
) -> tuple[Figure, Any]:
    """Return (figure, axes) in the house style; `size` in inches, options of subplots.

    `axes` is what matplotlib's `subplots` returns: one Axes, or an array of them.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=COLOURS)
    matplotlib.rcParams["font.family"] = ["DejaVu Sans", korean_font() or "DejaVu Sans"]
    fig = Figure(figsize=size or (6.4, 3.4 * rows), layout="constrained")
    return fig, fig.subplots(rows, cols, **options)


def lines(
    series: Mapping[str, Sequence[Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw lines with intervals, and a legend if there are several.

    `series` maps a name to (x, y) or (x, y, low, high), sequences of one length.
    Draws into `ax` if given. Raises ValueError if the lengths differ.
    """
    fig, ax = (ax.figure, ax) if ax is not None else figure()
    for i, (name, columns) in enumerate(series.items()):
        if len(columns) not in (2, 4) or len({len(c) for c in columns}) != 1:
            raise ValueError(
                f"the line {name!r} has columns of lengths {[len(c) for c in columns]}"
                ", expected (x, y) or (x, y, low, high), all of one length"
            )
        style = {"color": COLOURS[i % 7], "marker": MARKERS[i % 7]}
        ax.plot(columns[0], columns[1], label=label(name), **style)
        if len(columns) == 4:
            x, _, low, high = columns
            ax.fill_between(x, low, high, color=style["color"], alpha=0.18, lw=0)
    ax.set(xlabel=label(xlabel), ylabel=label(ylabel), title=label(title))
    if len(series) > 1:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def log_axes(ax: Axes, axes: str = "xy") -> None:
    """Make the axes named logarithmic, with plain numbers: 5, 10, 20, 50, 100."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    for name in axes:
        getattr(ax, f"set_{name}scale")("log")
        axis = getattr(ax, f"{name}axis")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def bars(
    values: Mapping[str, float],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    intervals: Mapping[str, tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw a bar for each name, with its number or its interval (low, high)."""
    size = (6.4, 1.2 + 0.3 * len(values))
    fig, ax = (ax.figure, ax) if ax is not None else figure(size=size)
    names, lengths = [label(name) for name in values], list(values.values())
    spread = None
    if intervals:
        ends = [(v - intervals[n][0], intervals[n][1] - v) for n, v in values.items()]
        spread = [[max(end[i], 0) for end in ends] for i in (0, 1)]
    rows = range(len(names))
    drawn = ax.barh(rows, lengths, color=COLOURS[0], xerr=spread, capsize=3)
    if not intervals:
        ax.bar_label(drawn, fmt="%.3g", padding=3)
        ax.margins(x=0.1)
    ax.set_yticks(rows, names)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set(xlabel=label(xlabel), ylabel=label(ylabel), title=label(title))
    return fig


def distributions(
    panels: Mapping[str, Sequence[float]],
    names: Sequence[str],
    *,
    xlabel: str = "probability",
    ylabel: str = "next token",
) -> Figure:
    """Draw the same tokens' probabilities side by side, one panel a temperature.

    `panels` maps a title ("T = 0.7") to probabilities in the order of `names`.
    Raises ValueError if a panel has another number of them.
    """
    for title, values in panels.items():
        if len(values) != len(names):
            raise ValueError(
                f"the panel {title!r} has {len(values)} probabilities for "
                f"{len(names)} names, expected one each"
            )
    size = (max(6.4, 1.7 * len(panels)), 1.2 + 0.26 * len(names))
    share = {"sharex": True, "sharey": True, "squeeze": False}
    fig, axes = figure(cols=len(panels), size=size, **share)
    for ax, (title, values) in zip(axes[0], panels.items()):
        ax.barh(range(len(names)), [float(v) for v in values], color=COLOURS[0])
        ax.set_title(label(title))
        ax.grid(visible=False, axis="y")
    ax.set_yticks(range(len(names)), [label(name) for name in names])
    ax.locator_params(axis="x", nbins=3)  # one scale, as far as the likeliest token
    ax.invert_yaxis()
    fig.supxlabel(label(xlabel), fontsize=10)
    fig.supylabel(label(ylabel), fontsize=10)
    return fig


def show(fig: Figure, *, alt: str) -> None:
    """Put a figure into the notebook and its alternative text under it, then close it.

    The text is printed, so that it can be read, heard and searched everywhere:
    JupyterLab shows no other. It is stored with the picture too, where nbconvert's
    classic page and the tests look for it. Outside a notebook only the text appears.
    Raises ValueError if `alt` is empty or an axis has no label.
    """
    if not alt.strip():
        raise ValueError(
            "alt is empty, expected a sentence that says what the figure shows"
        )
    for number, ax in enumerate(fig.axes, start=1):
        for axis in "xy" if ax.axison and not hasattr(ax, "_colorbar") else "":
            shared = getattr(fig, f"get_sup{axis}label")()
            if not (getattr(ax, f"get_{axis}label")() or shared):
                raise ValueError(
                    f"panel {number} of the figure has no label on its {axis} axis: "
                    f'call ax.set_{axis}label("...") with the unit'
                )
    _publish(fig, " ".join(alt.split()))
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(fig)


def _publish(fig: Figure, alt: str) -> None:
    from base64 import b64encode
    from io import BytesIO
    from textwrap import fill

    from matplotlib.text import Text
    from PIL import Image

    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    if shell:
        for text in fig.findobj(Text):
            text.set_text(label(text.get_text()))
        drawn, picture = BytesIO(), BytesIO()
        fig.savefig(drawn, format="png")
        # nothing is transparent: without that channel the notebook is a tenth smaller
        Image.open(drawn).convert("RGB").save(picture, format="png", optimize=True)
        data = {"image/png": b64encode(picture.getvalue()).decode()}
        shell.display_pub.publish(data, metadata={"image/png": {"alt": alt}})
    print(fill(alt, 79))
