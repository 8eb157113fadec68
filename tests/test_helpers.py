"""Tests of the package itself: what it lists, and how fast it is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

import helpers

FOLDER = Path(helpers.__file__).parent


def test_every_helper_is_listed():
    on_disk = {path.stem for path in FOLDER.glob("[a-z]*.py")}
    on_disk |= {path.parent.name for path in FOLDER.glob("[a-z]*/__init__.py")}
    assert set(helpers.__all__) == on_disk
    assert all(
        getattr(helpers, name).__name__ == f"helpers.{name}" for name in helpers.__all__
    )
    with pytest.raises(AttributeError, match="helpers has no module 'nothing'"):
        helpers.nothing


@pytest.mark.parametrize("name", helpers.__all__)
def test_all_names_what_a_helper_defines(name):
    module = getattr(helpers, name)
    listed = getattr(module, "__all__", None)
    if hasattr(module, "__path__"):
        pytest.skip("a folder of modules")
    assert listed and len(set(listed)) == len(listed)
    assert all(hasattr(module, item) for item in listed)


def test_helpers_import_at_once_and_nothing_heavy_with_them():
    names = ", ".join(f"helpers.{name}" for name in helpers.__all__)
    lesson = "from helpers import checks, generation, metrics, models, plotting, runtime"
    code = (
        "import sys, time\nstart = time.process_time()\n"
        f"import helpers\n{lesson}\nprint(time.process_time() - start)\nimport {names}\n"
        "print(sorted({'torch', 'transformers', 'matplotlib', 'numpy', 'pandas'}"
        " & set(sys.modules)))\n"
    )
    seconds = []
    for _ in range(3):  # CPU time, the best of three: a busy machine is no slow import
        said = subprocess.run(
            [sys.executable, "-c", code],
            cwd=FOLDER.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert said[1] == "[]"
        seconds.append(float(said[0]))
    assert min(seconds) < 0.2
