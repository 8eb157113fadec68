"""Write conversations as a model's family does, and encode them safely.

A family's template turns messages into one text, with markers between them.
`encode_conversation` reads as control tokens only those that the template wrote: the
same ones typed inside a message stay text. Markers that are no tokens ("[INST]",
"USER:") cannot be protected so, being text already: `Family.markers` names them.

>>> chat = [{"role": "user", "content": "Hi."}]
>>> render(chat, family="zephyr", add_generation_prompt=True)
'<|user|>\\nHi.</s>\\n<|assistant|>\\n'
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from helpers import runtime, templating
from helpers.messages import ROLES, Messages, check_messages, fit_history
from helpers.templating import Part

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

__all__ = ["Encoded", "FAMILIES", "Family", "Part", "check_messages", "columns"]
__all__ += ["encode_conversation", "find_family", "fit_history", "paint", "parts", "render"]

FOLDER = runtime.ROOT / "data" / "chat_templates"
ANSI = {"system": "35", "user": "34", "assistant": "33", "template": "90", "control": "1;31"}
# An added token may be a word or some spaces; a marker has letters and other signs.
MARKER = re.compile(r"\w.*[^\w\s\u2581]|[^\w\s\u2581].*\w", re.S)


@dataclass(frozen=True)
class Family:
    """A format of conversations that many models were trained on."""

    title: str
    template: str  # Jinja, given messages, bos_token, eos_token, add_generation_prompt
    bos: str = "<s>"
    eos: str = "</s>"
    system: str = "takes"  # a system message; "folds" it into a question; "refuses" it
    markers: tuple[str, ...] = ()  # what stands between the messages
    special: tuple[str, ...] = ()  # control tokens of the family's tokenizers
    stop: tuple[str, ...] = ()  # where to stop a model that goes on
    used_by: str = ""


def _load() -> dict[str, Family]:
    table = json.loads((FOLDER / "families.json").read_text(encoding="utf-8"))
    for name, facts in table.items():
        facts["template"] = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
        facts |= {key: tuple(facts[key]) for key in ("markers", "special", "stop")}
    return {name: Family(**facts) for name, facts in table.items()}


FAMILIES = _load()


@dataclass(frozen=True)
class Encoded:
    """A conversation as token ids, and what each of them is."""

    ids: list[int]
    mask: list[int]  # 1 where trained: the assistant's words and the end of its turn
    roles: list[str]  # as in Part

    @property
    def labels(self) -> list[int]:
        """Return the ids, but -100 where the loss is not to look."""
        return [i if on else -100 for i, on in zip(self.ids, self.mask)]


def render(
    messages: Messages, *, family: str | Family, add_generation_prompt: bool = False
) -> str:
    """Return the conversation as one text, in the format of a family of models.

    With `add_generation_prompt` it ends where the assistant's answer is to begin.
    Raises what `check_messages` raises, and ValueError for an unknown family, a
    template that cannot be read or run, and one that refuses the messages.
    """
    found = parts(messages, family=family, add_generation_prompt=add_generation_prompt)
    return "".join(part.text for part in found)


def parts(
    messages: Messages, *, family: str | Family, add_generation_prompt: bool = False
) -> list[Part]:
    """Return what `render` returns, cut where the writer changes. Raises the same."""
    chosen = find_family(family)
    return templating.split(
        chosen.template,
        messages,
        tokens=chosen.special,
        names={"bos_token": chosen.bos, "eos_token": chosen.eos},
        add_generation_prompt=add_generation_prompt,
        title=f"the template of {chosen.title}",
    )[0]


def encode_conversation(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    family: str | Family | None = None,
    add_generation_prompt: bool = False,
) -> Encoded:
    """Return the ids of a conversation whose messages can hold no control token.

    The ids are those of `tokenizer.apply_chat_template`, with the template of the
    tokenizer or of a family, as long as no message spells a control token; one that
    does keeps it as text. Raises what `render` raises, TypeError for a slow tokenizer,
    and ValueError for one without a template, or that finds control tokens in text.
    """
    if not tokenizer.is_fast:
        name = type(tokenizer).__name__
        raise TypeError(f"{name} is slow, expected a fast one: use AutoTokenizer")
    chosen = None if family is None else find_family(family)
    template = chosen.template if chosen else _own_template(tokenizer)
    added = tokenizer.added_tokens_decoder.items()
    markers = [(t, i) for i, t in added if t.special or MARKER.search(t.content)]
    found, mark = templating.split(
        template,
        messages,
        tokens=[token.content for token, _ in markers],
        names=tokenizer.special_tokens_map,
        add_generation_prompt=add_generation_prompt,
        title=f"the template of {chosen.title if chosen else 'the tokenizer'}",
    )
    # Not every marker is registered as special, so look at what the template writes.
    written = template + "".join(p.text for p in found if p.role == "control")
    control = {t.content: i for t, i in markers if t.special or t.content in written}
    numbers = set(control.values()) - {tokenizer.unk_token_id}  # any sign may be unknown
    # Control tokens get names that no message can hold. The rest is the tokenizer's.
    names = {token: f"{mark}{i}{mark}" for token, i in control.items()}
    texts = [names[p.text] if p.role == "control" else p.text for p in found]
    coded = _renamed(tokenizer, names).encode("".join(texts), add_special_tokens=False)
    wrote = [control[part.text] for part in found if part.role == "control"]
    if [i for i in coded.ids if i in numbers] != [i for i in wrote if i in numbers]:
        raise ValueError(
            f"{type(tokenizer).__name__} reads other control tokens than the template "
            "wrote, expected just those: it is not safe for conversations"
        )
    writer = [part for part, text in zip(found, texts) for _ in text]
    mask, roles = [], []
    for i, (start, end) in zip(coded.ids, coded.offsets):
        inside = writer[start : max(end, start + 1)] or writer[-1:]
        wanted = ("control",) if i in numbers else ROLES  # before the template's words
        part = next((part for part in inside if part.role in wanted), inside[0])
        mask.append(int(part.trained))
        roles.append(part.role)
    return Encoded(coded.ids, mask, roles)


def paint(pairs: Iterable[tuple[str, str]], *, mask: Iterable[int] = ()) -> str:
    """Return (role, text) pairs as one text in terminal colours, one for each role.

    Control tokens are bold; where `mask` is 1, the text is underlined.

    >>> paint([("user", "Hi.")], mask=[1])
    '\\x1b[34;4mHi.\\x1b[0m'
    """
    marked = [(pair[0], on == 1, pair[1]) for pair, on in zip_longest(pairs, mask, fillvalue=0)]
    return "".join(
        f"\x1b[{ANSI[role]}{';4' if on else ''}m{''.join(text for *_, text in run)}\x1b[0m"
        for (role, on), run in groupby(marked, key=lambda one: one[:2])
    )


def columns(conversations: Mapping[str, Iterable[Part]], *, width: int = 38) -> str:
    """Return titled conversations painted two in a row; "↵" stands for a line break."""
    panels, blank = [], " " * width
    for title, found in conversations.items():
        lines, used = [[]], 0
        for part in found:
            for word in re.findall(r"\n|[^\S\n]*\S+|[^\S\n]+", part.text):
                if used + len(word) > width or lines[-1] and lines[-1][-1][1] == "↵":
                    lines, used = [*lines, []], 0
                lines[-1].append((part, word.replace("\n", "↵")))
                used += len(word)
        panels.append([title.ljust(width), *(_line(line, width) for line in lines), blank])
    rows = zip_longest(panels[::2], panels[1::2], fillvalue=[])
    pairs = [pair for row in rows for pair in zip_longest(*row, fillvalue=blank)]
    return "\n".join("  ".join(pair).rstrip() for pair in pairs).rstrip()


def _line(words: list[tuple[Part, str]], width: int) -> str:
    text = paint([(p.role, w) for p, w in words], mask=[p.trained for p, _ in words])
    return text + " " * (width - sum(len(word) for _, word in words))


def find_family(family: str | Family) -> Family:
    """Return the family of a name, or one of your own as it is; ValueError if unknown."""
    if isinstance(family, Family):
        return family
    if family in FAMILIES:
        return FAMILIES[family]
    close = get_close_matches(str(family).lower(), FAMILIES, n=1)
    hint = f": did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown family {family!r}, expected {', '.join(FAMILIES)}{hint}")


def _own_template(tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.chat_template:
        raise ValueError(
            f"this {type(tokenizer).__name__} has no chat template, expected one: pass "
            f"family= one of {', '.join(FAMILIES)}"
        )
    return tokenizer.get_chat_template()


_copies: WeakKeyDictionary = WeakKeyDictionary()  # tokenizer: {key: copy}, the latest


def _renamed(tokenizer: PreTrainedTokenizerBase, names: dict[str, str]) -> Tokenizer:
    """Return a copy of the tokenizer whose control tokens bear other names."""
    copies = _copies.setdefault(tokenizer, {})
    key = (str(tokenizer.added_tokens_decoder), tuple(names.items()))
    if key not in copies:
        if len(copies) == 4:
            del copies[next(iter(copies))]
        copies[key] = _rename(tokenizer.backend_tokenizer, names)
    return copies[key]


def _rename(backend: Tokenizer, names: dict[str, str]) -> Tokenizer:
    state = json.loads(backend.to_str())
    state |= {"post_processor": None, "truncation": None, "padding": None}
    for token in state["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = state["model"]  # its own pieces too: "</s>" may be one of them
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(p, p): i for p, i in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(p, p), score] for p, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        made = ({a, b, a + b} for a, b in model["merges"])
        both = zip(model["merges"], made)
        model["merges"] = [pair for pair, ends in both if not names.keys() & ends]
    return type(backend).from_str(json.dumps(state))
