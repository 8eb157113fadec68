"""The set-up: one place for every pin, and one sentence for everything in the way."""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from helpers import install, pip_runner, preflight
from helpers.preflight import Stop

ROOT = preflight.ROOT
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
# a requirement on a line of its own, within a list of pyproject.toml
PINS = [Requirement(p) for p in re.findall(r'^ +"(\w.+[<=>].+)",', PYPROJECT, re.M)]
INSTALLER = ["preflight.py", "pip_runner.py", "install.py"]


def files_of_the_course() -> list[Path]:
    """Return the files that could hold a pin, pyproject.toml left out."""
    found = [ROOT / n for n in ("Makefile", "README.md", "environment.yml", ".ci/run")]
    for folder in ("helpers", "tests", "data/recipes", ".github", "notebooks"):
        for suffix in ("*.py", "*.yml", "*.cfg", "*.ipynb"):
            found += (ROOT / folder).rglob(suffix)
    hidden = (".ipynb_checkpoints", Path(__file__).name)
    return [f for f in found if f.exists() and not set(hidden) & set(f.parts)]


def one_sentence(text: str) -> bool:
    """Say whether a message is one sentence: one line, a full stop only at its end."""
    line = text.strip()
    return "\n" not in line and line.endswith(".") and not re.search(r"\. [A-Z]", line)


# ---------------------------------------------------------------- pins


def test_every_pin_stands_once() -> None:
    names = [pin.name for pin in PINS]
    assert len(names) >= 15 and len(names) == len(set(names))


def test_the_measured_set_is_pinned() -> None:
    exact = {pin.name: str(pin.specifier) for pin in PINS}
    assert exact["trl"] == "==0.16.1"
    assert exact["transformers"] == "==4.57.6"
    assert exact["llama-cpp-python"].startswith("==")
    assert "2.11.0" in next(p for p in PINS if p.name == "torch").specifier


def test_no_other_file_holds_a_pin() -> None:
    names = "|".join(re.escape(pin.name) for pin in PINS)
    pin = re.compile(
        rf"pip[^\n]*\binstall\b[^\n]*\b({names})\s*[=<>~]=|^\s*-\s*({names})="
    )
    for file in files_of_the_course():
        for line in file.read_text(encoding="utf-8").splitlines():
            assert not pin.search(line), f"{file.name} has a pin of its own: {line}"


@pytest.mark.parametrize(
    "pin", [pin for pin in PINS if pin.name != "playwright"], ids=lambda pin: pin.name
)  # the installer leaves out what drives a browser
def test_this_environment_has_the_pinned_version(pin: Requirement) -> None:
    assert pin.specifier.contains(metadata.version(pin.name), prereleases=True)


def test_environment_yml_takes_its_versions_from_pyproject() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 20
    conda = yaml.safe_load(text)["dependencies"]
    assert [d.split("=")[0] for d in conda if isinstance(d, str)] == ["python", "pip>"]
    by_pip = next(d["pip"] for d in conda if isinstance(d, dict))
    optional = PYPROJECT.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = [e for e in re.findall(r"^(\w+) = \[", optional, re.M) if e != "browser"]
    assert by_pip[-1] == f"-e .[{','.join(extras)}]"
    assert pip_runner.pinned("torch") and "torch" not in " ".join(by_pip)


def test_environment_yml_builds_llama_cpp_as_the_installer_does() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert install.LLAMA_CPU in text
    assert install.PORTABLE.replace(" ", ";") in text


def test_the_python_versions_agree() -> None:
    low, high = (".".join(map(str, v)) for v in (preflight.OLDEST, preflight.TOO_NEW))
    assert f'requires-python = ">={low},<{high}"' in PYPROJECT
    conda = (ROOT / "environment.yml").read_text(encoding="utf-8")
    minor = int(re.search(r"python=3\.(\d+)", conda).group(1))
    assert preflight.OLDEST <= (3, minor) < preflight.TOO_NEW
    assert str(preflight.OLDEST) in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_part_of_helpers_is_packaged() -> None:
    folders = {f.parent for f in (ROOT / "helpers").rglob("*.py")}
    dotted = {".".join(f.relative_to(ROOT).parts) for f in folders}
    listed = re.search(r"^packages = \[(.*)\]", PYPROJECT, re.M).group(1)
    assert dotted == set(re.findall(r'"([^"]+)"', listed))


