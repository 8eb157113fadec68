"""What has to be true before the course is installed, and one sentence if it is not.

Standard library only, in words that even Python 3.6 can read: an old Python has to
get as far as its own sentence.

Run it:  python3 helpers/preflight.py   (checks this machine, installs nothing)
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

__all__ = [
    "OLDEST",
    "ROOT",
    "Stop",
    "TOO_NEW",
    "check_all",
    "check_compiler",
    "check_machine",
    "check_python",
    "check_space",
    "explain",
    "has_gpu",
    "reachable",
]

ROOT = Path(__file__).resolve().parent.parent
OLDEST, TOO_NEW = (3, 10), (3, 14)  # requires-python of pyproject.toml
MACHINES = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",), "Windows": ("amd64",)}
AGAIN = "then run this again to go on."

VENV = (
    "This Python cannot make virtual environments: install its venv part (Debian and "
)
VENV += "Ubuntu: sudo apt install python3-venv), " + AGAIN
FULL = "The disk is full ({where}): free some space, " + AGAIN
COMPILER = (
    "llama-cpp-python has to be compiled here, and no working C and C++ compiler "
)
COMPILER += "was found: install one ({where}), " + AGAIN
COMPILERS = {
    "Linux": "Debian and Ubuntu: sudo apt install build-essential",
    "Darwin": "xcode-select --install",
    "Windows": "Visual Studio Build Tools with C++",
}
OFFLINE = (
    "The package index cannot be reached ({where}): check the network or the proxy "
)
OFFLINE += "settings, " + AGAIN
NO_BUILD = (
    "There is no build of {where} for this machine and Python: try another Python "
)
NO_BUILD += "from 3.10 to 3.13, or run the course on Google Colab."
UNKNOWN = (
    "{command} failed ({where}): the full output is in {log}; run this again to go "
)
UNKNOWN += "on, or remove the folder .venv and run it again to start over."

# what the tools print, and the sentence that it becomes; the first that fits counts
FAULTS = [
    (r"ensurepip is not available|No module named '?(?:ensurepip|venv)\b", VENV),
    (r"No space left on device|not enough space on the disk", FULL),
    (r"CMAKE_C(?:XX)?_COMPILER|compile a simple test program|Visual Studio", COMPILER),
    (
        r"from versions: (?!none)[^)]*\)\s+ERROR: No matching \w+ found for (\S+)",
        NO_BUILD,
    ),
    (r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout", OFFLINE),
    (r"Connection (?:refused|broken|aborted)|ProxyError|SSLError|Max retries", OFFLINE),
    (r"No matching distribution found for pip\b", OFFLINE),
    (r"No matching distribution found for (\S+)", NO_BUILD),
]


class Stop(Exception):
    """The installation cannot go on; its text is the one sentence to print."""


def check_python(version: tuple) -> None:
    """Raise Stop unless the pinned packages run on `version`, as in (3, 12, 1).

    >>> check_python((3, 12, 1))
    """
    number = "{}.{}".format(*version[:2])
    if not OLDEST <= tuple(version[:2]) < TOO_NEW:
        what = "too old" if tuple(version[:2]) < OLDEST else "too new"
        raise Stop(
            "Python {} is {}: the course runs on Python 3.10 to 3.13; install one of "
            "them and name it, as in `make lab PY=python3.12`.".format(number, what)
        )


def check_machine(system: str, machine: str, *, bits: int = 64) -> None:
    """Raise Stop unless the packages have builds for this system and architecture.

    >>> check_machine("Darwin", "arm64")
    """
    if bits != 64:
        raise Stop(
            "This Python is a 32-bit program: install a 64-bit one, 3.10 to 3.13."
        )
    if machine.lower() not in MACHINES.get(system, ()):
        raise Stop(
            "torch has no builds for {} on {}: use Linux (x86-64, ARM64), Windows "
            "(x86-64), Apple silicon with an arm64 Python, or Google Colab.".format(
                system or "this system", machine or "an unknown architecture"
            )
        )


def check_space(folder: Path, gb: float) -> None:
    """Raise Stop unless the disk of `folder` has `gb` * 10**9 bytes free."""
    free = shutil.disk_usage(str(folder)).free / 1e9
    if free < gb:
        raise Stop(
            "Not enough space: the installation needs {:.0f} GB on the disk of {}, and "
            "{:.1f} GB are free; free some, {}".format(gb, folder, free, AGAIN)
        )


def check_compiler() -> None:
    """Raise Stop if there is no C and C++ compiler, on the PATH or in CC and CXX."""
    system = platform.system()
    found = True
    for given, names in (("CC", "cc gcc clang"), ("CXX", "c++ g++ clang++")):
        names = os.environ.get(given, "").split()[:1] + names.split()
        found = found and any(map(shutil.which, names))
    if found and system == "Darwin":  # where cc may be a stub that opens a window
        null = subprocess.DEVNULL
        found = subprocess.call(["xcode-select", "-p"], stdout=null, stderr=null) == 0
    if not found and system != "Windows":  # there CMake finds Visual Studio by itself
        raise Stop(COMPILER.format(where=COMPILERS.get(system, "gcc and g++")))


def has_gpu() -> bool:
    """Say whether an NVIDIA driver is installed."""
    return bool(shutil.which("nvidia-smi")) or os.path.exists("/proc/driver/nvidia")


def reachable(index: str, *, timeout: float = 3.0) -> bool:
    """Say whether a package index answers within `timeout` seconds."""
    import urllib.request  # takes 60 ms

    try:
        urllib.request.urlopen(index + "/", timeout=timeout).close()
    except (OSError, ValueError):
        return False
    return True


def explain(output: str, *, command: str = "pip", log: Optional[Path] = None) -> str:
    """Turn the output of a failed command into one sentence: what, and what to do.

    >>> explain("ERROR: No matching distribution found for torch<=2.13.0")[:40]
    'There is no build of torch<=2.13.0 for t'
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern, sentence in FAULTS:
        found = re.search(pattern, output)
        if found:
            where = {FULL: ROOT, COMPILER: COMPILERS.get(platform.system(), "gcc, g++")}
            word = found.group(found.lastindex or 0)
            return sentence.format(where=where.get(sentence, word))
    last = lines[-1][:200] if lines else "no output"
    return UNKNOWN.format(command=command, where=last, log=log or "the terminal")


def check_all(gb: float) -> None:
    """Raise Stop at the first thing that stands in the way; needs `gb` GB of space."""
    check_python(sys.version_info)
    bits = 64 if sys.maxsize > 2**32 else 32
    check_machine(platform.system(), platform.machine(), bits=bits)
    check_space(ROOT, gb)


if __name__ == "__main__":
    try:
        check_all(4)
        print("This machine can run the course.")
    except Stop as stop:
        sys.exit(str(stop))
