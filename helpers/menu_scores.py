"""How often a menu chatbot is right: rates by kind of request, as a table and a figure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from helpers import plotting
from helpers.menu_tasks import MIXTURE, MenuTask
from helpers.replies import fault
from helpers.sft import Rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "score", "table"]

COMPLETE = re.compile(r"(?:[요죠]|니다)[.!?]$")


def score(tasks: Sequence[MenuTask], replies: Sequence[str]) -> dict[str, Rate]:
    """Return rates: of each kind, of "complete" sentences, and of "Korean" alone.

    Raises ValueError if there is not one reply for each task.
    """
    if len(tasks) != len(replies) or not replies:
        raise ValueError(
            f"got {len(replies)} replies to {len(tasks)} tasks, expected one each"
        )
    faults = [fault(one.example, reply) for one, reply in zip(tasks, replies)]
    found, n = {}, len(replies)
    for kind in MIXTURE:
        some = [not bad for one, bad in zip(tasks, faults) if one.kind == kind]
        if some:
            found[kind] = Rate(sum(some), len(some))
    whole = sum(bool(COMPLETE.search(text.strip())) for text in replies)
    korean = sum(bad != "it is not in Korean" for bad in faults)
    return found | {"complete": Rate(whole, n), "Korean": Rate(korean, n)}


def table(scores: Mapping[str, Mapping[str, Rate]]) -> str:
    """Return scores as text: a row for each model, a column for each rate.

    >>> print(table({"bot": {"dish": Rate(9, 10)}}))
                     dish
    bot                   0.90 0.60-0.98
    """
    kinds = list(next(iter(scores.values())))
    head = " " * 17 + "".join(f"{kind:>15}" for kind in kinds)
    rows = [f"{name:17}" + "".join(f"{str(rates[kind]):>15}" for kind in kinds)
            for name, rates in scores.items()]
    return "\n".join([head, *rows])


def figure(scores: Mapping[str, Mapping[str, Rate]]) -> Figure:
    """Draw the rates of each model beside each other, with their 95% intervals."""
    fig, axes = plotting.figure(cols=len(scores), size=(2.8 * len(scores), 2.6))
    for (name, rates), ax in zip(scores.items(), axes):
        kinds = [kind for kind in MIXTURE if kind in rates]
        shares = {kind: rates[kind].share for kind in kinds}
        ends = {kind: rates[kind].interval for kind in kinds}
        plotting.bars(
            shares, intervals=ends, xlabel="share that is right", ylabel="", title=name, ax=ax
        )
        ax.set_xlim(0, 1.02)
    return fig
