"""Time and memory of the notebooks, measured here and written where they are quoted.

Each notebook is run in a kernel of its own; the file's outputs stay as they are. Without
a GPU its opening and the README's table are corrected. In the hub tier the line below
that table is, with the GPU's name and the memory used on it.

Run it:  make times   (or: .venv/bin/python -m helpers.measured notebooks/01_sampling.ipynb)
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from helpers import runtime

__all__ = ["gpu_line", "quote", "run_notebook", "update_readme"]

GPU_LINE = re.compile(r"^\*On a .+\*$", re.M)


def run_notebook(path: Path) -> tuple[float, float]:
    """Run a notebook from its first cell to its last; return seconds, GB at the peak.

    The memory is that of all processes that it starts, looked at 20 times a second; on
    a GPU, that of the GPU. Raises nbclient's CellExecutionError if a cell fails.
    """
    import nbformat
    import psutil
    from nbclient import NotebookClient

    book, peak, done = nbformat.read(path, 4), 0, threading.Event()
    on_gpu = runtime.detect().device == "cuda"

    def used() -> int:
        if on_gpu:
            import torch

            free, total = torch.cuda.mem_get_info()
            return total - free
        total = 0
        for child in psutil.Process().children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.Error:
                pass  # it has ended
        return total

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, used())

    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(book, timeout=3600, kernel_name="python3", resources=where)
    start, thread = time.perf_counter(), threading.Thread(target=watch)
    thread.start()
    try:
        client.execute()
    finally:
        done.set()
        thread.join()
    return time.perf_counter() - start, peak / 1e9


def quote(text: str, seconds: float, gb: float) -> str:
    """Return a notebook's opening with the figures of its "Measured" sentence renewed.

    Raises ValueError if it has no such sentence.

    >>> quote("**Measured** here: 15 seconds, 0.5 GB of memory.", 20.4, 0.61)
    '**Measured** here: 20 seconds, 0.6 GB of memory.'
    """
    head, sign, said = text.partition("**Measured**")
    said, times = re.subn(r"\d+(\s+seconds)", rf"{seconds:.0f}\1", said, count=1)
    said, sizes = re.subn(r"[\d.]+(\s+GB)", rf"{gb:.1f}\1", said, count=1)
    if not (times and sizes):
        raise ValueError("expected **Measured** ... N seconds ... N GB in the opening")
    return head + sign + said


def update_readme(text: str, name: str, seconds: float, gb: float) -> str:
    """Return the README with a notebook's row of the table renewed.

    >>> update_readme("| [a](notebooks/a.ipynb) | x | 15 s | 0.5 GB |", "a.ipynb", 20, 1)
    '| [a](notebooks/a.ipynb) | x | 20 s | 1.0 GB |'
    """
    row = rf"^(\| \[[^\]]+\]\(notebooks/{re.escape(name)}\) \|.*\|) [^|]+ \| [^|]+ \|$"
    return re.sub(row, rf"\1 {seconds:.0f} s | {gb:.1f} GB |", text, flags=re.M)


def gpu_line(found: Mapping[str, tuple[float, float]], device: str) -> str:
    """Return the README's line on a GPU.

    >>> gpu_line({"01_sampling.ipynb": (40.2, 1.26)}, "Tesla T4")
    '*On a Tesla T4, seconds and GB of its memory: 01 40 s 1.3 GB.*'
    """
    told = (f"{n[:2]} {seconds:.0f} s {gb:.1f} GB" for n, (seconds, gb) in found.items())
    return f"*On a {device}, seconds and GB of its memory: {', '.join(told)}.*"


def main(names: list[str]) -> None:
    paths = [Path(name) for name in names]
    paths = paths or sorted((runtime.ROOT / "notebooks").glob("[0-9]*.ipynb"))
    readme, found = runtime.ROOT / "README.md", {}
    for path in paths:
        seconds, gb = found[path.name] = run_notebook(path)
        print(f"{path.name}: {seconds:.0f} s, {gb:.1f} GB", flush=True)
        if runtime.detect().tier == "embedded":
            book = json.loads(path.read_text(encoding="utf-8"))
            said = book["cells"][1]["source"]  # a text, or a list of its lines
            new = quote("".join(said), seconds, gb)
            book["cells"][1]["source"] = new if said == "".join(said) else new.splitlines(True)
            text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8")
            text = readme.read_text(encoding="utf-8")
            readme.write_text(update_readme(text, path.name, seconds, gb), "utf-8")
    if runtime.detect().tier == "hub":
        import torch

        line = gpu_line(found, torch.cuda.get_device_name())
        text = readme.read_text(encoding="utf-8")
        readme.write_text(GPU_LINE.sub(line, text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
