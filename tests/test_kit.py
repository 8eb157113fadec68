"""helpers.kit: a folder that installs where no index answers."""

import subprocess
import sys
import zipfile

import pytest

from helpers import install, kit, pip_runner, preflight
from helpers.preflight import Stop


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A course of three files, with what a kit leaves out, as `ROOT`."""
    root = tmp_path / "course"
    for name in ("helpers/a.py", "data/b.txt", "Makefile", ".venv/big", "runs/mine.txt",
                 ".git/HEAD", "helpers/__pycache__/a.pyc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    monkeypatch.setattr(preflight, "ROOT", root)
    monkeypatch.setattr(install, "is_installed", lambda: True)
    return tmp_path


def wheel(folder, name="tiny_thing", version="1.0"):
    """Write the smallest wheel that pip installs."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "here = True\n")
        file.writestr(f"{info}/METADATA",
                      f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\n"
                      "Root-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def test_the_course_and_its_wheels_are_copied_and_what_is_mine_stays(place, monkeypatch):
    calls = []

    def pip(verb, *words, env=None):
        calls.append([verb, *map(str, words)])
        return "trl==0.16.1\ntorch==2.13.0+cpu\nllama_cpp_python==0.3.36\n-e .\n"

    monkeypatch.setattr(kit, "pip", pip)
    monkeypatch.setattr(preflight, "reachable", lambda _: True)
    monkeypatch.setattr(install, "wheel_folder", lambda _: place)
    wheel(place, "llama_cpp_python", "0.3.36")
    made = kit.make_kit(place / "kit")
    found = {str(p.relative_to(made)) for p in made.rglob("*") if p.is_file()}
    assert found == {"helpers/a.py", "data/b.txt", "Makefile", "wheels/kit.txt",
                     "wheels/llama_cpp_python-0.3.36-py3-none-any.whl"}
    _, torch, rest = calls
    assert torch[-1] == "torch==2.13.0+cpu" and install.TORCH_CPU in torch
    assert rest[-3:] == ["trl==0.16.1", "pip>=24.1", "setuptools>=77"]
    assert install.TORCH_CPU not in rest and not any("llama" in word for word in rest)
    with pytest.raises(Stop, match="is there already"):
        kit.make_kit(place / "kit")


def test_a_kit_needs_a_course_that_is_installed(place, monkeypatch):
    monkeypatch.setattr(install, "is_installed", lambda: False)
    with pytest.raises(Stop, match="run `make lab` first"):
        kit.make_kit(place / "kit")
    assert not (place / "kit").exists()


def test_a_kit_for_another_python_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pip_runner, "WHEELS", tmp_path)
    assert pip_runner.check_kit() is False
    (tmp_path / "kit.txt").write_text(pip_runner.about_here() + "\n")
    assert pip_runner.check_kit() is True
    (tmp_path / "kit.txt").write_text("Linux sparc, Python 3.2\n")
    with pytest.raises(Stop, match="for Linux sparc, Python 3.2, and this is"):
        pip_runner.check_kit()


def test_pip_takes_a_kits_wheels_and_asks_no_index(tmp_path, monkeypatch):
    venv = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    for name, value in {"VENV": venv, "PYTHON": python, "LOG": venv / "log.txt",
                        "WHEELS": tmp_path / "wheels"}.items():
        monkeypatch.setattr(pip_runner, name, value)
    monkeypatch.setattr(pip_runner, "BAR", [])
    (tmp_path / "wheels").mkdir()
    wheel(tmp_path / "wheels")
    (tmp_path / "wheels" / "kit.txt").write_text(pip_runner.about_here())
    assert pip_runner.kit_wheel("tiny-thing") and not pip_runner.kit_wheel("other")
    pip_runner.pip("install", "tiny_thing==1.0")
    assert pip_runner.imports("tiny_thing")
    with pytest.raises(Stop):
        pip_runner.pip("install", "packaging")
