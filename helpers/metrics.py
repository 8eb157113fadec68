"""Numbers for texts: diversity, repetition, likelihood, and how sure to be of them.

A word is a run of letters and digits, lower-cased, of any language; an apostrophe
inside stays ("don't"). Shares lie between 0 and 1, likelihoods are in nats.

>>> words("Don't run, Lily!")
["don't", 'run', 'lily']
>>> distinct_n(["the red kite", "the red ball"], n=2)
0.75
>>> round(jaccard("the red kite", "the red ball"), 2)
0.5
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "distinct_n",
    "jaccard",
    "mean_interval",
    "mean_jaccard",
    "nats_per_token",
    "perplexity",
    "repetition",
    "wilson_interval",
    "words",
]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    if n < 1:
        raise ValueError(f"n is {n}, expected 1 or more words in an n-gram")
    found = words(text)
    return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]


def distinct_n(texts: Sequence[str], *, n: int = 2) -> float:
    """Return the share of different n-grams among all n-grams of the texts.

    1 means that no n words in a row occur twice, in one text or in two. It falls as
    texts get more or longer, so compare equal amounts. 0.0 for texts below n words.
    Raises ValueError for n < 1. Source: Li et al. 2016, arXiv 1510.03055.
    """
    grams = [gram for text in texts for gram in _ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def jaccard(a: str, b: str) -> float:
    """Return the overlap of two texts' word sets: shared words over all words.

    1 for the same words in any order, 0 for none in common; two empty texts are alike.
    """
    a_words, b_words = set(words(a)), set(words(b))
    union = a_words | b_words
    return len(a_words & b_words) / len(union) if union else 1.0


def mean_jaccard(texts: Sequence[str]) -> float:
    """Return the mean `jaccard` over all pairs of texts: low is diverse (claim A1).

    Raises ValueError for fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError(f"mean_jaccard got {len(texts)} texts, expected 2 or more")
    pairs = list(combinations(texts, 2))
    return sum(jaccard(a, b) for a, b in pairs) / len(pairs)


def repetition(text: str, *, n: int = 4) -> float:
    """Return the share of a text's n-grams that had occurred in it before (claim A3).

    0 where nothing repeats, near 1 for a loop; 0.0 for a text below n words. Raises
    ValueError for n < 1.

    >>> repetition("go on go on go on go on", n=2) > 0.7
    True
    """
    grams = _ngrams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def nats_per_token(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    ended: bool = False,
    batch_size: int = 16,
) -> list[float]:
    """Return -log p per token of each text, as the model expects it after BOS.

    With `ended` the end token counts as part of a text. Texts are plain: control
    tokens typed in them stay text. Raises ValueError for an empty text, or one longer
    than the model's context.
    """
    scores = _score(model, tokenizer, texts, ended, batch_size)
    return [total / count for total, count in scores]


def perplexity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    ended: bool = False,
    batch_size: int = 16,
) -> float:
    """Return e to the mean -log p over all tokens of all texts: 1 is certainty.

    Long texts weigh more than short ones. Takes and raises what `nats_per_token`
    does, and ValueError for no texts at all.
    """
    if not texts:
        raise ValueError("perplexity got no texts, expected at least one")
    totals, counts = zip(*_score(model, tokenizer, texts, ended, batch_size))
    return math.exp(sum(totals) / sum(counts))


def _score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    ended: bool,
    batch_size: int,
) -> list[tuple[float, int]]:
    """Return (nats, tokens) of each text; the longest go first, in padded batches."""
    import torch

    from helpers.generation import check_context, encode_prompt

    end = [tokenizer.eos_token_id] if ended else []
    ids = [encode_prompt(tokenizer, text) + end for text in texts]
    check_context(model, ids, 0)
    scores: list[tuple[float, int]] = [(0.0, 0)] * len(ids)
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        width = len(ids[part[0]])
        padded = [ids[i] + [0] * (width - len(ids[i])) for i in part]
        real = [[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in part]
        batch = torch.tensor(padded, device=model.device)
        mask = torch.tensor(real, device=model.device)
        with torch.inference_mode():
            logits = model(batch, attention_mask=mask).logits[:, :-1].float()
            logp = logits.log_softmax(dim=-1).gather(-1, batch[:, 1:, None])[..., 0]
        totals = -(logp * mask[:, 1:]).double().sum(dim=1)
        for i, total in zip(part, totals.tolist()):
            scores[i] = (total, len(ids[i]) - 1)
    return scores


def wilson_interval(k: int, n: int, *, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of a share after k successes in n trials (95% for z 1.96).

    Stays within 0 and 1, also at k = 0 and k = n. Raises ValueError unless
    0 <= k <= n and n >= 1. Source: Wilson 1927.

    >>> low, high = wilson_interval(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    if not 0 <= k <= n or n < 1:
        raise ValueError(
            f"k={k} successes of n={n} trials, expected 0 <= k <= n, n >= 1"
        )
    share, spread = k / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(
    values: Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a bootstrap interval of the mean: resample, average, cut the tails.

    The same seed gives the same interval. Raises ValueError for no values, for one
    that is not finite, and for a level outside (0, 1). Source: Efron 1979.
    """
    import numpy as np

    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
        raise ValueError("values are empty or not finite, expected a list of numbers")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected between 0 and 1, such as 0.95")
    picks = np.random.default_rng(seed).integers(
        len(sample), size=(resamples, len(sample))
    )
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(sample[picks].mean(axis=1), tails)
    return float(low), float(high)
