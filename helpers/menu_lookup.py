"""A menu that a small model looks things up in: query in, dish out.

A model of ten million parameters cannot keep two hundred dishes in its weights. It can
write down what a person asks for, in fixed words, and read a line about a dish:

    손님이 찾는 조건을 적으세요.               told to the model, with a request below
    조건: 점심, 10,000원 이하, 담백한            the query, which the model writes
    메뉴: 김밥 · 고소한, 담백한 · 밥 · 분식 · 4,000원 · 450칼로리      the card, from here

>>> limits, unread = read_query("조건: 점심, 10,000원 이하, 담백한")
>>> limits, unread
({'meal': '점심', 'max_price': 10000, 'taste': '담백한'}, [])
>>> write_query(limits)
'조건: 점심, 10,000원 이하, 담백한'
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from helpers.dishes import LIMITS, Dish, Request, fitting, load_dishes

__all__ = ["ASIDE", "CARD", "FIND", "NOTHING", "QUERY", "amounts", "ask", "find"]
__all__ += ["read_query", "write_card", "write_query"]

FIND = "손님이 찾는 조건을 적으세요."  # what the model is told before a request
QUERY, CARD = "조건: ", "메뉴: "  # the beginnings of both lines
NO_QUERY = "없음"
NOTHING = CARD + "맞는 것 없음"  # no dish fits
ASIDE = CARD + "묻지 않음"  # it was not about a dish
NAMES = {"soup": ("국물 없음", "국물 있음"), "vegetarian": ("고기도 됨", "채식")}
NAMES |= {"max_price": "{:,}원 이하", "max_kcal": "{}칼로리 이하"}
AMOUNT = re.compile(
    r"[0-9][0-9,]* ?(?:원|칼로리|kcal|킬로칼로리|[만천백])|[일이삼사오육칠팔구만천백]+ ?원"
)


def _word(limit: str, value: str | int | bool) -> str:
    name = NAMES.get(limit)
    if name is None:
        return str(value)
    return name.format(value) if isinstance(name, str) else name[bool(value)]


@lru_cache(maxsize=None)
def _words() -> dict[str, tuple[str, str | bool]]:
    """Every fixed word and the constraint that it stands for."""
    found = {}
    for limit in LIMITS:
        if not limit.startswith("max_"):
            values = (getattr(dish, limit) for dish in load_dishes())
            for value in values:
                for one in value if isinstance(value, tuple) else (value,):
                    found.setdefault(_word(limit, one), (limit, one))
    return found


def write_query(limits: Mapping[str, str | int | bool] | None) -> str:
    """Return constraints as a query, in their order; None: it is not about a dish."""
    words = [_word(name, value) for name, value in (limits or {}).items()]
    return QUERY + ", ".join(words or [NO_QUERY])


def read_query(text: str) -> tuple[dict[str, str | int | bool] | None, list[str]]:
    """Return the constraints of a query, and the words that mean nothing here.

    The constraints are None if the text is no query, or one that asks for no dish.
    """
    line = text.strip().split("\n")[0]
    if not line.startswith(QUERY.strip()):
        return None, []
    limits, unread = {}, []
    for word in re.split(r",\s+", line.removeprefix(QUERY.strip()).strip()):
        amount = re.fullmatch(r"([0-9,]+)(원|칼로리) 이하", word)
        if amount and (digits := amount[1].replace(",", "")):
            limits["max_price" if amount[2] == "원" else "max_kcal"] = int(digits)
        elif word in _words():
            limits.setdefault(*_words()[word])
        elif word != NO_QUERY:
            unread.append(word)
    return limits or None, unread


def write_card(dish: Dish) -> str:
    """Return what the model is shown of a dish: its name and what a reply may tell.

    >>> write_card(load_dishes()[0])
    '메뉴: 김치찌개 · 매운, 얼큰한, 짭짤한 · 고기 · 한식 · 9,000원 · 480칼로리'
    """
    facts = (dish.name, ", ".join(dish.taste), dish.base, dish.cuisine)
    return CARD + " · ".join((*facts, f"{dish.price:,}원", f"{dish.kcal}칼로리"))


def ask(request: str, card: str) -> str:
    """Return a request with a card below it, for the model to answer.

    Line breaks of the request become spaces, so no line of it can pass for a card.
    """
    return " ".join(request.split()) + "\n" + card


def find(
    limits: Mapping[str, str | int | bool],
    *,
    exclude: Iterable[str] = (),
    nth: int = 0,
    seed: int | str = 0,
    menu: Iterable[Dish] | None = None,
) -> Dish | None:
    """Return a dish of the menu (the course's own) that fits, or None.

    None of `exclude`; the nth, counted round, in an order drawn with `seed`.
    """
    fits = fitting(Request("", **limits, exclude=tuple(exclude)), menu)
    random.Random(f"{seed}").shuffle(fits)
    return fits[nth % len(fits)] if fits else None


def amounts(text: str) -> set[str]:
    """Return the amounts of money and energy in a text, without spaces.

    >>> sorted(amounts("4,000원이고 450칼로리예요. 팔천 원은 아니에요."))
    ['4,000원', '450칼로리', '팔천원']
    """
    return {re.sub(r"\s", "", found) for found in AMOUNT.findall(text)}
