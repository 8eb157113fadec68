"""Conversations as lists of messages: check them, and keep them within a budget.

A message is {"role": ..., "content": ...}. A conversation is a system message, if any,
then the user's and the assistant's messages in turn. A turn is a question and its
answer, which the last turn may still lack.

>>> chat = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hi!"}]
>>> check_messages(chat)
>>> check_messages(chat[1:])
Traceback (most recent call last):
ValueError: messages[0] is the assistant's at the beginning, expected the user's...
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

__all__ = ["Messages", "ROLES", "check_messages", "fit_history"]

ROLES = ("system", "user", "assistant")
Messages = Sequence[Mapping[str, str]]


def check_messages(messages: Messages) -> None:
    """Raise TypeError or ValueError if this is no conversation, naming the message.

    >>> check_messages([{"role": "user", "content": ""}])
    Traceback (most recent call last):
    ValueError: messages[0] (user) is empty, expected some text
    """
    if not isinstance(messages, (list, tuple)):
        raise TypeError(
            f"messages is a {type(messages).__name__}, expected a list such as "
            '[{"role": "user", "content": "Hi."}]'
        )
    last = ""
    for i, message in enumerate(messages):
        _check_keys(f"messages[{i}]", message)
        role = message["role"]
        if role not in ROLES:
            close = get_close_matches(str(role), ROLES, n=1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"messages[{i}] has the role {role!r}, expected {', '.join(ROLES)}{hint}"
            )
        if role == "system" and i:
            two = messages[0]["role"] == "system"
            wrong = "a second system message" if two else "a system message, not first"
            cure = "join it to messages[0]" if two else "move it to the front"
            raise ValueError(f"messages[{i}] is {wrong}, expected one at most: {cure}")
        due = "assistant" if last == "user" else "user"
        if role not in (due, "system"):
            after = f"after messages[{i - 1}] ({last})" if i else "at the beginning"
            raise ValueError(
                f"messages[{i}] is the {role}'s {after}, expected the {due}'s: they "
                "take turns"
            )
        _check_content(f"messages[{i}] ({role})", message["content"])
        last = role
    if last in ("", "system"):
        raise ValueError(
            f"messages ends before messages[{len(messages)}], expected a user message"
        )


def _check_keys(where: str, message: Any) -> None:
    wanted = 'expected {"role": ..., "content": ...} and nothing else'
    if not isinstance(message, Mapping):
        raise TypeError(f"{where} is a {type(message).__name__}, {wanted}")
    if set(message) != {"role", "content"}:
        raise ValueError(f"{where} has the keys {[*message]}, {wanted}")


def _check_content(where: str, content: Any) -> None:
    if not isinstance(content, str):
        cure = ": join the texts of its parts" if isinstance(content, list) else ""
        raise TypeError(f"{where} is a {type(content).__name__}, expected a str{cure}")
    if not content.strip():
        raise ValueError(f"{where} is empty, expected some text")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} has half a character (a lone surrogate) at index {error.start}, "
            "expected text that UTF-8 can write: take it out"
        ) from None


def fit_history(
    messages: Messages, *, budget: int, count: Callable[[Messages], int]
) -> tuple[list[Mapping[str, str]], list[Mapping[str, str]]]:
    """Return (kept, dropped): the newest whole turns whose `count` fits the budget.

    `count` gives the tokens of a conversation. The system message and the last turn
    always stay. Raises ValueError, with the numbers, if these alone are too long, and
    what `check_messages` raises. Source: claim A8 and the traps of source A.

    >>> chat = [{"role": r, "content": r[0] * 4} for r in ("user", "assistant") * 3]
    >>> kept, dropped = fit_history(chat, budget=4, count=len)
    >>> len(kept), len(dropped)
    (4, 2)
    """
    check_messages(messages)
    head = 1 if messages[0]["role"] == "system" else 0
    turns = [i for i, message in enumerate(messages) if message["role"] == "user"]

    def keep(first: int) -> list[Mapping[str, str]]:
        return [*messages[:head], *messages[turns[first] :]]

    def fits(first: int) -> bool:
        return count(keep(first)) <= budget

    first = bisect_left(range(len(turns)), True, key=fits)  # a few counts, not all
    if first == len(turns):
        raise ValueError(
            f"messages[{turns[-1]}], the last turn,{' with the system message' * head} "
            f"takes {count(keep(first - 1))} tokens, expected at most {budget}: shorten it"
        )
    return keep(first), list(messages[head : turns[first]])
