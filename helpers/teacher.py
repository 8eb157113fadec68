"""A teacher for self-instruct: any endpoint that speaks OpenAI's language.

`collect` in helpers.self_instruct wants a function from a prompt to the text that
follows. This makes one of a client, be it of the course's own server (`Server.client()`)
or of any other endpoint with its key.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["TeacherError", "make_teacher"]

CHAT = "Continue this list of tasks in the same form. Write nothing else."
WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before each new try


class TeacherError(ConnectionError):
    """The endpoint gave no usable text, however often it was asked."""


def make_teacher(
    client: OpenAI,
    *,
    model: str,
    chat: bool = False,
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_p: float = 0.95,
    waits: Sequence[float] = WAITS,
    **options: Any,
) -> Callable[[str], str]:
    """Return a teacher for `self_instruct.collect`: from a prompt to what follows it.

    `chat` is for endpoints without plain completions: the prompt becomes a message. The
    same prompt is asked with the same seed. `options` go to the endpoint as they are.

    The client itself tries again when the endpoint is down, slow or says that it is too
    busy; a reply that holds no text is asked for again here, after `waits` seconds. Then
    TeacherError says what was wrong. A wrong key or an unknown model is no use to try
    again and is said at once.
    """
    from openai import APIStatusError, OpenAIError

    def teacher(prompt: str) -> str:
        setting = {"model": model, "max_tokens": max_tokens, "temperature": temperature}
        setting |= {"top_p": top_p, "seed": zlib.crc32(prompt.encode())} | options
        said = "nothing"
        for wait in (*waits, None):
            try:
                return _ask(client, prompt, chat, setting)
            except APIStatusError as error:
                if error.status_code in (400, 401, 403, 404, 422):
                    told = f"the teacher refuses ({error.status_code}: {_short(error)})"
                    cure = "check the key, the model's name and the settings"
                    raise TeacherError(f"{told}: {cure}") from error
                said = _short(error)
            except (OpenAIError, ValueError) as error:
                said = _short(error)
            if wait is not None:
                time.sleep(wait)
        raise TeacherError(
            f"the teacher at {client.base_url} gave no text ({said}), asked "
            f"{len(waits) + 1} times: see that it runs, then run this again; the replies "
            "so far are kept"
        )

    return teacher


def _ask(client: OpenAI, prompt: str, chat: bool, setting: dict[str, Any]) -> str:
    """Return one reply's text; a line of ### follows unless it was cut off."""
    if chat:
        turns = [{"role": "system", "content": CHAT}, {"role": "user", "content": prompt}]
        reply = client.chat.completions.create(messages=turns, **setting)
    else:
        reply = client.completions.create(prompt=prompt, **setting)
    choices = getattr(reply, "choices", None)  # a page of HTML comes as a text
    if not choices:
        raise ValueError("what came is no completion")
    text = choices[0].message.content if chat else choices[0].text
    if not isinstance(text, str) or not text.strip():
        raise ValueError("the reply is empty")
    return text if choices[0].finish_reason == "length" else text + "\n###"


def _short(error: Exception) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 120 else said[:117] + "..."
