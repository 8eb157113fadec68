"""Make a fork's badges, links and set-up cells its own: `make badges REPO=owner/name`.

The name of the repository stands in pyproject.toml; notebooks and README carry it too,
where Colab and readers need it. This writes it to all of them at once.

Run it:  python -m helpers.badges owner/name
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from helpers.versions import ROOT, repository, setup_cell

__all__ = ["rewrite"]


def rewrite(repo: str, *, root: Path = ROOT) -> list[Path]:
    """Name the repository `repo` (owner/name) in the course; return the files changed.

    Raises ValueError for what is no owner/name. Nothing is written then.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9_.-]+", repo):
        raise ValueError(f"{repo!r} is no repository, expected owner/name, as on GitHub")
    old, changed = repository(root), []
    for path in (root / "pyproject.toml", root / "README.md", *_notebooks(root)):
        text = path.read_text(encoding="utf-8")
        new = text
        if path.suffix == ".ipynb":  # the cell names the folder that it clones into, too
            new = new.replace(_quoted(setup_cell(old)), _quoted(setup_cell(repo)))
        new = re.sub(rf"{re.escape(old)}(?![\w.-])", repo, new)
        new = re.sub(rf"(?m)^cd {re.escape(old.split('/')[1])}$", f"cd {repo.split('/')[1]}", new)
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def _notebooks(root: Path) -> list[Path]:
    return sorted((root / "notebooks").rglob("*.ipynb"))


def _quoted(text: str) -> str:
    """Return a text as it stands in a notebook's file, without the quotation marks."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def main() -> int:
    if len(sys.argv) != 2:
        print("expected owner/name: make badges REPO=owner/name", file=sys.stderr)
        return 1
    try:
        changed = rewrite(sys.argv[1])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(changed)} files name {sys.argv[1]} now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
