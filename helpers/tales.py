"""Tell stories from a grammar, and check whether a story holds together.

The grammar is plain text in ``data/tales/`` (see ``data/README.md``): lists
of words and phrases, and plots made of steps.  ``make_tale`` expands one plot;
``verify_tale`` reads any text, from the grammar or from a model, and says
whether the hero keeps the same name, the treasure stays the same thing, and
every word belongs to the language.

Run it:  python -m helpers.tales --language ko --seed 3
"""

from __future__ import annotations

import argparse
import random
import re
import zlib
from dataclasses import dataclass, field
from functools import lru_cache

from helpers.grammar import LANGUAGES, Teller, grammar, steps_of
from helpers.korean import attach, particle_errors


__all__ = ["Tale", "is_heldout", "make_tale", "tidy", "verify_tale", "vocabulary", "vocative"]

# How the two persons of a story are introduced, in the grammar's own syntax.
WHO = {
    "en": {
        "child": "[a <size>|a <trait>|a <size>, <trait>] {child} [named|called] {NAME}",
        "animal": "[a <size>|a <trait>|a <size>, <trait>] {KIND} [named|called] {NAME}",
    },
    "ko": {
        "child": "<trait> [아이|어린이|꼬마] {NAME}",
        "animal": "<trait> [|꼬마 |아기 |어린 ]{KIND} {NAME}",
    },
}
PRONOUNS = {
    "girl": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
    "boy": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
}
SPEECH = (
    "said|asked|called|whispered|cried|shouted|laughed|sighed|replied|answered|added|"
    "smiled|giggled|exclaimed|wondered|begged|murmured|sang|gasped|cheered|agreed|"
    "told|thought|mumbled|squeaked|chirped|explained|promised|declared|hummed|sobbed|groaned|sniffed|panted|mumbled|remarked|announced"
)
INTRODUCED = re.compile(r"\b(?:named|called|friend|sister|brother|cousin)\s*,?\s*$")


@dataclass
class Tale:
    """One story, with the choices it was made from.

    ``nats`` is the log of the number of equally likely ways the grammar's
    choices could have gone: an upper bound on the entropy of the text.
    """

    text: str
    hero: str
    thing: str
    plot: str
    language: str
    nats: float
    slots: dict[str, str] = field(default_factory=dict, repr=False)


def cast(teller: Teller) -> None:
    """Choose hero and friend, of different gender so that "she" is clear."""
    genders = ["girl", "boy"] if teller.pick([0, 1]) else ["boy", "girl"]
    for gender, who, name, prefix in zip(
        genders, ("who", "fwho"), ("hero", "friend"), ("", "f")
    ):
        teller.slots[name] = teller.pick(teller.items(gender))
        for word, form in PRONOUNS[gender].items():
            teller.slots[prefix + word] = form
        form = WHO[teller.language][teller.pick(["child", "child", "animal"])]
        taken = teller.slots.get("kind")
        while (kind := teller.pick(teller.items("animal"))) == taken:
            pass
        teller.slots[prefix + "kind"] = kind
        teller.slots["child"] = gender
        form = form.replace("{NAME}", teller.slots[name]).replace("{KIND}", kind)
        teller.slots[who] = teller.expand(form)
        teller.slots[prefix + "call"] = vocative(teller.slots[name])


def vocative(name: str) -> str:
    """Call a Korean name: 지우야, and 민준아 for the narrative form 민준이."""
    return name[:-1] + "아" if len(name) == 3 and name.endswith("이") else name + "야"


def tidy(text: str, language: str) -> str:
    """Mend spaces, a/an and capitals (English) or particles (Korean)."""
    text = re.sub(r"\s+([,.!?;:])", r"\1", re.sub(r"\s+", " ", text)).strip()
    text = re.sub(r",(?=[,.!?])|(?<=[!?])\.", "", text)
    if language == "ko":
        return attach(text)
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU](?!ni[cf]|se[fd]|ku))", r"\1n ", text)
    text = re.sub(r"\b([Aa]) (?=hour|honest)", r"\1n ", text)
    text = re.sub(r'(^"?|\. "?|[!?] "?|, "|: "|[.!?]" (?:"|(?!(?:[\w\']+ ){0,3}(?:%s)\b)))'
                  r"([a-z])" % SPEECH, lambda m: m[1] + m[2].upper(), text)
    return text


def make_tale(rng: random.Random, *, language: str = "en", plot: str | None = None) -> Tale:
    """Tell one story.

    Args:
        rng: the source of all choices; the same state gives the same story.
        language: "en" or "ko".
        plot: the name of a plot, or None for any.

    Raises:
        ValueError: the language or the plot is unknown.

    >>> make_tale(random.Random(1)).text == make_tale(random.Random(1)).text
    True
    """
    plots = grammar(language).plots
    if plot is not None and plot not in plots:
        raise ValueError(f"there is no plot {plot!r}; expected one of {sorted(plots)}.")
    teller = Teller(rng, language)
    name = plot or teller.pick(sorted(plots))
    cast(teller)
    text = " ".join(teller.expand(s) for s in steps_of(plots[name], teller))
    slots = teller.slots
    return Tale(tidy(text, language), slots["hero"], slots.get("thing", ""), name,
                language, teller.nats, slots)


