"""Menus in Korean: requests, their verifier, descriptions, dialogues and documents.

Everything is deterministic by its `random.Random`; every statement about a dish is
true of its entry in ``data/menus/dishes.jsonl``, and text of the split "train" names
no held-out dish.  What `helpers.dishes` knows can be had from here too.

    python -m helpers.menus 3       # three documents
"""

from __future__ import annotations

import random
import sys

from helpers.dishes import Dish, Request, Verdict, check_split, dishes_in, fitting
from helpers.dishes import load_dishes, satisfies
from helpers.food_phrases import FACTS, TEXTURES, Writer, answer, fact, facts, kcal
from helpers.food_phrases import noun_phrase, tidy, why_not, won
from helpers.food_requests import make_request

__all__ = [
    "Dish", "Request", "Verdict", "describe", "dialogue", "dishes_in", "fitting",
    "food_talk", "load_dishes", "make_request", "out_of_scope", "satisfies",
]

KINDS = {"facts": 20, "compare": 13, "scene": 17, "dialogue": 26, "question": 11,
         "refuse": 7, "list": 3, "tasks": 3}  # in percent
Turns = list[tuple[str, str]]


def food_talk(rng: random.Random, *, split: str = "train",
              kind: str | None = None) -> str:
    """One Korean document about food, of a kind of KINDS (drawn if None).

    Raises ValueError for an unknown split or kind.

    >>> food_talk(random.Random(1)) == food_talk(random.Random(1))
    True
    """
    check_split(split)
    kind = kind or rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}.")
    return tidy(_WRITERS[kind](rng, split))


def describe(dish: Dish, rng: random.Random, *, count: int = 3) -> str:
    """`count` Korean sentences about a dish (1 to 10), each true of its attributes."""
    w = Writer(rng, rng.choice((0, 0, 1, 2)))
    return tidy(facts(w, dish, rng.sample(FACTS, count)))


def _facts(rng: random.Random, split: str) -> str:
    w, dish = Writer(rng, rng.choice((0, 0, 1, 2))), rng.choice(load_dishes(split))
    said = [facts(w, dish, rng.sample(FACTS, rng.randint(3, 6)))]
    said += map(w.expand, rng.sample(w.items("extra"), rng.choice((0, 1, 1, 2))))
    title = rng.choice(("", "", w.say("title") + "\n"))
    return title + " ".join(said)


def _compare(rng: random.Random, split: str) -> str:
    w = Writer(rng, rng.choice((0, 0, 1, 2)))
    a = rng.choice(load_dishes(split))
    likes = [d for d in load_dishes(split) if d != a
             and (d.base == a.base) + (d.cuisine == a.cuisine) + (d.soup == a.soup) > 1]
    b = rng.choice(likes)
    shared = "base" if a.base == b.base else "cuisine" if a.cuisine == b.cuisine else ""
    w.slots |= {"a": a.name, "b": b.name}
    for end, dish in (("a", a), ("b", b)):
        taste = rng.choice([t for t in dish.taste if dish is a or t not in a.taste]
                           or list(dish.taste))
        adj = w.say(f"adj_{taste}")
        w.slots["t" + end] = adj + (" 식감" if taste in TEXTURES else " 맛")
        w.slots |= {"p" + end: won(dish.price, rng), "k" + end: kcal(dish.kcal, rng)}
    lo, hi = sorted((a, b), key=lambda d: d.price)
    light, heavy = sorted((a, b), key=lambda d: d.kcal)
    wet, dry = sorted((a, b), key=lambda d: not d.soup)
    w.slots |= {"lo": lo.name, "hi": hi.name, "light": light.name, "heavy": heavy.name,
                "yes": wet.name, "no": dry.name, "diff": won(max(hi.price - lo.price, 100), rng)}
    names = ["cmp_taste" if a.taste != b.taste else "",
             "cmp_price" if lo.price < hi.price else "cmp_same_price",
             "cmp_kcal" if light.kcal < heavy.kcal else ""]
    names.append("cmp_soup_" + ("none", "one", "both")[a.soup + b.soup])
    if shared:
        w.slots["shared"] = w.say(f"{shared}_{getattr(a, shared)}")
        names.append("cmp_shared")
    rng.shuffle(names)
    said = [w.say(n) for n in names[: rng.randint(3, 5)] if n]
    end = "cmp_end" if w.slots["ta"] != w.slots["tb"] else "cmp_any"
    return " ".join([w.say("cmp_open"), *said, w.maybe(0.7, end)])


