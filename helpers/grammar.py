"""Read a grammar of lists and plots from plain text, and expand it.

The files lie in ``data/tales/`` and ``data/README.md`` explains their syntax:
``@list``, ``@@plot``, ``<list>`` (a fresh draw), ``{slot}`` (drawn once and
remembered) and ``[this|that]`` (a choice on the spot).
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Enricher", "Grammar", "LANGUAGES", "Teller", "grammar", "parse", "steps_of"]

FOLDER = Path(__file__).resolve().parents[1] / "data" / "tales"
LANGUAGES = {"en": "english", "ko": "korean"}


def parse(text: str) -> list:
    """Turn one line of grammar into a list of strings and choices.

    >>> parse("the [big|small] {thing}")
    ['the ', ('choice', [['big'], ['small']]), ' ', ('slot', 'thing')]
    """
    stack: list[list[list]] = [[[]]]
    for token in re.findall(r"\[|\]|\||<\w+>|\{\w+\}|[^][|<{]+|.", text):
        if token == "[":
            stack.append([[]])
        elif token == "]" and len(stack) > 1:
            options = stack.pop()
            stack[-1][-1].append(("choice", options))
        elif token == "|" and len(stack) > 1:
            stack[-1].append([])
        elif token[0] == "<" and len(token) > 2:
            stack[-1][-1].append(("list", token[1:-1]))
        elif token[0] == "{" and len(token) > 2:
            stack[-1][-1].append(("slot", token[1:-1]))
        else:
            stack[-1][-1].append(token)
    if len(stack) != 1:
        raise ValueError(f"a '[' is not closed in the grammar line {text!r}: add a ']'.")
    return stack[0][0]


class Enricher:
    """Put synonyms and optional adjectives into the literal words of a line.

    ``synonyms`` lines are groups ("walked|strolled|wandered"); ``modifiers``
    lines name a noun and adjectives for it ("path: narrow|winding"), used
    after an article or possessive two times in three.  Lines of fewer than
    four words are items of a list and stay as they are.

    >>> Enricher(["walked|went"], ["path: old"]).enrich("she walked up the path")
    'she [walked|went] up the [|old ]path'
    """

    def __init__(self, synonyms: list[str], modifiers: list[str]):
        self.groups = {w: g for g in synonyms for w in g.split("|")}
        self.adjectives = {}
        for line in modifiers:
            noun, _, options = line.partition(": ")
            count = len(options.split("|"))
            blanks = "|" * max(1, count // 2)
            self.adjectives[noun] = f"[{blanks}{options.replace('|', ' |')} ]"

    def enrich(self, line: str) -> str:
        if len(line.split()) < 4:
            return line

        def swap(match: re.Match) -> str:
            word = match[0]
            before = line[: match.start()]
            if word in self.adjectives and re.search(r"(the|\ba|his|her|\{his\}) $", before):
                return self.adjectives[word] + word
            return f"[{self.groups[word]}]" if word in self.groups else word

        return re.sub(r"<\w+>|\{\w+\}|[\w'-]+", swap, line)


@dataclass
class Grammar:
    """Lists and plots of one language; items are parsed lines."""

    lists: dict[str, list[str]]
    plots: dict[str, list[str]]

    @classmethod
    def read(cls, language: str, folder: Path = FOLDER) -> "Grammar":
        lists: dict[str, list[str]] = {}
        plots: dict[str, list[str]] = {}
        for path in sorted(folder.glob(f"{LANGUAGES[language]}_*.txt")):
            target: list[str] | None = None
            for line in path.read_text(encoding="utf-8").splitlines():
                line = line.strip()
                if line.startswith("@@"):
                    target = plots.setdefault(line[2:].split()[0], [])
                elif line.startswith("@"):
                    target = lists.setdefault(line[1:].split()[0], [])
                elif line and not line.startswith("#"):
                    if target is None:
                        raise ValueError(f"{path.name}: {line!r} stands before any @list.")
                    target.append(line)
        grammar = cls(lists, plots)
        swap = Enricher(lists.pop("synonyms", []), lists.pop("modifiers", []))
        for lines in [*lists.values(), *plots.values()]:
            lines[:] = [swap.enrich(line) for line in lines]
        return grammar


@lru_cache(maxsize=None)
def grammar(language: str) -> Grammar:
    """Read and keep the grammar of a language ("en" or "ko")."""
    if language not in LANGUAGES:
        raise ValueError(f"language is {language!r}; expected one of {sorted(LANGUAGES)}.")
    return Grammar.read(language)


parsed = lru_cache(maxsize=None)(parse)


class Teller:
    """Expand lines of grammar, remembering slots and counting choices."""

    def __init__(self, rng: random.Random, language: str):
        self.rng, self.language = rng, language
        self.lists = grammar(language).lists
        self.slots: dict[str, str] = {}
        self.nats = 0.0

    def pick(self, options: list):
        self.nats += math.log(len(options))
        return options[self.rng.randrange(len(options))]

    def expand(self, text: str) -> str:
        return "".join(self._part(part) for part in parsed(text))

    def _part(self, part) -> str:
        if isinstance(part, str):
            return part
        kind, value = part
        if kind == "choice":
            return "".join(self._part(p) for p in self.pick(value))
        if kind == "list":
            return self.expand(self.pick(self.items(value)))
        if value not in self.slots:
            self.slots[value] = self._fill(value)
        return self.slots[value]

    def items(self, name: str) -> list[str]:
        if name not in self.lists:
            raise ValueError(f"the grammar has no list @{name}; add it to data/tales/.")
        return self.lists[name]

    def _fill(self, slot: str) -> str:
        base = slot.rstrip("0123456789")
        taken = {v for k, v in self.slots.items() if k.rstrip("0123456789") == base}
        while True:
            value = self.expand(self.pick(self.items(base)))
            if value not in taken:
                return value


def steps_of(plot: list[str], teller: Teller) -> list[str]:
    """Choose and order the steps of a plot (marks: ? optional, ~ shuffled, *)."""
    steps: list[str] = []
    loose: list[str] = []
    for line in [*plot, ""]:
        if line.startswith("~"):
            loose.append(line[1:].strip())
            continue
        while loose:
            teller.nats += math.log(len(loose))
            steps.append(loose.pop(teller.rng.randrange(len(loose))))
        if line.startswith("*"):
            steps += ["<interlude>"] if teller.pick([0, 1]) else []
        elif line.startswith("?"):
            steps += [line[1:].strip()] if teller.pick([0, 1]) else []
        elif line:
            steps.append(line)
    return steps
