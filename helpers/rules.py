"""Rules of the few-shot tasks: each turns an input into an output.

    pick      a sentence -> one of its parts (who, what, where, colour)
    rewrite   "red kite" -> the same two words in a pattern
    codes     a word -> the code word it has in this document
    label     a word or sentence -> a made-up label for its kind
    known     a fact told in stories (opposites, sounds, homes, ...)
    place     three words -> the first, second or third
    copy      some words -> the same words
    ko_pick, ko_label   pick and label in Korean
    count     a word -> its number of letters; never trained, shots do not help

Label words, patterns and sentences of the split "heldout" are in no training document.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from helpers.grammar import FOLDER, grammar
from helpers.tales import tidy

__all__ = ["FAMILIES", "HELDOUT_PATTERNS", "RELATIONS", "RULES", "Task", "make_pattern"]
__all__ += ["make_task", "words"]

RULES = json.loads((FOLDER.parent / "tasks" / "rules.json").read_text(encoding="utf-8"))
# The last sentences of each list are held out; see `kept`.
PICK = {"en": tuple(RULES["pick_en"]), "ko": tuple(RULES["pick_ko"])}
HELDOUT_PATTERNS = tuple(RULES["heldout_patterns"])
SENTENCES = tuple(RULES["sentences"])
RELATIONS: dict[str, dict[str, str]] = RULES["relations"]


@dataclass(frozen=True)
class Task:
    """A rule: ``draw(rng)`` gives one (input, output) pair that follows it."""

    family: str
    draw: Callable[[random.Random], tuple[str, str]]


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
        parts.append(rng.choice(RULES["small_words"]))
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
