"""Fine-tuning as helpers.sft does it, against source E's own way of doing it.

Both train the same adapter on the same NF4 base and rows, with the same rate and rows
a step. Source E pads batches of two as they come, forgets activations and computes
them again, and looks at the loss of every token.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise

from run import Figure

from helpers import instructions, lora, sft, sft_data
from helpers.runtime import Meter

STEPS, EVERY = 120, 10  # training steps, and steps between two looks
ROWS, HELDOUT = 960, 120
RATE, R = 4e-4, 16


class Watch:
    """Note (seconds of training, held-out loss); looking itself costs no time."""

    def __init__(self, model, heldout):
        self.model, self.heldout, self.seconds, self.seen = model, heldout, 0.0, []
        self.look()

    def look(self):
        self.seen.append((self.seconds, sft.heldout_loss(self.model, self.heldout)))
        self.start = time.perf_counter()

    def step(self, number):
        self.seconds += time.perf_counter() - self.start
        self.start = time.perf_counter()
        if number % EVERY == 0:
            self.look()


def ours(model, tokenizer, rows, watch, folder) -> tuple[int, int]:
    """Train with `sft.train`; return the tokens read without and with padding."""
    run = sft.train(
        model,
        tokenizer,
        sft_data.encode_rows(tokenizer, rows),
        output_dir=folder,
        progress=False,
        on_step=lambda row: watch.step(row["step"]),
        max_steps=STEPS,
        save_steps=STEPS,
        learning_rate=RATE,
    )
    return run.tokens, run.cells


def source_e(model, tokenizer, rows, watch, folder) -> tuple[int, int]:
    """Train as source E does; return the tokens read without and with padding."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    read = {"tokens": 0, "cells": 0}

    class Step(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            watch.step(state.global_step)

    class Counting(DataCollatorForLanguageModeling):
        def torch_call(self, examples):
            batch = super().torch_call(examples)
            read["tokens"] += int(batch["attention_mask"].sum())
            read["cells"] += batch["attention_mask"].numel()
            return batch

    ids = [row["input_ids"] for row in sft_data.encode_rows(tokenizer, rows).rows]
    options = SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        optim="paged_adamw_32bit",
        learning_rate=RATE,
        lr_scheduler_type="cosine",
        max_steps=STEPS,
        max_length=512,
        gradient_checkpointing=True,
        use_cpu=model.device.type == "cpu",
        fp16=model.device.type == "cuda",
        report_to="none",  # else it stops and asks for a key
        disable_tqdm=True,
        save_strategy="no",
    )
    model.enable_input_require_grads()  # else no gradient gets through
    trainer = SFTTrainer(
        model=model,
        args=options,
        train_dataset=Dataset.from_list([{"input_ids": row} for row in ids]),
        data_collator=Counting(tokenizer.pad_token_id),
        processing_class=tokenizer,
        callbacks=[Step()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return read["tokens"], read["cells"]


def measured(name: str) -> dict:
    """Train one way from a fresh base, in a process of its own, for its memory."""
    made = instructions.make_split(ROWS)
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = lora.load_4bit("tune")
        model = lora.attach(model, r=R, lora_alpha=2 * R)
        held = instructions.make_split(HELDOUT, split="heldout")
        watch = Watch(model, sft_data.encode_rows(tokenizer, held))
        rows = [{"messages": example.messages} for example in made]
        with Meter() as meter:
            tokens, cells = globals()[name](model, tokenizer, rows, watch, folder)
    return {
        "tokens": tokens / watch.seconds,
        "padding": 1 - tokens / cells,
        "seen": watch.seen,
        "mb": meter.rss_mb,
    }


def reached(seen: list[tuple[float, float]], loss: float) -> float:
    """Return the seconds until a held-out loss, on a straight line between looks."""
    for (t0, a), (t1, b) in pairwise(seen):
        if b <= loss:
            return t0 + (t1 - t0) * (a - loss) / (a - b) if a > b else t1
    return float("inf")


def bench_sft_against_source_e():
    """Compare speed, memory, and the time to the loss that source E ends with."""
    spawn = multiprocessing.get_context("spawn")
    found = {}
    for name in ("ours", "source_e"):
        with ProcessPoolExecutor(1, mp_context=spawn) as alone:
            found[name] = alone.submit(measured, name).result()
    mine, theirs = found["ours"], found["source_e"]
    pair = mine["tokens"], theirs["tokens"]
    yield Figure("SFT, tokens read without padding", *pair, "tokens/s", at_least=1)
    yield Figure("SFT, padding", mine["padding"], theirs["padding"], "share")
    yield Figure("SFT, peak memory", mine["mb"], theirs["mb"], "MB")
    ends = mine["seen"][-1][1], theirs["seen"][-1][1]
    yield Figure(f"SFT, held-out loss after {STEPS} steps", *ends, "nats a token")
    loss = min(b for _, b in theirs["seen"])
    times = reached(mine["seen"], loss), reached(theirs["seen"], loss)
    name = f"SFT, time to a held-out loss of {loss:.3f}"
    yield Figure(name, *times, "s", at_most=0.5)
