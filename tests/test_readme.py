"""README.md against the disk: its commands, its table, its tree and its links."""

import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from helpers.models import MODELS, ROLES, stored_params
from helpers.preflight import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
URL = re.search(r'^Repository = "(.+)"', PYPROJECT, re.M).group(1)
NAME = URL.rsplit("/", 1)[1]
TARGETS = re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.M)
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line]
TREE = re.search(r"```text\n(.*?)```", README, re.S).group(1).splitlines()
ROWS = re.findall(r"^\| \[(\d\d .*?)\]\((.*?)\) \|(.*)\|$", README, re.M)
READY = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
START = ROOT / "notebooks" / "00_start_here.ipynb"
MAP = next(
    cell.source
    for cell in nbformat.read(START, as_version=4).cells
    if cell.cell_type == "markdown" and "The map" in cell.source
)


def tree_paths() -> list[str]:
    """Return the paths of the tree, those in a folder with the folder before them."""
    paths, folder = [], ""
    for line in TREE:
        name = line.split()[0]
        if not line.startswith(" "):
            folder = name if name.endswith("/") else ""
            paths.append(name)
        else:
            paths.append(folder + name)
    return paths


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_run(command: str) -> None:
    tool, *words = command.replace("\\", "/").split()
    if tool == "make":
        assert words[0] in TARGETS
        if shutil.which("make"):
            dry = ["make", "-n", *words]
            done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    elif tool == "git":
        assert words == ["clone", URL]
    elif tool == "cd":
        assert words == [NAME]
    elif tool == "conda":
        environment = (ROOT / "environment.yml").read_text(encoding="utf-8")
        assert words[-1] in (
            "environment.yml",
            environment.split("name: ")[1].split()[0],
        )
    else:
        assert tool in ("python", "jupyter", ".venv/Scripts/jupyter")
        assert (ROOT / words[-1]).is_file()


def test_make_help_lists_every_target() -> None:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True)
    assert re.findall(r"make (\w+)", done.stdout) == TARGETS
    assert set(TARGETS) == {*"help lab test chat data bench times badges kit clean".split()}
    for target in TARGETS:
        assert f"make {target}" in README, f"README does not name make {target}"


@pytest.mark.parametrize("target", ["chat", "data", "bench"])
def test_what_make_runs_is_there(target: str) -> None:
    recipe = re.search(rf"^{target}:.*\n\t@?\$\(VENV\) (.*)", MAKEFILE, re.M).group(1)
    words = recipe.split()
    file = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
    assert (ROOT / file).is_file()


def test_the_table_has_the_notebooks_on_disk() -> None:
    assert [path for _, path, _ in ROWS] == [f"notebooks/{name}" for name in READY]


def test_what_is_ready_and_what_is_not_is_said_alike_everywhere() -> None:
    planned = ["00", *re.findall(r"^\| (\d\d) \|", MAP, re.M)]
    ready = [name[:2] for name in READY]
    rest = [number for number in planned if number not in ready]

    def span(numbers: list[str]) -> str:
        """Write 00, 01, 02, 06 as "00 to 02, 06"."""
        runs: list[list[str]] = []
        for number in numbers:
            if runs and int(number) == int(runs[-1][-1]) + 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        return ", ".join(" to ".join(dict.fromkeys((r[0], r[-1]))) for r in runs)

    assert planned == sorted([*ready, *rest])
    line = f"Ready: {span(ready)}." + (f" In preparation: {span(rest)}." if rest else "")
    assert f"\n\n*{line}*\n\n" in README, f"under the title should stand: *{line}*"
    to_come = re.search(r"To come:([^.]*)\.", README)
    assert re.findall(r"\b0\d\b", to_come.group(1) if to_come else "") == rest
    linked = re.findall(r"^\| \d\d \| \[.+?\]\((.+?)\) \|", MAP, re.M)
    assert linked == READY[1:], "the map of 00 links to what is ready"


def test_how_much_larger_the_models_of_the_hub_are() -> None:
    ours = stored_params(MODELS / "tiny-tale")
    # a draft guesses ahead for another model, so it is no model to talk to
    times = [r.hub_params / ours for name, r in ROLES.items() if name != "draft"]
    low, high = 5 * round(min(times) / 5), 10 * round(max(times) / 10)
    said = f"{low} to {high} times larger"
    for text in (README, START.read_text(encoding="utf-8")):
        assert said in text, f"expected: models {said}"


@pytest.mark.parametrize("title, path, rest", ROWS, ids=[path for _, path, _ in ROWS])
def test_a_row_of_the_table(title: str, path: str, rest: str) -> None:
    cells = nbformat.read(ROOT / path, as_version=4).cells
    heading = cells[0].source.splitlines()[0]
    assert heading == "# " + title.replace(" ", " · ", 1)
    topic, badge, needs, seconds, gb = (cell.strip() for cell in rest.split("|"))
    assert topic and needs
    colab = URL.replace("github.com", "colab.research.google.com/github")
    assert badge.endswith(f"({colab}/blob/main/{path})")
    said = " ".join(cells[1].source.split())  # the measured figures are the notebook's
    assert seconds == re.search(r"(\d+) s(econds)?\b", said).group(1) + " s"
    assert gb == re.search(r"[\d.]+ GB", said).group()


@pytest.mark.parametrize("path", tree_paths())
def test_the_tree_is_on_disk(path: str) -> None:
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


@pytest.mark.parametrize("folder", ["", "notebooks/", "data/", "tests/"])
def test_the_tree_is_complete(folder: str) -> None:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("this is no clone, so git cannot say what belongs to the course")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    known = [f"{path}/" for path in map(str.strip, tree_paths())]
    for file in done.stdout.splitlines():
        entry, deeper, _ = file[len(folder) :].partition("/")
        if file.startswith(folder) and (deeper or not folder):
            named = any(k.startswith(f"{folder}{entry}/") for k in known)
            assert named, f"the tree of README.md lacks {folder}{entry}"


def test_every_line_of_the_tree_has_a_comment() -> None:
    assert all(len(line.split(None, 1)) == 2 for line in TREE)


def test_links_and_pictures_lead_somewhere() -> None:
    for text, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), f"README links to {target}: not there"
        elif "github" in target:
            assert URL.split("//")[1].split("/", 1)[1] in target
        assert text, f"the picture {target} has no alt text"


def test_the_repository_is_named_alike_everywhere() -> None:
    owner = URL.split("github.com/")[1]
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("helpers/*.py"),
        *ROOT.glob(".github/**/*.yml"),
    ]:
        for found in re.findall(
            r"github\.com/([\w-]+/[\w-]*course)", path.read_text("utf-8")
        ):
            assert found == owner, f"{path.name} names {found}"


def test_the_licences_are_all_named() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
    for name in ("CC BY 4.0", "CC0"):
        assert name in text and name in README


def test_no_line_is_left_over() -> None:
    assert "TODO" not in README and Path(ROOT / "README.md").stat().st_size < 12_000