def is_heldout(tale: Tale) -> bool:
    """Tell whether a story's (hero, thing) pair is kept out of training: 4%."""
    return zlib.crc32(f"{tale.hero}|{tale.thing}".encode()) % 25 == 0


# --------------------------------------------------------------- the verifier
@lru_cache(maxsize=None)
def vocabulary(language: str) -> dict[str, frozenset[str]]:
    """Return the sets of names, things and words that the grammar can write."""
    g = grammar(language)
    names = frozenset(g.lists["girl"] + g.lists["boy"])
    things = frozenset(g.lists["thing"])
    lines = [*sum(g.lists.values(), []), *sum(g.plots.values(), []), *WHO[language].values()]
    bare = " ".join(re.sub(r"<\w+>|\{\w+\}|[][|~*?]", " ", line) for line in lines)
    words = set(re.findall(r"[^\W\d_]+", bare.lower())) | {t + "s" for t in things}
    words |= {w for table in PRONOUNS.values() for w in table.values()} | {"an", "girl", "boy"}
    return {"names": names, "things": things, "words": frozenset(words),
            "nouns": frozenset(names | things | set(g.lists["animal"]))}


def verify_tale(text: str, *, language: str = "en") -> dict[str, bool]:
    """Check a story against what every story of the grammar keeps.

    Returns a dict of bools: ``hero`` (the first name comes back in the last
    half, and any other name is introduced), ``thing`` (one treasure, named at
    least twice), ``words`` (no word outside the language; for Korean: no wrong
    particle), ``finished`` (ends with a full stop), and ``all``.

    >>> verify_tale("Lily found a red kite. The ball was hers.")["thing"]
    False
    """
    known = vocabulary(language)
    tokens = [(m[0], m.start()) for m in re.finditer(r"[^\W\d_]+", text)]
    if language == "ko":
        found = [(noun_of(w, known["names"]), i) for w, i in tokens]
        things = [t for w, _ in tokens if (t := noun_of(w, known["things"]))]
        words = not particle_errors(text, known["nouns"])
    else:
        found = [(w if w in known["names"] else None, i) for w, i in tokens]
        things = [w[:-1] if w not in known["things"] else w for w, _ in tokens
                  if w in known["things"] or (w[-1] == "s" and w[:-1] in known["things"])]
        words = all(w.lower() in known["words"] for w, _ in tokens)
    names = [(n, i) for n, i in found if n]
    order = list(dict.fromkeys(n for n, _ in names))
    hero = bool(names) and names[-1][1] >= len(text) / 2 and len(order) <= 2
    if hero and len(order) == 2:
        first = next(i for n, i in names if n == order[1])
        hero = introduced(text[:first], language)
        hero = hero and any(n == order[0] and i >= len(text) / 2 for n, i in names)
    result = {"hero": hero, "thing": len(things) >= 2 and len(set(things)) == 1,
              "words": words, "finished": text.rstrip()[-1:] in set('.!?"')}
    return {**result, "all": all(result.values())}


def noun_of(word: str, nouns: frozenset[str]) -> str | None:
    """Find the noun a Korean word starts with, longest first."""
    for end in range(len(word), 0, -1):
        stem = word[:end]
        if stem in nouns and (end == len(word) or word[end:] in ENDINGS):
            return stem
        if stem + "이" in nouns and word[end:] in ("아", "이"):
            return stem + "이"
    return None


ENDINGS = frozenset(
    "은 는 이 가 을 를 과 와 아 야 으로 로 이랑 랑 이나 나 도 만 의 에 에게 에게는 에게서 한테 한테서 하고 께 "
    "에서 부터 까지 처럼 보다 라는 이라는 이라고 라고 이에요 예요 이었어요 였어요 네 이다 다 들 들이 들을 "
    "으로는 로는 에는 에도 와는 과는 이며 며 뿐 마다 밖에 이었지요 였지요".split()
)


def introduced(before: str, language: str) -> bool:
    """Tell whether the text before a new name introduces it."""
    if language == "en":
        return bool(INTRODUCED.search(before))
    last = before.split()[-1] if before.split() else ""
    return last in {"친구", "아이", "어린이", "꼬마", *grammar("ko").lists["animal"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language", default="en", choices=sorted(LANGUAGES))
    parser.add_argument("--plot")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    for _ in range(args.number):
        tale = make_tale(rng, language=args.language, plot=args.plot)
        print(f"[{tale.plot}] {tale.text}\n{verify_tale(tale.text, language=args.language)}\n")


if __name__ == "__main__":
    main()
