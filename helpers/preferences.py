"""Pairs of replies to one request, the better one named: what DPO learns from.

A reply's `grade` says how good it is, judged by rules alone. First it has to do as
asked. Then manner counts: a story ends kindly, plainly or unkindly; a dish comes with
two reasons and a wish, plainly, or curtly. Pairs come from the generator (`prefer`),
from a model's own replies (`rank_replies`, `retell`), or from a published set
(`helpers.orca`). A request for a dish has the card of one below it, so that a reply is
a matter of manner and not of memory.

>>> pair = make_split(1, mixture={"dish": 1})[0]
>>> [grade(pair.example, text) for text in (pair.better, pair.worse)] in ([3, 1], [3, 2])
True
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from helpers import instructions, menu_lookup
from helpers.dishes import FOLDER as MENUS
from helpers.dishes import Request, dishes_in, load_dishes
from helpers.food_phrases import Writer, answer
from helpers.food_phrases import tidy as tidy_menu
from helpers.grammar import Grammar, Teller, grammar
from helpers.replies import Example, follows, sentences
from helpers.tales import PRONOUNS, tidy

__all__ = ["GRADES", "Pair", "flip", "grade", "make_split", "prefer", "rank_replies"]
__all__ += ["reply_of", "retell", "with_card"]

GRADES = ("does not follow", "unkind or curt", "plain", "kind, or complete")
MIXTURE = {"story": 1, "dish": 1}  # equal parts
KIND = {  # in the last sentence of a story
    "en": r"\b(?:kind\w*|shar(?:e|es|ed|ing)|help\w*|thank\w*|giving|caring|care for|"
    r"gentle|open hand|(?:hands|hearts) are open)\b",
    "ko": "나누|나눈|나눔|나눌|도우|도운|도움|도와|돕|친절|다정|고마운|고맙|착한|함께|"
    "내민 손|손을 내밀|따뜻한 마음|따뜻함|따뜻해",
}
UNKIND = {  # it comes before KIND: what is denied is no kindness
    "en": r"\b(?:unkind\w*|not share|shared nothing|nobody shared|not help|helped nobody|"
    r"(?:not|never) (?:say|said) thank)\b",
    "ko": "나누어 주지 않|도와주지 않|고맙다는 말도 (?:없이|하지 않)|혼자만 가",
}
POLITE = re.compile(r"(?:^네|[요죠]|니다)[.!?]*$")
OPENS = re.compile(r"^(?:네|물론|좋아요|알겠|그럼|다른 (?:메뉴도|걸))[^.!?]{0,8}[.!?]*$")
WISH = re.compile(r"(?:맛있게|즐겁게|천천히) 드세요|되세요|마음에 (?:안 )?드시면|말씀해 주세요")

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Pair:
    """A prompt and two replies, each a list of messages, as TRL's trainers read them."""

    prompt: Messages
    chosen: Messages
    rejected: Messages
    example: Example | None = None  # the request and its facts, where replies are judged
    flipped: bool = False  # the better one is called rejected

    better = property(lambda p: (p.rejected if p.flipped else p.chosen)[-1]["content"])
    worse = property(lambda p: (p.chosen if p.flipped else p.rejected)[-1]["content"])


def grade(example: Example, reply: str) -> int:
    """Return how good a reply is: a place in `GRADES`, 0 to 3.

    Stories have all of 1 to 3, and so have dishes; a reply to another task has 2 if it
    does as asked. Raises ValueError for an example of an unknown task.
    """
    if not follows(example, reply):
        return 0
    said = sentences(reply)
    if example.task in ("dish", "again"):
        rest = (s for s in said if not (dishes_in(s) or OPENS.search(s)))
        reasons = {s for s in rest if not WISH.search(s)}
        if not reasons or not all(map(POLITE.search, said)):
            return 1
        return 3 if len(reasons) > 1 and WISH.search(said[-1]) else 2
    if example.task not in ("story", "continue"):
        return 2
    language = example.facts["language"]
    if re.search(UNKIND[language], said[-1], re.I):
        return 1
    return 3 if re.search(KIND[language], said[-1], re.I) else 2


def prefer(example: Example, rng: random.Random, *, blunt: float = 0.5) -> Pair:
    """Make a pair of a story or a dish: the same one, told in a good and a lesser manner.

    The lesser reply is of grade 1 (`blunt`: how often) or 2. Both do as asked.
    Raises ValueError for an example of another task, and for `blunt` outside 0 to 1.
    """
    if example.task not in _WAYS or not 0 <= blunt <= 1:
        found = f"the task is {example.task!r} and blunt {blunt}"
        raise ValueError(f"{found}, expected {' or '.join(_WAYS)}, and a share 0 to 1")
    lesser = 1 if rng.random() < blunt else 2
    say = _WAYS[example.task](example, rng)
    better = _until(example, say, 3)
    if example.task == "dish" and lesser == 2:
        # The same words with less or more than makes it complete: the pair differs in
        # that alone, and not in a dozen wordings that mean nothing. If the lesser one
        # always stopped sooner, a model would learn never to stop.
        *said, reason, wish = sentences(better)
        kept = rng.choice(([*said], [*said, reason], [*said, *(reason,) * 3]))
        if grade(example, " ".join(kept)) == 2:
            return _pair(example, better, " ".join(kept))
    return _pair(example, better, _until(example, say, lesser))


