"""What the embedded model can do, on held-out prompts, with intervals.

Run it:  python -m tests.benchmarks.bench_model [--folder FOLDER] [--draws 300]
"""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path

from helpers import tasks
from helpers.data_utils import load_jsonl
from helpers.generation import generate
from helpers.korean import particle_errors
from helpers.metrics import wilson_interval
from helpers.tales import make_tale, verify_tale, vocabulary

ROOT = Path(__file__).resolve().parents[2]
TALES = ROOT / "data" / "tales"
FEW_SHOT = (
    "pick",
    "rewrite",
    "codes",
    "label",
    "known",
    "place",
    "ko_pick",
    "ko_label",
    "count",
)
SHOTS = (0, 1, 2, 4, 8)


def rate(good: int, total: int) -> str:
    """Write a share with its 95% Wilson interval."""
    low, high = wilson_interval(good, total)
    return f"{good / total:.3f} [{low:.3f}, {high:.3f}] of {total}"


def found_prompts() -> list[str]:
    """Cut held-out stories of finding and returning after "found a red kite"."""
    prompts = []
    for row in load_jsonl(TALES / "heldout_en.jsonl"):
        cut = re.search(rf"\bfound an? [^.]*?\b{row['thing']}\b", row["text"])
        if row["plot"].startswith("return") and cut:
            prompts.append(row["text"][: cut.end()])
    return prompts


def stories(
    model, tokenizer, prompts: list[str], *, draws: int, **settings
) -> list[str]:
    """Draw at least ``draws`` whole stories, prompts included."""
    each = -(-draws // len(prompts))
    found = generate(
        model,
        tokenizer,
        prompts,
        num_return_sequences=each,
        max_new_tokens=330,
        **settings,
    )
    return [p + text for p, row in zip(prompts, found) for text in row]


def story_figures(model, tokenizer, *, draws: int) -> dict[str, str]:
    """Measure claim A1: what holds together at T = 0.7 and falls apart at 1.5."""
    prompts, figures = found_prompts(), {}
    for temperature, top_p in ((0.7, 0.9), (1.5, 0.9), (1.5, 1.0)):
        texts = stories(
            model, tokenizer, prompts, draws=draws, temperature=temperature, top_p=top_p
        )
        checked = [verify_tale(text) for text in texts]
        for key in ("hero", "thing", "words", "finished", "all"):
            good = sum(one[key] for one in checked)
            figures[f"T={temperature} top-p={top_p} {key}"] = rate(good, len(texts))
    return figures


def korean_figures(model, tokenizer, *, draws: int) -> dict[str, str]:
    """Measure the share of Korean sentences whose particles agree."""
    prompts = [
        " ".join(row["text"].split()[:3])
        for row in load_jsonl(TALES / "heldout_ko.jsonl")[:50]
    ]
    texts = stories(model, tokenizer, prompts, draws=draws, temperature=0.7, top_p=0.9)
    sentences = [s for text in texts for s in re.split(r"(?<=[.!?])\s", text) if s]
    nouns = vocabulary("ko")["nouns"]
    good = sum(not particle_errors(s, nouns) for s in sentences)
    whole = sum(verify_tale(t, language="ko")["all"] for t in texts)
    return {
        "Korean sentences with right particles": rate(good, len(sentences)),
        "Korean stories that hold together": rate(whole, len(texts)),
    }


def few_shot_figures(model, tokenizer, *, draws: int) -> dict[str, str]:
    """Measure exact-match accuracy of each family at 0 to 8 shots, greedy."""
    figures = {}
    for family in FEW_SHOT:
        for shots in SHOTS:
            rng = random.Random(f"{family}-{shots}")
            prompts = [
                tasks.make_prompt(rng, family, shots=shots) for _ in range(draws)
            ]
            found = generate(
                model,
                tokenizer,
                [p.text for p in prompts],
                temperature=0,
                max_new_tokens=16,
                stop_strings=["\n"],
            )
            good = sum(
                tasks.is_correct(row[0], p.answer) for row, p in zip(found, prompts)
            )
            figures[f"{family} {shots} shots"] = rate(good, draws)
    return figures


def copied_figures(model, tokenizer, *, draws: int, steps: int) -> dict[str, str]:
    """Measure the share of draws that repeat a training story word for word."""
    from data.recipes.pretrain import training_texts

    prompts = sorted(
        {
            " ".join(row["text"].split()[:3])
            for row in load_jsonl(TALES / "heldout_en.jsonl")
        }
    )[:100]
    texts = stories(model, tokenizer, prompts, draws=draws, temperature=0.7, top_p=0.9)
    seen = {hash(text) for text in training_texts(tokenizer, steps)}
    copied = sum(hash(text.strip()) in seen for text in texts)
    tails = sum(hash(" ".join(t.split()[-60:])) in seen for t in texts)
    return {"copies of a training story": rate(copied + tails, len(texts))}


def entropy_figures(model, tokenizer) -> dict[str, str]:
    """Measure nats a token on held-out stories, beside the grammar's own choices."""
    import math

    from helpers.metrics import perplexity

    figures = {}
    for language in ("en", "ko"):
        texts = [row["text"] for row in load_jsonl(TALES / f"heldout_{language}.jsonl")]
        nats = math.log(perplexity(model, tokenizer, texts))
        rng = random.Random(11)
        tales = [make_tale(rng, language=language) for _ in range(300)]
        tokens = sum(len(tokenizer(t.text).input_ids) for t in tales)
        choices = sum(t.nats for t in tales) / tokens
        figures[f"held-out nats a token, {language}"] = (
            f"{nats:.3f} (grammar: <= {choices:.3f})"
        )
    return figures


def main() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "data/models/tiny-tale")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--steps", type=int, default=0, help="to compare with training")
    parser.add_argument("--only", default="story,korean,few,copied,entropy")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        args.folder, dtype=torch.float32
    ).eval()
    parts = {
        "entropy": lambda: entropy_figures(model, tokenizer),
        "story": lambda: story_figures(model, tokenizer, draws=args.draws),
        "korean": lambda: korean_figures(model, tokenizer, draws=args.draws),
        "few": lambda: few_shot_figures(model, tokenizer, draws=args.draws),
        "copied": lambda: copied_figures(
            model, tokenizer, draws=args.draws, steps=args.steps
        ),
    }
    for name in args.only.split(","):
        for figure, value in parts[name]().items():
            print(f"{figure:45} {value}", flush=True)


if __name__ == "__main__":
    main()
