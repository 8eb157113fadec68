"""Rebuild data/ from nothing: held-out sets, tokenizer, model. Resumable.

The held-out sets are written each time, the tokenizer only if it is missing, and
pretraining goes on from its last checkpoint.  Two CPU cores take one and a half to
two hours (the shipped run took 116 minutes beside other work); a CUDA GPU is used
where there is one.

Run it:  make data        (or: python -m data.recipes.build --again)
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from data.recipes import heldout, pretrain, tokenizer

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3060


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", action="store_true", help="forget earlier checkpoints")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs/rebuilt/tiny-tale",
                        help="where the model goes; the shipped one is left alone")
    args = parser.parse_args()
    run = args.folder.parent / "pretrain"
    if args.again:
        shutil.rmtree(args.folder.parent, ignore_errors=True)
    print("1/3 held-out sets", flush=True)
    heldout.main()
    print("2/3 tokenizer", flush=True)
    if not (args.folder / "tokenizer.json").exists():
        tokenizer.train_tokenizer(args.folder)
    print("3/3 pretraining", flush=True)
    pretrain.pretrain(args.folder, run=run, steps=args.steps)
    print(f"done: {args.folder}. Copy it over data/models/tiny-tale if it is better.")


if __name__ == "__main__":
    main()