# ---------------------------------------------------------------- what is in the way


@pytest.mark.parametrize("name", [*INSTALLER, "__init__.py"])
def test_an_old_python_can_read_the_installer(name: str) -> None:
    text = (ROOT / "helpers" / name).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 6))
    assert "from __future__ import annotations" not in text  # a fault before 3.7
    assert not re.search(r"(->|: )[^#\n]*\b(list|dict|tuple|str)\[", text)


@pytest.mark.parametrize(
    "version, word", [((3, 6, 15), "old"), ((3, 9, 18), "old"), ((3, 14, 0), "new")]
)
def test_python_too_old_or_too_new(version: tuple, word: str) -> None:
    with pytest.raises(Stop, match=f"is too {word}.*3.10 to 3.13.*PY=") as stop:
        preflight.check_python(version)
    assert one_sentence(str(stop.value))


@pytest.mark.parametrize("minor", range(10, 14))
def test_python_that_fits(minor: int) -> None:
    preflight.check_python((3, minor, 0))


@pytest.mark.parametrize(
    "system, machine, bits, words",
    [
        ("Linux", "x86_64", 32, "32-bit"),
        ("Linux", "i686", 64, "i686 on Linux|Linux on i686"),
        ("Linux", "riscv64", 64, "riscv64"),
        ("Darwin", "x86_64", 64, "Apple silicon with an arm64 Python"),
        ("Windows", "ARM64", 64, "ARM64"),
        ("", "", 64, "unknown"),
    ],
)
def test_wrong_architecture(system: str, machine: str, bits: int, words: str) -> None:
    with pytest.raises(Stop, match=words) as stop:
        preflight.check_machine(system, machine, bits=bits)
    assert one_sentence(str(stop.value))


@pytest.mark.parametrize(
    "system, machine",
    [
        ("Linux", "x86_64"),
        ("Linux", "aarch64"),
        ("Darwin", "arm64"),
        ("Windows", "AMD64"),
    ],
)
def test_right_architecture(system: str, machine: str) -> None:
    preflight.check_machine(system, machine)


