"""Pairs of replies as token ids: one prompt, a chosen and a rejected reply.

TRL 0.16 itself would read control tokens that are typed into a prompt as such, and end
each reply twice where the chat template has ended it already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from helpers.chat_templates import check_messages, encode_conversation
from helpers.fingerprints import fingerprint, same_base

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

__all__ = ["PairSet", "SIDES", "check_base", "encode_pairs"]

SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class PairSet:
    """Encoded pairs, and what became of the rows they were made from."""

    rows: list[dict[str, Any]]  # prompt_, chosen_ and rejected_input_ids
    read: int
    cut: int  # with a reply that was shortened to max_length
    dropped: int  # no room for a reply, or two that are the same
    base: dict[str, str] | None = None  # whose ref_chosen_logps the rows have

    def __str__(self) -> str:
        sides = [sum(len(r[f"{s}_input_ids"]) for r in self.rows) for s in SIDES]
        means = (f"{side / len(self.rows):.0f}" for side in sides)
        return (
            f"{len(self.rows)} of {self.read} pairs, {' and '.join(means)} tokens a "
            f"chosen and a rejected reply; {self.cut} cut, {self.dropped} dropped"
        )


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Any],
    *,
    max_length: int = 512,
    family: str | None = None,
) -> PairSet:
    """Encode rows of `prompt`, `chosen`, `rejected` (dicts or objects), lists of messages.

    A reply ends with its end token, once. Raises ValueError or TypeError, naming the
    row (from 1), for no rows, a part that is missing, a reply that is not one message
    of the assistant's, and what else `check_messages` refuses.
    """
    if not rows:
        raise ValueError("there are no rows, expected one pair or more")
    made, cut, encode = [], 0, partial(encode_conversation, tokenizer, family=family)
    for number, row in enumerate(rows, start=1):
        read = row.get if isinstance(row, Mapping) else partial(getattr, row)
        prompt, *replies = (read(name, None) for name in ("prompt", *SIDES))
        try:
            for reply in replies:
                if not prompt or not isinstance(reply, list) or len(reply) != 1:
                    raise ValueError("expected `prompt`, and one message in each reply")
                check_messages([*prompt, *reply])
            first = encode(prompt, add_generation_prompt=True).ids
            coded = [encode([*prompt, *reply]) for reply in replies]
            if any(c.ids[: len(first)] != first for c in coded):
                raise ValueError("the template writes the prompt anew before a reply")
        except (TypeError, ValueError) as error:
            raise type(error)(f"row {number}: {error}") from None
        # After its end token the template may write a line break: no part of a reply.
        ends = [max(i for i, on in enumerate(c.mask) if on) + 1 for c in coded]
        whole = [c.ids[len(first) : end] for c, end in zip(coded, ends)]
        ids = [one[: max(max_length - len(first), 0)] for one in whole]
        if ids[0] != ids[1] and all(ids):
            cut += ids != whole
            names = (f"{name}_input_ids" for name in ("prompt", *SIDES))
            made.append(dict(zip(names, (first, *ids))))
    if not made:
        raise ValueError(
            f"no pair has two different replies within max_length={max_length} tokens: "
            "raise it"
        )
    return PairSet(made, len(rows), cut, len(rows) - len(made))


def check_base(model: nn.Module, data: PairSet) -> None:
    """Raise ValueError if the pairs have the reference of another base than the model's."""
    if data.base is not None and not same_base(data.base, fingerprint(model)):
        raise ValueError(
            "the pairs have the reference of another base than this model's: give them "
            "this one's by `rewards.with_reference`"
        )
