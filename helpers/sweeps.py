"""Sum up the rows of generation.sweep: one line for each value of the setting.

Every measure comes with a 95% interval: Wilson's for the share of draws that pass,
a bootstrap over draws for what one text has (repetition, words, nats), and over
prompts for what several draws of one prompt have together (distinct-2, Jaccard).
Greedy draws of a prompt are copies of one text, so they count once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpers import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MEASURES", "Estimate", "checklist", "curve", "describe", "figure"]
__all__ += ["summary", "table"]

Row = Mapping[str, Any]

MEASURES = {
    "passes": "share of draws that pass the verifier",
    "distinct-2": "share of different word pairs among a prompt's draws",
    "Jaccard": "share of words that two draws of a prompt have in common",
    "repeats": "share of 4-word runs that a text had before",
    "words": "words a draw",
    "nats": "mean -log p per token under the model itself, at T = 1",
}


@dataclass(frozen=True)
class Estimate:
    """A measured value and the ends of its 95% interval."""

    value: float
    low: float
    high: float


def summary(
    rows: Sequence[Row], *, setting: str, judge: Callable[[Row], Mapping[str, bool]]
) -> dict[float, dict[str, Estimate]]:
    """Return the `MEASURES` at each value of `setting`, in the order of the rows.

    `judge` maps a row to its checks, with "all" for all of them, as tales.verify_tale
    does. Raises KeyError for a setting that the rows lack, and ValueError where a
    prompt has only one draw.
    """
    found = {}
    for value, some in _by_value(rows, setting).items():
        prompts = dict.fromkeys(row["prompt"] for row in some)
        groups = [[r["text"] for r in some if r["prompt"] == p] for p in prompts]
        trials = _trials(some)
        texts = [row["text"] for row in trials]
        good, n = sum(bool(judge(row)["all"]) for row in trials), len(trials)
        found[value] = {
            "passes": Estimate(good / n, *metrics.wilson_interval(good, n)),
            "distinct-2": _mean(metrics.distinct_n(group) for group in groups),
            "Jaccard": _mean(metrics.mean_jaccard(group) for group in groups),
            "repeats": _mean(metrics.repetition(text) for text in texts),
            "words": _mean(len(metrics.words(text)) for text in texts),
            "nats": _mean(row["nats"] for row in trials),
        }
    return found


def table(found: Mapping[float, Mapping[str, Estimate]], *, setting: str) -> str:
    """Return a summary as text: a line for each value, a column for each measure.

    The share that passes comes with its interval.

    >>> some = {0.7: {"passes": Estimate(0.9, 0.8, 0.96), "words": Estimate(98, 9, 99)}}
    >>> print(table(some, setting="temperature"))
    temperature  passes            words
            0.7    0.90 0.80-0.96   98.0
    """
    setting, labels = _column(setting, found)
    header, lines = "", []
    for label, measures in zip(labels, found.values()):
        header, line = setting, label
        for name, one in measures.items():
            if name == "passes":
                header += f"{name:>8}" + 10 * " "
                line += f"{one.value:8.2f} {one.low:.2f}-{one.high:.2f}"
            else:
                width = len(name) + 2
                header += name.rjust(width)
                line += f"{one.value:{width}.{1 if name == 'words' else 2}f}"
        lines.append(line)
    return "\n".join([header, *lines])


def checklist(
    rows: Sequence[Row], *, setting: str, judge: Callable[[Row], Mapping[str, bool]]
) -> str:
    """Return as text how many texts keep each check, a line for each value.

    `judge` is that of `summary`. Raises KeyError for a setting that the rows lack.

    >>> rows = [{"T": 0.7, "prompt": i, "text": text} for i, text in enumerate("ab")]
    >>> print(checklist(rows, setting="T", judge=lambda row: {"all": row["text"] < "b"}))
      T  texts  all
    0.7      2    1
    """
    groups = {value: _trials(some) for value, some in _by_value(rows, setting).items()}
    setting, labels = _column(setting, groups)
    header, lines = "", []
    for label, some in zip(labels, groups.values()):
        judged = [judge(row) for row in some]
        header, line = f"{setting}  texts", f"{label}{len(some):7}"
        for name in judged[0]:
            header += f"  {name}"
            line += f"{sum(bool(one[name]) for one in judged):{len(name) + 2}}"
        lines.append(line)
    return "\n".join([header, *lines])


def curve(
    found: Mapping[float, Mapping[str, Estimate]], measure: str, *, flip: bool = False
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return (values, measured, low, high), as plotting.lines takes them.

    With `flip` a share turns into what is left of 1: 1 - Jaccard is how far two draws
    differ. Raises ValueError for a measure that the summary lacks.
    """
    for value, measures in found.items():
        if measure not in measures:
            names = ", ".join(measures)
            raise ValueError(f"no measure {measure!r} at {value}, expected {names}")
    points = [measures[measure] for measures in found.values()]
    if flip:
        points = [Estimate(1 - p.value, 1 - p.high, 1 - p.low) for p in points]
    columns = zip(*[(p.value, p.low, p.high) for p in points])
    return (list(found), *map(list, columns))


def figure(found: Mapping[float, Mapping[str, Estimate]], *, xlabel: str) -> Figure:
    """Draw sense against variety: what passes, and how much the draws differ."""
    from helpers import plotting

    fig = plotting.lines(_sense_and_variety(found), xlabel=xlabel, ylabel="share")
    fig.axes[0].set_ylim(-0.03, 1.03)  # one scale, so that figures can be compared
    return fig


def describe(found: Mapping[float, Mapping[str, Estimate]], *, xlabel: str) -> str:
    """Return in words what `figure` shows: its alternative text.

    >>> ends = [Estimate(0.9, 0.8, 1.0), Estimate(0.5, 0.4, 0.6)]
    >>> some = {t: {"passes": e, "Jaccard": e} for t, e in zip((0.1, 2), ends)}
    >>> print(describe(some, xlabel="T"))
    Over T, from 0.1 to 2. Makes sense: 0.90 to 0.50. Draws differ (1 - Jaccard): 0.10 to 0.50.
    """
    values = [f"{value:g}" for value in found]
    text = f"Over {xlabel}, from {values[0]} to {values[-1]}."
    for name, (_, shares, *_) in _sense_and_variety(found).items():
        name = " ".join(name.split())
        text += f" {name[0].upper()}{name[1:]}: {shares[0]:.2f} to {shares[-1]:.2f}."
    return text


def _sense_and_variety(
    found: Mapping[float, Mapping[str, Estimate]],
) -> dict[str, tuple[list[float], ...]]:
    return {
        "makes sense": curve(found, "passes"),
        "draws differ\n(1 - Jaccard)": curve(found, "Jaccard", flip=True),
    }


def _by_value(rows: Sequence[Row], setting: str) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[setting], []).append(row)
    return groups


def _trials(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that count as trials: all, or one a prompt if draws are copies.

    Each copy of a greedy text tells what the first one told; counted again, it would
    make an interval too narrow.
    """
    different = {(row["prompt"], row["text"]): row for row in rows}
    prompts = {row["prompt"] for row in rows}
    return list(different.values() if len(different) == len(prompts) else rows)


def _column(title: str, values: Iterable[Any]) -> tuple[str, list[str]]:
    """Return the first column of a table, title and labels, all of one width."""
    labels = [value if isinstance(value, str) else f"{value:g}" for value in values]
    wide = max(map(len, [title, *labels]))
    return title.rjust(wide), [label.rjust(wide) for label in labels]


def _mean(values: Iterable[float]) -> Estimate:
    values = list(values)
    return Estimate(sum(values) / len(values), *metrics.mean_interval(values))