def test_not_enough_space(tmp_path: Path) -> None:
    with pytest.raises(Stop, match=r"needs 1000000 GB .* GB are free") as stop:
        preflight.check_space(tmp_path, 1_000_000)
    assert one_sentence(str(stop.value).replace("1000000.0", ""))
    preflight.check_space(tmp_path, 0)


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(Stop, match="compiler was found: install one.*apt") as stop:
        preflight.check_compiler()
    assert one_sentence(str(stop.value))
    for name in ("gcc", "g++"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    preflight.check_compiler()


@pytest.mark.parametrize(
    "output, words",
    [
        ("ERROR: [Errno 28] No space left on device", "The disk is full"),
        ("CMake Error: CMAKE_CXX_COMPILER not set", "compiler was found"),
        ("is not able to compile a simple test program", "compiler was found"),
        ("ensurepip is not available. On Debian", "python3-venv"),
        ("Max retries exceeded: NameResolutionError", "index cannot be reached"),
        ("ERROR: No matching distribution found for torch<=2.13", "no build of torch"),
        ("WARNING: ConnectTimeout ...\nERROR: Could not find a version that satisfies "
         "x==9 (from versions: 1.0)\nERROR: No matching distribution found for x==9",
         "no build of x==9"),
        ("Traceback\nsomething new went wrong", "something new went wrong"),
        ("", "no output"),
    ],
)  # fmt: skip
def test_what_pip_prints_becomes_one_sentence(output: str, words: str) -> None:
    sentence = preflight.explain(output)
    assert words in sentence and one_sentence(sentence)


def test_package_index_unreachable() -> None:
    closed = "http://127.0.0.1:9/simple"  # nothing listens there
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries", "1"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    env.update(PIP_INDEX_URL=closed, PIP_CONFIG_FILE=os.devnull)
    done = subprocess.run(
        [*command, "no-such-package"], env=env, capture_output=True, text=True
    )
    assert done.returncode
    sentence = preflight.explain(done.stdout + done.stderr)
    assert "package index cannot be reached" in sentence and one_sentence(sentence)


def test_an_index_that_does_not_answer_is_given_up_soon() -> None:
    assert not preflight.reachable("http://127.0.0.1:9/whl/cpu")
    assert not preflight.reachable("no address at all")


# ---------------------------------------------------------------- the installer


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty course folder that the installer takes for its own."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    venv = tmp_path / ".venv"
    monkeypatch.setattr(preflight, "ROOT", tmp_path)
    python = venv / "bin" / "python"
    for module in (install, pip_runner):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "VENV", venv)
        monkeypatch.setattr(module, "PYTHON", python)
    monkeypatch.setattr(pip_runner, "LOG", venv / "install.log")
    monkeypatch.setattr(install, "STAMP", venv / "installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    monkeypatch.setattr(preflight, "has_gpu", lambda: False)
    monkeypatch.setattr(preflight, "reachable", lambda index: False)
    monkeypatch.setattr(install, "imports", lambda names: False)
    return tmp_path


@pytest.fixture
def pip_calls(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Return a list that fills with (words, environment) of every call of pip."""
    calls = []

    def fake(*words: object, env: dict | None = None) -> str:
        calls.append((" ".join(map(str, words)), env or {}))
        if words[0] == "wheel":
            folder = Path(words[words.index("-w") + 1])
            (folder / "llama_cpp_python-0-py3-none-any.whl").write_text("wheel")
        return ""

    monkeypatch.setattr(install, "pip", fake)
    return calls


def fake_venv(folder: Path) -> None:
    """Write what the installer looks at in a .venv that is whole."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    version = "{}.{}.{}".format(*sys.version_info[:3])
    (folder / ".venv" / "pyvenv.cfg").write_text(f"home = /\nversion = {version}\n")
    install.STAMP.write_text(install.stamp())


def test_the_stamp_follows_pins_and_python(sandbox: Path) -> None:
    assert not install.is_installed()
    fake_venv(sandbox)
    assert install.is_installed() and install.is_installed(exact=True)
    config = sandbox / ".venv" / "pyvenv.cfg"
    whole = config.read_text()
    config.write_text(whole.replace("version = 3.", "version = 9."))
    assert not install.is_installed()
    config.write_text(whole)
    with open(sandbox / "pyproject.toml", "a") as file:
        file.write("# another pin\n")
    assert not install.is_installed()


def test_a_finished_installation_starts_at_once(sandbox: Path, pip_calls: list) -> None:
    fake_venv(sandbox)
    assert install.main([]) == 0 and not pip_calls


def test_the_stamp_is_written_last(
    sandbox: Path, pip_calls: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_venv(sandbox)
    install.STAMP.write_text("of an older pyproject.toml")

    def fail() -> None:
        assert not install.STAMP.exists()
        raise Stop("The network went away.")

    monkeypatch.setattr(install, "make_venv", lambda *, exact: None)
    monkeypatch.setattr(preflight, "check_all", lambda gb: None)
    monkeypatch.setattr(install, "install_rest", fail)
    assert install.main([]) == 1
    assert not install.STAMP.exists()


def test_what_a_killed_pip_left_is_cleared_away(
    sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "imports", lambda names: True)
    fake_venv(sandbox)
    site = sandbox / ".venv" / "lib" / "python3.12" / "site-packages"
    for folder in ("whole-1.dist-info", "half-1.dist-info", "~alf"):
        (site / folder).mkdir(parents=True)
    for name in ("INSTALLER", "RECORD"):
        (site / "whole-1.dist-info" / name).write_text("pip")
    install.make_venv(exact=False)
    assert [folder.name for folder in site.iterdir()] == ["whole-1.dist-info"]


def test_a_venv_that_does_not_work_is_made_again(
    sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_venv(sandbox)
    made = []
    monkeypatch.setattr(install, "run", lambda command: made.append(command))
    install.make_venv(exact=False)
    assert not (sandbox / ".venv").exists() and made[0][-2:] == ["venv", install.VENV]


def test_a_venv_with_half_a_pip_is_made_again(
    sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_venv(sandbox)
    half = (
        sandbox / ".venv" / "lib" / "python3.12" / "site-packages" / "pip-1.dist-info"
    )
    half.mkdir(parents=True)
    seen, made = [], []
    monkeypatch.setattr(install, "imports", lambda names: seen.append(names))
    monkeypatch.setattr(install, "run", lambda command: made.append(command))
    install.make_venv(exact=False)
    assert "m.version('pip')" in seen[0] and not half.exists() and made


def test_llama_cpp_is_built_once_with_portable_flags(
    sandbox: Path, pip_calls: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    install.install_llama()
    build, done = pip_calls
    assert "--no-cache-dir" in build[0] and "llama-cpp-python==" in build[0]
    assert build[1]["CMAKE_ARGS"] == f"{install.PORTABLE} {install.X86_64}"
    assert "install" in done[0] and str(sandbox / "cache") in done[0]
    install.install_llama()  # a second clone
    assert [call[0].split()[0] for call in pip_calls] == ["wheel", "install", "install"]


def test_other_flags_do_not_find_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install.X86_64 not in install.cmake_args("arm64")
    ours = install.wheel_folder(install.cmake_args("x86_64"))
    assert ours != install.wheel_folder(install.cmake_args("aarch64"))
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    assert install.cmake_args("x86_64").startswith("-DGGML_CUDA=ON -DLLAVA_BUILD=OFF")
    assert ours != install.wheel_folder(install.cmake_args("x86_64"))


def test_a_source_build_needs_a_compiler(
    sandbox: Path, pip_calls: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Stop, match="compiler"):
        install.install_llama()
    assert not pip_calls


def test_a_prebuilt_wheel_is_preferred_and_tried(
    sandbox: Path, pip_calls: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "reachable", lambda index: True)
    monkeypatch.setenv("PATH", "")  # no compiler is needed
    monkeypatch.setattr(install, "imports", lambda names: names == "llama_cpp")
    install.install_llama()
    assert len(pip_calls) == 1 and install.LLAMA_CPU in pip_calls[0][0]
    monkeypatch.setattr(install, "imports", lambda names: False)  # it does not run
    with pytest.raises(Stop, match="compiler"):
        install.install_llama()


@pytest.mark.parametrize("gpu, answers", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_torch_comes_from_the_cpu_index_only_without_a_gpu(
    pip_calls: list, monkeypatch: pytest.MonkeyPatch, gpu: bool, answers: bool
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(preflight, "has_gpu", lambda: gpu)
    monkeypatch.setattr(preflight, "reachable", lambda index: answers)
    install.install_torch()
    assert (install.TORCH_CPU in pip_calls[-1][0]) == (answers and not gpu)


@pytest.mark.parametrize(
    "line, words",
    [
        ("Progress 80000000 of 191794682\n", "torch: 80 of 192 MB"),
        ("  [17/140] /usr/bin/gcc -c a.c\n", "compiling, step 17 of 140"),
        ("Installing collected packages: a, b\n", "unpacking a, b"),
        ("Collecting trl==0.16.1\n", "Collecting trl==0.16.1"),
        ("  Using cached a.whl\n", ""),
    ],
)
def test_progress_in_a_few_words(line: str, words: str) -> None:
    assert pip_runner.progress(line, "torch") == words


def test_make_says_which_python_is_missing() -> None:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    command = ["make", "-s", "venv", "PY=python-that-is-not-here"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "There is no python-that-is-not-here" in done.stderr


# ---------------------------------------------------------------- the workflow
def test_the_workflow_runs_what_is_there_with_no_more_rights_than_it_needs() -> None:
    flow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf-8"))
    assert flow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in flow["jobs"].values())
    steps = [step for job in flow["jobs"].values() for step in job["steps"]]
    for used in (step["uses"] for step in steps if "uses" in step):
        assert re.fullmatch(r"actions/[\w-]+@(v\d+|[0-9a-f]{40})", used), used
    runs = [step["run"] for step in steps if "run" in step]
    for path in re.findall(r"(?:tests|notebooks|helpers|\.ci)/[\w./]+", " ".join(runs)):
        assert (ROOT / path).is_file(), path
    assert runs.count(".ci/run") == 2
    versions = str(flow["jobs"]["cpu"]["strategy"]) + str(flow["jobs"]["smoke"])
    for number in ("3.10", "3.11", "3.12", "3.13", "windows", "macos"):
        assert number in versions
