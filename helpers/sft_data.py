"""Conversations as training data: token ids, labels, batches.

A label is the token that is to be predicted there, or -100 where the loss does not
look: by default it looks at the assistant's words and the ends of its turns only.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.chat_templates import check_messages, encode_conversation
from helpers.data_utils import load_jsonl

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["IGNORE", "TrainSet", "batches", "collate", "encode_rows"]
__all__ += ["from_first_trained"]

IGNORE = -100  # a label that the loss passes over
LOSS_ON = ("assistant", "all")


@dataclass(frozen=True)
class TrainSet:
    """Encoded conversations, and what became of the rows they were made from."""

    rows: list[dict[str, list[int]]]  # input_ids and labels, equally long
    read: int
    cut: int  # longer than max_length, so shortened at the end
    dropped: int  # of these: nothing to train on was left
    duplicates: int  # rows that repeat an earlier one; they are kept

    @property
    def tokens(self) -> int:
        """The tokens in all rows."""
        return sum(len(row["input_ids"]) for row in self.rows)

    @property
    def trained(self) -> int:
        """The tokens whose loss counts."""
        return sum(label != IGNORE for row in self.rows for label in row["labels"])

    def __str__(self) -> str:
        return (
            f"{len(self.rows)} of {self.read} rows, {self.tokens:,} tokens, "
            f"{self.trained:,} of them trained; {self.cut} cut, {self.dropped} dropped, "
            f"{self.duplicates} duplicates"
        )


def encode_rows(
    tokenizer: PreTrainedTokenizerBase,
    rows: str | Path | Sequence[Any],
    *,
    max_length: int = 512,
    loss_on: str = "assistant",
    family: str | None = None,
) -> TrainSet:
    """Encode rows with `messages` (dicts, or objects), or a file of JSON lines.

    `loss_on="all"` trains on the user's words too. Raises ValueError or TypeError,
    naming the row (from 1), for no rows, no messages or no answer in one, an unknown
    role, and what else `check_messages` refuses.
    """
    if loss_on not in LOSS_ON or max_length < 2:
        raise ValueError(
            f"got loss_on={loss_on!r} and max_length={max_length}, expected 'assistant' "
            "or 'all', and 2 or more tokens"
        )
    source = rows if isinstance(rows, (str, Path)) else "the data"
    rows = load_jsonl(rows) if isinstance(rows, (str, Path)) else rows
    if not rows:
        raise ValueError(f"{source} has no rows, expected one conversation or more")
    seen, made, cut = Counter(), [], 0
    for number, row in enumerate(rows, start=1):
        where = f"{source}, row {number}"
        read = row.get if isinstance(row, Mapping) else partial(getattr, row)
        messages = read("messages", None)
        if messages is None:
            raise ValueError(f'{where} has no "messages", expected a list of them')
        try:
            check_messages(messages)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from None
        if all(message["role"] != "assistant" for message in messages):
            raise ValueError(f"{where} has no assistant message to learn from")
        seen[json.dumps(messages, sort_keys=True)] += 1
        coded = encode_conversation(tokenizer, messages, family=family)
        ids = coded.ids[:max_length]
        mask = [1] * len(ids) if loss_on == "all" else coded.mask[:max_length]
        cut += len(coded.ids) > max_length
        labels = [i if on else IGNORE for i, on in zip(ids, mask)]
        labels[0] = IGNORE  # nothing comes before it to predict it from
        if any(label != IGNORE for label in labels):
            made.append({"input_ids": ids, "labels": labels})
    if not made:
        raise ValueError(
            f"no row of {source} has an answer within max_length={max_length} tokens: "
            "raise it"
        )
    dropped, duplicates = len(rows) - len(made), len(rows) - len(seen)
    return TrainSet(made, len(rows), cut, dropped, duplicates)


def batches(
    lengths: Sequence[int], batch_size: int, *, seed: int = 0, epoch: int = 0
) -> list[list[int]]:
    """Return the row numbers of an epoch's batches, rows of similar length together.

    Rows are shuffled, sorted by length within 16 batches' worth, cut, and the batches
    shuffled: the library's own grouping leaves them from long to short.

    >>> batches([3, 90, 4, 80], 2) in ([[2, 0], [1, 3]], [[1, 3], [2, 0]])
    True
    """
    rng = random.Random(f"{seed} {epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    made = []
    for start in range(0, len(order), 16 * batch_size):
        pool = order[start : start + 16 * batch_size]
        pool.sort(key=lambda i: -lengths[i])
        made += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    rng.shuffle(made)
    made.sort(key=lambda batch: len(batch) < batch_size)  # a short one can only be last
    return made


def collate(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Stack rows, padded on the left, where every answer ends at the same place."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)
    gaps = [width - len(row["input_ids"]) for row in rows]

    def stack(fill: int, lists: Iterable[list[int]]) -> Tensor:
        return torch.tensor([[fill] * gap + ids for gap, ids in zip(gaps, lists)])

    return {  # which token fills the gap does not matter: the mask hides it
        "input_ids": stack(0, (row["input_ids"] for row in rows)),
        "labels": stack(IGNORE, (row["labels"] for row in rows)),
        "attention_mask": stack(0, ([1] * (width - gap) for gap in gaps)),
    }


def from_first_trained(inputs: dict[str, Tensor]) -> dict[str, Any]:
    """Ask for logits from the token before the first trained one on, not for all.

    Over the prompt they would be computed (a large product: width x vocabulary) and
    passed over.
    """
    trained = (inputs["labels"] != IGNORE).any(dim=0)
    first = int(trained.int().argmax())
    keep = len(trained) - max(first - 1, 0)
    labels = inputs["labels"][:, -keep:]
    return {**inputs, "labels": labels, "logits_to_keep": keep}
