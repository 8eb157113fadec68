"""Make few-shot task documents, and score answers to them.

A task is a rule that turns an input into an output; a document shows the rule
by examples and never names it.  The embedded model saw thousands of such
documents in pretraining, so in-context learning is real and can be measured.
Held-out prompts use label words, patterns, sentences and formats that were
never seen together in training.

Families
    pick      a sentence -> one of its parts (who, what, where, colour)
    rewrite   "red kite" -> the same two words in a pattern
    codes     a word -> the code word it has in this document
    label     a word or sentence -> a made-up label for its kind
    known     a fact told in stories (opposites, sounds, homes, ...)
    place     three words -> the first, second or third
    copy      some words -> the same words
    ko_pick, ko_label   pick and label in Korean
    count     a word -> its number of letters; never trained, shots do not help

Run it:  python -m helpers.tasks --family label --shots 6
"""

from __future__ import annotations

import argparse
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from helpers.grammar import FOLDER, grammar
from helpers.tales import tidy

__all__ = [
    "FAMILIES", "FORMATS", "HELDOUT_FORMATS", "Prompt", "TRAINED", "Task", "is_correct",
    "make_document", "make_format", "make_prompt", "make_task",
]

_RULES = json.loads((FOLDER.parent / "tasks" / "rules.json").read_text(encoding="utf-8"))
FORMATS: dict[str, str] = _RULES["formats"]  # one example; {x} input, {y} output
HELDOUT_FORMATS = tuple(_RULES["heldout_formats"])
# The last sentences of each list are held out; see `kept`.
PICK = {"en": tuple(_RULES["pick_en"]), "ko": tuple(_RULES["pick_ko"])}
HELDOUT_PATTERNS = tuple(_RULES["heldout_patterns"])
SENTENCES = tuple(_RULES["sentences"])
RELATIONS: dict[str, dict[str, str]] = _RULES["relations"]


@dataclass(frozen=True)
class Task:
    """A rule: ``draw(rng)`` gives one (input, output) pair that follows it."""

    family: str
    draw: Callable[[random.Random], tuple[str, str]]


@dataclass(frozen=True)
class Prompt:
    """A few-shot prompt, its expected answer, and how it was made."""

    text: str
    answer: str
    family: str
    shots: int
    format: str


@lru_cache(maxsize=None)
def words(name: str, language: str = "en", split: str = "any") -> tuple[str, ...]:
    """Return the single words of a list; a fifth of them belongs to "heldout"."""
    items = grammar(language).lists[name]
    if language == "ko":  # "따뜻한 된장국": the noun comes last
        items = [item.split()[-1] for item in items]
    plain = list(dict.fromkeys(w for w in items if w.isalpha()))
    if split == "any":
        return tuple(plain)
    kept = [w for w in plain if (zlib.crc32(w.encode()) % 5 == 0) == (split == "heldout")]
    return tuple(kept)


def kept(options: tuple, heldout: int, split: str) -> tuple:
    """Keep the last ``heldout`` options for the held-out split."""
    return options[-heldout:] if split == "heldout" else options[:-heldout]


def pick(rng: random.Random, split: str, language: str = "en") -> Task:
    templates = kept(PICK[language], {"en": 2, "ko": 1}[language], split)
    slots = {s: words(s, language) for s in ("animal", "thing", "place")}
    slots["name"] = words("girl", language) + words("boy", language)
    extra = {"en": "colour", "ko": "tadj"}[language]
    slots[extra] = words(extra, language)
    wanted = rng.choice([s for s in slots if any("{%s}" % s in t for t in templates)])
    templates = [t for t in templates if "{%s}" % wanted in t]

    def draw(rng: random.Random) -> tuple[str, str]:
        values = {s: rng.choice(options) for s, options in slots.items()}
        return tidy(rng.choice(templates).format(**values), language), values[wanted]

    return Task("pick", draw)


def make_pattern(rng: random.Random) -> str:
    """Compose a pattern: both words in some order, with small words and marks.

    There are thousands of them, so that a model learns to read the pattern off
    the examples; a fixed list of 24 was learned by heart instead.
    """
    parts = ["{a}", "{n}"]
    if rng.random() < 0.3:
        parts.append(rng.choice(parts))
    for _ in range(rng.choice((0, 1, 1, 2))):
        parts.append(rng.choice(_RULES["small_words"]))
    rng.shuffle(parts)
    text = parts[0] + "".join(rng.choice((" ", " ", ", ", " - ")) + p for p in parts[1:])
    return rng.choice(("%s", "%s", "%s", "%s!", "%s?", "%s.", "(%s)", "[%s]")) % text


