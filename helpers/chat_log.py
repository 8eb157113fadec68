"""What a conversation leaves behind: turns, and a log of them that can be read.

A log is JSON lines: the settings first, then one message a line, as it was written.
Line breaks, quotes and Korean come back as they were, and what is known of an answer
stands beside it.

>>> told = [("user", "뭐 먹지?"), ("assistant", "비빔밥!")]
>>> system, [turn] = read_turns([message(*one) for one in told])
>>> turn.user, str(turn.reply), turn.reply.reason
('뭐 먹지?', '비빔밥!', 'end')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from helpers.data_utils import load_jsonl, save_jsonl
from helpers.messages import check_messages

__all__ = ["Reply", "Turn", "load_log", "message", "read_turns", "save_log"]

HEAD = {"chat_log": 1}  # the version, in the first line


@dataclass
class Reply:
    """An answer and how it came about; str() gives the text."""

    text: str = ""
    reason: str = "interrupted"  # or "end", "stop" (a stop string), "length"
    n_tokens: int = 0  # drawn, the end token too
    prompt_tokens: int = 0  # read for it
    cached_tokens: int = 0  # of these, known from before
    dropped_turns: int = 0  # left out from this answer on
    dropped_tokens: int = 0
    nth: int = 0  # how many answers to the same message came before
    first_seconds: float = 0.0  # until the first token
    seconds: float = 0.0

    def __str__(self) -> str:
        return self.text


@dataclass
class Turn:
    """A message of the user's and its answer."""

    user: str
    reply: Reply

    @property
    def messages(self) -> list[dict[str, str]]:
        """Return both as messages, or none if the answer is blank."""
        both = [message("user", self.user), message("assistant", self.reply.text)]
        return both if self.reply.text.strip() else []


def message(role: str, content: str) -> dict[str, str]:
    """Return a message as templates and datasets take it."""
    return {"role": role, "content": content}


def read_turns(
    messages: Iterable[Mapping[str, Any]],
) -> tuple[str | None, list[Turn]]:
    """Return the system message, if any, and the turns of a whole conversation.

    Other keys of an answer fill its `Reply`. Raises TypeError or ValueError, naming the
    message, for what is no conversation and for a last message without an answer.
    """
    rows = [*messages]
    # what follows makes sure that the last message is not the user's
    check_messages([*map(_plain, rows), message("user", "?")])
    first = int(bool(rows) and rows[0]["role"] == "system")
    known, turns = {field.name for field in fields(Reply)} - {"text"}, []
    for asked, answer in zip(rows[first::2], rows[first + 1 :: 2]):
        facts = {key: value for key, value in answer.items() if key in known}
        reply = Reply(answer["content"], **{"reason": "end"} | facts)
        turns.append(Turn(asked["content"], reply))
    return (rows[0]["content"] if first else None), turns


def save_log(
    path: str | Path, system: str | None, turns: Iterable[Turn], **settings: Any
) -> None:
    """Write a log; the file appears whole or not at all."""
    rows: list[dict[str, Any]] = [HEAD | settings]
    rows += [] if system is None else [message("system", system)]
    for turn in turns:
        facts = asdict(turn.reply)
        rows.append(message("user", turn.user))
        rows.append(message("assistant", facts.pop("text")) | facts)
    save_jsonl(path, rows)


def load_log(path: str | Path) -> tuple[str | None, list[Turn], dict[str, Any]]:
    """Return the system message, the turns and the settings of a log.

    Raises FileNotFoundError, and ValueError, naming the file, for another kind of file.
    """
    head, *rows = load_jsonl(path) or [{}]
    if head.get("chat_log") != HEAD["chat_log"]:
        raise ValueError(
            f"{path} is no log of a chat: expected a file that ChatSession.save wrote, "
            f"whose first line begins with {HEAD}"
        )
    try:
        system, turns = read_turns(rows)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return system, turns, {k: v for k, v in head.items() if k not in HEAD}


def _plain(row: Any) -> Any:
    """Return a message without further keys, and with a word in a blank answer."""
    if not isinstance(row, Mapping):
        return row
    bare = {key: row[key] for key in ("role", "content") if key in row}
    if bare.get("role") == "assistant" and not str(bare.get("content", "?")).strip():
        bare["content"] = "?"
    return bare
