"""Few-shot prompts, and how often they work.

A `Problem` is one task of `helpers.tasks`: pairs to take shots from, a query and its
answer. Every condition of an experiment asks the same problems with other shots (see
`helpers.variants`), and `compare` answers all of them together.

>>> shots = [("owl", "drum"), ("plum", "kite"), ("fox", "drum")]
>>> few_shot_prompt(shots[:2], "fox", format="{x} = {y}; ")
'owl = drum; plum = kite; fox ='
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Any

from helpers import generation, metrics, tasks

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    Pair = tuple[str, str]  # (input, output)
    Rows = list[dict[str, Any]]
    Memory = dict[tuple[str, int], str]  # outputs by prompt and number of new tokens

__all__ = ["Problem", "accuracy", "compare", "curve", "few_shot_prompt", "make_problems"]
__all__ += ["score_choices", "shots_sweep", "shots_that_fit"]


@dataclass(frozen=True)
class Problem:
    """A task told by examples alone."""

    pairs: tuple[Pair, ...]  # the shots are taken from these
    query: str
    answer: str
    family: str
    format: str

    def prompt(self, shots: int | Sequence[Pair], *, format: str = "") -> tasks.Prompt:
        """Return the prompt with the first `shots` pairs, or with the pairs given."""
        if isinstance(shots, int) and not 0 <= shots <= len(self.pairs):
            raise ValueError(f"shots is {shots}, expected 0 to {len(self.pairs)}, all its pairs")
        pairs, form = self.pairs[:shots] if isinstance(shots, int) else shots, format or self.format
        text = few_shot_prompt(pairs, self.query, format=form)
        return tasks.Prompt(text, self.answer, self.family, len(pairs), form)


def few_shot_prompt(pairs: Sequence[Pair], query: str, *, format: str = "arrow") -> str:
    """Return the shots and the query in one format, up to where the answer begins.

    `format` is a name of tasks.FORMATS, or a text with {x}, then {y}, then what ends
    an answer. Raises ValueError for another format, TypeError for what is no text.
    """
    form, before, _ = _layout(format)
    for x, y in [*pairs, (query, "")]:
        if not (isinstance(x, str) and isinstance(y, str)):
            raise TypeError(f"a shot or the query has {(x, y)!r}, expected texts")
    return "".join(form.format(x=x, y=y) for x, y in pairs) + before.format(x=query)


def _layout(format: str) -> tuple[str, str, str]:
    """Return a format's text, its part before the answer, and what ends an answer."""
    form = tasks.FORMATS.get(format, format)
    before, _, after = form.partition("{y}")
    try:
        fields = [name for _, name, _, _ in Formatter().parse(form) if name is not None]
    except ValueError:  # a brace without its partner
        fields = []
    if fields != ["x", "y"] or not after:
        own = "a text with {x}, then {y}, then what ends an answer, such as a line break"
        raise ValueError(f"format is {format!r}, expected {', '.join(tasks.FORMATS)}, or {own}")
    return form, before.rstrip(" "), after.lstrip(" ")[:1] or " "


def make_problems(family: str, *, examples: int, prompts: int = 100, seed: int = 0,
                  format: str = "", split: str = "heldout") -> list[Problem]:
    """Return `prompts` problems of a family, with `examples` pairs each.

    The query's input is never among the pairs, but for "codes", where finding it again
    is the task. More examples are added at the end. Without a format, it is one of the
    held-out ones. Raises ValueError for bad numbers and unknown names.
    """
    if examples < 0 or prompts < 1:
        raise ValueError(f"examples={examples}, prompts={prompts}, expected at least 0 and 1")
    problems = []
    for number in range(prompts):
        rng = random.Random(f"{seed} {family} {number}")
        task = tasks.make_task(rng, family, split=split)
        usual = rng.choice(tasks.HELDOUT_FORMATS) if split == "heldout" else "arrow"
        query, answer = task.draw(rng)
        pairs: list[Pair] = []
        while len(pairs) < examples:
            pair = task.draw(rng)
            if family == "codes" or pair[0] != query:
                pairs.append(pair)
        problems.append(Problem(tuple(pairs), query, answer, family, format or usual))
    problems[0].prompt(0)  # says now if the format cannot be read
    return problems


