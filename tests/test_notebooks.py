"""The house limits: every notebook is short, explained, run, compared and clean."""

import ast
import json
import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import pytest

from helpers.preflight import ROOT
from helpers.versions import SETUP_CELL

FOLDER = ROOT / "notebooks"
LESSONS = sorted(FOLDER.glob("*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
ALL = [*LESSONS, *SOLUTIONS]
PLANNED = [
    "00_start_here",
    "01_sampling",
    "02_few_shot",
    "03_chat_templates",
    "04_qlora_sft",
    "05_dpo",
    "06_quantization",
    "07_gguf_chat",
    "08_menu_chatbot",
]
URL = re.search(
    r'^Repository = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M
).group(1)
COLAB = URL.replace("github.com", "colab.research.google.com/github") + "/blob/main/"
MARKER = re.compile(r"^\s*#\s*NBVAL_(IGNORE_OUTPUT|SKIP)\s*$", re.M)
each = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


@lru_cache(maxsize=None)
def read(path: Path) -> nbformat.NotebookNode:
    """Return a notebook; nbformat raises if it breaks the format's own rules."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "markdown"]


def python(cell: nbformat.NotebookNode) -> ast.Module:
    """Parse a code cell, with its %magics and !commands left out."""
    lines = [
        re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in cell.source.splitlines()
    ]
    return ast.parse("\n".join(lines))


def test_the_names_are_the_planned_ones() -> None:
    assert {path.stem for path in LESSONS} <= set(PLANNED)
    assert {path.stem for path in SOLUTIONS} <= {
        f"{name}_solutions" for name in PLANNED
    }


@each_lesson
def test_every_lesson_has_its_solutions(path: Path) -> None:
    assert (FOLDER / "solutions" / f"{path.stem}_solutions.ipynb").exists()


# ---------------------------------------------------------------- short and explained


@each_lesson
def test_number_of_code_cells(path: Path) -> None:
    low, high = (1, 15) if path.stem.startswith("00") else (18, 28)
    assert low <= len(code_cells(path)) <= high


@each
def test_cells_are_short(path: Path) -> None:
    lengths = sorted(len(cell.source.splitlines()) for cell in code_cells(path))
    assert max(lengths) <= 30
    assert lengths[int(0.9 * (len(lengths) - 1))] <= 20
    assert median(lengths) <= 6 or path in SOLUTIONS  # these are all answers


@each
def test_lines_are_narrow(path: Path) -> None:
    for cell in code_cells(path):
        for line in cell.source.splitlines():
            assert len(line) <= 79, line


@each
def test_prose_leads(path: Path) -> None:
    cells = read(path).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert len(prose(path)) >= len(code_cells(path))
    led = [
        before.cell_type == "markdown"
        for before, cell in pairwise(cells)
        if cell.cell_type == "code"
    ]
    assert sum(led) >= 0.7 * len(led)


@each_lesson
def test_anatomy(path: Path) -> None:
    cells, text = read(path).cells, "\n".join(cell.source for cell in prose(path))
    assert f"{COLAB}notebooks/{path.name}" in cells[0].source
    opening = cells[1].source
    assert "By the end you will" in opening and "Needs" in opening
    assert re.search(r"\d+\s+seconds|\d+ s\b", opening), "no measured time"
    assert re.search(r"[\d.]+\s+GB", opening), "no measured memory"
    assert text.count("Predict") >= 2
    assert re.search(r"^#+ .*Exercises", text, re.M) and "★" in text
    assert re.search(r"^#+ .*Summary", text, re.M) and "Further reading" in text
    checks = re.findall(
        r"\bcheck_(\d\d)_\d\(", "\n".join(c.source for c in code_cells(path))
    )
    assert len(checks) >= 3 and set(checks) == {path.stem[:2]}


@each_lesson
def test_links_to_the_neighbours_lead_somewhere(path: Path) -> None:
    for cell in prose(path):
        for target in re.findall(r"\]\(([^)#\s]+)\)", cell.source):
            if not target.startswith("http"):
                known = (path.parent / target).exists() or Path(target).stem in PLANNED
                assert known, f"{path.name} links to {target}, which is not there"


@each
def test_the_setup_cell_is_the_same_everywhere(path: Path) -> None:
    assert code_cells(path)[0].source.strip() == SETUP_CELL.strip()


def test_a_definition_stands_in_one_lesson_only() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    homes: dict[str, set[str]] = {}
    for path in ALL:
        for cell in code_cells(path):
            for node in python(cell).body:
                if isinstance(node, kinds):
                    homes.setdefault(node.name, set()).add(path.stem[:2])
    twice = {name: sorted(where) for name, where in homes.items() if len(where) > 1}
    assert not twice, f"import these from helpers instead: {twice}"


# ---------------------------------------------------------------- run and compared


@each
def test_every_cell_was_run_in_order(path: Path) -> None:
    skipped = re.compile(r"^\s*#\s*NBVAL_SKIP", re.M)
    counts = [c.execution_count for c in code_cells(path) if c.execution_count]
    assert counts == list(range(1, len(counts) + 1)), "restart, run all cells, save"
    for cell in code_cells(path):
        run = cell.execution_count or skipped.search(cell.source)
        assert run, f"not run: {cell.source[:70]}"
    assert any(cell.outputs for cell in code_cells(path)), "no outputs are committed"


@each
def test_no_cell_failed(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert "Traceback (most recent call last)" not in output.get("text", "")


@each
def test_outputs_are_compared(path: Path) -> None:
    marked = [cell for cell in code_cells(path) if MARKER.search(cell.source)]
    for cell in marked:
        assert re.search(r"^\s*assert\b|\bcheck_\w+\(", cell.source, re.M), cell.source
    tags = {tag for cell in code_cells(path) for tag in cell.metadata.get("tags", [])}
    assert not any(tag.startswith("nbval") for tag in tags), "use the comment instead"
    shown = [cell for cell in code_cells(path) if cell.outputs]
    compared = [cell for cell in shown if cell not in marked]
    assert len(compared) >= 0.8 * len(shown)


@each
def test_figures_say_what_they_show(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            if "image/png" not in output.get("data", {}):
                continue
            alt = output.metadata.get("image/png", {}).get("alt", "")
            assert len(alt.split()) >= 5, f"no alt text:\n{cell.source}"
            assert not re.search(r"\bplt\.show\(", cell.source), "use plotting.show"
    for cell in prose(path):
        assert "![](" not in cell.source
        assert not re.search(r"<img(?![^>]*\balt=)", cell.source)


# ---------------------------------------------------------------- clean


@each
def test_the_file_is_clean(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) <= 300_000
    raw = json.loads(text)
    assert set(raw["metadata"]) <= {"kernelspec", "language_info", "accelerator"}
    assert raw["metadata"]["kernelspec"]["name"] == "python3"
    for key in ("executionInfo", "userId", "outputId", "model_id", "widget-state"):
        assert f'"{key}"' not in text, f"{key} names a person or a session"


@each
def test_no_absolute_paths(path: Path) -> None:
    somewhere = re.compile(
        r"(?<![\w.:/])(/(home|Users|root|tmp|work|content|mnt)/|[A-Z]:\\)"
    )
    for cell in read(path).cells:
        shown = [cell.source, *(json.dumps(o) for o in cell.get("outputs", []))]
        for text in shown:
            found = somewhere.search(re.sub(r'"image/png": "[^"]*"', "", text))
            assert not found, f"an absolute path: {text[found.start() :][:60]}"


@each
def test_nothing_asks_or_installs(path: Path) -> None:
    for cell in code_cells(path):
        assert not re.search(
            r"\b(input|getpass)\(|wandb|\bnotebook_login\b", cell.source
        )
        assert not re.search(r"^\s*[!%]\s*(pip|conda|apt)", cell.source, re.M)
        assert "trust_remote_code=True" not in cell.source
