"""How well a GGUF file stands for the model that it was written from.

`verify` compares the two: the same tokens for the same texts, and logits as near as
16-bit arithmetic comes. `perplexity` and `heldout_loss` are those of `helpers.metrics`
and `helpers.sft`, through llama.cpp: they tell what quantization has cost. Texts are
plain: a control token typed in one stays text.

All of it needs a model loaded by `load_llama(path, logits_all=True)`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from llama_cpp import Llama
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from helpers.sft_data import TrainSet

__all__ = ["Agreement", "hard_texts", "heldout_loss", "logits", "nats_per_token"]
__all__ += ["perplexity", "verify"]


@dataclass(frozen=True)
class Agreement:
    """What `verify` found."""

    texts: int
    tokens: int  # in all texts, as llama.cpp reads them
    different: tuple[str, ...]  # texts that transformers reads otherwise
    control: tuple[str, ...]  # texts in which llama.cpp reads a control token
    positions: int  # at which the logits were compared
    same_first: int  # of these, where both find the same token likeliest
    error: float  # the largest difference of a logit
    float16_error: float  # the same of transformers in 16 bits from itself in 32

    @property
    def ok(self) -> bool:
        """Whether tokens agree, and logits within twice what 16 bits cost."""
        same = not (self.different or self.control)
        return same and self.error <= 2 * self.float16_error

    def __str__(self) -> str:
        same = self.texts - len(self.different)
        return (
            f"texts   {self.texts:,}, {same:,} with the same tokens ({self.tokens:,} in "
            f"all), {len(self.control):,} with a control token\n"
            f"logits  at most {self.error:.2g} apart (16 bits cost "
            f"{self.float16_error:.2g}), the same token likeliest at "
            f"{self.same_first:,} of {self.positions:,} places"
        )


def verify(
    llm: Llama,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    n_logits: int = 8,
) -> Agreement:
    """Compare a GGUF file, loaded, with its model and tokenizer in transformers.

    All texts are read by both; for the first `n_logits` of them the logits are compared
    at every token. What 16-bit arithmetic costs is measured, on a copy of the model.
    Raises ValueError for no texts, an empty one, and one longer than the context.
    """
    import numpy as np
    import torch

    if not texts:
        raise ValueError("verify got no texts, expected at least one")
    options = {"add_special_tokens": False, "split_special_tokens": True}
    control, ids = set(tokenizer.all_special_ids), [_ids(llm, text) for text in texts]
    start = len(ids[0]) - len(_plain(llm, texts[0]))  # a BOS, or none
    different, special = [], []
    for text, found in zip(texts, ids):
        if found[start:] != tokenizer(text, **options).input_ids:
            different.append(text)
        if control & set(found[start:]):
            special.append(text)
    exact = _in(model, torch.float32)
    half = _in(model, torch.float16)
    positions, first, error, float16_error = 0, 0, 0.0, 0.0
    for found in ids[:n_logits]:
        with torch.inference_mode():
            batch = torch.tensor([found], device=model.device)
            theirs, rounded = (
                one(batch).logits[0].float().cpu().numpy() for one in (exact, half)
            )
        ours = logits(llm, found)
        positions += len(found)
        first += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
        error = max(error, float(np.abs(ours - theirs).max()))
        float16_error = max(float16_error, float(np.abs(rounded - theirs).max()))
    tokens = sum(map(len, ids)) - start * len(ids)
    found = (tokens, tuple(different), tuple(special), positions, first)
    return Agreement(len(texts), *found, error, float16_error)


def hard_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, seed: int = 0
) -> list[str]:
    """Return two texts for each: words in wild order with control tokens, and emoji.

    A control token that is typed has to stay text. The same seed gives the same texts.
    """
    import random

    dice, made = random.Random(seed), []
    for text in texts:
        words = [*text.split(" "), *tokenizer.all_special_tokens]
        made.append(" ".join(dice.sample(words, k=min(8, len(words)))) + "</s>")
        signs = (chr(dice.randrange(0x1F300, 0x1F700)) for _ in range(3))
        made.append(text + "".join(signs))
    return made


def perplexity(llm: Llama, texts: Sequence[str], *, ended: bool = False) -> float:
    """Return e to the mean -log p over all tokens of all texts: 1 is certainty.

    With `ended` the end token counts as part of a text. Raises ValueError for no texts,
    an empty one, and one longer than the context.
    """
    if not texts:
        raise ValueError("perplexity got no texts, expected at least one")
    nats = [_nats(llm, _ids(llm, text, ended)) for text in texts]
    return math.exp(sum(map(sum, nats)) / sum(map(len, nats)))


def nats_per_token(
    llm: Llama, texts: Sequence[str], *, ended: bool = False
) -> list[float]:
    """Return -log p per token of each text; takes and raises what `perplexity` does."""
    nats = (_nats(llm, _ids(llm, text, ended)) for text in texts)
    return [float(one.mean()) for one in nats]


def heldout_loss(llm: Llama, data: TrainSet) -> float:
    """Return the mean loss of the trained tokens, in nats a token, as `helpers.sft`."""
    from helpers.sft_data import IGNORE

    total, count = 0.0, 0
    for row in data.rows:
        keep = [label != IGNORE for label in row["labels"][1:]]
        total += float(_nats(llm, row["input_ids"])[keep].sum())
        count += sum(keep)
    return total / count


def logits(llm: Llama, ids: Sequence[int]) -> np.ndarray:
    """Return the logits after each token of `ids`, shape (tokens, vocabulary).

    Raises ValueError for a model loaded without `logits_all=True`, for no tokens and
    for more than its context holds.
    """
    if not llm._logits_all:  # else llama.cpp keeps those of the last token only
        raise ValueError("the model keeps no logits: load it with logits_all=True")
    room = min(llm.n_ctx(), len(llm.input_ids))
    if not 0 < len(ids) <= room:
        raise ValueError(
            f"a text has {len(ids)} tokens, expected 1 to {room}: shorten it, or load "
            "the model with a larger n_ctx"
        )
    llm.reset()
    llm.eval(ids)
    return llm.scores[: len(ids)].copy()


def _nats(llm: Llama, ids: Sequence[int]) -> np.ndarray:
    """Return -log p of each token but the first."""
    import numpy as np

    found = logits(llm, ids)[:-1]
    found -= found.max(axis=-1, keepdims=True)
    total = np.exp(found).sum(axis=-1, dtype=np.float64)
    return np.log(total) - found[np.arange(len(found)), ids[1:]]


def _plain(llm: Llama, text: str) -> list[int]:
    return llm.tokenize(text.encode(), add_bos=False, special=False)


def _ids(llm: Llama, text: str, ended: bool = False) -> list[int]:
    if not (ids := _plain(llm, text)):
        raise ValueError("a text is empty, expected at least one word")
    head = [llm.token_bos()] if llm.token_bos() >= 0 else []
    return [*head, *ids, llm.token_eos()] if ended else [*head, *ids]


def _in(model: PreTrainedModel, dtype: object) -> PreTrainedModel:
    return model if model.dtype == dtype else copy.deepcopy(model).to(dtype)
