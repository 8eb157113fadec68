"""Talk with a model in turns, whatever runs it: transformers, llama.cpp, a server.

A `ChatSession` keeps what was said, gives the model as much of it as fits, streams the
answer and writes a log. When a prompt grows too long, the oldest turns are left out,
many at a time: without its oldest turn a prompt begins differently, and all of it has
to be read again, since the model knows past tokens by what stands before them.
Cut to a share s of its room, the history grows by 1 - s of the room before the next
cut, so that each token is read again s / (1 - s) times on average: once for one half,
however long the context. One turn less each time would mean all tokens each time.

>>> class Parrot:  # the least that a backend does
...     n_ctx, cached = 512, 0
...     encode = staticmethod(lambda messages: [m["content"] for m in messages])
...     def stream(self, prompt, **setting):
...         yield 7, prompt[-1].encode()
...         yield 2, None
>>> chat = ChatSession(Parrot(), system="Say it again.")
>>> print(chat.say("안녕!"))
안녕!
>>> chat.messages[-1]
{'role': 'assistant', 'content': '안녕!'}
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers import sampling
from helpers.backends import make_backend
from helpers.chat_log import Reply, Turn, load_log, message, read_turns, save_log
from helpers.messages import Messages, check_messages, fit_history
from helpers.streaming import text_pieces

__all__ = ["ChatSession", "ContextError", "Reply", "Turn"]

SETTING = {"max_new_tokens": 160, "temperature": 0.7, "top_k": 0, "top_p": 0.9}
SETTING |= {"min_p": 0.0, "repetition_penalty": 1.0, "stop_strings": ()}


class ContextError(ValueError):
    """A message is too long, even with all turns before it left out."""


class ChatSession:
    """A conversation with a model, one answer at a time.

    Every message leaves one turn. An answer broken off, by Ctrl-C or a closed stream,
    stays as far as it came, with the reason "interrupted"; the model is not shown a
    turn whose answer is blank. If the backend fails, the turn is undone.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        system: str | None = None,
        messages: Messages = (),
        family: str | None = None,
        n_ctx: int | None = None,
        max_turns: int | None = None,
        trim_to: float = 0.5,
        seed: int | None = 0,
        **options: Any,
    ) -> None:
        """Begin a conversation, or go on with `messages`.

        Model, tokenizer and family go to `make_backend`. `n_ctx` lowers its limit on
        tokens. The model reads at most `max_turns` turns before a message; when they
        do not fit, the oldest go until the others take the share `trim_to` of their
        room. The same seed gives the same answers, None others each time. `options`,
        those of `say`, become the usual ones. Raises ValueError and TypeError.
        """
        self.backend = make_backend(model, tokenizer, family=family)
        most = self.backend.n_ctx
        self.n_ctx = most if n_ctx is None else n_ctx
        if not 2 <= self.n_ctx <= most:
            raise ValueError(f"n_ctx is {n_ctx}, expected 2 to {most} for this model")
        if not 0 <= trim_to <= 1 or (max_turns or 0) < 0:
            found = f"trim_to is {trim_to} and max_turns {max_turns}"
            raise ValueError(f"{found}, expected 0 to 1, and 0 or more, or None")
        self.max_turns, self.trim_to, self.seed = max_turns, trim_to, seed
        self.forgotten = 0  # how many of the oldest turns the model reads no more
        self.options = SETTING | {"max_new_tokens": min(160, self.n_ctx // 2)}
        self.options["stop_strings"] = getattr(self.backend, "stop_strings", ())
        self.options = self._setting(options)
        head = [] if system is None else [message("system", system)]
        self.system, self.turns = read_turns([*head, *messages])

    @property
    def messages(self) -> list[dict[str, str]]:
        """Return all that was said, the system message first."""
        return self._messages(self.turns)

    @property
    def context(self) -> list[dict[str, str]]:
        """Return that part of `messages` which the model still reads."""
        return self._messages(self.turns[self.forgotten :])

    def say(self, text: str, **options: Any) -> Reply:
        """Send a message and return the answer.

        Options: max_new_tokens, temperature (0 is greedy), top_k, top_p, min_p,
        repetition_penalty, stop_strings. Raises ValueError or TypeError for a bad
        message or option, ContextError for one too long; nothing has changed then.
        """
        for _ in self.stream(text, **options):
            pass
        return self.turns[-1].reply

    def stream(self, text: str, **options: Any) -> Iterator[str]:
        """Send a message and yield the answer in pieces of whole characters.

        `turns[-1].reply` tells the rest. Takes and raises what `say` does.
        """
        if isinstance(text, str) and not text.strip():
            raise ValueError("the message is empty, expected some words to answer")
        check_messages([message("user", text)])
        return self._answer(text, self._setting(options))

    def retry(self, **options: Any) -> Reply:
        """Answer the last message anew, and differently unless greedy.

        The new answer takes the old one's place with its first word. Takes and raises
        what `say` does, and ValueError if nothing was said yet.
        """
        for _ in self.stream_retry(**options):
            pass
        return self.turns[-1].reply

    def stream_retry(self, **options: Any) -> Iterator[str]:
        """Do as `retry` does, and yield the answer in pieces."""
        if not self.turns:
            raise ValueError("there is no message to answer anew: send one first")
        return self._answer(None, self._setting(options))

    def reset(self) -> None:
        """Begin anew; the system message stays."""
        self.turns, self.forgotten = [], 0

    def save(self, path: str | Path) -> None:
        """Write a log of JSON lines: the options, then all messages."""
        facts = {"seed": self.seed, "forgotten": self.forgotten, **self.options}
        save_log(path, self.system, self.turns, **facts)

    def load(self, path: str | Path) -> None:
        """Go on with a log's conversation, seed and options, in place of this one's.

        Raises FileNotFoundError, and ValueError or TypeError for another kind of file
        and for options that this model cannot have; nothing has changed then.
        """
        system, turns, facts = load_log(path)
        seed, forgotten = facts.pop("seed", 0), facts.pop("forgotten", 0)
        self.options = self._setting(facts)
        self.system, self.turns, self.seed = system, turns, seed
        self.forgotten = min(forgotten, len(turns))

    def _messages(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        head = [] if self.system is None else [message("system", self.system)]
        return head + [one for turn in turns for one in turn.messages]

    def _setting(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the usual options with these in their place, all checked."""
        chosen = {**self.options, **options}
        for name in chosen.keys() - SETTING:
            raise TypeError(f"unknown option {name!r}, expected {', '.join(SETTING)}")
        stops, new = chosen["stop_strings"] or (), chosen["max_new_tokens"]
        several = isinstance(stops, (list, tuple))
        chosen["stop_strings"] = tuple(stops) if several else (stops,)
        if not all(isinstance(one, str) and one for one in chosen["stop_strings"]):
            raise ValueError(f"stop_strings is {stops!r}, expected texts, none empty")
        if not isinstance(new, int) or not 1 <= new < self.n_ctx:
            raise ValueError(f"max_new_tokens is {new!r}, expected 1 to {self.n_ctx - 1}")
        for name in sampling.RANGES:
            sampling.check_setting(name, chosen[name])
        return chosen

    def _answer(self, text: str | None, setting: dict[str, Any]) -> Iterator[str]:
        """Answer a text, or for None the last one anew, and keep the turn."""
        start, before = time.perf_counter(), (self.turns, self.forgotten)
        past, reply = self.turns, Reply()
        if text is None:
            past, text, old = past[:-1], past[-1].user, past[-1].reply
            reply.nth, reply.dropped_turns = old.nth + 1, old.dropped_turns
            reply.dropped_tokens = old.dropped_tokens
        turn = Turn(text, reply)
        prompt, first = self._fit(past, turn, setting["max_new_tokens"])
        self.turns, self.forgotten = [*past, turn], first
        try:
            yield from self._write(turn, prompt, start, **setting)
        except BaseException as error:  # Ctrl-C and a closed stream too
            nothing_new = reply.nth and not reply.text.strip()
            if self._is_last(turn) and (isinstance(error, Exception) or nothing_new):
                self.turns, self.forgotten = before
            raise

    def _fit(self, past: list[Turn], turn: Turn, new: int) -> tuple[Any, int]:
        """Return the prompt, and how many turns are left out of it from now on."""
        encode, room, reply = self.backend.encode, self.n_ctx - new, turn.reply
        shown = [i for i, t in enumerate(past) if i >= self.forgotten and t.messages]

        def view(cut: int) -> list[dict[str, str]]:
            kept = self._messages([past[i] for i in shown[cut:]])
            return [*kept, message("user", turn.user)]

        cut = 0 if self.max_turns is None else max(0, len(shown) - self.max_turns)
        whole = encode(view(0))
        prompt = encode(view(cut)) if cut else whole
        if len(prompt) > room:
            least = len(encode(view(len(shown)))) if shown else len(prompt)
            if least > room:
                raise ContextError(
                    f"the message makes a prompt of {least} tokens, expected at most "
                    f"{room} (n_ctx {self.n_ctx} less max_new_tokens {new}): shorten it "
                    f"by {least - room}, or lower max_new_tokens"
                )
            aim = least + int(self.trim_to * (room - least))
            count = lambda some: len(encode(some))  # noqa: E731
            cut += len(fit_history(view(cut), budget=aim, count=count)[1]) // 2
            prompt = encode(view(cut))
        reply.prompt_tokens = len(prompt)
        reply.dropped_turns += cut
        reply.dropped_tokens += len(whole) - len(prompt)
        return prompt, [*shown, len(past)][cut] if cut else self.forgotten

    def _write(
        self, turn: Turn, prompt: Any, start: float, *, stop_strings: Any, **setting: Any
    ) -> Iterator[str]:
        """Let the backend answer; fill the reply in and yield its text."""
        reply = turn.reply
        tokens = self.backend.stream(prompt, seed=self.seed, nth=reply.nth, **setting)
        for text, reason in text_pieces(tokens, stop_strings=stop_strings):
            reply.seconds = time.perf_counter() - start
            if not reply.n_tokens:
                reply.first_seconds = reply.seconds
                reply.cached_tokens = self.backend.cached
            reply.n_tokens += reason != "length"
            if not reply.text:  # the template may hold the space before the first word
                text = text.lstrip()
            reply.text += text
            reply.reason = reason or reply.reason
            if text:
                yield text
            if not reason and not self._is_last(turn):
                raise RuntimeError("close a stream before another answer begins")

    def _is_last(self, turn: Turn) -> bool:
        return bool(self.turns) and self.turns[-1] is turn
