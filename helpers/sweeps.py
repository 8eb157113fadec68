"""Sum up the rows of generation.sweep: one line for each value of the setting.

Every measure comes with a 95% interval: Wilson's for the share of draws that pass,
a bootstrap over draws for what one text has (repetition, words, nats), and over
prompts for what several draws of one prompt have together (distinct-2, Jaccard).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpers import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MEASURES", "Estimate", "curve", "figure", "summary", "table"]

MEASURES = {
    "passes": "share of draws that pass the verifier",
    "distinct-2": "share of different word pairs among a prompt's draws",
    "Jaccard": "share of words that two draws of a prompt have in common",
    "repeats": "share of 4-word runs that a text had before",
    "words": "words a draw",
    "nats": "-log p per token under the model itself",
}


@dataclass(frozen=True)
class Estimate:
    """A measured value and the ends of its 95% interval."""

    value: float
    low: float
    high: float


def summary(
    rows: Sequence[Mapping[str, Any]],
    *,
    setting: str,
    passes: Callable[[Mapping[str, Any]], bool],
) -> dict[float, dict[str, Estimate]]:
    """Return the `MEASURES` at each value of `setting`, in the order of the rows.

    `passes` judges one row. Raises KeyError for a setting that the rows lack, and
    ValueError where a prompt has only one draw.
    """
    found = {}
    for value in dict.fromkeys(row[setting] for row in rows):
        some = [row for row in rows if row[setting] == value]
        texts = [row["text"] for row in some]
        prompts = dict.fromkeys(row["prompt"] for row in some)
        groups = [[r["text"] for r in some if r["prompt"] == p] for p in prompts]
        good = sum(bool(passes(row)) for row in some)
        found[value] = {
            "passes": Estimate(
                good / len(some), *metrics.wilson_interval(good, len(some))
            ),
            "distinct-2": _mean(metrics.distinct_n(group) for group in groups),
            "Jaccard": _mean(metrics.mean_jaccard(group) for group in groups),
            "repeats": _mean(metrics.repetition(text) for text in texts),
            "words": _mean(len(metrics.words(text)) for text in texts),
            "nats": _mean(row["nats"] for row in some),
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
    labels = [value if isinstance(value, str) else f"{value:g}" for value in found]
    wide = max(map(len, [setting, *labels]))
    header, lines = "", []
    for label, measures in zip(labels, found.values()):
        header, line = f"{setting:>{wide}}", f"{label:>{wide}}"
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

    series = {
        "makes sense": curve(found, "passes"),
        "draws differ\n(1 - Jaccard)": curve(found, "Jaccard", flip=True),
        "distinct-2": curve(found, "distinct-2"),
    }
    return plotting.lines(series, xlabel=xlabel, ylabel="share")


def _mean(values: Iterable[float]) -> Estimate:
    values = list(values)
    return Estimate(sum(values) / len(values), *metrics.mean_interval(values))
