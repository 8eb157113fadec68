"""JSON lines: one object a line, in UTF-8, read and written with clear errors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["load_jsonl", "save_jsonl"]


def load_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read a JSON lines file into a list of dicts; blank lines are skipped.

    Raises FileNotFoundError if there is no such file, and ValueError, naming the
    file and the line, if a line is not UTF-8, not JSON, or not an object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}: check the path, or run `make data` to make it"
        )
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        where = f"{path}, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not text:
                continue
            row = json.loads(text)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{where}: byte {error.start + 1} is not UTF-8, save the file as UTF-8"
            ) from None
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}, column {error.colno}: not JSON ({error.msg}), "
                'expected one object such as {"text": "..."}'
            ) from None
        if not isinstance(row, dict):
            raise ValueError(
                f"{where}: found a {type(row).__name__}, expected an object such as "
                '{"text": "..."}'
            )
        rows.append(row)
    return rows


def save_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write dicts as JSON lines and return how many.

    The file appears whole or not at all, and folders on the way are made. Raises
    TypeError or ValueError, naming the row (counted from 1), if a row is not a
    mapping or cannot be written as JSON in UTF-8.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_jsonl(f"{folder}/a.jsonl", [{"text": "안녕"}, {"text": "hello"}])
    ...     load_jsonl(f"{folder}/a.jsonl")[0]
    2
    {'text': '안녕'}
    """
    lines = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise TypeError(
                f"row {number} is a {type(row).__name__}, expected a dict: "
                'write {"text": row} if it is a text'
            )
        try:
            line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False)
            lines.append(line.encode("utf-8") + b"\n")
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"row {number} cannot be written as JSON in UTF-8: {error}"
            ) from None
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(b"".join(lines))
    os.replace(partial, path)
    return len(lines)
