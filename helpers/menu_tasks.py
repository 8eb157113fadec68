"""What a menu chatbot is asked, and right answers to learn from.

    dish    recommend a dish that fits
    again   recommend another one, which fits as well and was not named before
    none    what is asked for does not exist: say so
    scope   a question that is not about food: say what you can do instead
    talk    a greeting, or thanks

A task has two steps, so it gives two conversations to learn from: the request and its
query, the request with a card of the menu and the reply (`helpers.menu_lookup`).
Requests of the split "heldout" have wordings of their own; its out-of-scope questions,
``data/menus/out_of_scope.txt``, were written by hand.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from helpers import menu_lookup
from helpers.dishes import FOLDER, Dish, Request, check_split, fitting, load_dishes
from helpers.food_phrases import Writer, fact, tidy
from helpers.food_requests import draw_limits, draw_request, told_request
from helpers.menus import out_of_scope
from helpers.messages import Messages
from helpers.replies import Example

__all__ = ["MIXTURE", "MenuTask", "find", "make_heldout", "make_split"]
__all__ += ["questions", "recommend", "talk"]

MIXTURE = {"dish": 6, "again": 3, "scope": 2, "none": 1, "talk": 1}  # parts of each
LEVELS = (0, 0, 0, 1, 3)  # speech levels of those who ask: 해요, 합니다, 해
EXCUSE = "죄송해요. 그건 제가 잘 몰라요. 대신 메뉴 추천은 도와드릴 수 있어요."


@dataclass(frozen=True)
class MenuTask:
    """A message to the chatbot, what it may look up, and one right reply."""

    kind: str
    history: Messages  # the turns before, as the person saw them
    request: str
    query: str
    card: str
    reply: str
    limits: Mapping = field(default_factory=dict)
    exclude: tuple[str, ...] = ()  # dishes named before

    @property
    def example(self) -> Example:
        """The task as an example: what is asked, and the facts to judge a reply by."""
        facts = {"language": "ko", "limits": self.limits, "exclude": self.exclude}
        return Example(self._turns(self.request, self.reply), self.kind, facts)

    @property
    def rows(self) -> list[dict[str, Messages]]:
        """Both steps as conversations to learn from."""
        steps = (find(self.request), self.query), (menu_lookup.ask(self.request, self.card), self.reply)
        return [{"messages": self._turns(*step)} for step in steps]

    def _turns(self, asked: str, answer: str) -> Messages:
        return [*self.history, *talk(asked, answer)]


def find(request: str) -> str:
    """Return the first step's question: a request, to be turned into a query."""
    return menu_lookup.FIND + "\n" + " ".join(request.split())


@lru_cache(maxsize=None)
def questions() -> tuple[str, ...]:
    """The 50 hand-written questions that are not about food.

    >>> len(questions())
    50
    """
    text = (FOLDER / "out_of_scope.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def make_split(
    number: int,
    *,
    split: str = "train",
    seed: int = 0,
    mixture: Mapping[str, int] | None = None,
) -> list[MenuTask]:
    """Make `number` different tasks, shuffled; a seed gives the same ones.

    mixture: parts of each kind (MIXTURE by default). Raises ValueError for an unknown
    split or kind, a number below 1, and more than 50 held-out questions out of scope.

    >>> [one.kind for one in make_split(3, mixture={"again": 1})]
    ['again', 'again', 'again']
    """
    check_split(split)
    order = [kind for kind, parts in (mixture or MIXTURE).items() for _ in range(parts)]
    if number < 1 or not order or not set(order) <= set(MIXTURE):
        raise ValueError(
            f"number is {number}, mixture {mixture}; expected 1 or more tasks, and parts "
            f"of {', '.join(MIXTURE)}"
        )
    asked = sum(order[i % len(order)] == "scope" for i in range(number))
    if split == "heldout" and asked > len(questions()):
        raise ValueError(
            f"{asked} held-out questions out of scope are asked for, and there are "
            f"{len(questions())}: lower number"
        )
    dice, made = random.Random(f"{seed} {split} menu"), {}
    while len(made) < number:
        kind = order[len(made) % len(order)]
        one = _MAKERS[kind](dice, split)
        said = [one.request, *(turn["content"] for turn in one.history)]
        if split == "train":  # some requests are few; their replies may differ
            said.append(one.reply)
        made.setdefault(tuple(said), one)
    tasks = list(made.values())
    dice.shuffle(tasks)
    return tasks


def make_heldout(number: int = 100, *, seed: int = 0) -> list[MenuTask]:
    """Make what a chatbot is measured with: `number` held-out requests, 50 questions.

    Greetings have no held-out wordings, so there are none.
    """
    parts = {kind: MIXTURE[kind] for kind in ("dish", "again", "none")}
    asked = make_split(number, split="heldout", seed=seed, mixture=parts)
    rest = {"split": "heldout", "seed": seed, "mixture": {"scope": 1}}
    return asked + make_split(len(questions()), **rest)


