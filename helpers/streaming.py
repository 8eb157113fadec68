"""Turn tokens into text as they come: whole characters, and nothing of a stop string.

A character may be spread over several tokens, each of them bytes that mean nothing
alone: most emoji, and Korean syllables without a piece of their own. So a token is
taken as bytes, and these become text once a character is complete.

>>> tokens = [(9, "안".encode()[:2]), (8, "안".encode()[2:]), (7, b" END"), (6, b"s")]
>>> list(text_pieces(tokens, stop_strings=["END."]))
[('', None), ('안', None), (' ', None), ('ENDs', None), ('', 'length')]
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["text_pieces", "token_bytes"]


def text_pieces(
    tokens: Iterable[tuple[int, bytes | None]], *, stop_strings: Sequence[str] = ()
) -> Iterator[tuple[str, str | None]]:
    """Yield (text, reason) for each (id, bytes); the reason is None until the last.

    It is "end" for a token without bytes, "stop" for one that completes a stop
    string, or "length", in a pair of its own, where the tokens run out. Text that may
    be the beginning of a stop string waits. Bytes that are no UTF-8 become U+FFFD; a
    character that lacks a byte at the end is left out.
    """
    utf8, held = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for _, raw in tokens:
        if raw is None:
            yield held, "end"
            return
        held += utf8.decode(raw)
        if found := [held.find(stop) for stop in stop_strings if stop in held]:
            yield held[: min(found)], "stop"
            return
        heads = (stop[:n] for stop in stop_strings for n in range(1, len(stop)))
        cut = len(held) - max((len(h) for h in heads if held.endswith(h)), default=0)
        yield held[:cut], None
        held = held[cut:]
    yield held, "length"


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], bytes]:
    """Return a function from a token id to the bytes that it adds to a text."""
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    table = {character: byte for byte, character in bytes_to_unicode().items()}
    # after another token, because alone a piece may lose its leading space
    lead = tokenizer("a", add_special_tokens=False).input_ids
    options = {"clean_up_tokenization_spaces": False}
    skip = len(tokenizer.decode(lead, **options))

    @lru_cache(maxsize=None)
    def of(token: int) -> bytes:
        text = tokenizer.decode([*lead, token], **options)[skip:]
        piece = tokenizer.convert_ids_to_tokens(token)
        if "\ufffd" in text:  # not a whole character
            if byte := re.fullmatch("<0x([0-9A-F]{2})>", piece):
                return bytes.fromhex(byte[1])
            if set(piece) <= set(table):  # a byte-level vocabulary
                return bytes(table[character] for character in piece)
        return text.encode()

    return of
