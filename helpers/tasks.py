"""Make few-shot task documents, and score answers to them.

A task is a rule that turns an input into an output; a document shows the rule
by examples and never names it.  The embedded model saw thousands of such
documents in pretraining, so in-context learning is real and can be measured.
Held-out prompts use label words, patterns, sentences and formats that were
never seen together in training.

The families of rules stand in `helpers.rules`.

Run it:  python -m helpers.tasks --family label --shots 6
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass

from helpers.rules import FAMILIES, RULES, make_task, words

__all__ = [
    "FAMILIES", "FORMATS", "HELDOUT_FORMATS", "Prompt", "TRAINED", "is_correct",
    "make_document", "make_format", "make_prompt", "make_task",
]

FORMATS: dict[str, str] = RULES["formats"]  # one example; {x} input, {y} output
HELDOUT_FORMATS = tuple(RULES["heldout_formats"])


@dataclass(frozen=True)
class Prompt:
    """A few-shot prompt, its expected answer, and how it was made."""

    text: str
    answer: str
    family: str
    shots: int
    format: str


# Shares of the families among the pretraining documents.
TRAINED = {"pick": 5, "rewrite": 5, "codes": 7, "label": 7, "known": 3, "place": 2,
           "copy": 4, "ko_pick": 4, "ko_label": 3}


def make_title(rng: random.Random) -> str:
    """Choose a title for a line, or any word as a title: "Output", "Kite".

    A model that had met 46 titles only did well in formats with a new sign between
    input and output, and badly in those with new titles. Made-up words ("Nabo") mended
    that, but then stories, too, had words that do not exist.
    """
    title = rng.choice(RULES["titles"])
    while rng.random() < 0.5 or title in ("Word", "Tag"):  # held out
        kind = rng.choice(("thing", "animal", "place", "colour", "worker", "glad", "girl"))
        title = rng.choice(words(kind)).capitalize()
    return title


def make_format(rng: random.Random) -> str:
    """Choose the format of a training document: a known one, or one made up.

    Made-up formats have a separator of one to three marks, or two titles, so that
    a model has met many formats before it is tested on a new one.
    """
    kind = rng.random()
    if kind < 0.25:
        return FORMATS[rng.choice([f for f in FORMATS if f not in HELDOUT_FORMATS])]
    if kind < 0.55:
        marks = "=>"
        while marks == "=>":  # held out
            marks = "".join(rng.choices(RULES["marks"], k=rng.choice((1, 1, 2, 2, 3))))
        return rng.choice(("{x} %s {y}\n", "{x} %s {y}\n", "{x}%s {y}\n")) % marks
    one = two = make_title(rng)
    while two == one:
        two = make_title(rng)
    return f"{one}: {{x}}\n{two}: {{y}}\n" + rng.choice(("", "\n"))


def make_document(rng: random.Random, *, shots: int | None = None) -> str:
    """Write one training document: examples of one rule in one format."""
    family = rng.choices(list(TRAINED), weights=list(TRAINED.values()))[0]
    task = make_task(rng, family)
    form = make_format(rng)
    long = family in ("pick", "copy", "ko_pick", "ko_label")
    shots = shots or rng.randint(4, 12 if long else 24)
    pairs = [task.draw(rng) for _ in range(shots)]
    return "".join(form.format(x=x, y=y) for x, y in pairs).rstrip("\n")


def make_prompt(rng: random.Random, family: str, *, shots: int,
                format: str | None = None, split: str = "heldout") -> Prompt:
    """Write a prompt of ``shots`` examples and a query whose answer is known.

    The query's input never stands among the examples, but for ``codes``, where
    finding the same input again is the task.

    >>> make_prompt(random.Random(0), "count", shots=0, format="arrow").text[-3:]
    ' ->'
    """
    task = make_task(rng, family, split=split)
    name = format or (rng.choice(HELDOUT_FORMATS) if split == "heldout" else "arrow")
    if name not in FORMATS:
        raise ValueError(f"format is {name!r}; expected one of {sorted(FORMATS)}.")
    pairs = [task.draw(rng) for _ in range(shots)]
    seen = {x for x, _ in pairs}
    for _ in range(100):
        x, y = task.draw(rng)
        if family == "codes" or x not in seen:
            break
    form = FORMATS[name]
    body = "".join(form.format(x=a, y=b) for a, b in pairs)
    return Prompt(body + form.split(" {y}")[0].format(x=x), y, family, shots, name)


def is_correct(output: str, answer: str) -> bool:
    """Tell whether a continuation gives the answer, and ends there.

    >>> is_correct(" kite\\nowl -> drum", "kite"), is_correct(" kites", "kite")
    (True, False)
    """
    return output.strip().split("\n")[0].strip() == answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="label", choices=sorted(FAMILIES))
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    prompt = make_prompt(random.Random(args.seed), args.family, shots=args.shots)
    print(f"{prompt.text}   [{prompt.answer}]")


if __name__ == "__main__":
    main()
