"""What the embedded model can do, on held-out prompts, with 95% intervals.

Each figure is a share of at least 300 draws. Targets are those that the lessons
need: a story that holds together at T = 0.7 and falls apart at 1.5 (claim A1),
few-shot tasks that shots make possible, Korean whose particles agree.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from functools import lru_cache

from run import Figure

from helpers import instructions, metrics, models, sft, tasks
from helpers.data_utils import load_jsonl
from helpers.generation import generate
from helpers.korean import particle_errors
from helpers.runtime import ROOT
from helpers.tales import make_tale, verify_tale, vocabulary

DRAWS = 300
TALES = ROOT / "data" / "tales"
SHOTS = (0, 1, 2, 4, 8)
KEPT = {"hero": 0.95, "thing": 0.90, "words": 0.99}  # at T = 0.7, top-p 0.9


@lru_cache(maxsize=1)
def base():
    """Return the embedded model and its tokenizer."""
    return models.load("base")


def share(name: str, good: int, total: int, **bounds: float) -> Figure:
    """Make a figure of a share, its Wilson interval in the name."""
    low, high = metrics.wilson_interval(good, total)
    return Figure(f"{name} [{low:.3f}, {high:.3f}] of {total}", good / total, **bounds)


def found_prompts() -> list[str]:
    """Cut held-out stories of finding and returning after "found a red kite"."""
    prompts = []
    for row in load_jsonl(TALES / "heldout_en.jsonl"):
        cut = re.search(rf"\bfound an? [^.]*?\b{row['thing']}\b", row["text"])
        if row["plot"].startswith("return") and cut:
            prompts.append(row["text"][: cut.end()])
    return prompts


def stories(prompts: list[str], **settings: float) -> list[str]:
    """Draw `DRAWS` whole stories or a few more, prompts included."""
    each = -(-DRAWS // len(prompts))
    found = generate(
        *base(), prompts, num_return_sequences=each, max_new_tokens=300, **settings
    )
    return [p + text for p, row in zip(prompts, found) for text in row]


def bench_stories() -> Iterator[Figure]:
    """Measure claim A1: what holds together at 0.7 must fall by 25 points at 1.5."""
    cool = {}
    for temperature, top_p in ((0.7, 0.9), (1.5, 0.9), (1.5, 1.0)):
        texts = stories(found_prompts(), temperature=temperature, top_p=top_p)
        checked = [verify_tale(text) for text in texts]
        for key in ("hero", "thing", "words", "all"):
            good = sum(one[key] for one in checked)
            name = f"story keeps {key}, T {temperature} top-p {top_p}"
            bounds = {"at_least": KEPT.get(key)} if temperature == 0.7 else {}
            cool.setdefault(key, good / len(texts))
            if (temperature, top_p) == (1.5, 1.0):
                bounds = {"at_most": cool[key] - 0.25}
            yield share(name, good, len(texts), **bounds)


def bench_korean() -> Iterator[Figure]:
    """Measure the share of Korean sentences in which every particle agrees."""
    rows = load_jsonl(TALES / "heldout_ko.jsonl")[:50]
    texts = stories(
        [" ".join(row["text"].split()[:3]) for row in rows], temperature=0.7, top_p=0.9
    )
    sentences = [s for text in texts for s in re.split(r"(?<=[.!?])\s", text) if s]
    nouns = vocabulary("ko")["nouns"]
    good = sum(not particle_errors(s, nouns) for s in sentences)
    yield share("Korean sentences, particles agree", good, len(sentences), at_least=0.98)
    whole = sum(verify_tale(text, language="ko")["all"] for text in texts)
    yield share("Korean stories hold together", whole, len(texts))


def bench_few_shot() -> Iterator[Figure]:
    """Measure exact match by family and shots, greedy, on held-out prompts."""
    shared = {0: [], 8: []}
    for family in tasks.FAMILIES:
        for shots in SHOTS:
            rng = random.Random(f"{family}-{shots}")
            made = [tasks.make_prompt(rng, family, shots=shots) for _ in range(DRAWS)]
            found = generate(
                *base(), [p.text for p in made], temperature=0, max_new_tokens=16,
                stop_strings=["\n"],
            )
            right = [tasks.is_correct(row[0], p.answer) for row, p in zip(found, made)]
            yield share(f"few-shot {family}, {shots} shots", sum(right), DRAWS)
            if shots in shared and family in tasks.TRAINED:
                shared[shots].append(sum(right) / DRAWS)
    mean = {shots: sum(rates) / len(rates) for shots, rates in shared.items()}
    yield Figure("few-shot, rise from 0 to 8 shots", mean[8] - mean[0], at_least=0.5)
    good = sum(rate >= 0.85 for rate in shared[8])
    yield Figure("few-shot, families at 0.85 or more", good, at_least=3)


def bench_following() -> Iterator[Figure]:
    """Measure how often the chat model, and its base, do as a held-out request asks."""
    examples = instructions.make_split(DRAWS, split="heldout")
    for role, bound in (("chat", {"at_least": 0.85}), ("base", {"at_most": 0.05})):
        rate = sft.follow_rates(examples, sft.answers(*models.load(role), examples))["all"]
        yield share(f"requests followed, {role}", rate.followed, rate.n, **bound)


def bench_copies() -> Iterator[Figure]:
    """Measure the share of drawn stories that stand in the training data."""
    from transformers.utils import logging

    from data.recipes.pretrain import STEPS, training_texts

    logging.set_verbosity_error()
    rows = load_jsonl(TALES / "heldout_en.jsonl")
    prompts = sorted({" ".join(row["text"].split()[:3]) for row in rows})
    texts = stories(prompts, temperature=0.7, top_p=0.9)
    seen = {hash(text) for text in training_texts(base()[1], STEPS)}
    copied = sum(hash(text.strip()) in seen for text in texts)
    yield share("stories copied word for word", copied, len(texts), at_most=0.01)


def bench_entropy() -> Iterator[Figure]:
    """Measure nats a token on held-out stories; the reference is the grammar's own."""
    for language in ("en", "ko"):
        texts = [row["text"] for row in load_jsonl(TALES / f"heldout_{language}.jsonl")]
        nats = math.log(metrics.perplexity(*base(), texts))
        rng = random.Random(11)
        tales = [make_tale(rng, language=language) for _ in range(300)]
        tokens = sum(len(base()[1](t.text).input_ids) for t in tales)
        choices = sum(t.nats for t in tales) / tokens
        yield Figure(f"held-out stories, {language}", nats, choices, "nats a token")