def make_split(
    number: int,
    *,
    split: str = "train",
    seed: int = 0,
    mixture: Mapping[str, int] | None = None,
    blunt: float = 0.5,
) -> list[Pair]:
    """Make `number` pairs with different requests; the same seed gives the same ones.

    The requests are those of `instructions.make_split`, which raises ValueError for
    what is out of range; `mixture` has parts of "story" and "dish", equal by default.
    """
    options = {"split": split, "seed": seed, "mixture": mixture or MIXTURE}
    rng = random.Random(f"{seed} {split} pairs")
    made = map(with_card, instructions.make_split(number, **options))
    return [prefer(example, rng, blunt=blunt) for example in made]


def with_card(example: Example) -> Example:
    """Return a request for a dish with the card of its gold dish; others as they are."""
    if example.task != "dish":
        return example
    [dish] = [d for d in load_dishes() if d.name == dishes_in(example.reply)[0]]
    *before, asked, reply = example.messages
    told = menu_lookup.ask(asked["content"], menu_lookup.write_card(dish))
    return replace(example, messages=[*before, asked | {"content": told}, reply])


def retell(
    examples: Sequence[Example],
    replies: Sequence[str],
    *,
    seed: int = 0,
    blunt: float = 0.5,
) -> list[Pair]:
    """Make pairs of a model's own stories: each with a kind end, and with a lesser one.

    A reply that does not do as asked gives no pair. `blunt` is that of `prefer`.
    """
    rng = random.Random(f"{seed} retold")
    pairs = zip(examples, replies)
    told = [replace(e, messages=[*e.messages[:-1], *reply_of(text)])
            for e, text in pairs if follows(e, text)]
    return [prefer(one, rng, blunt=blunt) for one in told]


def flip(pairs: Sequence[Pair], share: float, *, seed: int = 0) -> list[Pair]:
    """Exchange chosen and rejected in a share of the pairs, as careless judges would.

    Raises ValueError for a share outside 0 to 1.

    >>> [pair.flipped for pair in flip(make_split(4), 0.5)].count(True)
    2
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected 0 to 1, such as 0.2")
    made, dice = list(pairs), random.Random(seed)
    for i in dice.sample(range(len(made)), round(share * len(made))):
        sides = {"chosen": made[i].rejected, "rejected": made[i].chosen}
        made[i] = replace(made[i], **sides, flipped=not made[i].flipped)
    return made


def rank_replies(
    examples: Sequence[Example], replies: Sequence[Sequence[str]], *, seed: int = 0
) -> list[Pair]:
    """Make pairs of a model's own replies: one of the best and one of the worst grade.

    `replies` has a list for each example. One whose replies all have the same grade
    teaches nothing and gives no pair. Raises ValueError if the numbers differ.
    """
    if len(examples) != len(replies):
        found = f"{len(replies)} lists of replies to {len(examples)} examples"
        raise ValueError(f"got {found}, expected one list each")
    rng, made = random.Random(seed), []
    for example, texts in zip(examples, replies):
        marks = [grade(example, text) for text in texts]
        if len(set(marks)) > 1:
            ends = max(marks), min(marks)
            some = ([t for t, m in zip(texts, marks) if m == end] for end in ends)
            made.append(_pair(example, *map(rng.choice, some)))
    return made


def reply_of(text: str) -> Messages:
    """Return a reply as a list of messages, as TRL's trainers read it."""
    return [{"role": "assistant", "content": text}]


def _pair(example: Example, better: str, worse: str) -> Pair:
    return Pair(example.messages[:-1], reply_of(better), reply_of(worse), example)


def _until(example: Example, say, mark: int) -> str:
    """Say it in ever new words until it has the grade."""
    while grade(example, text := say(mark)) != mark:
        pass
    return text


@lru_cache(maxsize=None)
def _lists(language: str) -> dict[str, list[str]]:
    own = Grammar.read(language, MENUS.parent / "preferences")
    return {**grammar(language).lists, **own.lists}


def _story_ways(example: Example, rng: random.Random):
    """Return what ends the example's story in the manner of a grade."""
    facts, language = example.facts, example.facts["language"]
    rest = " ".join(sentences(example.reply)[:-1])
    # Some stories need their last sentence: a quotation ends there, say.
    stands = rest.count('"') % 2 == 0 and follows(example, rest)
    body = rest if stands else example.reply

    def say(mark: int) -> str:
        teller = Teller(rng, language)
        teller.lists = lists = _lists(language)
        who = "girl" if facts["hero"] in lists["girl"] else "boy"
        teller.slots = {**{s: facts[s] for s in ("hero", "thing")}, **PRONOUNS[who]}
        kinds = {1: ["unkind"], 2: ["ending"], 3: ["moral_kind", "moral_share"]}[mark]
        end = tidy(teller.expand(f"<{rng.choice(kinds)}>"), language)
        return f"{body} {end}"

    return say


def _dish_ways(example: Example, rng: random.Random):
    """Return what recommends the example's dish in the manner of a grade."""
    name = dishes_in(example.reply)[0]
    dish = next(d for d in load_dishes() if d.name == name)
    request = Request(example.request, **example.facts["limits"])

    def say(mark: int) -> str:
        writer = Writer(rng)
        if mark > 1:
            return answer(writer, dish, request)
        writer.lists = _lists("ko")
        return tidy_menu(writer.say("curt", dish=dish.name))

    return say


_WAYS = {"story": _story_ways, "dish": _dish_ways}
