"""Checks for the exercises of notebook 08, a chatbot: `check_08_k(answer)`; see `checks`."""

from __future__ import annotations

from typing import Any

from helpers import menu_lookup
from helpers.checks import Words, exercise, near, short, try_it
from helpers.dishes import Dish, Request, fitting, load_dishes

__all__ = ["check_08_1", "check_08_2", "check_08_3"]

CASES = (  # constraints, of which the first needs none left out
    {"taste": "매운", "base": "면"},
    {"cuisine": "중식", "company": "혼자", "max_price": 5000},
    {"cuisine": "일식", "max_price": 10000, "taste": "매운"},
    {"company": "혼자", "max_price": 1000, "taste": "매운"},
)


@exercise(look="all three have to be right: multiply")
def check_08_1(answer: Any) -> tuple[bool, Any]:
    """Check the chance that three conditions are all right, each with 0.95."""
    expected = 0.95**3
    return near(answer, expected, rel=0.01), round(expected, 3)


@exercise(look="the fields of dishes.Dish, and menu_lookup.find in section 2")
def check_08_2(answer: Any) -> tuple[bool, Any]:
    """Check a dish for the menu: new, spicy, a snack, for less than 3,000 won."""
    wanted = Words("a Dish with a new name, 매운, 간식, below 3,000 won")
    if not isinstance(answer, Dish) or not str(answer.name).strip():
        return False, wanted
    menu = [*load_dishes(), answer]
    limits = {"meal": "간식", "max_price": 2999, "taste": "매운"}
    found = fitting(Request("", **limits), [answer])
    new = sum(dish.name == answer.name for dish in menu) == 1
    if not (found and new):
        return False, wanted
    known = [dish.name for dish in load_dishes()]
    return menu_lookup.find(limits, menu=menu, exclude=known) == answer, wanted


@exercise(look="leave out the last constraint first, then the one before it")
def check_08_3(answer: Any) -> tuple[bool, Any]:
    """Check a function that leaves one constraint out, where nothing fits."""
    for limits in CASES:
        expected = _relax(limits)
        result = try_it(answer, dict(limits))
        if result != expected:
            return False, Words(f"{expected} for {limits}, not {short(result)}")
    return True, Words("the constraints less one")


def _relax(limits: dict) -> dict:
    """Return the constraints, less one if need be, that some dish keeps."""
    if fitting(Request("", **limits)):
        return limits
    for gone in reversed(limits):
        rest = {name: value for name, value in limits.items() if name != gone}
        if fitting(Request("", **rest)):
            return rest
    raise ValueError(f"no dish keeps all but one of {limits}")
