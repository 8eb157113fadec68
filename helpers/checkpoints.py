"""Checkpoints of a training run: whole, or named and passed over.

A trainer writes a checkpoint as a folder of several files. Only when all are there is
`complete.json` added, with the size of each and the settings of the run, so that a
folder cut short by a crash, a full disk or a broken copy is known.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["check_settings", "fault", "find", "last_complete", "mark_complete"]
__all__ += ["read_state", "remove"]

COMPLETE = "complete.json"


def mark_complete(place: Path, *, settings: dict[str, Any]) -> None:
    """Say in a checkpoint that it is whole, and which run it belongs to."""
    files = [f for f in place.rglob("*") if f.is_file() and f.name != COMPLETE]
    sizes = {f.relative_to(place).as_posix(): f.stat().st_size for f in files}
    partial = place / f"{COMPLETE}.partial"
    partial.write_text(json.dumps({"bytes": sizes, "settings": settings}, indent=1))
    os.replace(partial, place / COMPLETE)


def fault(place: Path) -> str:
    """Say what a checkpoint lacks; "" if it is whole.

    >>> fault(Path("nowhere"))
    'it has no complete.json'
    """
    try:
        sizes = json.loads((place / COMPLETE).read_text("utf-8"))["bytes"]
    except FileNotFoundError:
        return f"it has no {COMPLETE}"
    except (ValueError, KeyError, TypeError):
        return f"its {COMPLETE} cannot be read"
    for name, size in sizes.items():
        file = place / name
        found = file.stat().st_size if file.is_file() else 0
        if found != size:
            return f"{name} has {found:,} of {size:,} bytes"
    return ""


def find(folder: str | Path) -> list[Path]:
    """Return the folders checkpoint-N in a folder, the last step first."""
    named = [p for p in Path(folder).glob("checkpoint-*") if p.is_dir()]
    number = {p: p.name.removeprefix("checkpoint-") for p in named}
    return sorted(
        (p for p in named if number[p].isdigit()), key=lambda p: -int(number[p])
    )


def remove(places: Iterable[Path]) -> None:
    """Remove checkpoints, their mark first: half removed, none passes for whole."""
    for place in places:
        (place / COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(place)


def last_complete(folder: str | Path) -> tuple[Path | None, dict[Path, str]]:
    """Return the last whole checkpoint in a folder, and what later ones lack."""
    faults: dict[Path, str] = {}
    for place in find(folder):
        if not (lacking := fault(place)):
            return place, faults
        faults[place] = lacking
    return None, faults


def check_settings(place: Path, settings: dict[str, Any]) -> None:
    """Raise ValueError if a checkpoint's run had other settings, naming these."""
    before = json.loads((place / COMPLETE).read_text("utf-8"))["settings"]
    names = [n for n in {**before, **settings} if before.get(n) != settings.get(n)]
    if names:
        was = ", ".join(f"{n}={before.get(n)!r}" for n in names)
        now = ", ".join(f"{n}={settings.get(n)!r}" for n in names)
        raise ValueError(
            f"{place} belongs to a run with {was}, but this one has {now}: go on with "
            "the same settings, begin anew with resume=False, or use another output_dir"
        )


def read_state(place: Path) -> dict[str, Any]:
    """Return the trainer's own state: global_step, max_steps, log_history, ..."""
    return json.loads((place / "trainer_state.json").read_text("utf-8"))