def _scene(rng: random.Random, split: str) -> str:
    story, voice = Writer(rng), Writer(rng, 3)
    request = make_request(rng, split=split, register=3)
    fits = fitting(request, load_dishes(split))
    dish = rng.choice(fits)
    misses = [d for d in load_dishes(split) if d not in fits]
    wish = request.text.removeprefix("안녕. ").removeprefix("안녕! ")
    lines = [story.say("when"), story.say("scene_open"),
             f'"{wish}" ' + story.say("scene_said")]
    for wrong in rng.sample(misses, min(len(misses), rng.choice((0, 1, 1, 2)))):
        lines += [f'"{voice.say("suggest_wrong", wrong=wrong.name)}" '
                  + story.say("scene_asked"),
                  f'"{why_not(voice, wrong, request)}" ' + story.say("scene_shook")]
    key, value = rng.choice(list(request.limits.items()))
    value = value if isinstance(value, str) else ""
    why = fact(voice, dish, key.removeprefix("max_"), value=value)
    lines += [f'"{voice.say("suggest", dish=dish.name)} {why}" ' + story.say("scene_offered"), story.say("agree")]
    story.slots["dish"] = dish.name
    return " ".join([*lines, story.maybe(0.8, "scene_end")])


def dialogue(rng: random.Random, *, split: str = "train",
             level: int | None = None) -> Turns:
    """Turns ("user" or "assistant", text): a request, an answer, perhaps another dish.

    The person speaks at one level throughout (0 해요체, 1 합쇼체, 3 반말; drawn if None),
    the assistant always in polite 해요체; every dish fits, none is suggested twice.
    Raises ValueError for an unknown split.
    """
    check_split(split)
    turns, greets = [], level is None and rng.random() < 0.15
    level = rng.choice((0, 0, 0, 1, 3)) if level is None else level
    user, bot = Writer(rng, level), Writer(rng)
    if greets:
        turns += [("user", user.say("greeting")), ("assistant", bot.say("greet"))]
    request = make_request(rng, split=split, register=level)
    fits = fitting(request, load_dishes(split))
    rng.shuffle(fits)
    fits = fits[: rng.choice((1, 1, 1, 2, 2, 3))]
    for number, dish in enumerate(fits):
        turns += [("user", user.say("again") if number else request.text),
                  ("assistant", answer(bot, dish, request, again=number > 0))]
    if rng.random() < 0.15:
        turns += _ask(rng, fits[-1], level, rng.choice(FACTS))
    if rng.random() < 0.35:
        turns += [("user", user.say("thanks")), ("assistant", bot.say("welcome"))]
    return [(role, tidy(text)) for role, text in turns]


def out_of_scope(rng: random.Random, *, level: int = 0) -> Turns:
    """A question that is not about food, and a polite answer: what the helper does."""
    user, bot = Writer(rng, level), Writer(rng)
    topic = bot.say("topic")
    kind = rng.choices(("topic", "rude", "english", "self"), (80, 8, 6, 6))[0]
    if kind == "topic":
        asked = user.say("oos_" + topic.replace(" ", "_"))
        cannot = bot.say("sorry") + " " + bot.say("oos_cannot", topic=topic)
        parts = [cannot, bot.say("oos_scope"), bot.maybe(0.7, "oos_offer")]
    elif kind == "english":
        asked, parts = user.say("oos_english"), [bot.say("oos_korean")]
    else:
        asked = user.say("oos_rude" if kind == "rude" else "oos_self")
        parts = [bot.say("oos_scope"), bot.say("oos_offer")]
        parts[:0] = [bot.say("oos_calm")] if kind == "rude" else []
    return [("user", tidy(asked)), ("assistant", tidy(" ".join(parts)))]


