"""Fine-tune Tiny Tale into the chat model: a LoRA adapter on the 4-bit base.

The steps are those of notebook 04: instructions with right answers, the base in NF4,
an adapter on all linear layers, the loss on the answers alone. It also learns to look a
dish up, as chat models learn to call functions; notebook 08 needs that. Then requests
that were held out are answered by the base and by base + adapter, both in full
precision, and the replies that do as asked are counted.

Run it:  python -m data.recipes.finetune     (goes on where it stopped)
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

from helpers import adapters, instructions, lora, menu_bot, menu_scores, menu_tasks
from helpers import models, sft, sft_data
from helpers.runtime import ROOT, RUNS, seed_everything

# Parts of each task to learn from: more of what is harder.
MIXTURE = {"story": 2, "continue": 1, "question": 2, "word": 2, "happy": 1, "dish": 2}
CARD = """\
---
license: cc0-1.0
language: [en, ko]
library_name: peft
base_model: {base}
---

# Tiny Tale Chat

A LoRA adapter that makes {title} do as asked: tell a story about X and Y, go on with
one, answer a question about it in a sentence or in one word, turn a sad sentence happy,
recommend a dish (Korean). Notebook 04 shows each step. It can also turn a request
for a dish into a query and answer from a card (Korean), which notebook 08 builds on.

| | |
|---|---|
| Base | `../{base}`, by the fingerprint in `base.json`; any other base is refused |
| Adapter | rank {r}, alpha {alpha}, all linear layers, {params:,} parameters, {dtype} |
| Training | {steps:,} steps of 8, {rows:,} examples, rate {rate:g}, cosine, base in NF4 |
| Made by | `python -m data.recipes.finetune {arguments}` |
| Licence | CC0 |

## Use

```python
from helpers import models
from helpers.chat import ChatSession

chat = ChatSession(*models.load("chat"), temperature=0)
print(chat.say("Please write a story about Lily and a kite."))
```

## Measured

Held-out requests, whose heroes and treasures were never together in training, answered
greedily; a verifier (`helpers.replies`) reads each reply. 95% intervals in brackets.

{table}

Looking a dish up (`helpers.menu_tasks`), held-out wordings, one to three conditions:

{menu_table}

Loss on the held-out answers: {before:.3f} nats a token before, {after:.3f} after.

## Limits

It knows these tasks and no others, and inherits every limit of its base. The table
says how often it fails. A reply that passes does as asked, which does not make it a
good story.
"""


def measure(place: Path, examples: list, *, progress: bool = True) -> dict[str, sft.Rate]:
    """Return how often a folder's model follows, for each task and over all."""
    model, tokenizer = models.load(place)
    return sft.follow_rates(
        examples, sft.answers(model, tokenizer, examples, progress=progress)
    )


def measure_lookups(place: Path, *, seed: int = 0) -> dict[str, sft.Rate]:
    """Return how often a folder's model is right, if it writes the queries itself."""
    model, tokenizer = models.load(place)
    menu = menu_tasks.make_heldout(seed=seed)
    return menu_scores.score(menu, menu_bot.answers(model, tokenizer, menu, by_rules=False)[0])


def table(rates: Mapping[str, Mapping[str, sft.Rate]]) -> str:
    """Return rates as a Markdown table: a row for each task, a column for each model.

    >>> print(table({"base": {"all": sft.Rate(1, 10)}}))
    | Task | base |
    |---|---|
    | all | 0.10 [0.02, 0.40] |
    """
    names = list(rates)
    lines = [f"| Task | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for task in rates[names[0]]:
        cells = (rates[name][task] for name in names)
        found = (f"{r.share:.2f} [{r.interval[0]:.2f}, {r.interval[1]:.2f}]" for r in cells)
        lines.append(f"| {task} | {' | '.join(found)} |")
    return "\n".join(lines)


def finetune(
    base: Path,
    folder: Path,
    *,
    run: Path,
    steps: int = 2800,
    number: int = 13600,
    lookups: int = 4400,
    learning_rate: float = 1.5e-3,
    r: int = 24,
    heldout: int = 240,
    seed: int = 0,
    dtype: str = "float16",
    progress: bool = True,
    arguments: str = "",
) -> dict[str, dict[str, sft.Rate]]:
    """Train an adapter on `base`, write it to `folder`, and measure both.

    Checkpoints go to `run`; the next call goes on from the last. `number` examples and
    `lookups` tasks of two steps to learn from, `heldout` requests to measure with (the
    same number for each task).
    """
    import torch

    seed_everything(seed)
    model, tokenizer = lora.load_4bit(base)
    rows = [*instructions.make_split(number, seed=seed, mixture=MIXTURE)]
    if lookups:
        rows += (row for task in menu_tasks.make_split(lookups, seed=seed) for row in task.rows)
    train = sft_data.encode_rows(tokenizer, rows)
    held = instructions.make_split(heldout, split="heldout", seed=seed)
    answers = sft_data.encode_rows(tokenizer, held)
    print(f"to learn from: {train}", flush=True)
    model = lora.attach(model, r=r, lora_alpha=2 * r, seed=seed)
    before = sft.heldout_loss(model, answers)
    result = sft.train(
        model,
        tokenizer,
        train,
        output_dir=run,
        heldout=answers,
        eval_steps=100,
        resume=True,
        progress=progress,
        max_steps=steps,
        learning_rate=learning_rate,
        seed=seed,
    )
    if result.interrupted:
        print("stopped; run the same command to go on from the last checkpoint")
        raise SystemExit(130)
    for step, loss in zip(*result.curve("heldout")):
        print(f"step {step}: {loss:.4f} nats a token on held-out answers")
    print(f"{result.seconds:.0f} s, {result.tokens / max(result.seconds, 1):.0f} tokens/s")
    adapters.save_adapter(model, folder, dtype=getattr(torch, dtype))
    after = sft.heldout_loss(model, answers)
    print(f"held-out answers: {before:.4f} nats a token before, {after:.4f} after", flush=True)
    rates = {"base": measure(base, held), "tuned": measure(folder, held)}
    facts = {"base": base.name, "title": base.name.replace("-", " ").title(), "r": r}
    facts |= {"alpha": 2 * r, "params": models.stored_params(folder), "dtype": dtype}
    facts |= {"steps": steps, "rows": len(train.rows), "rate": learning_rate}
    facts |= {"arguments": arguments, "before": before, "after": after}
    facts["menu_table"] = table({"tuned": measure_lookups(folder, seed=seed)})
    card = CARD.format(table=table(rates), **facts)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shipped = ROOT / "data/models"
    parser.add_argument("--base", type=Path, default=shipped / "tiny-tale")
    parser.add_argument("--folder", type=Path, default=shipped / "tiny-tale-chat",
                        help="beside the base; loading looks for it there")
    parser.add_argument("--run", type=Path, default=RUNS / "finetune")
    parser.add_argument("--steps", type=int, default=2800)
    parser.add_argument("--number", type=int, default=13600, help="examples to learn from")
    parser.add_argument("--lookups", type=int, default=4400, help="tasks of two steps")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--r", type=int, default=24)
    parser.add_argument("--heldout", type=int, default=240, help="requests to measure with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    args = vars(parser.parse_args())
    given = [f"--{name.replace('_', '-')} {args[name]}" for name in
             ("steps", "number", "lookups", "learning_rate", "r", "seed")]
    began = time.perf_counter()
    rates = finetune(args.pop("base"), args.pop("folder"), arguments=" ".join(given), **args)
    print(table(rates))
    shares = {name: {task: one.share for task, one in of.items()} for name, of in rates.items()}
    print(json.dumps(shares), f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
