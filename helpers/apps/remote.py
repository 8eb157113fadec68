"""A server that speaks OpenAI's interface, as a backend of `helpers.chat.ChatSession`.

Only the server knows how many tokens a text has. So the session leaves nothing out by
itself: the server refuses a conversation that is too long, and `stream` asks again
with half of its turns.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from helpers.chat import ChatSession, ContextError
from helpers.messages import Messages

__all__ = ["ServerBackend", "stream"]


@dataclass(frozen=True)
class Prompt:
    """Messages on their way to a server."""

    messages: Messages

    def __len__(self) -> int:
        return 0  # tokens: unknown here, and no reason to leave anything out


class ServerBackend:
    """A server at `url`, such as http://127.0.0.1:8000/v1, with the first of its models.

    `api_key` defaults to the environment variable OPENAI_API_KEY. Nothing is asked of
    the server before the first message.
    """

    n_ctx, cached, stop_strings = 2**30, 0, ()  # the server keeps what it needs

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        from openai import DefaultHttpxClient, OpenAI, Timeout

        self.url = url
        self.client = OpenAI(
            base_url=url,
            api_key=api_key or os.environ.get("OPENAI_API_KEY") or "none",
            timeout=Timeout(600, connect=5),
            max_retries=0,  # a person who waits would rather know at once
            http_client=DefaultHttpxClient(trust_env=False),  # no proxy on the way
        )

    def forget(self) -> None:
        """Do nothing: the server knows best what to keep."""

    def encode(self, messages: Messages) -> Prompt:
        """Return the messages as they are; the server writes the prompt."""
        return Prompt(messages)

    def stream(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int,
        seed: int | None = 0,
        nth: int = 0,
        **setting: Any,
    ) -> Iterator[tuple[int, bytes | None]]:
        """Yield (0, bytes) for each piece that comes, and (0, None) where a turn ends.

        Raises ConnectionError if there is no server or it goes away, PermissionError for
        a wrong key, ContextError if the messages are too long, RuntimeError with the
        server's own words if it refuses them for another reason.
        """
        import openai

        dice = random.Random(f"{seed} {nth} {prompt.messages}")
        more = {name: setting[name] for name in ("top_k", "min_p")}
        more["repeat_penalty"] = setting["repetition_penalty"]
        try:
            pieces = self.client.chat.completions.create(
                model=self.client.models.list().data[0].id,
                messages=[*prompt.messages],
                max_tokens=max_new_tokens,
                seed=None if seed is None else dice.getrandbits(31),
                temperature=setting["temperature"],
                top_p=setting["top_p"],
                extra_body=more,
                stream=True,
            )
            with pieces:  # closed early, the server stops computing
                yield from self._read(pieces)
        except openai.APIConnectionError:
            raise self._gone() from None
        except openai.AuthenticationError:
            cure = "set the environment variable OPENAI_API_KEY to the right one"
            raise PermissionError(f"the server refuses the key: {cure}") from None
        except openai.APIError as error:
            body = error.body if isinstance(error.body, dict) else {}
            said = str(body.get("message") or error.message)
            kind = ContextError if "context window" in said else RuntimeError
            raise kind(f"the server refuses this: {said}") from None

    def _read(self, pieces: Any) -> Iterator[tuple[int, bytes | None]]:
        for piece in pieces:
            if not piece.choices:
                continue
            choice = piece.choices[0]
            if text := choice.delta.content:
                yield 0, text.encode()
            if choice.finish_reason == "length":
                return
            if choice.finish_reason:
                yield 0, None
                return
        raise self._gone()  # it ended in the middle

    def _gone(self) -> ConnectionError:
        what = f"the server at {self.url} cannot be reached"
        return ConnectionError(f"{what}: start it again, then send this once more")


def stream(
    session: ChatSession, text: str, *, max_turns: int, **options: Any
) -> Iterator[str]:
    """Send a message through a `ServerBackend` and yield the answer in pieces.

    The model reads `max_turns` turns before it at most. When the server finds this too
    long, half of them are left out from then on. Takes the options of
    `ChatSession.stream`, and raises what that and the server's backend do.
    """
    while True:
        session.max_turns = max_turns
        try:
            yield from session.stream(text, **options)
            return
        except ContextError:
            read = min(max_turns, len(session.context) // 2)
            if not read:
                raise
            max_turns = read // 2
