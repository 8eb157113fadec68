"""Pins, what is installed, and the set-up cell that opens every notebook.

The pins stand once, in pyproject.toml. `check_kernel` compares them with the running
kernel and says in one sentence what to do. On Google Colab it installs them first,
and leaves every package that the kernel has loaded (torch and numpy among them)
where it is: moving one under a live kernel is how such notebooks usually break.

Run it:  python -m helpers.versions   (prints the table of versions)
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = [
    "KernelError",
    "NEVER_MOVED",
    "ROOT",
    "SETUP_CELL",
    "check_kernel",
    "colab_plan",
    "install_on_colab",
    "kernel_warning",
    "pins",
    "repository",
    "setup_cell",
    "version_rows",
    "version_table",
]

ROOT = Path(__file__).resolve().parent.parent  # the course's folder
NEVER_MOVED = ("numpy", "torch")  # on Colab, even before the kernel loads them


def repository(root: Path = ROOT) -> str:
    """Return owner/name of the course on GitHub: the Repository line of pyproject.toml.

    Raises ValueError if it has none.

    >>> repository().count("/")
    1
    """
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^Repository = "https://github\.com/([\w.-]+/[\w.-]+)"', text, re.M)
    if not found:
        raise ValueError(
            'pyproject.toml has no line `Repository = "https://github.com/owner/name"`: '
            "restore it"
        )
    return found.group(1)


def setup_cell(repo: str) -> str:
    """Return the first code cell of every notebook of a repository owner/name."""
    name = repo.split("/")[1]
    return f"""\
# Set-up, the same in every notebook: there is nothing to change here.
import os
import sys
from pathlib import Path

repo, colab = "{repo}", "google.colab" in sys.modules
if colab and not Path("{name}").exists():
    os.system(f"git clone -q --depth 1 https://github.com/{{repo}}")
roots = [Path.cwd(), *Path.cwd().parents, Path("{name}").resolve()]
sys.path[:0] = [str(p) for p in roots if (p / "helpers/runtime.py").exists()]
from helpers import runtime
runtime.check_kernel(install=colab)"""


SETUP_CELL = setup_cell(repository())


class KernelError(RuntimeError):
    """This kernel cannot run the course; Jupyter shows the sentence alone."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def pins(path: Path | None = None) -> list[str]:
    """Return the course's requirements as pyproject.toml (or `path`) writes them.

    Reads the lines from `dependencies = [` to `]`, because Python 3.10 has no TOML
    reader. Raises ValueError if there are no such lines.

    >>> any(pin.startswith("trl==") for pin in pins())
    True
    """
    path = path or ROOT / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    block = re.search(r"^dependencies\s*=\s*\[(.*?)^\]", text, re.M | re.S)
    if not block:
        raise ValueError(
            f"{path} has no lines from `dependencies = [` to `]`: restore the file"
        )
    return re.findall(r'"([^"]+)"', re.sub(r"#.*", "", block.group(1)))


def version_rows() -> list[tuple[str, str, str, bool]]:
    """Return (package, wanted, found, fits) for every pin; found "" means missing."""
    from importlib import metadata

    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:  # a bare Python: pip carries a copy
        from pip._vendor.packaging.requirements import Requirement

    rows = []
    for requirement in map(Requirement, pins()):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            found = ""
        fits = bool(found) and requirement.specifier.contains(found, prereleases=True)
        rows.append((requirement.name, str(requirement.specifier), found, fits))
    return rows


def version_table(*, kept: tuple[str, ...] = ()) -> str:
    """Return a table: package, wanted (pyproject.toml), found, and what is off.

    Packages named in `kept` are Colab's own, so another version is not a fault.
    """
    rows = version_rows()
    cells = [("package", "wanted", "found")]
    cells += [(name, wanted or "any", found) for name, wanted, found, _ in rows]
    notes = [""]
    for name, _, found, fits in rows:
        if fits:
            notes.append("")
        elif not found:
            notes.append("<- missing")
        else:
            notes.append("kept as Colab has it" if name in kept else "<- off")
    width = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join([*map(str.ljust, row, width), note]).rstrip()
        for row, note in zip(cells, notes)
    )


def kernel_warning(*, kept: tuple[str, ...] = ()) -> str | None:
    """Return one sentence if this kernel is not the course's own, else None."""
    wrong = [row for row in version_rows() if not row[3] and row[0] not in kept]
    missing = [name for name, _, found, _ in wrong if not found]
    off = [f"{name} {found} (wanted {want})" for name, want, found, _ in wrong if found]
    faults = []
    for verb, names in (("lacks", missing), ("has", off)):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        if names:
            faults.append(f"{verb} {', '.join(names[:3])}{more}")
    if not faults:
        return None
    return (
        f"This kernel ({sys.executable}) is not the course's own: it "
        f"{', and '.join(faults)}; close the notebook, run `make lab` in the course's "
        "folder, and open it from the page that appears."
    )


def check_kernel(*, install: bool = False) -> None:
    """Print nothing if this kernel fits the course, else one sentence.

    With `install` (on Colab) install what is missing first, and print the table.
    Raises KernelError if a package is missing: the notebook could not run.
    """
    kept = install_on_colab() if install else ()
    if install:
        print(version_table(kept=kept))
    sentence = kernel_warning(kept=kept)
    if sentence and " it lacks " in sentence:
        raise KernelError(sentence)
    if sentence:
        print(sentence)


def colab_plan() -> tuple[list[str], dict[str, str]]:
    """Return what to install on Colab, and the packages (name: version) to leave.

    Left alone are `NEVER_MOVED` and whatever the running kernel has imported.
    """
    from importlib import metadata

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    modules = {name.partition(".")[0] for name in sys.modules}
    loaded = {canonicalize_name(name) for name in NEVER_MOVED}
    for module, names in metadata.packages_distributions().items():
        if module in modules:
            loaded.update(map(canonicalize_name, names))
    present = {
        canonicalize_name(found.metadata["Name"]): found.version
        for found in metadata.distributions()
    }
    kept = {name: present[name] for name in sorted(loaded & present.keys())}
    wanted = [p for p in pins() if canonicalize_name(Requirement(p).name) not in kept]
    return wanted, kept


def install_on_colab() -> tuple[str, ...]:
    """Install the pins into this kernel without moving what it has loaded.

    Returns the names of the packages left as they were. Raises KernelError with
    pip's last line if pip fails.
    """
    import importlib
    import subprocess
    import tempfile

    wanted, kept = colab_plan()
    with tempfile.TemporaryDirectory() as folder:
        limits = Path(folder, "constraints.txt")
        lines = (f"{name}=={version}" for name, version in kept.items())
        limits.write_text("\n".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "-q", "-c", str(limits)]
        done = subprocess.run(command + wanted, capture_output=True, text=True)
    importlib.invalidate_caches()
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise KernelError(
            f"pip could not install the course's packages ({last}): choose Runtime > "
            "Disconnect and delete runtime, then run this cell again."
        )
    return tuple(kept)


if __name__ == "__main__":
    print(version_table())
