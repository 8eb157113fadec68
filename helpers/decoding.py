"""Decode one batch, token by token: the loop under helpers.generation.

Each row brings its own prompt, settings and dice. A prompt that many rows share is
read once, rows that have ended leave the batch, and past keys and values stay in
buffers that grow in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from helpers import sampling

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.cache_utils import Cache

__all__ = ["Row", "decode", "end_tokens", "growing_cache", "next_tokens", "row_bytes"]


@dataclass
class Row:
    """One text in the making; `decode` fills in the lower three."""

    prompt: tuple[int, ...]  # token ids
    setting: tuple[float, ...]  # temperature, top_k, top_p, min_p, repetition_penalty
    dice: list[float]  # a uniform number in [0, 1) for each token to draw
    tokens: tuple[int, ...] = ()  # what was drawn, the end token too
    nats: float = 0.0  # mean -log p of these under the model itself, at T = 1
    reason: str = "length"  # why it ended: "end" token, "stop" string or "length"


def decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: list[Row],
    *,
    stop_strings: list[str],
    after_step: Callable[[], object],
) -> None:
    """Draw the tokens of all rows, as many as each has dice, and fill the rows in.

    All rows have equally many dice. `after_step` is called once a token. Raises
    ValueError if the model gives NaN.
    """
    import torch

    prompts, device = sorted({row.prompt for row in batch}), model.device
    steps, width = len(batch[0].dice), max(map(len, prompts))
    # Padding goes to the left and is masked; it repeats the prompt's first token, so
    # that the repetition penalty meets no token that the prompt lacks.
    padded = [(p[0],) * (width - len(p)) + p for p in prompts]
    ids = torch.tensor(padded, device=device)
    start = torch.tensor([width - len(p) for p in prompts], device=device)
    place = torch.arange(width + steps, device=device)
    mask = (place >= start[:, None]).long()
    cache = growing_cache()
    no_padding = bool((start == 0).all())

    sdpa = getattr(model.config, "_attn_implementation", "") == "sdpa"

    def forward(ids: Tensor, mask: Tensor | None, position: Tensor) -> Tensor:
        if no_padding:
            mask = None
        elif sdpa and ids.shape[1] == 1:  # what the library would make of it, slowly
            mask = mask.bool()[:, None, None]
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position.clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1].float()

    logits = forward(ids, mask[:, :width], place[:width] - start[:, None])
    number = {prompt: i for i, prompt in enumerate(prompts)}
    which = torch.tensor([number[row.prompt] for row in batch], device=device)
    cache.batch_select_indices(which)
    logits, start, mask = logits[which], start[which], mask[which]
    texts = torch.cat([ids[which], ids.new_zeros(len(batch), steps)], dim=1)
    dice = torch.tensor([row.dice for row in batch], dtype=torch.float64, device=device)
    settings = [row.setting for row in batch]
    settings = torch.tensor(settings, dtype=torch.float32, device=device).T
    ends = torch.tensor(sorted(end_tokens(model, tokenizer)), device=device)
    nats = torch.zeros(len(batch), device=device)
    live = torch.ones(len(batch), dtype=torch.bool, device=device)
    rows = torch.arange(len(batch), device=device)  # those that are still decoded
    for step in range(steps):
        now = width + step
        setting, u = settings[:, rows], dice[rows, step]
        chosen = next_tokens(logits, texts[rows, :now], setting=setting, u=u)
        texts[rows, now] = chosen
        surprise = -logits.log_softmax(dim=-1).gather(-1, chosen[:, None]).squeeze(-1)
        nats[rows] += surprise * live[rows]
        ended = torch.isin(chosen, ends)
        stopped = _stopped(tokenizer, texts[rows, width : now + 1], stop_strings)
        for i in rows[live[rows] & (ended | stopped.to(device))].tolist():
            batch[i].reason = "end" if texts[i, now] in ends else "stop"
            batch[i].tokens = tuple(texts[i, width : now + 1].tolist())
            live[i] = False
        after_step()
        keep = live[rows]
        if step + 1 == steps or not keep.any():
            break
        if keep.float().mean() < 0.75:
            cache.batch_select_indices(keep.nonzero().squeeze(-1))
            rows, chosen = rows[keep], chosen[keep]
        position = now - start[rows, None]
        logits = forward(chosen[:, None], mask[rows, : now + 1], position)
    for i, row in enumerate(batch):
        row.tokens = row.tokens or tuple(texts[i, width : width + steps].tolist())
        row.nats = nats[i].item() / len(row.tokens)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids after which a text is over, as model and tokenizer name them."""
    config = getattr(model, "generation_config", None)
    ids = getattr(config, "eos_token_id", None)
    ids = set(ids if isinstance(ids, list) else [ids])
    return (ids | {tokenizer.eos_token_id}) - {None}


