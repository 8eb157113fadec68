"""Change the shots of a prompt, one thing at a time: order, balance, labels, choice.

>>> shots = [("owl", "drum"), ("plum", "kite"), ("fox", "drum")]
>>> most_similar(shots, "foxes", shots=1)
[('fox', 'drum')]
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

from helpers import metrics

__all__ = ["balance_labels", "most_similar", "orders", "similarity", "wrong_labels"]

Pair = tuple[str, str]  # (input, output)


def orders(pairs: Sequence[Pair], *, n: int, seed: int = 0) -> list[list[Pair]]:
    """Return `n` different orders of the same shots, the given one first.

    Raises ValueError for more than there are. Source: Lu et al. 2022, arXiv 2104.08786.
    """
    if not 1 <= n <= (most := math.factorial(len(pairs))):
        raise ValueError(f"n is {n}, expected 1 to {most}, the orders of {len(pairs)} shots")
    rng, places = random.Random(f"{seed} {pairs}"), range(len(pairs))
    found = {tuple(places): None}  # a dict keeps the order in which they were found
    while len(found) < n:
        found[tuple(rng.sample(places, len(places)))] = None
    return [[pairs[i] for i in order] for order in found]


def balance_labels(pairs: Sequence[Pair], label: str, *, share: float, shots: int) -> list[Pair]:
    """Choose `shots` pairs: a `share` with `label`, the rest evenly from other labels.

    The pairs keep their order. Raises ValueError for a share outside 0 to 1, and for
    too few pairs. Source: Zhao et al. 2021, arXiv 2102.09690.
    """
    wanted = Counter({label: round(_share(share) * shots)})
    others = sorted({y for _, y in pairs} - {label}) or ["another label"]
    for i in range(shots - wanted[label]):
        wanted[others[i % len(others)]] += 1
    chosen = []
    for pair in pairs:
        if wanted[pair[1]] > 0:
            wanted[pair[1]] -= 1
            chosen.append(pair)
    if short := +wanted:
        raise ValueError(f"{len(pairs)} pairs are too few, give more: {dict(short)} are missing")
    return chosen


def wrong_labels(pairs: Sequence[Pair], *, share: float, seed: int = 0) -> list[Pair]:
    """Give a `share` of the shots the output of another pair.

    A larger share keeps the changes of a smaller one. Raises ValueError for a share
    outside 0 to 1, and for one label only. Source: Min et al. 2022, arXiv 2202.12837.
    """
    changed, labels = round(_share(share) * len(pairs)), list(dict.fromkeys(y for _, y in pairs))
    if len(labels) == 1:
        raise ValueError(f"all labels are {labels[0]!r}, expected two different ones or more")
    rng = random.Random(f"{seed} {pairs}")
    order = rng.sample(range(len(pairs)), len(pairs))
    others = [rng.choice([label for label in labels if label != y]) for _, y in pairs]
    return [(x, others[i] if i in order[:changed] else y) for i, (x, y) in enumerate(pairs)]


def _share(share: float) -> float:
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected 0 to 1")
    return share


def similarity(a: str, b: str) -> float:
    """Return the share of letter triples, spaces around, that two texts share: 0 to 1.

    Not words: inputs are often one word, and Korean particles change how words end.

    >>> similarity("fox", "foxes"), metrics.jaccard("fox", "foxes")
    (0.333..., 0.0)
    """
    one, two = ({f" {t} "[i : i + 3] for i in range(len(t))} for t in (a.lower(), b.lower()))
    return len(one & two) / max(1, len(one | two))


def most_similar(pairs: Sequence[Pair], query: str, *, shots: int) -> list[Pair]:
    """Choose the different pairs most like the query, the most similar one last.

    Raises ValueError for fewer pairs. Source: Liu et al. 2022, arXiv 2101.06804.
    """
    found = sorted(dict.fromkeys(pairs), key=lambda pair: similarity(pair[0], query))
    if not 0 <= shots <= len(found):
        raise ValueError(f"shots is {shots}, expected 0 to {len(found)}, the different pairs")
    return found[len(found) - shots :]