def accuracy(outputs: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """Return the share of exact answers with its 95% interval: accuracy, low, high, n.

    Raises ValueError unless there are as many outputs as answers, one or more.
    """
    if not outputs or len(outputs) != len(answers):
        raise ValueError(f"{len(outputs)} outputs, {len(answers)} answers, expected one for each")
    right, n = sum(map(tasks.is_correct, outputs, answers)), len(answers)
    low, high = metrics.wilson_interval(right, n)
    return {"accuracy": right / n, "low": low, "high": high, "n": n}


def compare(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
            conditions: Mapping[Any, Sequence[tasks.Prompt]], *, setting: str = "condition",
            batch_size: int = 24, memory: Memory | None = None, progress: bool = True) -> Rows:
    """Answer all prompts greedily, in batches; return a row for each condition.

    A row has the condition under the name of the setting, `accuracy`'s figures, and the
    outputs, each cut where its format ends an answer. No text is asked twice; a `memory`,
    a dict that several calls with the same model share, spares those of earlier calls.
    Raises ValueError for a condition without prompts, and one whose prompts do not fit
    the context with their answers.
    """
    from tqdm import tqdm

    memory = {} if memory is None else memory
    prompts = [prompt for some in conditions.values() for prompt in some]
    answers = {f" {prompt.answer}\n" for prompt in prompts}
    new = max((len(tokenizer(answer).input_ids) for answer in answers), default=1) + 2
    lengths: dict[str, int] = {}
    for name, some in conditions.items():
        if not some:
            raise ValueError(f"{setting} {name!r} has no prompts, expected at least one")
        ids = [generation.encode_prompt(tokenizer, prompt.text) for prompt in some]
        lengths |= zip([prompt.text for prompt in some], map(len, ids))
        try:
            generation.check_context(model, ids, new)
        except ValueError as error:
            raise ValueError(f"{setting} {name!r}: {error}") from None
    options = {"temperature": 0, "max_new_tokens": new, "stop_strings": "\n"}
    asked = [text for text in lengths if (text, new) not in memory]
    with tqdm(total=len(asked), unit=" prompts", disable=not progress, leave=False) as bar:
        for part in _batches([lengths[text] for text in asked], batch_size):
            texts = [asked[i] for i in part]
            found = generation.generate(model, tokenizer, texts, **options)
            memory |= {(text, new): output for text, [output] in zip(texts, found)}
            bar.update(len(part))
    rows = []
    for name, some in conditions.items():
        found = [memory[one.text, new].split(_layout(one.format)[2])[0] for one in some]
        scores = accuracy(found, [prompt.answer for prompt in some])
        rows.append({setting: name} | scores | {"outputs": found})
    return rows


def _batches(lengths: list[int], size: int) -> list[list[int]]:
    """Return the numbers of texts, the longest first: alike in a batch, little is padding."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    return [order[i : i + size] for i in range(0, len(order), size)]


def shots_sweep(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, family: str,
                shots: Sequence[int] = (0, 1, 2, 4, 8), prompts: int = 100, seed: int = 0,
                batch_size: int = 24, memory: Memory | None = None, progress: bool = True,
                **options: Any) -> Rows:
    """Measure accuracy on the same problems by number of shots: a row for each number.

    Takes the options of `make_problems`; `memory` is that of `compare`. Raises what the
    two raise.
    """
    if not shots or not all(isinstance(k, int) and k >= 0 for k in shots):
        raise ValueError(f"shots is {shots!r}, expected one or more numbers from 0 up")
    problems = make_problems(family, examples=max(shots), prompts=prompts, seed=seed, **options)
    conditions = {k: [problem.prompt(k) for problem in problems] for k in shots}
    rows = compare(model, tokenizer, conditions, setting="shots", batch_size=batch_size,
                   memory=memory, progress=progress)
    return [{"family": family} | row for row in rows]


def curve(rows: Rows, *, setting: str = "shots") -> tuple[list, ...]:
    """Return (values, accuracy, low, high) of the rows, as plotting.lines takes them."""
    return tuple([row[key] for row in rows] for key in (setting, "accuracy", "low", "high"))


def shots_that_fit(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], query: str, *,
                   n_ctx: int, format: str = "arrow", max_new_tokens: int = 16) -> int:
    """Return how many of the pairs fit into `n_ctx` tokens with query and answer.

    Raises ValueError if the query alone does not fit.
    """
    def tokens(k: int) -> int:
        text = few_shot_prompt(pairs[:k], query, format=format)
        return len(generation.encode_prompt(tokenizer, text)) + max_new_tokens

    if tokens(0) > n_ctx:
        raise ValueError(f"the query and its answer take {tokens(0)} tokens, n_ctx is {n_ctx}: "
                         f"shorten the query or max_new_tokens={max_new_tokens}")
    return bisect_right(range(1, len(pairs) + 1), n_ctx, key=tokens)


def score_choices(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
                  prompts: Sequence[str], choices: Sequence[str] | Sequence[Sequence[str]], *,
                  normalize: bool = True, batch_size: int = 24) -> list[list[float]]:
    """Return log p (nats) of each choice after its prompt: a list for each prompt.

    `choices` are texts for all prompts, or a list of texts for each; a space is put
    between, unless a prompt ends in one or in a line break. `normalize` divides by the
    choice's number of tokens. Raises ValueError for empty choices, a choice that shares
    a token with its prompt (it ended in a space), and a text beyond the context.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    each = [choices] * len(prompts) if choices and isinstance(choices[0], str) else choices
    if len(each) != len(prompts) or not all(some and all(some) for some in each):
        raise ValueError(f"choices are {choices!r}, expected texts, or a list of texts for "
                         f"each of the {len(prompts)} prompts, none of them empty")
    rows, sizes = [], []  # ids of prompt and choice; how many of them are the choice's
    for prompt, some in zip(prompts, each):
        start, gap = generation.encode_prompt(tokenizer, prompt), " " * (not prompt[-1].isspace())
        for choice in some:
            rows.append(generation.encode_prompt(tokenizer, prompt + gap + choice))
            sizes.append(len(rows[-1]) - len(start))
            if rows[-1][: len(start)] != start:
                raise ValueError(f"the prompt {prompt[-20:]!r} shares a token with the choice "
                                 f"{choice!r}, expected no space at the end of a prompt")
    generation.check_context(model, rows, 0)
    scores = [0.0] * len(rows)
    for part in _batches(list(map(len, rows)), batch_size):
        batch = [torch.tensor(rows[i], device=model.device) for i in part]
        ids = pad_sequence(batch, batch_first=True, padding_side="left")
        ones = [torch.ones_like(row) for row in batch]
        mask = pad_sequence(ones, batch_first=True, padding_side="left")
        keep, places = max(sizes[i] for i in part), (mask.cumsum(1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = model(ids, attention_mask=mask, position_ids=places,
                           logits_to_keep=keep + 1).logits[:, :-1].float()
        logp = logits.gather(-1, ids[:, -keep:, None])[..., 0] - logits.logsumexp(-1)
        for i, row in zip(part, logp.tolist()):
            scores[i] = sum(row[-sizes[i] :]) / (sizes[i] if normalize else 1)
    rest = iter(scores)
    return [[next(rest) for _ in some] for some in each]