def _ask(rng: random.Random, dish: Dish, level: int, key: str) -> Turns:
    """One question about a dish and its answer; `key` is in FACTS, or "spicy"."""
    user, bot = Writer(rng, level), Writer(rng)
    asked = user.say("q_" + key, name=dish.name)
    subject = rng.choice(("", f"{dish.name}은/는"))
    yes = {"spicy": "매운" in dish.taste, "soup": dish.soup,
           "vegetarian": dish.vegetarian, "company": "혼자" in dish.company,
           "temperature": dish.temperature == "뜨거운"}.get(key)
    parts = [] if yes is None else [bot.say("yes" if yes else "no")]
    if key == "spicy" and not yes:
        parts.append(bot.say("spicy_no", s=subject and subject + " "))
        key, subject = "taste", ""
    value = {"spicy": "매운", "company": "혼자" if yes else "여럿"}.get(key, "")
    parts.append(fact(bot, dish, "taste" if key == "spicy" else key, subject, value))
    parts.append(bot.maybe(0.15, "more"))
    return [("user", tidy(asked)), ("assistant", tidy(" ".join(parts)))]


def _render(rng: random.Random, turns: Turns) -> str:
    """Turns as lines with speakers, as bare lines, or as a told conversation."""
    w = Writer(rng)
    form = rng.random()
    if form < 0.65:
        pair = w.say("speakers").split(", ")
        return "\n".join(f"{pair[r == 'assistant']}: {text}" for r, text in turns)
    if form < 0.8:
        return "\n".join(text for _, text in turns)
    said = {"user": "asked", "assistant": "replied"}
    return " ".join(f'{w.say(said[role])} "{text}"' for role, text in turns)


def _refuse(rng: random.Random, split: str) -> str:
    level, after = rng.choice((0, 0, 1, 3)), rng.random()
    turns = out_of_scope(rng, level=level)
    if after < 0.4:
        turns += dialogue(rng, split=split, level=level)
    elif after < 0.6:
        turns += out_of_scope(rng, level=level)
    return _render(rng, turns)


def _question(rng: random.Random, split: str) -> str:
    dish, level = rng.choice(load_dishes(split)), rng.choice((0, 0, 1, 3))
    keys = rng.sample((*FACTS, "spicy"), rng.randint(1, 4))
    return _render(rng, sum((_ask(rng, dish, level, key) for key in keys), []))


def _list(rng: random.Random, split: str) -> str:
    w, said = Writer(rng, rng.choice((0, 0, 1, 2))), []
    for _ in range(rng.randint(1, 4)):
        request = make_request(rng, split=split, limits=rng.choice((1, 2)))
        fits = fitting(request, load_dishes(split))
        some = rng.sample(fits, min(len(fits), rng.randint(2, 5)))
        first, last = ", ".join(d.name for d in some[:-1]), some[-1].name
        w.slots["many"] = first + rng.choice(("과/와 ", ", ")) + last if first else last
        w.slots["np"] = noun_phrase(w, request.limits)
        said.append(w.say("list_open" if len(some) > 1 else "list_one"))
    return " ".join(said)


def _tasks(rng: random.Random, split: str) -> str:
    """Numbered tasks in the form of self-instruct: instruction, input, output."""
    blocks, w = [], Writer(rng)
    for number in range(1, rng.randint(3, 5)):
        dish, given = rng.choice(load_dishes(split)), "<noinput>"
        kind = rng.choice(("request", "conditions", "cuisine", "soup", "describe"))
        if kind in ("request", "conditions"):
            request = make_request(rng, split=split)
            asked = request.text
            if kind == "conditions":
                asked, given = w.say("task_conditions"), noun_phrase(w, request.limits)
            out = answer(w, rng.choice(fitting(request, load_dishes(split))), request)
        else:
            asked, given = w.say("task_" + kind), dish.name
            out = {"cuisine": w.say(f"cuisine_{dish.cuisine}") + "이에요/예요.",
                   "soup": "국물이 " + ("있어요." if dish.soup else "없어요."),
                   "describe": facts(w, dish, rng.sample(FACTS, 2))}[kind]
        blocks.append(f"{number}. Instruction: {asked}\n{number}. Input: {given}\n"
                      f"{number}. Output: {out}")
    return "###\n" + "\n###\n".join(blocks)


_WRITERS = {"facts": _facts, "compare": _compare, "scene": _scene,
            "dialogue": lambda rng, split: _render(rng, dialogue(rng, split=split)),
            "question": _question, "refuse": _refuse, "list": _list, "tasks": _tasks}


if __name__ == "__main__":
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        print(food_talk(random.Random(seed)), end="\n\n")
