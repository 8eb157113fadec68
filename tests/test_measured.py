"""helpers.measured: figures are measured, and written where they are quoted."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers import measured, runtime

OPENING = "# A\n\n**Measured** on two CPU cores: 15\nseconds from first to last, 0.5 GB."


def book(folder, *sources):
    cells = [new_markdown_cell("# 01"), new_markdown_cell(OPENING)]
    path = folder / "notebooks" / "01_sampling.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=[*cells, *map(new_code_cell, sources)]), path)
    return path


def test_a_notebook_is_measured_and_quoted_and_its_outputs_stay(tmp_path, monkeypatch):
    hungry = "import time\nblock = bytearray(300_000_000)\ntime.sleep(1.5)\nprint(1)"
    path, readme = book(tmp_path, hungry), tmp_path / "README.md"
    readme.write_text("| [01 x](notebooks/01_sampling.ipynb) | t | a CPU | 9 s | 9.9 GB |\n")
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    measured.main([str(path)])
    cells = json.loads(path.read_text())["cells"]
    assert cells[2]["outputs"] == []
    assert isinstance(cells[1]["source"], list)  # as nbformat had written it
    said = " ".join("".join(cells[1]["source"]).split())
    seconds, gb = measured_in(said)
    assert 1 <= seconds < 30 and 0.3 <= gb < 1.5
    assert readme.read_text().endswith(f"| a CPU | {seconds} s | {gb} GB |\n")


def measured_in(text):
    words = text.split()
    return int(words[words.index("seconds") - 1]), float(words[words.index("GB.") - 1])


def test_a_cell_that_fails_changes_nothing(tmp_path, monkeypatch):
    path = book(tmp_path, "1 / 0")
    before = path.read_bytes()
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        measured.main([str(path)])
    assert path.read_bytes() == before


def test_what_has_not_changed_is_written_as_it_was(tmp_path, monkeypatch):
    path = book(tmp_path, "1 + 1")
    cells = json.loads(path.read_text())
    cells["cells"][1]["source"] = OPENING
    path.write_text(json.dumps(cells, indent=1, ensure_ascii=False) + "\n")
    before = path.read_bytes()
    (tmp_path / "README.md").write_text("# A\n")
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    monkeypatch.setattr(measured, "run_notebook", lambda _: (15.2, 0.5))
    measured.main([str(path)])
    assert path.read_bytes() == before


def test_an_opening_without_figures_is_refused():
    with pytest.raises(ValueError, match="N seconds"):
        measured.quote("# A title and no more", 1, 1)


def test_the_readme_has_the_line_that_a_gpu_fills_in():
    text = (runtime.ROOT / "README.md").read_text(encoding="utf-8")
    assert len(measured.GPU_LINE.findall(text)) == 1
