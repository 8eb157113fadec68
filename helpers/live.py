"""A loss curve that grows while a model is trained.

>>> with Curve(alt="The loss falls from 2 to 1.") as curve:
...     curve({"step": 1, "loss": 2.0})
...     curve({"step": 2, "loss": 1.0, "heldout": 1.5})
The loss falls from 2 to 1.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from textwrap import fill
from typing import Any
from uuid import uuid4

from helpers import plotting

__all__ = ["Curve"]

NAMES = {"loss": "training", "heldout": "held out"}


class Curve:
    """Redraw one figure in place every few steps: give it to a trainer as `on_step`.

    In a notebook the figure is there from the first step on; at the end it holds all,
    and `alt` is printed under it. Elsewhere only `alt` appears.
    """

    def __init__(
        self, *, alt: str, every: int = 10, ylabel: str = "loss (nats a token)"
    ) -> None:
        """Draw every so many steps. Raises ValueError for an empty `alt`."""
        if not alt.strip() or every < 1:
            raise ValueError("expected an alt that says what is seen, and every >= 1")
        self.alt, self.every, self.ylabel = " ".join(alt.split()), every, ylabel
        self.rows: list[Mapping[str, float]] = []
        self._name = f"curve-{uuid4()}"

    def __enter__(self) -> Curve:
        return self

    def __call__(self, row: Mapping[str, float]) -> None:
        """Take a row of the history: step, loss, and heldout where it was measured."""
        self.rows.append(row)
        if _shell() and len(self.rows) % self.every == 1 % self.every:
            self._draw(update=len(self.rows) > 1)

    def __exit__(self, *_: object) -> None:
        if _shell() and self.rows:
            self._draw(update=True)
        if self.rows or not _shell():
            print(fill(self.alt, 79))

    def _draw(self, *, update: bool) -> None:
        series = {}
        for key, name in NAMES.items():
            if some := [row for row in self.rows if key in row]:
                series[name] = [r["step"] for r in some], [r[key] for r in some]
        fig = plotting.lines(series, xlabel="step", ylabel=self.ylabel)
        for line in fig.axes[0].lines[:1]:
            line.set(marker="", alpha=0.6)  # a marker at every step would hide it
        _shell().display_pub.publish(
            {"image/png": _png(fig)},
            {"image/png": {"alt": self.alt}},
            transient={"display_id": self._name},
            update=update,
        )


def _shell() -> Any:
    return sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()


def _png(fig: Any) -> str:
    from base64 import b64encode
    from io import BytesIO

    picture = BytesIO()
    fig.savefig(picture, format="png", metadata={"Software": None})
    return b64encode(picture.getvalue()).decode()
