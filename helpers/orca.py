"""Source E's pairs: argilla/distilabel-intel-orca-dpo-pairs, filtered as its notebook does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from helpers.preferences import Pair, reply_of

__all__ = ["orca_fault", "orca_pairs"]


def orca_fault(row: Mapping, *, min_score: float = 8) -> str:
    """Say why source E's filter drops a row of distilabel-intel-orca-dpo-pairs, or "".

    Raises ValueError for a row without the columns that the filter reads.

    >>> row = {"status": "tie", "chosen_score": 9.0, "in_gsm8k_train": False}
    >>> orca_fault(row | {"input": "2 + 2?", "chosen": "4", "rejected": "5"})
    'tie'
    """
    names = "input", "chosen", "rejected", "status", "chosen_score", "in_gsm8k_train"
    if missing := [name for name in names if name not in row]:
        raise ValueError(f"a row has no {', '.join(missing)}, expected the columns of "
                         "argilla/distilabel-intel-orca-dpo-pairs")
    if row["status"] == "tie":
        return "tie"
    if row["chosen_score"] is None or row["chosen_score"] < min_score:
        return "low score"
    return "in GSM8k" if row["in_gsm8k_train"] else ""


def orca_pairs(rows: Iterable[Mapping], *, min_score: float = 8) -> list[Pair]:
    """Return the rows that pass `orca_fault` as pairs; it raises what that raises."""
    made = []
    for row in rows:
        if not orca_fault(row, min_score=min_score):
            head = [{"role": "system", "content": row.get("system") or ""}]
            asked = {"role": "user", "content": row["input"]}
            sides = (reply_of(row[name]) for name in ("chosen", "rejected"))
            made.append(Pair([*(head if head[0]["content"] else []), asked], *sides))
    return made
