"""Make instructions with a right answer: stories, questions, happy endings, dishes.

Six tasks in English and Korean, made from the grammar of the stories and from the
dishes; the wordings lie in ``data/instructions/``. Each example keeps the facts that
its verifier needs, so that following instructions is a rate one can measure.

    story      write a story about a hero and a thing
    continue   go on with a story
    question   answer in a sentence: who, where, what
    word       answer with one word
    happy      make a sad sentence, or a sad ending, happy
    dish       recommend a dish that fits what is asked (Korean only)

Run it:  python -m helpers.instructions --task story --number 3
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Mapping
from functools import lru_cache, partial

from helpers.dishes import check_split, favourites, fitting, load_dishes
from helpers.food_phrases import Writer, answer
from helpers.food_requests import make_request
from helpers.grammar import LANGUAGES, Teller, grammar, steps_of
from helpers.metrics import words
from helpers.replies import Example, fault, follows, named, story_fault, wordings
from helpers.tales import Tale, cast, is_heldout, tidy

__all__ = ["Example", "MIXTURE", "TASKS", "fault", "follows", "make_example", "make_quiz"]
__all__ += ["make_split"]

# What belongs to the hero and what to the friend in a scene of two.
SWAPPED = {"hero": "friend", "he": "fhe", "thing": "thing2", "tadj": "tadj2",
           "place": "place2", "i_prep": "i_prep2", "did": "did2", "do": "do2"}
# What is asked about one of the two, and the slot that answers it.
ASKED = {"i_who": "hero", "i_where": "place", "i_what": "thing", "i_like": "tadj"}
Made = tuple[str, str, dict]  # request, gold reply, facts


@lru_cache(maxsize=None)
def _treasures(hero: str, language: str, split: str) -> tuple[str, ...]:
    """List the things that a split may tell of with this hero: about 4% are held out."""
    return tuple(thing for thing in grammar(language).lists["thing"] if is_heldout(
        Tale("", hero, thing, "", language, 0.0)) == (split == "heldout"))


def _teller(rng: random.Random, language: str, split: str) -> Teller:
    """Cast a hero and a friend, each with a treasure that belongs to the split."""
    while True:
        teller = Teller(rng, language)
        teller.lists, slots = wordings(language).lists, teller.slots
        cast(teller)
        own = [_treasures(slots[who], language, split) for who in ("hero", "friend")]
        if all(own):  # a few heroes have no treasure that is held out
            slots["thing"], slots["thing2"] = map(rng.choice, own)
            if slots["thing"] != slots["thing2"]:
                return teller


def _say(teller: Teller, *lines: str) -> str:
    return tidy(" ".join(map(teller.expand, lines)), teller.language)


def _tell(rng: random.Random, language: str, split: str) -> tuple[Teller, str]:
    """Tell a story; one in which the friend is named before the hero is told anew."""
    plots = grammar(language).plots
    while True:
        teller = _teller(rng, language, split)
        text = _say(teller, *steps_of(plots[rng.choice(sorted(plots))], teller))
        if not story_fault(text, {**_pair(teller), "language": language}):
            return teller, text


def _pair(teller: Teller) -> dict[str, str]:
    return {name: teller.slots[name] for name in ("hero", "thing")}


def _story(rng: random.Random, language: str, split: str) -> Made:
    teller, text = _tell(rng, language, split)
    return _say(teller, "<i_story>"), text, _pair(teller)


def _continue(rng: random.Random, language: str, split: str) -> Made:
    while True:
        teller, text = _tell(rng, language, split)
        ends = [m.end() for m in re.finditer(r"[.!?] ", text[: len(text) // 2])]
        cuts = [i for i in ends if text.count('"', 0, i) % 2 == 0 and all(
            named(word, part) for word in _pair(teller).values() for part in (text[:i], text[i:]))]
        if cuts:
            cut = rng.choice(cuts)
            return f"{_say(teller, '<i_continue>')}\n{text[:cut - 1]}", text[cut:], _pair(teller)


def _scene(rng: random.Random, language: str, split: str,
           events: int = 2) -> tuple[Teller, str]:
    """Write of two friends, and what one or each of them did; the hero is asked about."""
    teller = _teller(rng, language, split)
    slots, lists, plots = teller.slots, teller.lists, wordings(language).plots
    places = rng.sample([place for place in lists["place"] if place.isalpha()], 2)
    for end, place, event in zip(("", "2"), places, rng.sample(lists["i_event"], 2)):
        slots["place" + end], slots["i_prep" + end] = place, rng.choice(lists["i_prep"])
        slots["did" + end], _, slots["do" + end] = event.partition(" ")
    lines = steps_of(plots[rng.choice(sorted(plots))], teller)
    second = rng.random() < 0.5
    if events == 1:  # leave out what the other one did
        lines = [line for line in lines if ("{thing}" if second else "{thing2}") not in line]
    text = _say(teller, *lines)
    if second:
        _swap(slots)
    return teller, text


def _asked(rng: random.Random, language: str, split: str, how: str, events: int) -> Made:
    """Ask about a scene or, one time in four, about a story; `how` is i_full or i_one."""
    if events == 1 and rng.random() < 0.25:
        (teller, text), wrong = _tell(rng, language, split), []
        kinds = {"i_about": "hero", "i_name": "hero", "i_treasure": "thing"}
    else:
        teller, text = _scene(rng, language, split, events)
        others = [teller.slots.get(name) for name in ("friend", "thing2", "place2", "tadj2")]
        wrong = [noun for noun in others if noun and noun not in teller.slots["tadj"]]
        kinds = ASKED
    kind = rng.choice([k for k in kinds if k in teller.lists])
    teller.slots["q"] = _say(teller, f"<{kind}>")
    parts = [_say(teller, f"<{how}>"), text]
    asked = "\n".join(parts if rng.random() < 0.7 else parts[::-1])
    right = teller.slots[kinds[kind]]
    facts = {"answer": right, "wrong": wrong, "verb": teller.slots.get("did", "")}
    return asked, _say(teller, f"<{kind}_full>") if how == "i_full" else right, (
        {**_pair(teller), **facts})


def make_quiz(rng: random.Random, *, language: str, number: int = 4) -> tuple[str, list]:
    """Write a scene of two persons, and ask `number` times about one of them.

    Returns the scene and pairs of a question and its answer. No pair of a person and a
    thing is held out.
    """
    teller, text = _scene(rng, language, "train")
    slots, pairs = teller.slots, []
    for _ in range(number):
        if rng.random() < 0.5:
            _swap(slots)
        kind = rng.choice([k for k in ASKED if k in teller.lists])
        how = rng.choice(("i_full", "i_one"))
        slots["q"] = _say(teller, f"<{kind}>")
        right = _say(teller, f"<{kind}_full>") if how == "i_full" else slots[ASKED[kind]]
        pairs.append((_say(teller, f"<{how}>"), right))
    return text, pairs


def _swap(slots: dict[str, str]) -> None:
    """Let the hero and the friend of a scene change places."""
    for one, two in SWAPPED.items():
        slots[one], slots[two] = slots.get(two, ""), slots.get(one, "")


def _happy(rng: random.Random, language: str, split: str) -> Made:
    teller, ending = _teller(rng, language, split), rng.random() < 0.35
    before = [_say(teller, "<i_before>")] if ending else []
    sad, glad = (_say(teller, s) for s in rng.choice(teller.lists["i_turn"]).split(" => "))
    asked = _say(teller, "<i_ending>" if ending else "<i_happy>") + rng.choice((" ", "\n"))
    other = words(" ".join(teller.slots[s] for s in ("i_sad", "i_glad", "friend")))
    facts = {"event": [w for w in words(sad) if w not in words(glad) + other],
             "undone": [w for w in words(glad) if w not in words(sad) + other + ["out", "of"]]}
    return asked + " ".join([*before, sad]), glad, {**_pair(teller), **facts}


def _dish(rng: random.Random, language: str, split: str) -> Made:
    menu, fits = load_dishes("train" if split == "train" else None), ()
    # One condition: two at once have too many answers to be learned by heart. It must
    # rule out most dishes, or any of them will do.
    while not 0 < 3 * len(fits) <= len(menu):
        request = make_request(rng, split=split, limits=1)
        fits = fitting(request, menu)
    # A waiter's habit: the first of a short list that fits. Were all dishes equally
    # likely, the likeliest word would be the beginning that most names share.
    short = [dish for name in favourites() for dish in fits if dish.name == name]
    dish = short[0] if short else rng.choice(fits)
    return request.text, answer(Writer(rng), dish, request), {"limits": request.limits}


def make_example(rng: random.Random, *, task: str | None = None, language: str | None = None,
                 split: str = "train", events: int = 1) -> Example:
    """Make one example of a task in "en" or "ko" (each drawn if None).

    With events=2 the scene of a question tells of two deeds, one of each friend; with 1
    a question may also be about a whole story.

    The splits share no (hero, thing) pair, so no (hero, thing, task) either; those of
    "heldout" are in no pretraining story. Its dish requests have wordings of their own.
    Raises ValueError for an unknown task, language or split, or a dish in English.

    >>> one = make_example(random.Random(1), task="word", language="en")
    >>> follows(one, one.reply), follows(one, one.reply + " and more")
    (True, False)
    """
    check_split(split)
    task = task or rng.choice(TASKS)
    if task not in TASKS:
        raise ValueError(f"task is {task!r}; expected one of {', '.join(TASKS)}.")
    language = language or ("ko" if task == "dish" else rng.choice(sorted(LANGUAGES)))
    if language not in LANGUAGES or (task, language) == ("dish", "en"):
        raise ValueError(f"language is {language!r} for the task {task!r}; expected "
                         + ('"ko".' if task == "dish" else '"en" or "ko".'))
    given = {"events": events} if task in ("question", "word") else {}
    asked, reply, facts = _MAKERS[task](rng, language, split, **given)
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]
    return Example(turns, task, {"language": language, **facts})


def make_split(number: int, *, split: str = "train", seed: int = 0,
               mixture: Mapping[str, int] | None = None) -> list[Example]:
    """Make `number` different examples, shuffled; the same seed gives the same ones.

    mixture: how many parts of each task (MIXTURE by default: equal parts).
    Raises ValueError for an unknown split or task, or a number below 1.
    """
    order = [t for t, parts in (mixture or MIXTURE).items() for _ in range(parts)]
    if number < 1 or not order:
        raise ValueError(f"number is {number}, mixture {mixture}; expected at least 1 example "
                         "and at least one part.")
    rng = random.Random(f"{seed} {split}")
    made: dict[str, Example] = {}
    while len(made) < number:
        example = make_example(rng, task=order[len(made) % len(order)], split=split)
        made.setdefault(example.request, example)
    examples = list(made.values())
    rng.shuffle(examples)
    return examples


_MAKERS = {"story": _story, "continue": _continue,
           "question": partial(_asked, how="i_full"), "word": partial(_asked, how="i_one"),
           "happy": _happy, "dish": _dish}
TASKS = tuple(_MAKERS)
MIXTURE = dict.fromkeys(TASKS, 1)  # equal parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--language", choices=sorted(LANGUAGES))
    parser.add_argument("--split", default="train", choices=("train", "heldout"))
    parser.add_argument("--number", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    for _ in range(args.number):
        one = make_example(rng, task=args.task, language=args.language, split=args.split)
        print(f"[{one.task}] {one.request}\n--> {one.reply}\n")


if __name__ == "__main__":
    main()
