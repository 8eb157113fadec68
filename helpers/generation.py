"""Draw texts from a language model: many prompts, draws and settings in one batch.

`draw` runs the model once a token for all rows together, keeps the keys and values
of past tokens, and drops rows that have ended. Each draw has dice of its own, seeded
by (seed, prompt, how many draws of it came before), so it does not depend on its
neighbours. `generate` returns the texts alone; `sweep` moves one setting.

A prompt given as a string is text and nothing else: "</s>" or "<|user|>" typed in it
never becomes a control token. A prompt given as a list of token ids is used as it is.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpers import decoding, sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    Prompt = str | Sequence[int]
    Knob = float | Sequence[float]  # one value for all, or one for each prompt

__all__ = ["Draw", "check_context", "draw", "encode_prompt", "generate", "sweep"]
__all__ += ["temperature_sweep"]

OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
OFF["repetition_penalty"] = 1.0
CACHE_BYTES = {"cpu": 384 * 2**20, "cuda": 2 * 2**30}  # keys and values of one batch


@dataclass(frozen=True)
class Draw:
    """One continuation and how it came about."""

    text: str  # without the prompt, special tokens and the stop string
    tokens: tuple[int, ...]  # every token drawn, the end token too
    nats: float  # mean -log p of those tokens under the model itself, at T = 1
    reason: str  # "end" (the model ended it), "stop" (a stop string) or "length"


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: str | Sequence[Prompt],
    **options: Any,
) -> list[list[str]]:
    """Return the continuations: for each prompt a list, one text for each draw.

    Takes the options of `draw` and raises what it raises.
    """
    drawn = draw(model, tokenizer, prompts, **options)
    return [[one.text for one in row] for row in drawn]


def draw(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: str | Sequence[Prompt],
    *,
    max_new_tokens: int = 120,
    temperature: Knob = 1.0,
    top_k: Knob = 0,
    top_p: Knob = 1.0,
    min_p: Knob = 0.0,
    repetition_penalty: Knob = 1.0,
    num_return_sequences: int = 1,
    stop_strings: str | Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[list[Draw]]:
    """Continue each prompt `num_return_sequences` times; one list a prompt.

    temperature 0 is greedy. A text stops at the end token and before the first of
    `stop_strings`. The penalty counts the prompt's tokens too, as in transformers.
    Raises ValueError for a setting out of range, an empty prompt, and a prompt that
    does not fit the model's context together with its new tokens.
    """
    import torch
    from tqdm import tqdm

    prompts = [prompts] if isinstance(prompts, str) else prompts
    stops = (
        [stop_strings] if isinstance(stop_strings, str) else list(stop_strings or ())
    )
    if min(max_new_tokens, num_return_sequences, *map(len, stops)) < 1:
        raise ValueError(
            f"max_new_tokens={max_new_tokens}, num_return_sequences="
            f"{num_return_sequences}, stop_strings={stops}, expected 1 or more of each "
            "and no empty stop string"
        )
    knobs = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }
    columns = [_for_each(name, value, len(prompts)) for name, value in knobs.items()]
    ids = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    check_context(model, ids, max_new_tokens)
    rows, owners, before = [], [], Counter()
    for owner, (prompt, *setting) in enumerate(zip(ids, *columns)):
        twin = (*prompt, *setting)
        copies = 1 if setting[0] == 0 else num_return_sequences  # greedy: all alike
        for _ in range(copies):
            dice = random.Random(f"{seed} {before[twin]} {prompt}")
            before[twin] += 1
            u = [dice.random() for _ in range(max_new_tokens)]
            rows.append(decoding.Row(tuple(prompt), tuple(setting), u))
            owners.append(owner)
    longest = max(map(len, ids), default=0) + max_new_tokens
    room = CACHE_BYTES.get(model.device.type, CACHE_BYTES["cpu"])
    size = max(1, room // decoding.row_bytes(model, longest))
    queue = sorted(rows, key=lambda row: len(row.prompt))  # alike: little padding
    batches = [queue[i : i + size] for i in range(0, len(queue), size)]
    bar = tqdm(total=len(batches) * max_new_tokens, disable=not progress, leave=False)
    with bar, torch.inference_mode():
        for done, batch in enumerate(batches, start=1):
            decoding.decode(
                model, tokenizer, batch, stop_strings=stops, after_step=bar.update
            )
            bar.update(done * max_new_tokens - bar.n)  # all rows ended early
    found: list[list[Draw]] = [[] for _ in ids]
    for owner, row in zip(owners, rows):
        text = _text(tokenizer, row, stops)
        found[owner].append(Draw(text, row.tokens, row.nats, row.reason))
    return [row * (num_return_sequences // len(row)) for row in found]


def sweep(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    setting: str = "temperature",
    values: Sequence[float] | Mapping[str, Mapping[str, float]],
    draws: int = 8,
    progress: bool = True,
    **options: Any,
) -> list[dict[str, Any]]:
    """Draw from every prompt at every value of one setting, all in one batch.

    `values` may also map names to several settings each: {"chat": {"top_p": 0.9}}.
    Returns one dict a draw, ready for a table: the value (or name) under the name of
    the setting, prompt (its number), draw, text, nats, n_tokens, reason. Takes the
    options of `draw` and raises what it raises, and ValueError for an unknown setting.
    """
    if not isinstance(values, Mapping):
        values = {value: {setting: value} for value in values}
    used = {name for chosen in values.values() for name in chosen}
    if unknown := sorted(used - set(sampling.RANGES)):
        names = ", ".join(sampling.RANGES)
        raise ValueError(f"setting is {unknown[0]!r}, expected one of {names}")
    for name in used:
        usual = options.get(name, OFF[name])
        each = [chosen.get(name, usual) for chosen in values.values()]
        options[name] = [value for value in each for _ in prompts]
    options |= {"num_return_sequences": draws, "progress": progress}
    found = draw(model, tokenizer, list(prompts) * len(values), **options)
    rows = []
    labels = [(value, i) for value in values for i in range(len(prompts))]
    for (value, i), drawn in zip(labels, found):
        for number, one in enumerate(drawn):
            row = {setting: value, "prompt": i, "draw": number, "text": one.text}
            row |= {"nats": one.nats, "n_tokens": len(one.tokens), "reason": one.reason}
            rows.append(row)
    return rows


def temperature_sweep(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    temperatures: Sequence[float],
    **options: Any,
) -> list[dict[str, Any]]:
    """Do a `sweep` of the temperature; 0 is greedy. Takes the options of `sweep`."""
    options |= {"setting": "temperature", "values": temperatures}
    return sweep(model, tokenizer, prompts, **options)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Return a prompt's token ids: BOS and the text's, with no other control token.

    A list of ids comes back as it is. Raises ValueError for an empty prompt.
    """
    if isinstance(prompt, str):
        options = {"add_special_tokens": False, "split_special_tokens": True}
        ids = tokenizer(prompt, **options).input_ids
    else:
        ids = [int(i) for i in prompt]
    if not ids:
        raise ValueError("a prompt is empty, expected at least one word to continue")
    bos = tokenizer.bos_token_id
    return [bos, *ids] if isinstance(prompt, str) and bos is not None else ids


