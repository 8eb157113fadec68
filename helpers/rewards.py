"""What a model prefers, in numbers: log-probabilities, rewards, and drift.

DPO needs no reward model: a reply's reward is beta times the log of how much likelier
the model finds it than its reference does. The reference is the same model with its
adapter switched off. All sums are in nats and over whole replies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from helpers import training
from helpers.dpo import dpo_loss
from helpers.dpo_data import SIDES, PairSet, check_base
from helpers.fingerprints import fingerprint
from helpers.sft_data import IGNORE, TrainSet, collate, from_first_trained

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel

__all__ = ["drift", "logps", "measure", "with_reference"]


def logps(
    model: PreTrainedModel,
    data: PairSet,
    *,
    reference: bool = False,
    batch_size: int = 16,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities, in nats, of the chosen and of the rejected replies.

    With `reference` the adapter is switched off. The sums are done in the format of
    `training.hardware`, as in training; `options` bf16 and fp16 change it.
    """
    import torch

    found = {}
    rows = [
        (i, side, row["prompt_input_ids"], row[f"{side}_input_ids"])
        for i, row in enumerate(data.rows)
        for side in SIDES
    ]
    rows.sort(key=lambda row: len(row[2]) + len(row[3]))
    with _reading(model, reference, options):
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            coded = [
                {"input_ids": p + ids, "labels": [IGNORE] * len(p) + ids}
                for *_, p, ids in part
            ]
            logp, labels = _log_probs(model, coded)
            picked = logp.gather(-1, labels.clamp_min(0)[..., None])[..., 0]
            sums = picked.double().masked_fill(labels == IGNORE, 0).sum(-1)
            found |= {(i, s): x for (i, s, *_), x in zip(part, sums.tolist())}
    each = range(len(data.rows))
    return tuple(torch.tensor([found[i, side] for i in each]) for side in SIDES)


def with_reference(model: PeftModel, data: PairSet, **options: Any) -> PairSet:
    """Return the pairs with the reference's log-probabilities, which never change.

    Several runs on one base then read it once. Takes the options of `logps`; let bf16
    and fp16 be those of the training to come, or its loss does not start at ln 2.
    """
    columns = logps(model, data, reference=True, **options)
    names = [f"ref_{side}_logps" for side in SIDES]
    both = zip(*(column.tolist() for column in columns))
    rows = [row | dict(zip(names, pair)) for row, pair in zip(data.rows, both)]
    return replace(data, rows=rows, base=fingerprint(model))


def measure(
    model: PeftModel, data: PairSet, *, beta: float = 0.1, **options: Any
) -> dict[str, float]:
    """Return means over pairs: loss, margin (rewards), accuracy, chosen, rejected (nats).

    Accuracy is the share of pairs whose chosen reply has the higher reward: 0 before
    training, where all rewards are 0. Takes the options of `logps`, and raises ValueError
    for the reference of another base.
    """
    check_base(model, data)
    now = logps(model, data, **options)
    if data.base is None:
        data = with_reference(model, data, **options)
    names = [f"ref_{side}_logps" for side in SIDES]
    before = [now[0].new_tensor([row[name] for row in data.rows]) for name in names]
    losses, chosen, rejected = dpo_loss(*now, *before, beta=beta)
    parts = {"loss": losses, "margin": chosen - rejected, "accuracy": chosen > rejected}
    parts |= {"chosen": now[0], "rejected": now[1]}
    return {name: part.double().mean().item() for name, part in parts.items()}


def drift(
    model: PeftModel, data: TrainSet, *, batch_size: int = 16, **options: Any
) -> list[float]:
    """Return how far the model is from its reference, in nats a reply: one KL a row.

    `data` are the model's own replies, as `sft_data.encode_rows` encodes them: over
    drawn ones the mean estimates KL(model || reference).
    """
    found = []
    for start in range(0, len(data.rows), batch_size):
        part = data.rows[start : start + batch_size]
        with _reading(model, False, options):
            now, labels = _log_probs(model, part)
        with _reading(model, True, options):
            before, _ = _log_probs(model, part)
        each = (now.exp() * (now - before)).sum(-1)
        found += each.masked_fill(labels == IGNORE, 0).sum(-1).tolist()
    return found


@contextmanager
def _reading(model: PreTrainedModel, reference: bool, options: dict) -> Iterator[None]:
    """Switch off gradients, dropout and, for the reference, the adapter."""
    import torch

    flags = training.hardware(model) | options
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}
    wanted = [dtype[name] for name in dtype if flags[name]]
    kind = model.device.type
    narrow = torch.autocast(kind, wanted[0]) if wanted else nullcontext()
    off = model.disable_adapter() if reference else nullcontext()
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), narrow, off:
            yield
    finally:
        model.train(was_training)


def _log_probs(model: PreTrainedModel, rows: list[dict]) -> tuple[Tensor, Tensor]:
    """Return log-probabilities (rows, places, vocabulary), and the labels there."""
    inputs = from_first_trained(collate(rows))
    labels = inputs.pop("labels")[:, 1:].to(model.device)
    keep = inputs.pop("logits_to_keep")
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    logits = model(**inputs, logits_to_keep=keep, use_cache=False).logits[:, :-1]
    return logits.float().log_softmax(-1), labels
