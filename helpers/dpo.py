"""Direct preference optimization with TRL's DPOTrainer, and ORPO with its ORPOTrainer.

The model is one that `lora.attach` has wrapped: with its adapter switched off it is the
reference. So an SFT adapter is merged first, and DPO gets an adapter of its own:

    base + SFT adapter, merged  ->  attach  ->  train  ->  save_adapter
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from helpers import checkpoints, training
from helpers.dpo_data import SIDES, PairSet, check_base, encode_pairs
from helpers.fingerprints import fingerprint
from helpers.lora import attach
from helpers.sft_data import IGNORE, batches

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DEFAULTS", "METHODS", "dpo_loss", "make_trainer", "train", "tune"]

METHODS = ("dpo", "orpo")
DEFAULTS = {  # options of `train`, in the library's spelling
    "beta": 0.1,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "max_grad_norm": 1.0,
    "save_steps": 50,
    "seed": 0,
}
UNUSED = {  # options of the trainers that change nothing here, or too much
    "group_by_length": "rows of similar length are always taken together",
    "padding_free": "it needs flash attention",
    "precompute_ref_log_probs": "use `rewards.with_reference`",
    **dict.fromkeys(
        ("max_length", "max_prompt_length", "max_completion_length", "truncation_mode"),
        "the pairs are encoded already: use max_length of `encode_pairs`",
    ),
}


def dpo_loss(
    chosen_logps: Tensor,
    rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (losses, chosen rewards, rejected rewards) of pairs, each of shape (pairs,).

    Takes log-probabilities of whole replies, in nats, under the model and under the
    reference. `label_smoothing` is the share of labels held to be wrong. Source:
    Rafailov et al. 2023, arXiv 2305.18290, equation 7; claim E4.

    >>> import torch
    >>> same = torch.tensor([-9.0]), torch.tensor([-12.0])
    >>> round(dpo_loss(*same, *same)[0].item(), 4)  # ln 2
    0.6931
    """
    from torch.nn.functional import logsigmoid

    chosen = beta * (chosen_logps - ref_chosen_logps)
    rejected = beta * (rejected_logps - ref_rejected_logps)
    right, wrong = logsigmoid(chosen - rejected), logsigmoid(rejected - chosen)
    losses = -(1 - label_smoothing) * right - label_smoothing * wrong
    return losses, chosen.detach(), rejected.detach()


def train(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    data: PairSet,
    *,
    output_dir: str | Path,
    method: str = "dpo",
    resume: bool = False,
    progress: bool = True,
    on_step: Callable[[dict[str, float]], object] | None = None,
    **options: Any,
) -> training.Run:
    """Train on pairs with TRL's DPOTrainer, or its ORPOTrainer (`method="orpo"`).

    `options` are DPOConfig's or ORPOConfig's; see `DEFAULTS`. The history has TRL's
    "rewards/margins", "rewards/accuracies", "logps/chosen" and others beside "loss".
    Raises what `make_trainer` and `training.run` raise; the latter explains the rest.
    """
    trainer = make_trainer(
        model, tokenizer, data, output_dir=output_dir, method=method, **options
    )
    started = any(p.any() for n, p in model.named_parameters() if "lora_B" in n)
    kept = checkpoints.last_complete(output_dir)[0] if resume else None
    if method == "dpo" and started and not kept:  # a checkpoint would take its place
        raise ValueError(
            "the adapter has been trained already, and without it the model is not the "
            "one to start from: `adapters.merge` it, and `attach` a new one"
        )
    config, mark = model.active_peft_config, next(iter(fingerprint(model).values()))
    ids = [[row[name] for name in sorted(row) if "ids" in name] for row in data.rows]
    settings = {"method": method, **DEFAULTS, **options, "base": mark[:16]}
    settings["data"] = hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]
    settings |= {"r": config.r, "lora_alpha": config.lora_alpha}
    with_them = {"settings": settings, "resume": resume, "progress": progress}
    run = training.run(trainer, on_step=on_step, **with_them)
    run.tokens, run.cells = trainer.tokens, trainer.cells
    return run