def _for_each(name: str, value: Knob, n: int) -> list[float]:
    values = list(value) if hasattr(value, "__len__") else [value] * n
    if len(values) != n:
        found = f"{name} has {len(values)} values for {n} prompts"
        raise ValueError(f"{found}, expected one number, or one for each prompt")
    for one in values:
        sampling.check_setting(name, one)
    return values


def check_context(model: PreTrainedModel, ids: list[list[int]], new: int) -> None:
    """Raise ValueError for a text that leaves no room for `new` tokens."""
    context = getattr(model.config, "max_position_embeddings", None) or float("inf")
    for i, prompt in enumerate(ids):
        if len(prompt) + new > context:
            raise ValueError(
                f"text {i} has {len(prompt)} tokens and asks for {new} new ones, "
                f"expected at most {context} in all: cut {len(prompt) + new - context} "
                "from it or from max_new_tokens"
            )


def _text(
    tokenizer: PreTrainedTokenizerBase, row: decoding.Row, stops: list[str]
) -> str:
    """Return what a row adds to its prompt, up to the stop string that ended it."""
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    prompt = tokenizer.decode(row.prompt, **options)  # alone a text loses its space
    for drop in range(4):  # the last character may be cut after 1 to 3 of its 4 bytes
        tokens = row.tokens[: len(row.tokens) - drop]
        text = tokenizer.decode(row.prompt + tokens, **options)[len(prompt) :]
        if row.reason != "length" or not text.endswith("\ufffd"):
            break
    if row.reason == "stop":
        text = text[: min((text.find(s) for s in stops if s in text), default=None)]
    return text
