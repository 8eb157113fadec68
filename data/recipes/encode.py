"""Turn a document into token ids.

A document is a string, or a list of messages.  Text is never parsed for
control tokens: those are placed here, by number.
"""

from __future__ import annotations


def encode_text(tokenizer, text: str) -> list[int]:
    """Return the ids of plain text; "</s>" typed in it stays text."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def encode(tokenizer, document: str | list[dict[str, str]]) -> list[int]:
    """Return <s> + document + </s>; messages as the chat template writes them."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if isinstance(document, str):
        return [bos, *encode_text(tokenizer, document), eos]
    ids = [bos]
    for message in document:
        ids.append(tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"))
        ids += [*encode_text(tokenizer, "\n" + message["content"]), eos]
        ids += encode_text(tokenizer, "\n")
    return ids
