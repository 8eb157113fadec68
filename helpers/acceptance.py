"""Home acceptance test: judge any GGUF model on your own machine, in three minutes.

It loads the file with llama.cpp and tries what a person who wants to talk to it would
run into: what it is and whose, how it is to be spoken to, whether it ends, repeats
itself, forgets, and what it costs. The nine points of a demo gate are among them
(source A); judging small models at home is source C's idea.

Run it:  python -m helpers.acceptance model.gguf --json card.json --html card.html

The exit status is 0 if no check failed, 1 if one did, 2 if the file cannot be judged.

>>> loads = Check("loads", "passed", "6.6 MB, loaded in 0.02 s", {"file_mb": 6.6})
>>> print(Scorecard("tiny.gguf", (loads,), 9.0))
tiny.gguf
passed   loads             6.6 MB, loaded in 0.02 s
1 passed, 0 failed, 0 skipped in 9 s; demo gate: 1 of 1
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from helpers import acceptance_file as file
from helpers import acceptance_speed as speed
from helpers import acceptance_talk as talk
from helpers.acceptance_trial import Candidate, Finding, open_candidate

__all__ = ["CHECKS", "Check", "DEMO_GATE", "STATUSES", "Scorecard", "judge"]

STATUSES = {True: "passed", False: "failed", None: "skipped"}
CHECKS = {  # names of findings, and what finds them; the fastest threads come early
    ("loads",): file.check_file,
    ("model",): file.check_metadata,
    ("licence",): file.check_licence,
    ("chat format",): file.check_format,
    ("template",): file.check_template,
    ("Korean and emoji",): file.check_round_trip,
    ("memory",): speed.check_memory,
    ("threads",): speed.check_threads,
    ("speed",): speed.check_speed,
    ("GPU",): speed.check_gpu,
    ("greedy",): talk.check_greedy,
    ("temperatures",): talk.check_temperatures,
    ("five prompts", "stops", "first token"): talk.check_conversation,
    ("many turns", "trimming"): talk.check_long_chat,
    ("long context",): talk.check_needle,
}
DEMO_GATE = ("loads", "temperatures", "trimming", "stops", "GPU", "threads")
DEMO_GATE += ("memory", "speed", "five prompts")
STYLE = """
:root { color-scheme: light; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
"""


@dataclass(frozen=True)
class Check:
    """One line of a scorecard."""

    name: str
    status: str  # one of STATUSES
    found: str  # one line, with what was measured
    figures: dict[str, Any]

    def __str__(self) -> str:
        options = {"break_long_words": False, "break_on_hyphens": False}
        options |= {"width": 100, "subsequent_indent": " " * 27}
        return textwrap.fill(f"{self.status:8} {self.name:17} {self.found}", **options)


@dataclass(frozen=True)
class Scorecard:
    """What was found of a model; in a notebook, a table."""

    file: str
    checks: tuple[Check, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(check.status != "failed" for check in self.checks)

    @property
    def summary(self) -> str:
        """How many checks have which status, in how many seconds."""
        counts = Counter(check.status for check in self.checks)
        parts = ", ".join(f"{counts[status]} {status}" for status in STATUSES.values())
        gate = [one for one in self.checks if one.name in DEMO_GATE]
        stood = sum(one.status != "failed" for one in gate)
        return f"{parts} in {self.seconds:.0f} s; demo gate: {stood} of {len(gate)}"

    def __str__(self) -> str:
        return "\n".join([self.file, *map(str, self.checks), self.summary])

    def __getitem__(self, name: str) -> Check:
        return {check.name: check for check in self.checks}[name]

    def to_json(self) -> str:
        """Return all of it as JSON."""
        facts = {**asdict(self), "ok": self.ok, "demo_gate": DEMO_GATE}
        return json.dumps(facts, ensure_ascii=False, indent=1)

    def to_html(self) -> str:
        """Return a page that needs no other file."""
        title = f"Acceptance test of {escape(self.file)}"
        head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        view = '<meta name="viewport" content="width=device-width">'
        page = f"<head>{head}{view}</head><body>{self._repr_html_()}</body>"
        return f'<!DOCTYPE html>\n<html lang="en">{page}</html>\n'

    def _repr_html_(self) -> str:
        colours = dict(zip(STATUSES.values(), ("#1a7f37", "#d1242f", "#6e7781")))
        cell = 'style="text-align:left;padding:.3em .8em;vertical-align:top"'
        rows = ["".join(f"<th {cell}>{h}</th>" for h in ("check", "status", "found"))]
        for check in self.checks:
            mark = f'<b style="color:{colours[check.status]}">{check.status}</b>'
            texts = (escape(check.name), mark, escape(check.found))
            rows.append("".join(f"<td {cell}>{text}</td>" for text in texts))
        table = "".join(f"<tr>{row}</tr>\n" for row in rows)
        title = f"<h2>{escape(self.file)}</h2>\n<p>{escape(self.summary)}</p>\n"
        return f'{title}<table style="border-collapse:collapse">\n{table}</table>'


def judge(
    path: str | Path,
    *,
    family: str | None = None,
    n_ctx: int | None = None,
    seconds: float = 120.0,
    heard: Callable[[Check], object] | None = None,
) -> Scorecard:
    """Run all checks on a GGUF file; each is given to `heard` as soon as it is done.

    A fast model takes seconds; a slow one is given shorter tasks, so that all take
    about `seconds`. `family`, `n_ctx` and what is raised: see `open_candidate`.
    """
    start = time.perf_counter()
    model = open_candidate(path, family=family, n_ctx=n_ctx, seconds=seconds)
    checks: list[Check] = []
    try:
        for names, find in CHECKS.items():
            for name, finding in zip(names, _find(find, model, len(names))):
                passed, found, figures = finding
                checks.append(Check(name, STATUSES[passed], _tidy(found), figures))
                if heard:
                    heard(checks[-1])
    finally:
        model.llm.close()
    return Scorecard(_tidy(Path(path).name), tuple(checks), time.perf_counter() - start)


def _find(
    find: Callable[[Candidate], list[Finding]], model: Candidate, n: int
) -> list[Finding]:
    """Run a check; one that the model breaks is failed, and the error says how.

    TypeError and LookupError, too: a file may hold anything under any name.
    """
    try:
        return find(model)
    except (ValueError, RuntimeError, TypeError, LookupError) as error:
        return [(False, str(error), {})] * n


def _tidy(text: str) -> str:
    """Return a text of a stranger's on one line, without anything that is no sign."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= 300 else f"{line[:300]}..."


def main(argv: Sequence[str] | None = None) -> int:
    """Judge a file and print its scorecard; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--json", metavar="FILE", help="write the scorecard there, too")
    parser.add_argument("--html", metavar="FILE", help="and as a page")
    parser.add_argument("--family", help="chat format, such as chatml; plain for none")
    parser.add_argument("--n-ctx", type=int, help="context, in tokens")
    parser.add_argument("--seconds", type=float, default=120, help="to take, about")
    args = parser.parse_args(argv)
    sys.stdout.reconfigure(errors="replace")  # a terminal may lack Korean
    options = {"family": args.family, "n_ctx": args.n_ctx, "seconds": args.seconds}
    try:
        card = judge(args.model, heard=lambda check: print(check, flush=True), **options)
        print(card.summary)
        for name, text in ((args.json, card.to_json), (args.html, card.to_html)):
            if name:
                Path(name).write_text(text(), encoding="utf-8")
    except (ValueError, OSError, ImportError) as error:
        print(_tidy(str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if card.ok else 1


if __name__ == "__main__":
    sys.exit(main())
