"""Does the course still fit Google Colab? Its packages, read from a list, and the pins.

The set-up cell leaves numpy and torch as Colab has them, so the pins have to accept
those versions, and all other pins have to fit beside them. Colab publishes its list:
github.com/googlecolab/backend-info, pip-freeze.txt. A weekly job looks at it.

Run it:  python -m helpers.colab pip-freeze.txt   (ends with 1 if the set-up would fail)
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from helpers.versions import NEVER_MOVED, pins

__all__ = ["drift", "read_freeze", "resolve"]


def read_freeze(text: str) -> dict[str, str]:
    """Return the packages of a `pip freeze`: name, version.

    >>> read_freeze("numpy==2.1.3\\ntorch==2.11.0+cu128\\n# a comment\\nx @ file:///y")
    {'numpy': '2.1.3', 'torch': '2.11.0+cu128'}
    """
    from packaging.utils import canonicalize_name

    lines = (line.split("#")[0].strip() for line in text.splitlines())
    parts = (line.split("==") for line in lines if line.count("==") == 1)
    return {canonicalize_name(name): version for name, version in parts}


def drift(colab: Mapping[str, str]) -> list[str]:
    """Return a sentence for each package that stays as on Colab and no pin accepts.

    >>> drift({"numpy": "1.26.4", "torch": "2.11.0"})
    ['numpy is 1.26.4 on Colab and the pin says <3,>=2.1: widen it, or test with 1.26.4']
    """
    from packaging.requirements import Requirement

    wanted = {pin.name: pin.specifier for pin in map(Requirement, pins())}
    return [
        f"{name} is {colab[name]} on Colab and the pin says {wanted[name]}: widen it, "
        f"or test with {colab[name]}"
        for name in NEVER_MOVED
        if name in colab and not wanted[name].contains(colab[name], prereleases=True)
    ]


def resolve(colab: Mapping[str, str], *, python: str = "3.13") -> dict[str, str]:
    """Return what pip would take for the pins on Colab: name, version. Installs nothing.

    numpy and torch are held where Colab has them. Raises RuntimeError with pip's last
    line if the pins do not fit beside them.
    """
    kept = (f"{n}=={colab[n].split('+')[0]}" for n in NEVER_MOVED if n in colab)
    with tempfile.TemporaryDirectory() as folder:
        limits, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        limits.write_text("\n".join(kept), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "-q"]
        command += ["--ignore-installed", "--only-binary=:all:", "--target", folder]
        command += ["--python-version", python, "--report", str(report)]
        command += ["-c", str(limits), *pins()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise RuntimeError(f"the pins do not fit beside Colab's packages: {last}")
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {one["metadata"]["name"]: one["metadata"]["version"] for one in found}


def main() -> None:
    colab = read_freeze(Path(sys.argv[1]).read_text(encoding="utf-8"))
    off = drift(colab)
    for name, version in sorted(resolve(colab).items()) if not off else ():
        if name in colab and colab[name].split("+")[0] != version:
            print(f"{name}: {colab[name]} on Colab, {version} after the set-up cell")
    sys.exit("\n".join(off) or 0)


if __name__ == "__main__":
    main()
