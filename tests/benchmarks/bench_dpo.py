"""Preference tuning as helpers.dpo does it, against source E's own way of doing it.

Both train the same adapter on the same NF4 base and pairs, with the same rate and pairs
a step. Source E gives TRL the messages, in batches of two as they come: each reply ends
twice, the reference is read again at each step, logits are computed over the prompts
too, and activations are forgotten and computed again. One epoch, so reading the
reference once saves no pass here; ours pays for it within its time.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

from bench_sft import EVERY, Watch, reached
from run import Figure

from helpers import dpo, dpo_data, lora, preferences, rewards
from helpers.runtime import Meter

STEPS, HELDOUT = 40, 60
RATE, R = 2e-4, 16


class PairWatch(Watch):
    """Note (seconds of training, held-out DPO loss); looking itself costs no time."""

    def look(self):
        loss = rewards.measure(self.model, self.heldout)["loss"]
        self.seen.append((self.seconds, loss))
        self.start = time.perf_counter()


def ours(model, tokenizer, pairs, watch, folder) -> tuple[int, int]:
    """Train with `dpo.train`; return the tokens read without and with padding."""
    data = rewards.with_reference(model, dpo_data.encode_pairs(tokenizer, pairs))
    run = dpo.train(
        model,
        tokenizer,
        data,
        output_dir=folder,
        progress=False,
        on_step=lambda row: watch.step(row["step"]),
        max_steps=STEPS,
        save_steps=STEPS,
        learning_rate=RATE,
    )
    return run.tokens, run.cells


def source_e(model, tokenizer, pairs, watch, folder) -> tuple[int, int]:
    """Train as source E does; return the tokens read without and with padding."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    read = {"tokens": 0, "cells": 0}

    class Step(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            watch.step(state.global_step)

    class Counting(DPOTrainer):
        def compute_loss(self, model, inputs, **options):
            for name in ("prompt", "prompt", "chosen", "rejected"):  # a prompt is read twice
                mask = inputs[f"{name}_attention_mask"]
                read["tokens"] += int(mask.sum())
                read["cells"] += mask.numel()
            return super().compute_loss(model, inputs, **options)

    on_gpu = model.device.type == "cuda"
    options = DPOConfig(
        output_dir=folder,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        optim="paged_adamw_32bit",
        learning_rate=RATE,
        lr_scheduler_type="cosine",
        warmup_ratio=0.1,
        max_steps=STEPS,
        beta=0.1,
        max_length=512,
        max_prompt_length=512,
        gradient_checkpointing=True,
        use_cpu=not on_gpu,
        fp16=on_gpu,
        report_to="none",  # else it stops and asks for a key
        disable_tqdm=True,
        save_strategy="no",
    )
    rows = [{s: getattr(p, s) for s in ("prompt", *dpo_data.SIDES)} for p in pairs]
    trainer = Counting(
        model=model,
        args=options,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Step()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return read["tokens"], read["cells"]


def measured(name: str) -> dict:
    """Train one way from a fresh base, in a process of its own, for its memory."""
    pairs = preferences.make_split(8 * STEPS)
    held = preferences.make_split(HELDOUT, split="heldout")
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = lora.load_4bit("tune")
        model = lora.attach(model, r=R, lora_alpha=2 * R)
        held = dpo_data.encode_pairs(tokenizer, held)
        watch = PairWatch(model, rewards.with_reference(model, held))
        with Meter() as meter:
            tokens, cells = globals()[name](model, tokenizer, pairs, watch, folder)
    found = {"tokens": tokens / watch.seconds, "padding": 1 - tokens / cells}
    return found | {"seen": watch.seen, "mb": meter.rss_mb}


def bench_dpo_against_source_e():
    """Compare speed, memory, and the time to the loss that source E ends with."""
    spawn, found = multiprocessing.get_context("spawn"), {}
    for name in ("ours", "source_e"):
        with ProcessPoolExecutor(1, mp_context=spawn) as alone:
            found[name] = alone.submit(measured, name).result()
    mine, theirs = found["ours"], found["source_e"]
    pair = mine["tokens"], theirs["tokens"]
    yield Figure("DPO, tokens read without padding", *pair, "tokens/s", at_least=1)
    yield Figure("DPO, padding", mine["padding"], theirs["padding"], "share")
    yield Figure("DPO, peak memory", mine["mb"], theirs["mb"], "MB")
    ends = mine["seen"][-1][1], theirs["seen"][-1][1]
    yield Figure(f"DPO, held-out loss after {STEPS} steps", *ends, "nats")
    loss = min(value for _, value in theirs["seen"])
    times = reached(mine["seen"], loss), reached(theirs["seen"], loss)
    name = f"DPO, time to a held-out loss of {loss:.3f}, seen every {EVERY} steps"
    yield Figure(name, *times, "s", at_most=0.5)
