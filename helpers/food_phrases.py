"""Korean phrases about dishes: what is asked for, a fact, an answer, a reason.

The wordings lie in ``data/menus/korean_wordings.txt`` and are ours.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache

from helpers.dishes import FOLDER, LIMITS, Dish, Request, holds
from helpers.grammar import Grammar, Teller
from helpers.korean import attach

__all__ = ["FACTS", "TEXTURES", "Writer", "answer", "fact", "facts", "fill_slots"]
__all__ += ["kcal", "limit_list", "noun_phrase", "tidy", "why_not", "won"]
TEXTURES = ("바삭한", "쫄깃한", "부드러운")
_LEVEL = re.compile(r"\(([^()]*;[^()]*)\)")
_THING = {"이/가": "게", "을/를": "걸", "은/는": "건", "으로/로": "걸로"}


@lru_cache(maxsize=None)
def _wordings() -> dict[str, list[str]]:
    return Grammar.read("ko", FOLDER).lists


class Writer(Teller):
    """A Teller of menu wordings at one speech level: 0 해요, 1 합니다, 2 한다, 3 해."""

    def __init__(self, rng: random.Random, register: int = 0):
        self.rng, self.language, self.register = rng, "ko", register
        self.lists, self.slots, self.nats = _wordings(), {}, 0.0

    def expand(self, text: str) -> str:
        def level(match: re.Match[str]) -> str:
            forms = match[1].split(";")
            return forms[min(self.register, len(forms) - 1)]

        return super().expand(_LEVEL.sub(level, text))

    def say(self, wording: str, /, **slots: str) -> str:
        """An item of the list `wording`, expanded with these slots."""
        self.slots.update(slots)
        return self.expand(f"<{wording}>")

    def maybe(self, chance: float, wording: str) -> str:
        return self.say(wording) if self.rng.random() < chance else ""


def tidy(text: str) -> str:
    """Particles chosen, 거 + 이 as 게, single spaces, no space before a full stop."""
    text = re.sub(r"(?<= )거(이/가|을/를|은/는|으로/로)", lambda m: _THING[m[1]], text)
    text = attach(re.sub(r" *\n *", "\n", re.sub(r" +", " ", text)).strip())
    return re.sub(r" (?=[.,?!])", "", text).replace("매운 맛", "매운맛")


def won(n: int, rng: random.Random) -> str:
    """An amount of money in one of its spellings: 9,000원, 9천 원, 구천 원."""
    form = rng.choice((0, 0, 1, 2))
    if form == 0:
        return f"{n:,}원"
    parts = []
    for unit, sign in ((10000, "만"), (1000, "천"), (100, "백")):
        count, n = divmod(n, unit)
        if count:
            korean = "" if count == 1 else "일이삼사오육칠팔구"[count - 1]
            parts.append((korean if form == 2 or count == 1 else str(count)) + sign)
    return " ".join(parts[:1] + ["".join(parts[1:])]).strip() + " 원" if (
        parts[0].endswith("만")) else "".join(parts) + " 원"


def kcal(n: int, rng: random.Random) -> str:
    """An amount of energy: 450칼로리, 450kcal or 450킬로칼로리."""
    return f"{n}{rng.choice(('칼로리', '칼로리', 'kcal', '킬로칼로리'))}"


def limit_list(limit: str, value) -> str:
    """Name of the list that words a constraint, less its prefix."""
    if limit == "soup":
        return "soup" if value else "nosoup"
    return f"{limit}_{value}" if limit in ("company", "temperature") else limit


def fill_slots(w: Writer, limits: dict) -> None:
    """Set the slots that the wordings of some constraints use."""
    for limit, value in limits.items():
        if limit in ("cuisine", "base"):
            slot = "basenp" if limit == "base" else limit
            w.slots[slot] = w.say(f"{limit}_{value}")
        elif limit == "taste":
            w.slots["adj"] = w.say(f"adj_{value}")
        elif limit == "meal":
            w.slots["meal"] = value
        elif limit.startswith("max_"):
            words = won if limit == "max_price" else kcal
            w.slots["won" if limit == "max_price" else "kcal"] = words(value, w.rng)


def noun_phrase(w: Writer, limits: dict, head: str = "") -> str:
    """Constraints before a noun: 혼자 먹기 좋은 매운 면 요리; `head` is a dish, or ""."""
    fill_slots(w, limits)
    front = [k for k in LIMITS if k in limits and k not in ("cuisine", "base")]
    if "taste" in limits and "temperature" in limits:  # 뜨겁고 매운, not 뜨거운 매운
        front.remove("temperature")
        w.slots["adj"] = w.say(f"go_{limits['temperature']}") + " " + w.slots["adj"]
    if "meal" in limits and "company" in limits:
        front[0] = "meal_too"
    if "max_price" in limits and "max_kcal" in limits:
        front[front.index("max_price")] = "max_both"
        front.remove("max_kcal")
    words = [w.say("mod_" + limit_list(k, limits.get(k))) for k in front]
    if head:
        kinds = [k for k in ("base", "cuisine") if k in limits][:1]
        words = [w.slots["basenp" if k == "base" else k] + "인" for k in kinds] + words
        return " ".join([*words, head])
    if "base" in limits:
        within = [w.slots["cuisine"] + " 중에서"] if "cuisine" in limits else []
        return " ".join([*within, *words, w.slots["basenp"]])
    return " ".join([*words, w.slots["cuisine"] if "cuisine" in limits
                     else w.say("head")])


def fact(w: Writer, dish: Dish, key: str, subject: str = "", value: str = "") -> str:
    """One sentence on one attribute; `value` picks one of several tastes, meals..."""
    taste = value if key == "taste" and value else w.rng.choice(dish.taste)
    other = [t for t in dish.taste if t != taste]
    w.slots |= {"s": subject and subject + " ", "name": dish.name,
                "adj": w.say(f"adj_{taste}"), "basenp": w.say(f"base_{dish.base}"),
                "cuisine": w.say(f"cuisine_{dish.cuisine}"),
                "price": won(dish.price, w.rng), "kcal": kcal(dish.kcal, w.rng)}
    w.slots["t"] = w.slots["adj"] + (" 식감" if taste in TEXTURES else " 맛")
    w.slots["meals"] = value if key == "meal" and value else (
        ", ".join(dish.meal[:-2] + ("이나/나 ".join(dish.meal[-2:]),)))
    names = [f"fact_{key}"]
    if key == "taste":
        names += ["fact_flavour"] * (taste not in TEXTURES)
        if other:
            names.append("fact_two")
            w.slots["go"] = w.say(f"go_{taste}")
            w.slots["adj2"] = w.say(f"adj_{w.rng.choice(other)}")
    elif key == "base":
        names.append(f"fact_base_{dish.base}")
    elif key == "price":
        names += ["fact_cheap"] * (dish.price <= 7000) + ["fact_dear"] * (
            dish.price >= 16000)
    elif key == "kcal":
        names += ["fact_light"] * (dish.kcal <= 350) + ["fact_heavy"] * (
            dish.kcal >= 700)
    elif key == "company":
        names = [f"fact_{value or w.rng.choice(dish.company)}"]
    elif key == "temperature":
        names = [f"fact_{dish.temperature}"]
    elif key in ("soup", "vegetarian") and not getattr(dish, key):
        names = ["fact_nosoup" if key == "soup" else "fact_meat"]
    return w.say(w.rng.choice(names))


FACTS = ("taste", "soup", "base", "cuisine", "meal", "company", "price", "kcal",
         "vegetarian", "temperature")


def facts(w: Writer, dish: Dish, keys) -> str:
    """Sentences on some attributes; the first one names the dish."""
    said = []
    for key in keys:
        other = w.rng.choice(("", "", "", "그리고", "또", w.say("subject")))
        said.append(fact(w, dish, key, other if said else f"{dish.name}은/는"))
    return " ".join(said)


def answer(w: Writer, dish: Dish, request: Request, *, again: bool = False) -> str:
    """A polite answer that recommends the dish and says why it fits."""
    limits = list(request.limits.items())
    front = dict(limits if w.rng.random() < 0.4 else ())
    if len(front) > 1:  # not 한식인 면 요리인 ... : one or two are enough
        front = {k: v for k, v in limits if k not in ("base", "cuisine")}
    said = w.say("answer", dish=noun_phrase(w, front, dish.name))
    opening = w.say("again_open") if again else w.maybe(0.4, "answer_open")
    if front:  # the constraints are said already: add what is new
        new = [k for k in FACTS if k not in front]
        limits = [(k, None) for k in w.rng.sample(new, w.rng.choice((0, 1, 1, 2)))]
    w.rng.shuffle(limits)
    why = [fact(w, dish, k.removeprefix("max_"), value=v if isinstance(v, str) else "")
           for k, v in limits[: w.rng.choice((1, 2, 3))]]
    return tidy(" ".join([opening, said, *why, w.maybe(0.2, "answer_close")]))


def why_not(w: Writer, dish: Dish, request: Request) -> str:
    """One sentence that says why a dish does not fit a request."""
    fill_slots(w, request.limits)
    missed = [k for k, v in request.limits.items() if not holds(dish, k, v)]
    limit = w.rng.choice(missed)
    name = "no_" + limit_list(limit, request.limits[limit])
    return tidy(w.say(name, wrong=dish.name))
