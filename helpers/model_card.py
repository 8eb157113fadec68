"""A model card made from a run: what the model is, what it learned, what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["write_model_card"]


def write_model_card(
    folder: str | Path,
    *,
    name: str,
    about: str,
    settings: Mapping[str, Any],
    figures: Mapping[str, Any],
    limits: Sequence[str],
    base: str,
    language: Sequence[str] = ("ko",),
    license: str = "cc0-1.0",
) -> Path:
    """Write README.md into a model's folder, with the front matter that hubs read.

    Values of `settings` and `figures` are written as str() gives them. Raises ValueError
    for a card without figures or limits: it would promise more than it knows.

    >>> write_model_card("x", name="Bot", about="", settings={}, figures={}, limits=[],
    ...                  base="tiny-tale")
    Traceback (most recent call last):
        ...
    ValueError: a model card needs figures and limits, got 0 and 0: measure it first
    """
    if not figures or not limits:
        found = f"{len(figures)} and {len(limits)}"
        raise ValueError(f"a model card needs figures and limits, got {found}: measure it first")
    lines = ["---", f"license: {license}", f"language: [{', '.join(language)}]"]
    lines += [f"base_model: {base}", "---", "", f"# {name}", "", about, ""]
    for title, rows in (("Made from", settings), ("Measured", figures)):
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        lines += [f"| {key} | {_cell(value)} |" for key, value in rows.items()] + [""]
    lines += ["## Limits", "", *(f"- {one}" for one in limits), ""]
    path = Path(folder) / "README.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", r"\|")
