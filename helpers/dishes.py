"""Dishes, what a person asks for, and the verifier: does the dish named fit?

The dishes lie in ``data/menus/dishes.jsonl`` and are ours; prices and calories are
typical, not measured. About an eighth of them, drawn once from every cuisine, are held
out. ``helpers.menus`` writes text about them and gives all of these names again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

__all__ = [
    "Dish", "FOLDER", "LIMITS", "Request", "SPLITS", "Verdict", "check_split",
    "dishes_in", "favourites", "fitting", "holds", "load_dishes", "satisfies",
]

FOLDER = Path(__file__).resolve().parents[1] / "data" / "menus"
SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class Dish:
    """A dish; price in won, kcal a portion, `temperature` 뜨거운, 차가운 or 보통."""

    name: str
    taste: tuple[str, ...]
    soup: bool
    base: str
    cuisine: str
    meal: tuple[str, ...]
    company: tuple[str, ...]
    price: int
    kcal: int
    vegetarian: bool
    temperature: str
    split: str


@dataclass(frozen=True)
class Request:
    """What a person asks for: text, constraints (None: any), dishes not wanted."""

    text: str
    cuisine: str | None = None
    meal: str | None = None
    company: str | None = None
    max_price: int | None = None
    max_kcal: int | None = None
    vegetarian: bool | None = None
    soup: bool | None = None
    temperature: str | None = None
    taste: str | None = None
    base: str | None = None
    exclude: tuple[str, ...] = ()

    @property
    def limits(self) -> dict[str, str | int | bool]:
        """The constraints that are set, by name."""
        return {k: v for k in LIMITS if (v := getattr(self, k)) is not None}


LIMITS = tuple(f.name for f in fields(Request))[1:-1]


@dataclass(frozen=True)
class Verdict:
    """The verifier's answer; true when the dish named fits. `reason` is in English."""

    ok: bool
    dish: str | None
    reason: str

    def __bool__(self) -> bool:
        return self.ok


@lru_cache(maxsize=None)
def load_dishes(split: str | None = None) -> tuple[Dish, ...]:
    """All dishes, or those of a split ("train" or "heldout").

    Raises ValueError for an unknown split, or a line that is not a dish.

    >>> load_dishes()[0].name
    '김치찌개'
    """
    if split is not None:
        check_split(split)
        return tuple(d for d in load_dishes() if d.split == split)
    path, dishes = FOLDER / "dishes.jsonl", []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            row = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
            dishes.append(Dish(**row))
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path.name}, line {number} is not a dish ({error}): "
                             "give it every field of helpers.menus.Dish.") from error
    return tuple(dishes)


@lru_cache(maxsize=None)
def favourites() -> tuple[str, ...]:
    """Names of the dishes to think of first, in order; nearly every request has one.

    They were drawn up once: the dish that fits most requests, then the dish that fits
    most of the rest, and so on.

    >>> len(favourites()), favourites()[1]
    (24, '김치찌개')
    """
    return tuple((FOLDER / "favourites.txt").read_text(encoding="utf-8").split())


def check_split(split: str) -> None:
    """Raise ValueError unless `split` is "train" or "heldout"."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {SPLITS}.")


def holds(dish: Dish, limit: str, value: str | int | bool) -> bool:
    """Does the dish keep one constraint of a request?"""
    if limit in ("max_price", "max_kcal"):
        return getattr(dish, limit[4:]) <= value
    have = getattr(dish, limit)
    return value in have if isinstance(have, tuple) else have == value


def fitting(request: Request, dishes: Iterable[Dish] | None = None) -> list[Dish]:
    """The dishes that satisfy a request, in the order given (all dishes by default)."""
    return [d for d in (load_dishes() if dishes is None else dishes)
            if d.name not in request.exclude
            and all(holds(d, k, v) for k, v in request.limits.items())]


# A dish name must begin a word, and be all of it but for particles and the copula.
_AFTER = ("은 는 이 가 을 를 과 와 도 만 의 에 에는 에서 으로 로 이랑 랑 하고 이나 나 처럼 "
          "이라면 라면 이면 면 이에요 예요 에요 입니다 인데 인데요 이죠 죠 이지요 지요 "
          "이라 라 이라서 라서 이고 고 이며 며 이니 니 네요 이네요 이야 야 이다 다 부터 "
          "까지 정도 쪽 같은 이요 요 든 이든 이었어요 였어요 집 인 일").split()
_INSTEAD = r"(?!\s*(?:은|는|이|가|을|를)?\s*(?:말고|대신|빼고|제외|보다|보단|아니))"


@lru_cache(maxsize=None)
def _name_pattern() -> re.Pattern[str]:
    names = sorted((d.name for d in load_dishes()), key=len, reverse=True)
    names = [r"\s?".join(name) for name in names]  # 순두부 찌개 is 순두부찌개 too
    after = "|".join(sorted(_AFTER, key=len, reverse=True))
    return re.compile(rf"(?<![가-힣A-Za-z])({'|'.join(names)}){_INSTEAD}"
                      rf"(?:{after}){{0,2}}(?![가-힣A-Za-z])")


def dishes_in(text: str) -> list[str]:
    """Names of the dishes that a text recommends, in order, each once.

    The longest name counts (참치김밥, not 김밥), a name inside an unknown word does not
    (딸기김밥), nor one that is set aside ("김밥 말고", "김밥보다").

    >>> dishes_in("김밥 말고 참치김밥은 어때요? 딸기김밥은 없어요.")
    ['참치김밥']
    """
    found = (re.sub(r"\s", "", m[1]) for m in _name_pattern().finditer(text))
    return list(dict.fromkeys(found))


def satisfies(reply: str, request: Request) -> Verdict:
    """Judge a reply: every dish that it recommends is known, new, and fits the request.

    >>> asked = Request("국물 있는 거 추천해 주세요.", soup=True)
    >>> satisfies("김치찌개 어떠세요?", asked).ok, satisfies("짜장면이요.", asked).reason
    (True, '짜장면: soup is False, asked for True')
    """
    names = dishes_in(reply)
    if not names:
        return Verdict(False, None, "no known dish is named")
    known = {d.name: d for d in load_dishes()}
    for name in names:
        if name in request.exclude:
            return Verdict(False, name, f"{name}: suggested before")
        for limit, value in request.limits.items():
            if not holds(known[name], limit, value):
                have = getattr(known[name], limit.removeprefix("max_"))
                have = ", ".join(have) if isinstance(have, tuple) else have
                reason = f"{name}: {limit} is {have}, asked for {value}"
                return Verdict(False, name, reason)
    return Verdict(True, names[0], "fits")
