"""Supervised fine-tuning with TRL's SFTTrainer, and what it changed on held-out requests.

TRL 0.16 trains on every token, whatever labels it is given. The trainer here keeps the
labels of `sft_data.encode_rows`, takes rows of similar length together, and computes
logits only from the first trained token on. Two measures tell what was learned: the
loss on gold answers, and how often the model's own answers do as asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import training
from helpers.chat_templates import encode_conversation
from helpers.generation import generate
from helpers.metrics import wilson_interval
from helpers.replies import Example, follows
from helpers.sft_data import IGNORE, TrainSet, batches, collate, from_first_trained

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DEFAULTS", "Rate", "answers", "follow_rates", "heldout_loss"]
__all__ += ["make_trainer", "train"]

DEFAULTS = {  # options of `train`, in the library's spelling
    "learning_rate": 4e-4,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.05,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "max_grad_norm": 1.0,
    "save_steps": 50,
    "seed": 0,
}
UNUSED = {  # options of SFTConfig that change nothing here
    "group_by_length": "`batches` always groups rows by length",
    "packing": "TRL 0.16 drops the labels of packed rows",
    "padding_free": "it needs flash attention and drops the labels",
    "max_length": "it is an option of `encode_rows`",
    "dataset_kwargs": "the data are encoded already",
}


def heldout_loss(model: PreTrainedModel, data: TrainSet, *, batch_size: int = 16) -> float:
    """Return the mean loss of the trained tokens, in nats a token; e to it: perplexity.

    The mean is over tokens, so the batch size does not matter.
    """
    import torch

    rows = sorted(data.rows, key=lambda row: len(row["input_ids"]))
    was_training, total, count = model.training, 0.0, 0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            inputs = from_first_trained(collate(rows[start : start + batch_size]))
            labels = inputs.pop("labels")[:, 1:].to(model.device)
            keep = inputs.pop("logits_to_keep")
            inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
            logits = model(**inputs, logits_to_keep=keep, use_cache=False).logits
            total += torch.nn.functional.cross_entropy(
                logits[:, :-1].float().flatten(0, 1),
                labels.flatten(),
                ignore_index=IGNORE,
                reduction="sum",
            ).item()
            count += int((labels != IGNORE).sum())
    model.train(was_training)
    return total / count


@dataclass(frozen=True)
class Rate:
    """How many of n replies did as asked: the share, 0 to 1, and its 95% interval.

    >>> print(Rate(9, 10))
    0.90 0.60-0.98
    """

    followed: int
    n: int
    share = property(lambda self: self.followed / self.n)
    interval = property(lambda self: wilson_interval(self.followed, self.n))

    def __str__(self) -> str:
        return "{:.2f} {:.2f}-{:.2f}".format(self.share, *self.interval)


# Tokens: a story has up to 260, other replies up to 60, beside questions of up to 300.
ROOM = {"story": 280, "continue": 280, "others": 120}


def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Iterable[Example],
    *,
    family: str | None = None,
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    **options: Any,
) -> list[str]:
    """Return a reply to each example's request, greedy by default.

    max_new_tokens: room for the longest right reply of its task if None (`ROOM`).
    `options` are those of `generation.draw`, whose errors are raised.
    """
    examples, form = list(examples), {"family": family, "add_generation_prompt": True}
    room = [max_new_tokens or ROOM.get(one.task, ROOM["others"]) for one in examples]
    replies = [""] * len(examples)
    for new in sorted(set(room)):
        places = [i for i, some in enumerate(room) if some == new]
        asked = [examples[i].messages[:-1] for i in places]
        asked = [encode_conversation(tokenizer, some, **form).ids for some in asked]
        options |= {"max_new_tokens": new, "temperature": temperature}
        for i, one in zip(places, generate(model, tokenizer, asked, **options)):
            replies[i] = one[0].strip()
    return replies


def follow_rates(examples: Sequence[Example], replies: Sequence[str]) -> dict[str, Rate]:
    """Return how often replies do as asked: a `Rate` for each task, and for "all".

    Raises ValueError if there is not one reply for each example.
    """
    if len(examples) != len(replies) or not replies:
        raise ValueError(
            f"got {len(replies)} replies to {len(examples)} examples, expected one each"
        )
    right = [follows(one, reply) for one, reply in zip(examples, replies)]
    found = {}
    for task in dict.fromkeys(one.task for one in examples):
        some = [good for one, good in zip(examples, right) if one.task == task]
        found[task] = Rate(sum(some), len(some))
    return dict(sorted(found.items())) | {"all": Rate(sum(right), len(right))}


def train(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TrainSet,
    *,
    output_dir: str | Path,
    heldout: TrainSet | None = None,
    eval_steps: int = 50,
    resume: bool = False,
    progress: bool = True,
    on_step: Callable[[dict[str, float]], object] | None = None,
    **options: Any,
) -> training.Run:
    """Fine-tune a model that `lora.attach` has wrapped, with TRL's SFTTrainer.

    `options` are SFTConfig's; see `DEFAULTS`. `heldout` is measured every `eval_steps`.
    Raises ValueError for an unknown option or a model with nothing to train, and what
    `training.run` raises; that also explains `resume`, `on_step` and Ctrl-C.
    """
    trainer = make_trainer(model, tokenizer, data, output_dir=output_dir, **options)
    text = json.dumps(data.rows).encode()
    settings = DEFAULTS | options | {"data": hashlib.sha256(text).hexdigest()[:16]}
    if config := getattr(model, "active_peft_config", None):
        settings |= {"r": config.r, "lora_alpha": config.lora_alpha}
    run = training.run(
        trainer,
        settings=settings,
        resume=resume,
        progress=progress,
        on_step=on_step,
        measure=(lambda: heldout_loss(model, heldout)) if heldout else None,
        measure_steps=eval_steps,
    )
    run.tokens, run.cells = trainer.tokens, trainer.cells
    return run


def make_trainer(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TrainSet,
    *,
    output_dir: str | Path,
    **options: Any,
) -> Any:
    """Return the SFTTrainer that `train` runs; raises ValueError as it does."""
    from datasets import Dataset
    from trl import SFTConfig

    known = {field.name for field in fields(SFTConfig)}
    for name in options:
        if name in UNUSED or name not in known:
            close = get_close_matches(name, known - UNUSED.keys(), n=1)
            why = UNUSED.get(name, f"did you mean {close[0]}?" if close else "no such")
            raise ValueError(f"option {name!r} cannot be set here: {why}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            "the model has nothing to train, expected one from `lora.attach`, or an "
            "adapter loaded with is_trainable=True"
        )
    common = training.common_options(model, output_dir)
    fixed = {"max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}}
    return _trainer_class()(
        model=model,
        args=SFTConfig(**(common | DEFAULTS | options | fixed)),
        train_dataset=Dataset.from_list(data.rows),
        data_collator=collate,
        processing_class=tokenizer,
    )


@lru_cache(maxsize=1)
def _trainer_class() -> type:
    from torch.utils.data import Sampler
    from trl import SFTTrainer

    class Order(Sampler):
        """The rows of `batches`, one epoch after another."""

        def __init__(self, lengths, batch_size, seed):
            self.made, self.epoch = (lengths, batch_size), 0
            self.seed = seed

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __len__(self):
            return len(self.made[0])

        def __iter__(self):
            made = batches(*self.made, seed=self.seed, epoch=self.epoch)
            return iter([row for batch in made for row in batch])

    class AnswerTrainer(SFTTrainer):
        """TRL's, with labels kept, batches of similar length, and fewer logits."""

        tokens = cells = 0  # read in this run, without padding and with

        def _get_train_sampler(self, *_):
            lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
            return Order(lengths, self.args.train_batch_size, self.args.seed)

        def compute_loss(self, model, inputs, **options):
            self.tokens += int(inputs["attention_mask"].sum())
            self.cells += inputs["attention_mask"].numel()
            return super().compute_loss(model, from_first_trained(inputs), **options)

    return AnswerTrainer
