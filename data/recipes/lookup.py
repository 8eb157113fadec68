"""Teach the chat model to look a dish up: a second adapter, which notebook 08 starts from.

It learns one thing: a request becomes a query, and a request with a card of the menu
becomes a reply (`helpers.menu_tasks`, the kind "dish"). Going on with a conversation,
refusing and greeting are left to notebook 08. Then held-out wordings are answered with
the menu, by the chat model and by this one.

Run it:  python -m data.recipes.lookup     (goes on where it stopped)
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from data.recipes.finetune import measure_lookups, table
from helpers import adapters, lora, menu_tasks, models, sft, sft_data
from helpers.runtime import ROOT, RUNS, seed_everything

CARD = """\
---
license: cc0-1.0
language: [ko]
library_name: peft
base_model: {base}
---

# Tiny Tale Lookup

A second LoRA adapter, on Tiny Tale Chat: it writes down what a guest asks for, in the
words of the menu, and answers from the card of a dish (Korean). Notebook 08 makes a
menu chatbot of it.

| | |
|---|---|
| Base | `../{base}` (base and first adapter merged), by the fingerprint in `base.json` |
| Adapter | rank {r}, alpha {alpha}, all linear layers, {params:,} parameters, float16 |
| Training | {steps:,} steps of 8, {rows:,} rows from {number:,} requests, rate {rate:g}, cosine |
| Made by | `python -m data.recipes.lookup {arguments}` |
| Licence | CC0 |

## Use

```python
from helpers import models
from helpers.backends import make_backend
from helpers.chat import ChatSession
from helpers.menu_bot import MenuBackend

bot = MenuBackend(make_backend(*models.load("lookup")))
print(ChatSession(bot, temperature=0).say("매운 면 요리 추천해 주세요."))
```

## Measured

Requests in held-out wordings, one to three conditions, answered greedily with the menu
at hand (`helpers.menu_scores`). 95% intervals in brackets.

{table}

## Limits

It learned single requests for a dish and nothing else: it looks a dish up when somebody
asks for the weather, too. It inherits every limit of the chat model, and tells stories
worse than that.
"""


def lookup(
    base: Path,
    folder: Path,
    *,
    run: Path,
    steps: int = 8000,
    number: int = 24000,
    replies: float = 0.25,
    learning_rate: float = 1.5e-3,
    r: int = 24,
    seed: int = 0,
    arguments: str = "",
) -> str:
    """Train an adapter on the chat model of `base`, write it to `folder`, and measure.

    Checkpoints go to `run`; the next call goes on from the last. Of `number` requests
    each gives a query to learn, and a share `replies` of them a reply as well. Returns
    the model card.
    """
    import torch

    seed_everything(seed)
    model, tokenizer = models.load(base)
    tasks = menu_tasks.make_split(number, seed=seed, mixture={"dish": 1})
    queries, answers = zip(*(task.rows for task in tasks))
    rows = [*queries, *answers[: round(replies * number)]]
    random.Random(seed).shuffle(rows)
    train = sft_data.encode_rows(tokenizer, rows)
    print(f"to learn from: {train}", flush=True)
    model = lora.attach(model, r=r, lora_alpha=2 * r, seed=seed)
    options = {"learning_rate": learning_rate, "max_steps": steps, "seed": seed}
    done = sft.train(model, tokenizer, train, output_dir=run, resume=True, **options)
    if done.interrupted:
        print("stopped; run the same command to go on from the last checkpoint")
        raise SystemExit(130)
    adapters.save_adapter(model, folder, dtype=torch.float16)
    print(f"{done.seconds:.0f} s, {done.tokens / max(done.seconds, 1):.0f} tokens/s")
    rates = {"chat": measure_lookups(base), "lookup": measure_lookups(folder)}
    card = CARD.format(
        base=base.name, r=r, alpha=2 * r, params=models.stored_params(folder),
        number=number, rows=len(train.rows), steps=steps, rate=learning_rate,
        arguments=arguments, table=table(rates),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shipped = ROOT / "data/models"
    parser.add_argument("--base", type=Path, default=shipped / "tiny-tale-chat")
    parser.add_argument("--folder", type=Path, default=shipped / "tiny-tale-lookup",
                        help="beside the base; loading looks for it there")
    parser.add_argument("--run", type=Path, default=RUNS / "lookup")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--number", type=int, default=24000, help="requests to learn from")
    parser.add_argument("--replies", type=float, default=0.25, help="share with a reply")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--r", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    args = vars(parser.parse_args())
    given = [f"--{name.replace('_', '-')} {args[name]}" for name in
             ("steps", "number", "replies", "learning_rate", "r", "seed")]
    began = time.perf_counter()
    print(lookup(args.pop("base"), args.pop("folder"), arguments=" ".join(given), **args))
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
