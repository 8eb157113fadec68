"""A menu chatbot that looks things up: two steps of a model behind one face.

First it is written down what is asked for (a query), by rules or by the model; code
finds a dish that fits; then the model reads the card of that dish and answers.
`MenuBackend` is a backend as `ChatSession` and the pages in helpers/apps take it, around
any other one:

    bot = MenuBackend(make_backend(model, tokenizer))
    ChatSession(bot).say("매운 거 추천해 주세요.")
    bot.last        # what was looked up for it

`answers` does the same for many tasks at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from helpers import menu_lookup, menu_rules, sft
from helpers.dishes import Dish, dishes_in, load_dishes
from helpers.menu_lookup import ask
from helpers.menu_tasks import MenuTask, find
from helpers.messages import Messages
from helpers.streaming import text_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Lookup", "MenuBackend", "answers", "look_up", "read"]

QUERY_TOKENS = 48  # room for a query: constraints of one request
CARD_TOKENS = 64  # and for a card
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
GREEDY |= {"repetition_penalty": 1.0}


@dataclass(frozen=True)
class Lookup:
    """What was looked for, and what the model was given."""

    query: str
    card: str
    unread: tuple[str, ...] = ()  # words of the query that mean nothing here


def look_up(
    query: str,
    messages: Messages,
    *,
    nth: int = 0,
    seed: int = 0,
    menu: Sequence[Dish] | None = None,
) -> Lookup:
    """Return the card for a query; dishes that `messages` recommend already are left out.

    The last of `messages` is the request. The same seed and request give the same dish,
    another `nth` another one. `menu` is the course's own by default.
    """
    limits, unread = menu_lookup.read_query(query)
    if limits is None:
        return Lookup(query, menu_lookup.ASIDE, tuple(unread))
    said = [one["content"] for one in messages if one["role"] == "assistant"]
    named = [dish for text in said for dish in dishes_in(text)]
    known = {dish.name for dish in load_dishes()}
    own = (dish.name for dish in menu or () if dish.name not in known)
    named += [name for name in own if name in " ".join(said)]
    where = f"{seed} {messages[-1]['content']}"
    dish = menu_lookup.find(limits, exclude=named, nth=nth, seed=where, menu=menu)
    card = menu_lookup.write_card(dish) if dish else menu_lookup.NOTHING
    return Lookup(query, card, tuple(unread))


@dataclass(frozen=True)
class _Prompt:
    messages: Messages
    tokens: int

    def __len__(self) -> int:
        return self.tokens


class MenuBackend:
    """A backend that looks a dish up before it answers; `last` tells what it found."""

    def __init__(
        self, backend: Any, *, menu: Sequence[Dish] | None = None, by_rules: bool = True
    ) -> None:
        self.backend, self.menu, self.by_rules = backend, menu, by_rules
        self.n_ctx: int = backend.n_ctx
        self.stop_strings = backend.stop_strings
        self.last: Lookup | None = None

    @property
    def cached(self) -> int:
        """How many tokens of the last prompt the backend knew from before."""
        return self.backend.cached

    def forget(self) -> None:
        """Drop what the backend knows of past prompts."""
        self.backend.forget()

    def encode(self, messages: Messages) -> _Prompt:
        """Return the conversation, and how many tokens it takes with query and card."""
        tokens = len(self.backend.encode(messages))
        return _Prompt(list(messages), tokens + max(QUERY_TOKENS, CARD_TOKENS))

    def stream(
        self, prompt: _Prompt, *, seed: int | None = 0, nth: int = 0, **setting: Any
    ) -> Iterator[tuple[int, bytes | None]]:
        """Find a query, look it up, and yield the tokens of the reply."""
        *past, last = prompt.messages
        if self.by_rules:
            query = read(prompt.messages)
        else:
            query = self._query([*past, last | {"content": find(last["content"])}])
        drawn = random.getrandbits(32) if seed is None else seed
        self.last = look_up(query, prompt.messages, nth=nth, seed=drawn, menu=self.menu)
        asked = ask(last["content"], self.last.card)
        new = self.backend.encode([*past, last | {"content": asked}])
        yield from self.backend.stream(new, seed=seed, nth=nth, **setting)

    def _query(self, messages: Messages) -> str:
        prompt = self.backend.encode(messages)
        tokens = self.backend.stream(
            prompt, max_new_tokens=QUERY_TOKENS, seed=0, nth=0, **GREEDY
        )
        said = text_pieces(tokens, stop_strings=self.stop_strings)
        return "".join(text for text, _ in said).strip()


def read(messages: Messages) -> str:
    """Return the query that `menu_rules` reads in a conversation.

    >>> read([{"role": "user", "content": "매운 면 요리 있어요?"}])
    '조건: 매운, 면'
    """
    return menu_lookup.write_query(menu_rules.read_conversation(messages))


def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[MenuTask],
    *,
    seed: int = 0,
    by_rules: bool = True,
    **options: Any,
) -> tuple[list[str], list[Lookup]]:
    """Return a reply to each task, greedy by default, and what was looked up for it.

    Without `by_rules` the model writes the queries. `options` are those of `sft.answers`.
    """
    if by_rules:
        queries = [read(one.example.messages[:-1]) for one in tasks]
    else:
        room = {"max_new_tokens": QUERY_TOKENS} | options
        first = [replace(one, request=find(one.request)).example for one in tasks]
        queries = sft.answers(model, tokenizer, first, **room)
    found, asked = [], []
    for task, query in zip(tasks, queries):
        messages = task.example.messages[:-1]
        found.append(look_up(query, messages, seed=seed))
        asked.append(replace(task, request=ask(task.request, found[-1].card)).example)
    return sft.answers(model, tokenizer, asked, **options), found
