"""Run a Hugging Face trainer so that it can be stopped, trusted and gone on with.

`run` takes any `Trainer`, TRL's too, and sees to what a notebook needs: a progress
bar, the loss of every step, checkpoints that are whole or skipped, Ctrl-C that ends
after the step at hand, and a stop where the numbers stop being numbers.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import checkpoints, gpu_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

__all__ = ["Run", "common_options", "hardware", "run"]

KEPT = 2  # checkpoints that stay on the disk


@dataclass
class Run:
    """What a training run did. `history` has a row for every step, resumed ones too."""

    history: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False  # by Ctrl-C, after a checkpoint
    resumed_from: str | None = None  # the checkpoint's folder
    skipped: list[str] = field(default_factory=list)  # half-written ones, and why
    seconds: float = 0.0  # of this call, as are the next two
    tokens: int = 0  # read, without padding
    cells: int = 0  # read, with padding

    def curve(self, name: str = "loss", *, every: int = 1) -> tuple[list[int], list[float]]:
        """Return (steps, values) of "loss", "heldout", "learning_rate" or "grad_norm".

        Each value is the mean of `every` rows, at the last one's step; a rest is left out.
        """
        rows = [row for row in self.history if name in row]
        parts = [rows[i : i + every] for i in range(0, len(rows) + 1 - every, every)]
        values = [sum(row[name] for row in part) / every for part in parts]
        return [part[-1]["step"] for part in parts], values


def hardware(model: PreTrainedModel) -> dict[str, Any]:
    """Return the options that depend on where a model trains, and how large it is.

    bf16 or fp16: 16-bit sums where the hardware has them; a T4 has only fp16.
    gradient_checkpointing: forget activations and compute them again, for a third more
    time: worth it above 100 million parameters. optim: paging moves the optimizer's
    numbers from the GPU to main memory when they do not fit; on a CPU they are there.
    """
    import torch

    on_cpu = model.device.type == "cpu"
    if on_cpu:  # elsewhere bfloat16 is emulated, and slower than float32
        bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    else:
        bf16 = torch.cuda.get_device_capability(model.device)[0] >= 8
    return {
        "use_cpu": on_cpu,
        "bf16": bf16,
        "fp16": not (bf16 or on_cpu),
        "gradient_checkpointing": model.num_parameters() > 100_000_000,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "optim": "adamw_torch" if on_cpu else "paged_adamw_32bit",
    }


def common_options(model: PreTrainedModel, output_dir: str | Path) -> dict[str, Any]:
    """Return the options of every trainer here: `hardware`, and no surprises.

    Nothing is reported to a website; every loss is logged, also one that is no number.
    """
    # The library leaves bf16 or fp16 of the last trainer here, for the next to inherit.
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    return hardware(model) | {
        "output_dir": str(output_dir),
        "report_to": "none",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,  # `run` has a bar of its own
        "save_strategy": "steps",
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "dataloader_pin_memory": model.device.type == "cuda",
    }


def run(
    trainer: Trainer,
    *,
    settings: Mapping[str, Any],
    resume: bool = False,
    progress: bool = True,
    on_step: Callable[[dict[str, float]], object] | None = None,
    measure: Callable[[], float] | None = None,
    measure_steps: int = 0,
) -> Run:
    """Train; `resume` goes on from the last complete checkpoint of the output folder.

    `settings` (JSON) is kept with each checkpoint: a run is gone on with as it began.
    Without `resume` the folder's earlier checkpoints are removed. `on_step` is called
    with each new row of the history, `measure` every `measure_steps` for its "heldout".
    Ctrl-C ends after the step at hand and saves; twice, it ends at once.

    Raises FloatingPointError where a loss or gradient is not a number, MemoryError if
    the GPU is full, OSError if a checkpoint cannot be saved, ValueError for settings
    other than the resumed run's.
    """
    import torch
    from safetensors import SafetensorError  # what it raises when the disk is full
    from transformers import PrinterCallback

    out, result = Path(trainer.args.output_dir), Run()
    settings, place = json.loads(json.dumps(settings)), None
    if resume:
        place, faults = checkpoints.last_complete(out)
        for broken, fault in faults.items():
            result.skipped.append(f"{broken.name} is half-written: {fault}")
            warnings.warn(f"{result.skipped[-1]}; skipped", stacklevel=2)
        if place:
            checkpoints.check_settings(place, settings)
            result.resumed_from = str(place)
        checkpoints.remove(faults)
    else:
        checkpoints.remove(checkpoints.find(out))
    watch = _watch(result, settings, progress, on_step, measure, measure_steps)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    model, start = trainer.model, time.perf_counter()
    forward, (held, total) = vars(model).get("forward"), gpu_memory.held_and_total()
    try:
        with _ctrl_c(watch):
            state = checkpoints.read_state(place) if place else {}
            if place and state["global_step"] >= state["max_steps"]:
                trainer._load_from_checkpoint(str(place))  # nothing is left to train
                result.history += _rows(state["log_history"])
            else:
                trainer.train(resume_from_checkpoint=str(place) if place else None)
    except torch.OutOfMemoryError as error:
        times = trainer.args.gradient_accumulation_steps
        asked = {"batch": trainer.args.per_device_train_batch_size, "accumulation": times}
        raise gpu_memory.out_of_memory(**asked, held=held, total=total) from error
    except (OSError, RuntimeError, SafetensorError) as error:
        folder = out / f"checkpoint-{trainer.state.global_step}"
        if not folder.exists() or not checkpoints.fault(folder):
            raise
        raise OSError(
            f"{folder} was not saved ({error}): free some space and go on with "
            "resume=True; earlier checkpoints are as they were"
        ) from error
    finally:
        watch.close()
        result.seconds = time.perf_counter() - start
        # The trainer made the model compute in 16 bits: give it back as it came.
        for name in ("forward", "_original_forward"):
            vars(model).pop(name, None)
        if forward:
            model.forward = forward
        model.eval()
    return result


def _rows(log: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Join a trainer's log entries of one step into one row."""
    rows: dict[int, dict[str, float]] = {}
    for entry in log:
        if "loss" in entry or "heldout" in entry:
            rows.setdefault(entry["step"], {}).update(entry)
    return [rows[step] for step in sorted(rows)]


