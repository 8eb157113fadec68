"""A folder to carry into a room without a network: the course, and every wheel it needs.

There `make lab` finds the wheels and asks no index. A kit serves the system, the
architecture and the Python version that it was made with; install.py checks that.

Run it:  make kit   (or .venv/bin/python -m helpers.kit [FOLDER])
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from helpers import install, preflight
from helpers.pip_runner import KIT, WHEELS, about_here, pinned, pip

__all__ = ["copy_course", "main", "make_kit", "wheels_of"]

LEFT = (".venv", ".git", "runs", "kit", WHEELS.name, "__pycache__", "*.egg-info")
LEFT += (".ipynb_checkpoints", ".pytest_cache")
BUILD = ("pip>=24.1", "setuptools>=77")  # what installing the course itself takes


def copy_course(folder: Path) -> Path:
    """Copy the course to `folder`, without .venv, history and what a learner made."""
    shutil.copytree(preflight.ROOT, folder, ignore=shutil.ignore_patterns(*LEFT))
    return folder


def wheels_of(freeze: str) -> list[str]:
    """Return the requirements of a `pip freeze` that an index can give.

    >>> wheels_of("torch==2.13.0+cpu\\n-e git+x\\nllama_cpp_python @ file:///w.whl")
    ['torch==2.13.0+cpu']
    """
    lines = (line.strip() for line in freeze.splitlines())
    return [line for line in lines if "==" in line and not line.startswith(("-e", "#"))]


def make_kit(folder: Path) -> Path:
    """Make a kit in a new folder, and return the folder.

    Raises preflight.Stop if the course is not installed here, the folder is there
    already, or an index does not give a wheel.
    """
    if not install.is_installed():
        raise preflight.Stop("The course is not installed here: run `make lab` first.")
    if folder.exists():
        raise preflight.Stop(f"{folder} is there already: remove it, or name another.")
    preflight.check_space(preflight.ROOT, 2)
    print(f"[1/3] the course, to {folder}", flush=True)
    wheels = copy_course(folder) / WHEELS.name
    wheels.mkdir()
    print("[2/3] the wheels", flush=True)
    some = wheels_of(pip("freeze", "--exclude-editable"))
    [torch] = (one for one in some if one.startswith("torch=="))
    more = "+cpu" in torch and preflight.reachable(install.TORCH_CPU)
    index = ["--extra-index-url", install.TORCH_CPU] if more else []
    pip("wheel", "--no-deps", "-w", wheels, *index, torch)
    rest = [one for one in some if one != torch and not one.startswith("llama")]
    pip("wheel", "--no-deps", "-w", wheels, *rest, *BUILD)
    print("[3/3] llama-cpp-python", flush=True)
    built = install.wheel_folder(install.cmake_args(platform.machine())).glob("*.whl")
    if found := list(built):
        shutil.copy(found[0], wheels)
    else:
        only = ["--only-binary=:all:", "--extra-index-url", install.LLAMA_CPU]
        pip("wheel", "--no-deps", "-w", wheels, *only, pinned("llama-cpp-python"))
    (wheels / KIT).write_text(about_here() + "\n", encoding="utf-8")
    return folder


def main() -> int:
    """Make a kit in the folder named, or in kit/; return 0, or 1 after a sentence."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else preflight.ROOT / "kit")
    try:
        kit = make_kit(folder)
    except preflight.Stop as stop:
        print(stop, file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in kit.rglob("*") if file.is_file())
    print(f"{kit}: {size / 1e6:,.0f} MB, for {about_here()}. Copy it anywhere, and run "
          "`make lab` (or `python helpers/install.py`) there.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
