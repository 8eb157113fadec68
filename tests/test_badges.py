"""A fork's badges: one command names it everywhere, and comes back to where it was."""

import json
import shutil

import pytest

from helpers import badges, versions

REPO = versions.repository()


@pytest.fixture
def course(tmp_path):
    """Return a copy of what carries the name."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(versions.ROOT / name, tmp_path)
    shutil.copytree(
        versions.ROOT / "notebooks", tmp_path / "notebooks",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
    )
    return tmp_path


def read(root):
    files = [root / "pyproject.toml", root / "README.md", *sorted(root.rglob("*.ipynb"))]
    return {file: file.read_text(encoding="utf-8") for file in files}


def test_a_fork_is_named_everywhere_and_back_again(course):
    before = read(course)
    changed = badges.rewrite("someone/my-course", root=course)
    assert set(changed) == set(before)
    for path, text in read(course).items():
        assert REPO not in text, path.name
        if path.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            first = next(c for c in cells if c["cell_type"] == "code")
            assert "".join(first["source"]) == versions.setup_cell("someone/my-course")
            if path.parent.name == "notebooks":
                badge = "github/someone/my-course/blob/main/notebooks/" + path.name
                assert badge in "".join(cells[0]["source"])
    assert versions.repository(course) == "someone/my-course"
    badges.rewrite(REPO, root=course)
    assert read(course) == before


@pytest.mark.parametrize("repo", ["", "name", "a/b/c", "a b/c", "https://github.com/a/b"])
def test_what_is_no_repository_is_refused(course, repo):
    before = read(course)
    with pytest.raises(ValueError, match="expected owner/name"):
        badges.rewrite(repo, root=course)
    assert read(course) == before


def test_a_course_without_its_name_says_so(course):
    (course / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no line .Repository"):
        badges.rewrite("a/b", root=course)