def recommend(
    dice: random.Random,
    dish: Dish,
    limits: Mapping,
    *,
    again: bool = False,
    reasons: int | None = None,
    wish: bool | None = None,
) -> str:
    """Return a reply that recommends a dish, and tells of it what request and card say.

    `reasons`: how many sentences (0 to 2, drawn if None); `wish`: whether it ends with
    one (drawn).
    """
    bot = Writer(dice)
    opening = bot.say("again_open") if again else bot.maybe(0.4, "answer_open")
    said = bot.say("answer", dish=dish.name)
    told = {key.removeprefix("max_") for key in limits}
    known = [*limits, *(key for key in ("taste", "price", "kcal") if key not in told)]
    count = dice.choice((1, 1, 2)) if reasons is None else reasons
    keys, why, card = dice.sample(known, count), [], menu_lookup.write_card(dish)
    for key in keys:
        value = limits.get(key) if isinstance(limits.get(key), str) else ""
        while True:  # until its amounts are written as on the card
            text = tidy(fact(bot, dish, key.removeprefix("max_"), value=value))
            if menu_lookup.amounts(text) <= menu_lookup.amounts(card):
                break
        why.append(text)
    close = bot.say("answer_close") if wish or (wish is None and dice.random() < 0.3) else ""
    return tidy(" ".join([opening, said, *why, close]))


def talk(*said: str) -> Messages:
    """Return messages of the user and the assistant in turn."""
    roles = ("user", "assistant") * len(said)
    return [{"role": role, "content": text} for role, text in zip(roles, said)]


def _how(split: str) -> dict[str, bool]:
    """Return which wordings a request of a split has."""
    return {"heldout": split == "heldout", "wide": split == "train"}


def _request(dice: random.Random, split: str, level: int) -> tuple[str, dict]:
    limits = draw_request(dice, split=split, count=dice.choice((1, 1, 2, 2, 2, 3)))
    return told_request(Writer(dice, level), limits, **_how(split))


def _dish(dice: random.Random, split: str) -> MenuTask:
    text, limits = _request(dice, split, dice.choice(LEVELS))
    dish = dice.choice(fitting(Request("", **limits)))
    reply, query = recommend(dice, dish, limits), menu_lookup.write_query(limits)
    return MenuTask("dish", [], text, query, menu_lookup.write_card(dish), reply, limits)


def _again(dice: random.Random, split: str) -> MenuTask:
    level = dice.choice(LEVELS)
    text, limits = _request(dice, split, level)
    fits, user = fitting(Request("", **limits)), Writer(dice, level)
    dishes = dice.sample(fits, min(len(fits), dice.choice((2, 2, 3))))
    wording = "again" if split == "train" else "again_heldout"
    said = [text]
    for nth, dish in enumerate(dishes):
        said += [recommend(dice, dish, limits, again=nth > 0)]
        said += [tidy(user.say(wording))]
    *history, asked, reply, _ = said
    query, card = menu_lookup.write_query(limits), menu_lookup.write_card(dishes[-1])
    before = tuple(dish.name for dish in dishes[:-1])
    return MenuTask("again", talk(*history), asked, query, card, reply, limits, before)


def _none(dice: random.Random, split: str) -> MenuTask:
    """Constraints of two dishes, mixed until nothing fits them."""
    while True:
        one, two = dice.sample(load_dishes(split), 2)
        limits = draw_limits(dice, one, 2) | draw_limits(dice, two, 2)
        if not fitting(Request("", **limits)):
            break
    text, limits = told_request(Writer(dice, dice.choice(LEVELS)), limits, **_how(split))
    reply, query = tidy(Writer(dice).say("nothing")), menu_lookup.write_query(limits)
    return MenuTask("none", [], text, query, menu_lookup.NOTHING, reply, limits)


def _scope(dice: random.Random, split: str) -> MenuTask:
    if split == "heldout":
        asked, reply = dice.choice(questions()), EXCUSE
    else:
        [(_, asked), (_, reply)] = out_of_scope(dice, level=dice.choice(LEVELS))
    return _aside("scope", [], asked, reply)


def _thanks(dice: random.Random, split: str) -> MenuTask:
    """A greeting in the beginning, or thanks for a dish."""
    user, bot = Writer(dice, dice.choice(LEVELS)), Writer(dice)
    if dice.random() < 0.4:
        return _aside("talk", [], tidy(user.say("greeting")), tidy(bot.say("greet")))
    before = _dish(dice, split)
    history = talk(before.request, before.reply)
    return _aside("talk", history, tidy(user.say("thanks")), tidy(bot.say("welcome")))


def _aside(kind: str, history: Messages, asked: str, reply: str) -> MenuTask:
    query = menu_lookup.write_query(None)
    return MenuTask(kind, history, asked, query, menu_lookup.ASIDE, reply)


_MAKERS = {"dish": _dish, "again": _again, "none": _none, "scope": _scope, "talk": _thanks}
