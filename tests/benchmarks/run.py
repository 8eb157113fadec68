"""Measure what the course promises and print one table: figure, ours, reference, ratio.

Every `bench_*.py` beside this file is read, and every function `bench_*` in it is
called; it returns or yields `Figure`s. The exit status is 1 if a figure misses its
target.

Run it:  make bench          or one part:  python tests/benchmarks/run.py generation
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]


@dataclass
class Figure:
    """One line of the table. `target` bounds the ratio, or ours where there is none."""

    name: str
    ours: float
    reference: float | None = None
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        """Return ours / reference."""
        return self.ours / self.reference if self.reference else None

    @property
    def met(self) -> bool:
        """Say whether the target is met; True without one."""
        value = self.ours if self.ratio is None else self.ratio
        low = -float("inf") if self.at_least is None else self.at_least
        return low <= value <= (self.at_most if self.at_most is not None else value)

    def cells(self) -> list[str]:
        """Return the columns of the table."""
        reference = "" if self.reference is None else f"{self.reference:,.4g}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        target = ", ".join(f"{word} {b:g}" for word, b in bounds if b is not None)
        verdict = ("yes" if self.met else "NO") if target else ""
        name = f"{self.name} ({self.unit})" if self.unit else self.name
        return [name, f"{self.ours:,.4g}", reference, ratio, target, verdict]


def seconds(*functions: Callable[[], object], repeats: int = 3) -> list[float]:
    """Return the shortest run of each, in seconds; they take turns `repeats` times.

    Taking turns, two functions meet the same load of the machine.
    """
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for taken, function in zip(times, functions):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def figures(parts: list[str]) -> Iterator[Figure]:
    """Run the benchmarks of the parts named ("generation"), or of all."""
    found = {path.stem.removeprefix("bench_"): path for path in HERE.glob("bench_*.py")}
    if unknown := set(parts) - set(found):
        names = ", ".join(sorted(found))
        raise SystemExit(
            f"no benchmark named {unknown.pop()!r}, expected one of {names}"
        )
    for part in parts or sorted(found):
        module = import_module(found[part].stem)
        for name, function in list(vars(module).items()):
            if name.startswith("bench_") and callable(function):
                print(f"{part}: {name} ...", file=sys.stderr, flush=True)
                for figure in function():
                    print(f"  {figure.name}: {figure.ours:,.4g}", file=sys.stderr, flush=True)
                    yield figure


def main(parts: list[str]) -> int:
    """Print the table; return 1 if a target is missed."""
    rows = list(figures(parts))
    table = [["figure", "ours", "reference", "ratio", "target", "met"]]
    table += [row.cells() for row in rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    for cells in table:
        line = [cells[0].ljust(widths[0])]
        line += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        print("  ".join(line).rstrip())
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.modules.setdefault("run", sys.modules["__main__"])  # for the parts' import
    sys.exit(main(sys.argv[1:]))