def tune(
    start: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Any],
    *,
    r: int = 16,
    lora_alpha: float = 32,
    **options: Any,
) -> PeftModel:
    """Train a new adapter on pairs in one go, and return the model that has it.

    `start` is wrapped. Checkpoints are not kept. `options` are those of `train`, whose
    errors are raised, with those of `encode_pairs` and `attach`.
    """
    data = encode_pairs(tokenizer, pairs)
    model = attach(start, r=r, lora_alpha=lora_alpha)
    options = {"save_strategy": "no", "progress": False} | options
    with TemporaryDirectory() as folder:
        train(model, tokenizer, data, output_dir=folder, **options)
    return model


def make_trainer(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    data: PairSet,
    *,
    output_dir: str | Path,
    method: str = "dpo",
    **options: Any,
) -> Any:
    """Return the trainer that `train` runs.

    Raises ValueError for an unknown method or option, a model without an adapter to
    train, and pairs with the reference of another base.
    """
    from datasets import Dataset, disable_progress_bars, enable_progress_bars
    from trl import DPOConfig, ORPOConfig

    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    config = {"dpo": DPOConfig, "orpo": ORPOConfig}[method]
    known = {field.name for field in fields(config)}
    if wrong := [n for n in options if n in UNUSED or n not in known]:
        why = UNUSED.get(wrong[0], f"{config.__name__} has no such option")
        raise ValueError(f"option {wrong[0]!r} cannot be set here: {why}")
    weights = [p for n, p in model.named_parameters() if "lora_" in n]
    if not any(p.requires_grad for p in weights):
        raise ValueError("the model has no adapter to train, expected `lora.attach`'s")
    check_base(model, data)
    settings = training.common_options(model, output_dir) | DEFAULTS | options
    args = config(**settings, max_length=None) if method == "dpo" else config(**settings)
    if method == "dpo":
        args.max_prompt_length, args.use_logits_to_keep = None, True
    size = args.per_device_train_batch_size
    lengths = [sum(map(len, _ids(row))) for row in data.rows]
    order = [i for batch in batches(lengths, size, seed=args.seed) for i in batch]
    rows = [data.rows[i] if method == "dpo" else _whole(data.rows[i]) for i in order]
    disable_progress_bars()  # ORPO's passes over the rows take no time
    try:
        return _trainer_class(method)(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
    finally:
        enable_progress_bars()


def _ids(row: dict[str, Any]) -> list[list[int]]:
    return [row[f"{name}_input_ids"] for name in ("prompt", *SIDES)]


def _whole(row: dict[str, Any]) -> dict[str, list[int]]:
    """Return a row as ORPOTrainer reads it: each reply behind the prompt."""
    prompt, *replies = _ids(row)
    made = {}
    for side, ids in zip(SIDES, replies):
        made[f"{side}_input_ids"] = prompt + ids
        made[f"{side}_attention_mask"] = [1] * len(prompt + ids)
        made[f"{side}_labels"] = [IGNORE] * len(prompt) + ids
    return made


@lru_cache(maxsize=None)
def _trainer_class(method: str) -> type:
    from torch.utils.data import SequentialSampler
    from trl import DPOTrainer, ORPOTrainer

    class InOrder:
        """Rows as they come, encoded already; what is read is counted."""

        tokens = cells = 0  # read in this run, without padding and with

        def _get_train_sampler(self, *_):
            return SequentialSampler(self.train_dataset)

        def compute_loss(self, model, inputs, *rest, **options):
            masks = {n: m for n, m in inputs.items() if n.endswith("attention_mask")}
            for name, mask in masks.items():  # a prompt is read with either reply
                times = 2 if name.startswith("prompt") else 1
                self.tokens += times * int(mask.sum())
                self.cells += times * mask.numel()
            return super().compute_loss(model, inputs, *rest, **options)

    class Preferences(InOrder, DPOTrainer):
        def _prepare_dataset(self, dataset, *_):
            return dataset

    class Odds(InOrder, ORPOTrainer):
        def tokenize_row(self, feature, *_):
            return feature

        def concatenated_forward(self, model, batch):
            chosen, *others, _ = super().concatenated_forward(model, batch)
            return chosen, *others, -chosen.mean()  # TRL's looks at the prompt too

    return {"dpo": Preferences, "orpo": Odds}[method]
