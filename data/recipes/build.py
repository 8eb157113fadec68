"""Rebuild data/ from nothing: held-out sets, tokenizer, three models. Resumable.

The held-out sets are written each time, the tokenizer only if it is missing, and the
trainings (language, instructions, manners) go on from their last checkpoint. Two CPU
cores take about four hours; a CUDA GPU is used where there is one.

Run it:  make data        (or: python -m data.recipes.build --again)
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from data.recipes import finetune, heldout, prefer, pretrain, tokenizer

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", action="store_true", help="forget earlier checkpoints")
    parser.add_argument("--steps", type=int, default=pretrain.STEPS)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs/rebuilt/tiny-tale",
                        help="where the model goes; the shipped one is left alone")
    args = parser.parse_args()
    run = args.folder.parent / "pretrain"
    if args.again:
        shutil.rmtree(args.folder.parent, ignore_errors=True)
    print("1/5 held-out sets", flush=True)
    heldout.main()
    print("2/5 tokenizer", flush=True)
    if not (args.folder / "tokenizer.json").exists():
        tokenizer.train_tokenizer(args.folder)
    print("3/5 pretraining", flush=True)
    pretrain.pretrain(args.folder, run=run, steps=args.steps)
    print("4/5 fine-tuning", flush=True)
    chat = args.folder.with_name(f"{args.folder.name}-chat")
    rates = finetune.finetune(args.folder, chat, run=args.folder.parent / "finetune")
    print(finetune.table(rates))
    print("5/5 preferences", flush=True)
    dpo = args.folder.with_name(f"{args.folder.name}-dpo")
    prefer.prefer(chat, dpo, run=args.folder.parent / "prefer")
    print(f"done: see {args.folder.parent}. Copy to data/models what is better.")


if __name__ == "__main__":
    main()
