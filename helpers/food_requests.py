"""Requests for a dish, in Korean, with the constraints that they state.

The wordings lie in ``data/menus``: korean_wordings.txt, and korean_requests.txt for
those who want more of them ("wide"). The lists whose name ends in _heldout word the
requests of the split "heldout" and nothing else.
"""

from __future__ import annotations

import random

from helpers.dishes import LIMITS, Dish, Request, check_split, fitting, load_dishes
from helpers.food_phrases import Writer, fill_slots, limit_list, noun_phrase, tidy

__all__ = ["draw_limits", "draw_request", "make_request", "told_request"]

PRICES = (3000, 5000, 7000, 8000, 9000, 10000, 12000, 15000, 20000, 25000, 30000)
KCALS = (250, 300, 350, 400, 450, 500, 550, 600, 700, 800, 900, 1000)


def told_request(
    w: Writer, limits: dict, *, heldout: bool = False, wide: bool = False
) -> tuple[str, dict]:
    """A request, in sentences and before the noun, and its constraints in their order.

    `wide`: with the wordings of korean_requests.txt as well.
    """
    end = "_heldout" if heldout else ""

    def say(wording: str, **slots: str) -> str:
        more = w.lists[f"{wording}_wide"] if wide else []
        own = len(w.lists[wording])
        if more and w.rng.randrange(own + len(more)) >= own:
            wording += "_wide"
        return w.say(wording, **slots)

    apart = [k for k in limits if w.rng.random() < 0.35]
    rest = {k: v for k, v in limits.items() if k not in apart}
    fill_slots(w, limits)
    told = [(k, say(f"sent_{limit_list(k, limits[k])}{end}")) for k in apart]
    w.rng.shuffle(told)
    ask = say("ask" + end, np=noun_phrase(w, rest)) if rest else say("open" + end)
    last = [told.pop()] if told and w.rng.random() < 0.25 else []
    opening = [] if heldout else [w.maybe(0.2, "hello")]
    mood = say("mood" + end) if w.rng.random() < 0.2 else ""
    before, after = ([text for _, text in some] for some in (told, last))
    text = tidy(" ".join([*opening, mood, *before, ask, *after]))
    order = [k for k, _ in told] + _noun_order(rest) + [k for k, _ in last]
    return text, {k: limits[k] for k in order}


def _noun_order(limits: dict) -> list[str]:
    """The constraints as `noun_phrase` puts them before a noun."""
    kinds = [k for k in ("cuisine", "base") if k in limits]
    front = [k for k in LIMITS if k in limits and k not in kinds]
    return [*kinds[:-1], *front, *kinds[-1:]]


def draw_request(rng: random.Random, *, split: str = "train", count: int = 2) -> dict:
    """Draw constraints that at least 2 train dishes keep, and a dish of the split."""
    wanted: dict = {}
    while not wanted or len(fitting(Request("", **wanted), load_dishes("train"))) < 2:
        wanted = draw_limits(rng, rng.choice(load_dishes(split)), count)
    return wanted


def make_request(rng: random.Random, *, split: str = "train",
                 register: int | None = None, limits: int | None = None) -> Request:
    """A request in natural Korean with 1 to 3 constraints; at least 2 train dishes fit.

    `register`: 0 해요체, 1 합쇼체, 3 반말 (drawn if None); `limits`: their number.
    One of the split "heldout" has wordings of its own and fits a held-out dish as well.
    Raises ValueError for an unknown split.

    >>> make_request(random.Random(3)) == make_request(random.Random(3))
    True
    """
    check_split(split)
    count = limits or rng.choice((1, 1, 2, 2, 2, 3))
    wanted = draw_request(rng, split=split, count=count)
    register = rng.choice((0, 0, 0, 0, 1, 3)) if register is None else register
    text, _ = told_request(Writer(rng, register), wanted, heldout=split == "heldout")
    return Request(text, **wanted)


def draw_limits(rng: random.Random, dish: Dish, count: int) -> dict:
    """Draw `count` constraints that the dish keeps, in the order of LIMITS."""
    able = {k: getattr(dish, k) for k in ("cuisine", "soup", "base")}
    able |= {k: rng.choice(getattr(dish, k)) for k in ("meal", "company", "taste")}
    for limit, bounds in (("max_price", PRICES), ("max_kcal", KCALS)):
        enough = [b for b in bounds if b >= getattr(dish, limit[4:])]
        able[limit] = rng.choice(enough[:2])
    if dish.vegetarian:
        able["vegetarian"] = True
    if dish.temperature != "보통" and able["taste"] != "시원한":  # 시원한 soup is hot
        able["temperature"] = dish.temperature
    drawn = rng.sample(["taste", *able], count + 1)  # taste twice as often
    drawn = list(dict.fromkeys(drawn))[:count]
    return {k: able[k] for k in LIMITS if k in drawn}