@contextmanager
def _ctrl_c(watch: Any) -> Iterator[None]:
    """Let the first Ctrl-C ask for an end; the second is the usual one."""
    if threading.current_thread() is not threading.main_thread():
        yield  # a signal goes to the main thread
        return
    usual = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def ask(*_: object) -> None:
        watch.stop_asked = True
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _watch(result, settings, progress, on_step, measure, measure_steps) -> Any:
    """Make the callback that `run` adds to its trainer."""
    from tqdm import tqdm
    from transformers import TrainerCallback, set_seed

    class Watch(TrainerCallback):
        stop_asked, bar = False, None

        def on_train_begin(self, args, state, control, **_):
            set_seed(args.seed)  # whatever was drawn since the trainer was made
            result.history += _rows(state.log_history)
            begin = {"initial": state.global_step, "total": state.max_steps}
            self.bar = tqdm(**begin, disable=not progress, unit="step", leave=False)

        def on_pre_optimizer_step(self, args, state, control, optimizer=None, **_):
            trained = (p for group in optimizer.param_groups for p in group["params"])
            finite = all(p.grad is None or p.grad.isfinite().all() for p in trained)
            if not (finite or args.fp16):  # in fp16 the scaler skips such a step
                self.fail(state.global_step + 1, "a gradient", optimizer)

        def on_step_end(self, args, state, control, **_):
            last = state.global_step == state.max_steps
            if measure and (last or state.global_step % measure_steps == 0):
                entry = {"step": state.global_step, "heldout": measure()}
                state.log_history.append(entry)
            if self.stop_asked:
                control.should_save = control.should_training_stop = True
                result.interrupted = not last

        def on_log(self, args, state, control, logs=None, optimizer=None, **_):
            if "loss" not in logs:
                return  # the summary at the end
            if not math.isfinite(logs["loss"]):
                self.fail(state.global_step, "the loss", optimizer)
            result.history.append(row := _rows(state.log_history)[-1])
            self.bar.update()
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}")
            if on_step:
                on_step(row)

        def on_save(self, args, state, control, **_):
            place = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            checkpoints.mark_complete(place, settings=settings)
            checkpoints.remove(checkpoints.find(args.output_dir)[KEPT:])

        def fail(self, step, what, optimizer):
            rate = optimizer.param_groups[0]["lr"]
            before = result.history[-1]["loss"] if result.history else "not known"
            raise FloatingPointError(
                f"{what} is not a number at step {step} (learning rate {rate:.3g}, "
                f"loss before {before}): use a lower learning_rate"
            )

        def close(self):
            if self.bar is not None:
                self.bar.close()

    return Watch()
