"""helpers.colab: the pins beside Colab's packages, which the set-up must not move."""

import subprocess
import sys

import pytest

from helpers import colab
from helpers.versions import NEVER_MOVED

# Colab in August 2026, Python 3.13: what the course meets there, names and versions.
FREEZE = """numpy==2.1.3
torch==2.11.0+cu128
transformers==5.15.0
peft==0.20.0
ipywidgets==7.7.1
matplotlib==3.10.0
tqdm==4.67.1
psutil==5.9.5
"""
HERE = colab.read_freeze(FREEZE)


def test_the_pins_take_numpy_and_torch_as_colab_has_them():
    assert set(NEVER_MOVED) <= HERE.keys()
    assert colab.drift(HERE) == []


@pytest.mark.parametrize("name, version", [("torch", "3.0.0"), ("numpy", "1.26.4")])
def test_a_version_that_no_pin_takes_is_named(name, version):
    [said] = colab.drift(HERE | {name: version})
    assert said.startswith(f"{name} is {version} on Colab")


def test_pip_finds_a_set_that_moves_neither():
    asked = [sys.executable, "-m", "pip", "index", "versions", "gguf"]
    if subprocess.run(asked, capture_output=True).returncode:
        pytest.skip("the package index cannot be reached")
    found = colab.resolve(HERE)
    assert (found["numpy"], found["torch"]) == ("2.1.3", "2.11.0")
    assert found["trl"] == "0.16.1" and found["transformers"].startswith("4.")
    with pytest.raises(RuntimeError, match="do not fit"):
        colab.resolve(HERE | {"numpy": "1.26.4"})


def test_the_command_ends_with_one_if_the_set_up_would_fail(tmp_path):
    place = tmp_path / "pip-freeze.txt"
    place.write_text(FREEZE.replace("2.1.3", "1.26.4"))
    command = [sys.executable, "-m", "helpers.colab", str(place)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "numpy is 1.26.4 on Colab" in done.stderr