def row_bytes(model: PreTrainedModel, length: int) -> int:
    """Return the bytes of keys and values that a row of `length` tokens holds."""
    c = model.config
    heads = getattr(c, "num_key_value_heads", None) or c.num_attention_heads
    width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    return 2 * c.num_hidden_layers * heads * width * model.dtype.itemsize * length


def next_tokens(
    logits: Tensor, previous: Tensor, *, setting: Tensor, u: Tensor
) -> Tensor:
    """Return the next token of each row, drawn as its setting says.

    logits: (rows, vocab); previous: (rows, length), the tokens so far; setting:
    (5, rows), in the order of `Row.setting`; u: (rows,), numbers in [0, 1) to draw by.
    """
    temperature, k, p, floor, penalty = setting
    if (penalty != 1).any():
        logits = sampling.repetition_penalty(logits, previous, penalty)
    tokens = sampling.greedy(logits)
    hot = temperature > 0
    if not hot.any():
        return tokens
    k, p, floor = k[hot].long(), p[hot], floor[hot]
    warm = sampling.apply_temperature(logits[hot], temperature[hot])
    if k.any():
        warm = sampling.top_k(warm, k)
    if (p < 1).any():
        warm = _top_p(warm, p)
    if floor.any():
        warm = sampling.min_p(warm, floor)
    tokens[hot] = sampling.sample_token(warm, u=u[hot])
    return tokens


def _top_p(logits: Tensor, p: Tensor, *, width: int = 256) -> Tensor:
    """Do sampling.top_p, but sort the likeliest `width` tokens alone where they do.

    Sorting a vocabulary takes five times as long.
    """
    head, ids = logits.topk(min(width, logits.shape[-1]), dim=-1)
    probs = (head - logits.logsumexp(dim=-1, keepdim=True)).exp()
    reached = probs.cumsum(dim=-1)
    head = head.masked_fill(reached - probs >= p[:, None], float("-inf"))
    result = logits.new_full(logits.shape, float("-inf")).scatter(-1, ids, head)
    short = reached[:, -1] < p
    if short.any():
        result[short] = sampling.top_p(logits[short], p[short])
    return result


def _stopped(
    tokenizer: PreTrainedTokenizerBase, drawn: Tensor, stop_strings: list[str]
) -> Tensor:
    """Say for each row whether what was drawn contains a stop string.

    Reads all of it: a part that starts inside a character of several byte tokens
    would decode to nonsense.
    """
    import torch

    if not stop_strings:
        return torch.zeros(len(drawn), dtype=torch.bool)
    texts = tokenizer.batch_decode(drawn, clean_up_tokenization_spaces=False)
    return torch.tensor([any(s in text for s in stop_strings) for text in texts])


def growing_cache() -> Cache:
    """Return an empty cache of past tokens, with room for 64 more each time it grows.

    The library's own copies all past keys and values at every token: with 64 rows
    that takes as long as the model itself.
    """
    from transformers.cache_utils import Cache

    return Cache(layer_class_to_replicate=_growing_layer())


@lru_cache(maxsize=1)
def _growing_layer() -> type:
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):
        room = None  # keys and values, shape (2, rows, heads, places, head_dim)

        def update(self, key_states, value_states, cache_kwargs=None):
            past = self.get_seq_length()
            end = past + key_states.shape[-2]
            if self.room is None or self.room.shape[-2] < end:
                rows, heads, _, width = key_states.shape
                room = key_states.new_empty(2, rows, heads, end + 64, width)
                if past:
                    room[:, :, :, :past] = self.room[:, :, :, :past]
                self.room, self.is_initialized = room, True
            self.room[0, :, :, past:end] = key_states
            self.room[1, :, :, past:end] = value_states
            self.keys, self.values = self.room[:, :, :, :end]
            return self.keys, self.values

        def batch_select_indices(self, indices):
            end = self.get_seq_length()
            self.room = self.room[:, indices]
            self.keys, self.values = self.room[:, :, :, :end]

    return GrowingLayer
