"""Tests of helpers.versions: pins, the warning about the kernel, the set-up cell."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from helpers import versions


@pytest.fixture
def wanted(monkeypatch):
    """Return a function that sets the pins."""
    return lambda *pins: monkeypatch.setattr(versions, "pins", lambda: list(pins))


def test_pins_are_read_as_a_toml_reader_reads_them():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 and later
    with open(versions.ROOT / "pyproject.toml", "rb") as file:
        assert versions.pins() == tomllib.load(file)["project"]["dependencies"]


def test_pins_skip_comments_and_keep_markers(tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text(
        '[project]\ndependencies = [\n  # "old==1",\n  "trl==0.16.1",  # why\n'
        '  "a[b]>=2; python_version < \'3.11\'",\n]\n[tool.x]\ny = ["z"]\n'
    )
    assert versions.pins(path) == ["trl==0.16.1", "a[b]>=2; python_version < '3.11'"]


def test_a_pyproject_without_pins_is_refused(tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text("[project]\n")
    with pytest.raises(ValueError, match="no lines from `dependencies = "):
        versions.pins(path)


def test_the_table_says_what_is_off(wanted):
    wanted("pip", "numpy<1", "no-such-package==1.0", "x==1; python_version < '3'")
    table = versions.version_table().splitlines()
    assert table[0].split() == ["package", "wanted", "found"]
    assert table[1].split() == ["pip", "any", metadata.version("pip")]
    assert table[2].startswith("numpy") and table[2].endswith("<- off")
    assert table[3].startswith("no-such-package") and table[3].endswith("<- missing")
    assert len(table) == 4  # the marker leaves x out
    assert "kept as Colab has it" in versions.version_table(kept=("numpy",))


def test_a_local_version_fits_its_pin(wanted):
    plain = metadata.version("torch").partition("+")[0]
    wanted(f"torch=={plain}")
    assert versions.kernel_warning() is None


def test_the_right_kernel_is_passed_in_silence(wanted, capsys):
    wanted("pip", "numpy")
    versions.check_kernel()
    assert capsys.readouterr().out == ""


def test_a_kernel_without_the_packages_stops_with_one_sentence(wanted):
    wanted("numpy", *(f"no-such-package-{i}" for i in range(5)))
    with pytest.raises(versions.KernelError) as caught:
        versions.check_kernel()
    sentence = str(caught.value)
    assert sys.executable in sentence and "run `make lab`" in sentence
    assert "no-such-package-2 and 2 more" in sentence
    assert "\n" not in sentence and sentence.count(". ") == 0
    assert caught.value._render_traceback_() == [sentence]


def test_a_kernel_with_other_versions_is_told_so(wanted, capsys):
    wanted("pip", "numpy<1")
    versions.check_kernel()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "run `make lab`" in said
    assert f"has numpy {metadata.version('numpy')} (wanted <1)" in said


def test_a_foreign_kernel_says_so_before_any_package_is_imported(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from importlib import metadata\n"
        "real = metadata.version\n"
        "def version(name):\n"
        "    if name in ('torch', 'transformers', 'matplotlib'):\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n"
        "from helpers import runtime\n"
        "try:\n    runtime.check_kernel()\n"
        "except RuntimeError as error:\n    print(error)\n"
        "print(sorted({'torch', 'numpy', 'psutil'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(versions.ROOT)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    sentence, loaded = done.stdout.splitlines()
    assert "make lab" in sentence and loaded == "[]"


def test_colab_keeps_what_the_kernel_has_loaded(wanted, monkeypatch):
    wanted("trl==0.16.1", "numpy==9.9", "torch==9.9", "pytest==9.9.9")
    for name in [name for name in sys.modules if name.partition(".")[0] == "trl"]:
        monkeypatch.delitem(sys.modules, name)  # another test may have loaded it
    plan, kept = versions.colab_plan()
    assert plan == ["trl==0.16.1"]  # pytest is loaded: we are running in it
    for name in ("numpy", "torch", "pytest"):
        assert kept[name] == metadata.version(name)


def test_colab_installs_under_constraints(wanted, monkeypatch, capsys):
    seen = {}

    def run(command, **_):
        seen["command"] = command
        limits = command[command.index("-c") + 1]
        seen["limits"] = Path(limits).read_text().splitlines()
        return subprocess.CompletedProcess(command, 0, "", "")

    wanted("numpy==9.9", "sentencepiece")
    monkeypatch.setattr(subprocess, "run", run)
    versions.check_kernel(install=True)
    assert seen["command"][:4] == [sys.executable, "-m", "pip", "install"]
    assert not any(part.startswith("numpy") for part in seen["command"])
    assert f"torch=={metadata.version('torch')}" in seen["limits"]
    assert "kept as Colab has it" in capsys.readouterr().out


def test_a_failing_pip_gives_one_sentence(wanted, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "a\nERROR: no space left\n")

    wanted("no-such-package==1")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(
        versions.KernelError, match="no space left.*run this cell again"
    ):
        versions.check_kernel(install=True)


def test_the_set_up_cell_is_short_and_plain_python():
    lines = versions.SETUP_CELL.splitlines()
    assert len(lines) <= 12 and max(map(len, lines)) <= 79
    compile(versions.SETUP_CELL, "set-up", "exec")


@pytest.mark.parametrize("folder", [".", "notebooks", "notebooks/solutions"])
def test_the_set_up_cell_finds_the_course_and_prints_nothing(folder):
    done = subprocess.run(
        [sys.executable, "-c", versions.SETUP_CELL + "\nprint(runtime.ROOT)"],
        capture_output=True,
        text=True,
        cwd=versions.ROOT / folder,
        check=True,
    )
    assert done.stdout == f"{versions.ROOT}\n"


def test_the_set_up_cell_on_colab_clones_once_and_installs(tmp_path):
    pretend = (
        "import os, sys, types, pathlib\n"
        "sys.modules['google.colab'] = types.ModuleType('google.colab')\n"
        "def system(command):\n"
        "    print(command)\n"
        f"    os.symlink({str(versions.ROOT)!r}, 'tiny-tale-course')\n"
        "os.system = system\n"
        "class Found:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'helpers.runtime':\n"
        "            print(name)\n"
        "sys.meta_path.insert(0, Found())\n"
        "import subprocess\n"
        "subprocess.run = lambda c, **_: subprocess.CompletedProcess(c, 0, '', '')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", pretend + f"{versions.SETUP_CELL}\n" * 2],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    clone, found, *table = done.stdout.splitlines()
    assert clone.startswith("git clone -q --depth 1 https://github.com/tiny-tale/")
    assert found == "helpers.runtime"
    assert done.stdout.count("git clone") == 1
    assert table[0].split() == ["package", "wanted", "found"]
