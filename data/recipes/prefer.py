"""Teach the chat model manners: a second adapter, trained with DPO on pairs of replies.

The steps are those of notebook 05: complete and polite replies about a dish are preferred
to curt ones. To DPO's loss that of the chosen reply is added (`rpo_alpha`, Pang et al.
2024, arXiv 2404.19733): without it the model learns not to stop sooner than it learns
what to say, and repeats itself. Then held-out requests are answered by the chat model
before and after, and the verifier of the pairs compares the replies.

With `--stories 1` stories that end kindly are preferred to others, too: the chat model's
own, up to the end. The card tells why the shipped adapter has not learned them.

Run it:  python -m data.recipes.prefer     (goes on where it stopped)
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from helpers import adapters, dpo, dpo_data, instructions, judging, lora, models
from helpers import preferences, sft
from helpers.runtime import ROOT, RUNS, seed_everything

CARD = """\
---
license: cc0-1.0
language: [en, ko]
library_name: peft
base_model: {base}
---

# Tiny Tale DPO

A second LoRA adapter, on Tiny Tale Chat: a dish comes with two reasons and a wish.
Notebook 05 shows each step.

| | |
|---|---|
| Base | `../{base}` (base and first adapter merged), by the fingerprint in `base.json` |
| Adapter | rank {r}, alpha {alpha}, all linear layers, {params:,} parameters, float16 |
| Training | DPO, {pairs:,} pairs of {number:,} requests, read once, {batch} a step, beta {beta:g}, rpo_alpha {rpo_alpha:g}, rate {rate:g} |
| Made by | `python -m data.recipes.prefer {arguments}` |
| Licence | CC0 |

## Use

```python
from helpers import menu_lookup, models
from helpers.chat import ChatSession
from helpers.dishes import load_dishes

chat = ChatSession(*models.load("dpo"), temperature=0)
card = menu_lookup.write_card(load_dishes()[0])
print(chat.say("매운 거 추천해 주세요.\n" + card))
```

## Measured

Held-out requests, each with the card of a dish, answered greedily by the chat model and
by this one; a verifier grades both replies (`helpers.preferences`). 95% intervals in
brackets.

- Wins against the chat model, a tie counted as half: {win}
- Does as asked, of these: {before} before, {after} after
- Does as asked, all tasks of notebook 04: {before_all} before, {after_all} after
- Drift from the chat model: {drift:.2f} nats a reply

## Limits

It prefers what the rules of `helpers.preferences` prefer, and nothing wiser. It inherits
every limit of the chat model.
"""


def prefer(
    base: Path,
    folder: Path,
    *,
    run: Path,
    number: int = 960,
    stories: int = 0,
    blunt: float = 0.5,
    batch: int = 8,
    learning_rate: float = 5e-4,
    beta: float = 0.1,
    rpo_alpha: float = 1.0,
    r: int = 8,
    heldout: int = 200,
    seed: int = 0,
    arguments: str = "",
) -> str:
    """Train an adapter on the chat model of `base`, write it to `folder`, and measure.

    Checkpoints go to `run`; the next call goes on from the last. `number` requests give
    pairs (`make_pairs`), `stories` parts of them stories, for one part of dishes.
    Returns the model card.
    """
    import torch

    seed_everything(seed)
    model, tokenizer = models.load(base)
    mixture = {"story": stories, "dish": 1}
    held = preferences.make_split(heldout, split="heldout", mixture=mixture)
    held = [pair.example for pair in held]
    every = instructions.make_split(heldout, split="heldout", seed=seed)
    before, before_all = (sft.answers(model, tokenizer, some) for some in (held, every))
    pairs = make_pairs(model, tokenizer, number, mixture=mixture, blunt=blunt, seed=seed)
    model = lora.attach(model, r=r, lora_alpha=2 * r, seed=seed)
    pairs = dpo_data.encode_pairs(tokenizer, pairs)
    options = {"learning_rate": learning_rate, "beta": beta, "rpo_alpha": rpo_alpha}
    options |= {"per_device_train_batch_size": batch, "save_steps": 20, "seed": seed}
    done = dpo.train(model, tokenizer, pairs, output_dir=run, resume=True, **options)
    if done.interrupted:
        print("stopped; run the same command to go on from the last checkpoint")
        raise SystemExit(130)
    adapters.save_adapter(model, folder, dtype=torch.float16)
    found = judging.compare(model, tokenizer, held, before)
    after_all = sft.answers(model, tokenizer, every)
    card = CARD.format(
        base=base.name, r=r, alpha=2 * r, params=models.stored_params(folder),
        number=number, pairs=len(pairs.rows), batch=batch, beta=beta,
        rpo_alpha=rpo_alpha, rate=learning_rate, arguments=arguments, win=found.win,
        before=sft.follow_rates(held, before)["all"], after=found.follows,
        before_all=sft.follow_rates(every, before_all)["all"],
        after_all=sft.follow_rates(every, after_all)["all"], drift=found.drift,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return card


def make_pairs(
    model, tokenizer, number: int, *, mixture: dict, blunt: float, seed: int = 0
) -> list:
    """Return pairs for `number` requests, less the stories that the model gets wrong.

    Dishes are told by the generator, stories by the model itself, with other ends.
    """
    requests = instructions.make_split(number, seed=seed, mixture=mixture)
    stories = [one for one in requests if one.task == "story"]
    told = sft.answers(model, tokenizer, stories, temperature=0.5, seed=seed, progress=True)
    pairs = preferences.retell(stories, told, blunt=blunt, seed=seed)
    dishes, rng = (one for one in requests if one.task == "dish"), random.Random(seed)
    with_cards = map(preferences.with_card, dishes)
    pairs += [preferences.prefer(one, rng, blunt=blunt) for one in with_cards]
    rng.shuffle(pairs)
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shipped = ROOT / "data/models"
    parser.add_argument("--base", type=Path, default=shipped / "tiny-tale-chat")
    parser.add_argument("--folder", type=Path, default=shipped / "tiny-tale-dpo",
                        help="beside the base; loading looks for it there")
    parser.add_argument("--run", type=Path, default=RUNS / "prefer")
    parser.add_argument("--number", type=int, default=960, help="requests to learn from")
    parser.add_argument("--stories", type=int, default=0, help="parts of them, to 1 of dishes")
    parser.add_argument("--blunt", type=float, default=0.5, help="share of blunt replies")
    parser.add_argument("--batch", type=int, default=8, help="pairs a step")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--rpo-alpha", type=float, default=1.0)
    parser.add_argument("--r", type=int, default=8)
    parser.add_argument("--heldout", type=int, default=200, help="requests to measure with")
    parser.add_argument("--seed", type=int, default=0)
    args = vars(parser.parse_args())
    given = [f"--{name.replace('_', '-')} {args[name]}" for name in
             ("number", "stories", "blunt", "batch", "learning_rate", "beta", "rpo_alpha", "r", "seed")]
    began = time.perf_counter()
    print(prefer(args.pop("base"), args.pop("folder"), arguments=" ".join(given), **args))
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
