"""A tokenizer's part of a GGUF file: its pieces, and how it reads a text.

llama.cpp reads a text as SentencePiece BPE does: of all neighbours that together make
a piece, it joins those with the best score, until none are left; what is then no piece
becomes bytes. So the pieces, their scores and types are all it needs.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

__all__ = ["CONVERTER", "add_tokenizer", "vocabulary"]

CONVERTER = "use llama.cpp's own converter, convert_hf_to_gguf.py, for this one"
BPE = 2  # the number of this kind of model in a tokenizer.model


def add_tokenizer(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, *, size: int
) -> None:
    """Add a SentencePiece tokenizer and its chat template to a file being written.

    `size` is the model's number of tokens. Raises what `vocabulary` does.
    """
    pieces, scores, types = vocabulary(tokenizer, size=size)
    writer.add_tokenizer_model("llama")  # llama.cpp's word for SentencePiece BPE
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    for kind in ("bos", "eos", "unk", "pad"):
        if (token := getattr(tokenizer, f"{kind}_token_id")) is not None:
            getattr(writer, f"add_{kind}_token_id")(token)
    ids = tokenizer("a").input_ids  # what it does counts, not what its settings say
    writer.add_add_bos_token(ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(ids[-1] == tokenizer.eos_token_id)
    writer.add_add_space_prefix(tokenizer.tokenize("a")[0].startswith("▁"))
    if isinstance(template := tokenizer.chat_template, dict):
        template = [{"name": key, "template": one} for key, one in template.items()]
    if template:
        writer.add_chat_template(template)


def vocabulary(
    tokenizer: PreTrainedTokenizerBase, *, size: int
) -> tuple[list[str], list[float], list[int]]:
    """Return the text, score and type (`gguf.TokenType`) of each of `size` tokens.

    Raises ValueError for a tokenizer that is not SentencePiece BPE with byte fallback,
    for more than `size` tokens, and for two of the same text, at which llama.cpp ends
    the whole program.
    """
    from gguf import TokenType
    from google.protobuf.message import DecodeError
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    file, proto = Path(getattr(tokenizer, "vocab_file", None) or ""), ModelProto()
    try:
        proto.ParseFromString(file.read_bytes() if file.is_file() else b"")
    except DecodeError:  # another kind of file, such as vocab.json
        proto.Clear()
    types = [piece.type for piece in proto.pieces]  # numbered as in GGUF
    if types.count(TokenType.BYTE) != 256 or proto.trainer_spec.model_type != BPE:
        raise ValueError(
            "the tokenizer has no tokenizer.model, expected one of SentencePiece BPE "
            f"with byte fallback, as Llama 2 and Tiny Tale have: {CONVERTER}"
        )
    if (most := max(len(types), len(tokenizer))) > size:
        raise ValueError(
            f"the tokenizer has {most} tokens and the model {size}, expected no more "
            "than the model has: take the tokenizer that it was trained with"
        )
    pieces = [piece.piece for piece in proto.pieces]
    scores = [piece.score for piece in proto.pieces]
    unused = range(len(pieces), size)  # rows of the model without a token
    pieces += [f"[PAD{i}]" for i in unused]
    scores += [-10_000.0 for _ in unused]
    types += [TokenType.UNUSED for _ in unused]
    for i, token in tokenizer.added_tokens_decoder.items():
        kind = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
        pieces[i], scores[i], types[i] = token.content, -1000.0, kind
    if twice := [piece for piece, n in Counter(pieces).items() if n > 1]:
        raise ValueError(
            f"the token {twice[0]!r} occurs twice, expected each text once: rename one"
        )
    return pieces, scores, [int(kind) for kind in types]