def rewrite(rng: random.Random, split: str) -> Task:
    pattern = rng.choice(HELDOUT_PATTERNS)
    if split == "train":
        while (pattern := make_pattern(rng)) in HELDOUT_PATTERNS:
            pass

    def draw(rng: random.Random) -> tuple[str, str]:
        a, n = rng.choice(words("tadj")), rng.choice(words("thing") + words("animal"))
        return f"{a} {n}", pattern.format(a=a, n=n)

    return Task("rewrite", draw)


def codes(rng: random.Random, split: str) -> Task:
    keys = rng.sample(words(rng.choice(("animal", "colour", "place"))), rng.choice((3, 4, 5, 6)))
    values = rng.sample(words("thing", "en", split), len(keys))
    return Task("codes", lambda rng: rng.choice(list(zip(keys, values))))


def label(rng: random.Random, split: str, language: str = "en") -> Task:
    kinds = {"en": ("animal", "food_set", "place", "colour", "girl", "glad", "worker"),
             "ko": ("animal", "food", "place", "boy")}[language]
    count = rng.choice((2, 2, 3, 4)) if split == "train" else 3
    frame = rng.choice(SENTENCES) if language == "en" and split == "train" else "{x}"
    if frame != "{x}":  # "the Mina" and "the happy" are no English
        kinds = [kind for kind in kinds if kind not in ("girl", "glad")]
    chosen = rng.sample(kinds, count)
    labels = rng.sample(words("thing", language, split), count)

    def draw(rng: random.Random) -> tuple[str, str]:
        i = rng.randrange(count)
        return frame.format(x=rng.choice(words(chosen[i], language))), labels[i]

    return Task("label", draw)


def known(rng: random.Random, split: str) -> Task:
    pairs = list(RELATIONS[rng.choice(sorted(RELATIONS))].items())
    return Task("known", lambda rng: rng.choice(pairs))


def place(rng: random.Random, split: str) -> Task:
    where = rng.randrange(3)
    pool = words("thing") + words("animal") + words("colour")

    def draw(rng: random.Random) -> tuple[str, str]:
        three = rng.sample(pool, 3)
        return " ".join(three), three[where]

    return Task("place", draw)


def copy(rng: random.Random, split: str) -> Task:
    language = rng.choice(("en", "en", "ko"))
    pool = sum((words(n, language) for n in ("thing", "animal", "boy", "girl", "place")), ())
    longest = rng.randint(2, 9)

    def draw(rng: random.Random) -> tuple[str, str]:
        text = " ".join(rng.choices(pool, k=rng.randint(1, longest)))
        return text, text

    return Task("copy", draw)


def count(rng: random.Random, split: str) -> Task:
    pool = words("thing") + words("animal")

    def draw(rng: random.Random) -> tuple[str, str]:
        word = rng.choice(pool)
        return word, str(len(word))

    return Task("count", draw)


FAMILIES: dict[str, Callable[..., Task]] = {
    "pick": pick, "rewrite": rewrite, "codes": codes, "label": label, "known": known,
    "place": place,
    "copy": copy, "ko_pick": lambda rng, split: pick(rng, split, "ko"),
    "ko_label": lambda rng, split: label(rng, split, "ko"), "count": count,
}
# Shares of the families among the pretraining documents.
TRAINED = {"pick": 5, "rewrite": 5, "codes": 7, "label": 7, "known": 2, "place": 3,
           "copy": 4, "ko_pick": 3, "ko_label": 3}


def make_task(rng: random.Random, family: str, *, split: str = "train") -> Task:
    """Choose one rule of a family.

    Raises:
        ValueError: the family is unknown, or split is not "train" or "heldout".
    """
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; expected one of {sorted(FAMILIES)}.")
    if split not in ("train", "heldout"):
        raise ValueError(f'split is {split!r}; expected "train" or "heldout".')
    task = FAMILIES[family](rng, split)
    return Task(family, task.draw)


def make_title(rng: random.Random) -> str:
    """Choose a title for a line, or make one up: "Output", "Nabo".

    A model that had met 46 titles only did well in formats with a new sign between
    input and output, and badly in those with new titles.
    """
    title = rng.choice(_RULES["titles"])
    while rng.random() < 0.5 or title in ("Word", "Tag"):  # held out
        syllables = ("".join(map(rng.choice, ("bcdfghjklmnprstvwyz", "aeiou", ["", "", *"nrstlgd"])))
                     for _ in range(rng.choice((1, 2))))
        title = "".join(syllables).capitalize()
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
            marks = "".join(rng.choices(_RULES["marks"], k=rng.choice((1, 1, 2, 2, 3))))
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
