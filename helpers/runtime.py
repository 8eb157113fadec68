"""What this machine can run, and what running it costs.

`detect` chooses the device, the tier (the course's own models, or larger ones from
the hub), the number format and the threads, and says why. The rest keeps runs
repeatable and measured: seeds, meters, the versions of the pinned packages.

Run it:  python -m helpers.runtime   (prints the device card and the version table)
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.versions import ROOT, check_kernel, kernel_warning, version_table

if TYPE_CHECKING:
    import torch

__all__ = [
    "HERE",
    "Meter",
    "ROOT",
    "RUNS",
    "Runtime",
    "TIERS",
    "check_kernel",
    "detect",
    "device_card",
    "kernel_warning",
    "online",
    "release_memory",
    "seed_everything",
    "version_table",
]

TIERS = ("embedded", "hub")
# What a learner makes: elsewhere if the course lies in a folder that is read-only.
RUNS = Path(os.environ.get("COURSE_RUNS") or ROOT / "runs").expanduser().resolve()
HERE = "[this machine]"  # opens every printed line that differs between machines


@dataclass(frozen=True)
class Runtime:
    """What `detect` chose: device "cpu" or "cuda", and a tier of `TIERS`."""

    device: str
    tier: str
    dtype: torch.dtype  # number format of the weights
    threads: int  # CPU threads that torch uses
    reason: str  # one sentence: why this tier


def online(*, timeout: float = 3.0) -> bool:
    """Say whether the Hugging Face hub answers within `timeout` seconds, asked once."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    return _answers(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout)


@lru_cache(maxsize=None)
def _answers(address: str, timeout: float) -> bool:
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=timeout):
            return True
    except urllib.error.HTTPError:
        return True  # it answered, if only to complain
    except (OSError, ValueError):
        return False


def detect() -> Runtime:
    """Choose device, tier, dtype and threads for this machine.

    `hub` needs a CUDA GPU and a network; everything else runs `embedded`. The
    environment variable COURSE_TIER overrides this. Weights are float32 on a CPU,
    float16 on a GPU of compute capability below 8 (a T4 has no bfloat16), bfloat16
    above. Raises ValueError if COURSE_TIER is not one of `TIERS`.
    """
    import torch

    wanted = os.environ.get("COURSE_TIER", "").strip().lower()
    if wanted and wanted not in TIERS:
        raise ValueError(
            f"COURSE_TIER is {wanted!r}, expected 'embedded' or 'hub': "
            "set it to one of the two, or unset it to let the course choose"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted:
        tier, reason = wanted, f"COURSE_TIER={wanted} asks for it"
    elif device == "cpu":
        tier, reason = "embedded", "no CUDA GPU was found"
    elif online():
        tier, reason = "hub", "a CUDA GPU was found and the hub answers"
    else:
        tier = "embedded"
        reason = "a CUDA GPU was found, but the hub does not answer (no network?)"
    dtype = torch.float32
    if device == "cuda":
        recent = torch.cuda.get_device_capability()[0] >= 8
        dtype = torch.bfloat16 if recent else torch.float16
    return Runtime(device, tier, dtype, torch.get_num_threads(), reason)


def device_card(runtime: Runtime | None = None) -> None:
    """Print what will run here and why; its last line differs between machines."""
    import platform

    import torch

    rt = runtime or detect()
    number_format = str(rt.dtype).removeprefix("torch.")
    what = {
        "embedded": "the course's own models, already in data/models: no download",
        "hub": "models of 0.4 to 1.5 billion parameters, downloaded from the hub",
    }
    print(f"device   {rt.device}, numbers in {number_format}")
    print(f"tier     {rt.tier}: {what[rt.tier]}")
    print(f"why      {rt.reason}")
    facts = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    if rt.device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        facts[:0] = [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB"]
    print(f"{HERE} {rt.threads} CPU threads, {', '.join(facts)}")


def seed_everything(seed: int = 0) -> None:
    """Seed Python, NumPy and torch (CPU and GPU).

    Raises ValueError unless `seed` is a whole number from 0 to 2**32 - 1.
    """
    import random

    import numpy as np
    import torch

    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(
            f"seed is {seed!r}, expected a whole number from 0 to 2**32 - 1"
        )
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def release_memory() -> None:
    """Free what nobody holds any more, and give it back to the system where it can be.

    Else the next model reuses it, and `Meter` does not see that model's memory.
    """
    import ctypes
    import gc

    gc.collect()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "malloc_trim"):  # glibc has it
        libc.malloc_trim(0)


class Meter:
    """Measure a block: `seconds`, `rss_mb` and `gpu_mb` (peaks, in 10**6 bytes).

    `rss_mb` is the highest memory of the whole process while the block ran, looked
    at every `interval` seconds; `gpu_mb` is 0.0 without a GPU.

    >>> with Meter() as meter:
    ...     block = bytearray(20_000_000)
    >>> meter.rss_mb > 20 and str(meter).startswith(HERE)
    True
    """

    def __init__(self, *, interval: float = 0.02) -> None:
        self.interval = interval
        self.seconds = self.rss_mb = self.gpu_mb = 0.0

    def __enter__(self) -> Meter:
        import psutil

        self._process, self._stop = psutil.Process(), threading.Event()
        self.seconds = self.rss_mb = self.gpu_mb = 0.0
        if cuda := self._cuda():
            cuda.reset_peak_memory_stats()
        self._look()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if cuda := self._cuda():
            cuda.synchronize()
            self.gpu_mb = cuda.max_memory_allocated() / 1e6
        self.seconds = time.perf_counter() - self._start
        self._stop.set()
        self._watcher.join()
        self._look()

    def __str__(self) -> str:
        gpu = f", {self.gpu_mb:,.0f} MB of the GPU" if self.gpu_mb else ""
        return f"{HERE} {self.seconds:.1f} s, {self.rss_mb:,.0f} MB at the peak{gpu}"

    def _look(self) -> None:
        self.rss_mb = max(self.rss_mb, self._process.memory_info().rss / 1e6)

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            self._look()

    @staticmethod
    def _cuda():  # the torch.cuda module, if a program that uses it is running
        torch = sys.modules.get("torch")
        return torch.cuda if torch and torch.cuda.is_available() else None


if __name__ == "__main__":
    device_card()
    print(version_table())
