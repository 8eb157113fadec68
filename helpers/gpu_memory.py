"""When a GPU has no memory left: which setting to lower, and by how much.

>>> told = out_of_memory(batch=8, accumulation=1, held=2 * 10**9, total=16 * 10**9)
>>> print(str(told)[:78])
The GPU ran out of memory: of its 16.0 GB the model and what is trained take 2
"""

from __future__ import annotations

__all__ = ["held_and_total", "out_of_memory"]


def held_and_total() -> tuple[int, int]:
    """Return the bytes that torch holds on the GPU, and all that it has; 0, 0 without."""
    import torch

    if not torch.cuda.is_available():
        return 0, 0
    return torch.cuda.memory_allocated(), torch.cuda.get_device_properties(0).total_memory


def out_of_memory(*, batch: int, accumulation: int, held: int, total: int) -> MemoryError:
    """Return the error to raise for training that ran out of GPU memory.

    `held`: bytes taken before the first step, of `total`. What is left goes to the
    activations of a batch, which grow in proportion to it: half the batch, read twice
    as often before each step, is the same training in about half of it.
    """
    told = (
        f"The GPU ran out of memory: of its {total / 1e9:.1f} GB the model and what is "
        f"trained take {held / 1e9:.1f}, and {batch} rows at once need more than the "
        f"other {max(total - held, 0) / 1e9:.1f}. "
    )
    if batch > 1:
        # the largest part that goes into it: so a step has the same rows as before
        part = max(n for n in range(1, batch // 2 + 1) if batch % n == 0)
        told += (
            f"Set per_device_train_batch_size={part} and gradient_accumulation_steps="
            f"{accumulation * batch // part}: the same steps, in less of that memory."
        )
    else:
        told += (
            "One row is too much already: cut the rows (a smaller max_length), or set "
            "COURSE_TIER=embedded to train the course's own model."
        )
    return MemoryError(told)
