"""Turn a document into token ids.

A document is a string, or a list of messages.  Text is never parsed for
control tokens: those are placed here, by number.
"""

from __future__ import annotations

from helpers.generation import encode_prompt


def encode_text(tokenizer, text: str) -> list[int]:
    """Return the ids of plain text, without <s>; "</s>" typed in it stays text."""
    return encode_prompt(tokenizer, text)[1:]


def encode(tokenizer, document: str | list[dict[str, str]]) -> list[int]:
    """Return <s> + document + </s>; messages as the chat template writes them."""
    if isinstance(document, str):
        return [*encode_prompt(tokenizer, document), tokenizer.eos_token_id]
    ids = [tokenizer.bos_token_id]
    for message in document:
        ids.append(tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"))
        ids += encode_text(tokenizer, "\n " + message["content"])
        ids += [tokenizer.eos_token_id, *encode_text(tokenizer, "\n")]
    return ids
