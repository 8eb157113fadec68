"""Run pip inside .venv: output to a log, one line of progress, one sentence of error.

Standard library only, readable by Python 3.6; helpers/install.py uses it.
"""

import os
import platform
import re
import subprocess
import sys
import time
from typing import Optional

from helpers.preflight import ROOT, Stop, explain

__all__ = ["KIT", "LOG", "PYTHON", "VENV", "WHEELS", "about_here", "check_kit", "imports"]
__all__ += ["kit_wheel", "pinned", "pip", "progress", "run"]

VENV = ROOT / ".venv"
LOG = VENV / "install.log"
WHEELS, KIT = ROOT / "wheels", "kit.txt"  # of a kit: see helpers/kit.py
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# nothing from outside .venv, and nothing installed outside it
CLEAN = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": "", "PYTHONNOUSERSITE": "1"}
CLEAN["PIP_USER"] = "0"
BAR = ["--progress-bar", "raw"]  # known to pip from 24.1 on


def pinned(name: str) -> str:
    """Return a requirement as pyproject.toml writes it, such as "trl==0.16.1"."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^ +"({}\b[^"]*)"'.format(name), text, re.M).group(1)


def progress(line: str, name: str) -> str:
    """Turn a line of pip or ninja into a few words of progress, "" for most lines."""
    done = re.match(r"Progress (\d+) of (\d+)", line)
    if done:
        mb = [int(number) / 1e6 for number in done.groups()]
        return "{}: {:.0f} of {:.0f} MB".format(name, *mb)
    done = re.match(r"\s*\[(\d+)/(\d+)\]", line)
    if done:
        return "compiling, step {} of {}".format(*done.groups())
    if line.startswith("Installing collected packages"):
        return "unpacking {}".format(line.split(": ", 1)[-1].strip())[:70]
    return line.strip()[:70] if line.startswith("Collecting") else ""


def run(command: list, *, env: Optional[dict] = None) -> str:
    """Run a command: output to the log, progress to the screen; return the output.

    Raises Stop with one sentence if the command fails.
    """
    terminal, said, name, output = sys.stdout.isatty(), time.time(), "", []
    end = "\033[K\r" if terminal else "\n"
    VENV.mkdir(exist_ok=True)
    with open(str(LOG), "a", encoding="utf-8") as log:
        log.write("\n$ {}\n".format(" ".join(map(str, command))))
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=str(ROOT),
            env=dict(os.environ, **CLEAN, **(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            close_fds=False,  # pip inherits the lock, and so keeps it while it lives
        )
        with process:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace")
                if "Downloading " in line:
                    name = line.split()[1].split("/")[-1].split("-")[0]
                if not line.startswith("Progress "):
                    output.append(line)
                    log.write(line)
                    log.flush()
                words, now = progress(line, name), time.time()
                long = words.startswith("unpacking")  # and then pip says no more
                if words and (long or now - said > (0.1 if terminal else 15)):
                    print("      " + words, end=end, flush=True)
                    said = now
    print("\033[K" if terminal else "", end="", flush=True)
    if process.returncode:
        raise Stop(explain("".join(output), command=command[-1], log=LOG))
    return "".join(output)


def pip(verb: str, *words: object, env: Optional[dict] = None) -> str:
    """Run pip inside .venv, on a kit's wheels if there are some; Stop if it fails."""
    plain = verb == "freeze" or any("pip>=" in str(word) for word in words)
    if (WHEELS / KIT).exists():
        env = dict(env or {}, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(WHEELS))
    return run([PYTHON, "-m", "pip", verb, *([] if plain else BAR), *words], env=env)


def about_here() -> str:
    """Return what a kit has to fit: the system, the architecture, the Python version."""
    return "{} {}, Python {}.{}".format(
        platform.system(), platform.machine(), *sys.version_info[:2]
    )


def check_kit() -> bool:
    """Say whether the course is a kit; raises Stop if it is one for another machine."""
    place = WHEELS / KIT
    if not place.exists():
        return False
    made_for = place.read_text(encoding="utf-8").strip()
    if made_for != about_here():
        raise Stop(
            "This kit is for {}, and this is {}: use that Python, or make a kit on a "
            "machine like this one (`make kit`).".format(made_for, about_here())
        )
    return True


def kit_wheel(name: str) -> list:
    """Return the kit's wheel of a package, in a list; [] if there is none."""
    return sorted(WHEELS.glob(name.replace("-", "_") + "-*.whl"))[:1]


def imports(names: str) -> bool:
    """Say whether .venv's Python can run `import` with these words after it."""
    command = [str(PYTHON), "-c", "import " + names]
    env, null = dict(os.environ, **CLEAN), subprocess.DEVNULL
    return subprocess.call(command, env=env, stdout=null, stderr=null) == 0
