"""Run a chat template on messages, and tell its own words from theirs.

A chat template is a program in Jinja that writes messages as one text. `write` runs it
as transformers does, in a sandbox. `split` cuts the text into parts that know who
wrote them: it runs the template a second time on place-holders, so that nothing that
a message says can pass for the template's own words.

>>> template = "{% for m in messages %}<{{ m.role }}>{{ m.content|trim }}{% endfor %}"
>>> found, _ = split(template, [{"role": "user", "content": " Hi, <user>! "}])
>>> [(part.role, part.text) for part in found]
[('template', '<user>'), ('user', 'Hi, <user>!')]
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from helpers.messages import Messages, check_messages

__all__ = ["Part", "split", "write"]

PAD = "\u2003"  # a space beside a place-holder: gone where the template trims
PRIVATE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE))  # mean nothing in Unicode


@dataclass(frozen=True)
class Part:
    """A stretch of a written conversation."""

    text: str
    role: str  # who wrote it: system, user, assistant, template; or a "control" token
    trained: bool  # whether the assistant is to learn to write it
    message: int = -1  # the message it comes from, if any


def write(
    template: str,
    messages: Messages,
    *,
    names: Mapping[str, Any] | None = None,
    add_generation_prompt: bool = False,
    title: str = "the chat template",
) -> str:
    """Return what the template makes of the messages; `names` such as bos_token.

    Raises ValueError, with the template's title, if it is not Jinja, uses Python's
    attributes (one that is merely printed prints nothing), refuses, or fails.
    """
    from jinja2 import TemplateError, TemplateSyntaxError
    from jinja2.exceptions import SecurityError
    from transformers.utils.chat_template_utils import render_jinja_template

    options = {"chat_template": template, "add_generation_prompt": add_generation_prompt}
    try:
        return render_jinja_template([messages], **options, **(names or {}))[0][0]
    except TemplateSyntaxError as error:
        told = f"is no Jinja (line {error.lineno}: {error.message}), expected a template"
    except SecurityError as error:
        told = f"reaches for Python: {error} It may use messages alone, do not trust it"
    except (TemplateError, TypeError, LookupError, ArithmeticError) as error:
        told = f"cannot write these messages: {error}"
    raise ValueError(f"{title} {told}")


def split(
    template: str,
    messages: Messages,
    *,
    tokens: Iterable[str] = (),
    names: Mapping[str, Any] | None = None,
    add_generation_prompt: bool = False,
    title: str = "the chat template",
) -> tuple[list[Part], str]:
    """Return the parts of what `write` returns, and a character that none holds.

    Those of the `tokens` that the template itself writes become parts of their own,
    with the role "control". Raises what `write` and `check_messages` raise, and
    ValueError, naming it, for a message that the template changes beyond trimming.
    """
    check_messages(messages)
    if add_generation_prompt and messages[-1]["role"] == "assistant":
        last = f"messages[{len(messages) - 1}] is the assistant's"
        raise ValueError(f"{last}, expected the user's before a generation prompt")
    used = set(template).union(*(message["content"] for message in messages))
    mark = next((c for c in map(chr, chain(*PRIVATE)) if c not in used), None)
    if mark is None:
        raise ValueError("messages hold all private characters of Unicode, expected text")
    holders = [
        {"role": message["role"], "content": f"{PAD}{mark}{i}{mark}{PAD}"}
        for i, message in enumerate(messages)
    ]

    def draft(some: Messages, prompt: bool) -> str:
        options = {"names": names, "add_generation_prompt": prompt, "title": title}
        return write(template, some, **options)

    whole = draft(holders, add_generation_prompt)
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    prompts = [draft(holders[:i], True) for i in answers]
    # An answer begins where its prompt ends, perhaps with a space of the template's.
    begins = [len(prompt) for prompt in prompts if whole.startswith(prompt)]
    found = _walk(whole, messages, mark, begins, tokens)
    _compare(found, draft(messages, add_generation_prompt), title)
    return found, mark


def _walk(
    draft: str, messages: Messages, mark: str, begins: list[int], tokens: Iterable[str]
) -> list[Part]:
    """Put the messages into a draft, and mark what the assistant is to write."""
    holder = f"({PAD}?){mark}([0-9]+){mark}({PAD}?)"
    longest_first = sorted(tokens, key=len, reverse=True)
    pattern = "|".join([holder, *map(re.escape, longest_first)])
    found, at, answering = [], 0, False
    for hit in [*re.finditer(pattern, draft), None]:
        end = hit.start() if hit else len(draft)
        is_token = hit is not None and hit[2] is None
        cut = next((begin for begin in begins if at <= begin < end), end)
        found.append(Part(draft[at:cut], "template", answering and is_token))
        found.append(Part(draft[cut:end], "template", True))
        if hit is None:
            break
        if is_token:  # the first one after an answer ends its turn
            found.append(Part(hit[0], "control", answering or cut < end))
            answering = False
        else:
            number = int(hit[2])
            role, text = messages[number]["role"], messages[number]["content"]
            text = text if hit[1] else text.lstrip()
            text = text if hit[3] else text.rstrip()
            answering = role == "assistant"
            found.append(Part(text, role, answering, number))
        at = hit.end()
    return [part for part in found if part.text]


def _compare(found: list[Part], text: str, title: str) -> None:
    """Raise ValueError if the parts do not make up the text."""
    ours = "".join(part.text for part in found)
    if ours == text:
        return
    at, number = len(os.path.commonprefix([ours, text])), 0
    for part in found:
        number = max(number, part.message)
        at -= len(part.text)
        if at < 0:
            break
    raise ValueError(
        f"{title} changes messages[{number}] by more than trimming it, so that its words "
        "and the message's cannot be told apart: reword it, or use another template"
    )
