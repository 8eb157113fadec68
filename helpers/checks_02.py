"""Checks for the exercises of notebook 02, few-shot: `check_02_k(answer)`; see `checks`.

The last two give the learner's function a stand-in for the model, whose answers are
known, so that a right function passes with any weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from helpers.checks import Words, exercise, short, try_it

__all__ = ["check_02_1", "check_02_2", "check_02_3"]

SHOTS = [("owl", "drum"), ("plum", "kite"), ("fox", "drum"), ("inn", "lamp"), ("fig", "kite")]


@exercise(look="len(generation.encode_prompt(...)) + 16, with one shot more each time")
def check_02_1(answer: Any) -> tuple[bool, Any]:
    """Check how many shots fit into a number of tokens, at the very borders."""
    from helpers import generation, models, prompting

    _, tokenizer = models.load("base")
    for family, fit in (("label", 3), ("pick", 5), ("ko_pick", 0), ("label", 12)):
        [p] = prompting.make_problems(family, examples=12, prompts=1, format="arrow")
        text = p.prompt(fit).text
        exact = len(generation.encode_prompt(tokenizer, text)) + 16
        for n_ctx, expected in ((exact, fit), (exact - 1, fit - 1)):
            if expected < 0:  # not even the query fits: nothing that could be asked
                continue
            result = try_it(answer, list(p.pairs), p.query, n_ctx)
            if isinstance(result, bool) or result != expected:
                told = f"{expected} of the 12 pairs of {family!r} in {n_ctx} tokens"
                return False, Words(f"{told}, not {short(result)}")
    return True, Words("how many shots fit")


@exercise(look="orders(pairs, n=5), Counter.most_common, and str.strip")
def check_02_2(answer: Any) -> tuple[bool, Any]:
    """Check a vote of five orders, with a stand-in that has given answers."""
    shown = sorted(f"{x} -> {y}" for x, y in SHOTS)
    for said in (
        (" drum", " kite", " kite ", " lamp", " kite"),
        (" lamp", " kite", "lamp", " kite", " lamp\n"),
        (" kite", " drum", " drum", "  drum", " kite"),
    ):
        asked: list[str] = []

        def ask(prompts: Sequence[str]) -> list[str]:
            if isinstance(prompts, str):
                raise TypeError("ask takes a list of prompts, not one text")
            asked.extend(prompts)
            first = len(asked) - len(prompts)
            return [said[i % 5] for i in range(first, len(asked))]

        result = try_it(answer, ask, list(SHOTS), "pear")
        for prompt in asked:
            *lines, last = prompt.split("\n")
            if last != "pear ->" or sorted(lines) != shown:
                wanted = "prompts in arrow format with all shots, then 'pear ->'"
                return False, Words(f"{wanted}, not {short(prompt)}")
        if len(asked) != 5 or len(set(asked)) != 5:
            told = f"{len(asked)} prompts, {len(set(asked))} of them different"
            return False, Words(f"five prompts, each in another order, not {told}")
        texts = [text.strip() for text in said]
        expected = max(texts, key=texts.count)
        if result != expected:
            return False, Words(f"{expected!r} of the answers {said}, not {short(result)}")
    return True, Words("the answer given most often")


@exercise(look="score with two prompts: the query, and 'nothing'; then the difference")
def check_02_3(answer: Any) -> tuple[bool, Any]:
    """Check labels whose score after "nothing" was taken away, with a stand-in."""
    from helpers.prompting import few_shot_prompt

    labels = ["drum", "kite", "lamp"]
    for query, after, empty in (
        ("pear", (-1.0, -1.2, -3.0), (-0.5, -1.5, -2.0)),  # kite; drum is likelier
        ("hen", (-0.2, -2.0, -4.0), (-1.0, -1.1, -2.0)),  # drum, as it was
        ("barn", (-1.0, -2.0, -2.5), (-0.1, -3.5, -4.5)),  # lamp; last of the three
    ):
        table = dict(zip(labels, zip(after, empty)))
        texts = {few_shot_prompt(SHOTS, query): 0, few_shot_prompt(SHOTS, "nothing"): 1}

        def score(prompts: Sequence[str], choices: Sequence[str]) -> list[list[float]]:
            for prompt in prompts:
                if prompt not in texts:
                    raise ValueError(f"score got {prompt!r}, expected the shots and the "
                                     f"query {query!r} or 'nothing', in arrow format")
            return [[table[label][texts[prompt]] for label in choices] for prompt in prompts]

        result = try_it(answer, score, list(SHOTS), query, list(labels))
        gains = {label: a - b for label, (a, b) in table.items()}
        expected = max(gains, key=gains.get)
        if result != expected:
            told = f"{expected!r}, with {after} after {query!r} and {empty} after 'nothing'"
            return False, Words(f"{told}, not {short(result)}")
    return True, Words("the calibrated label")
