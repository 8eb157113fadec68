"""Tests of helpers.data_utils: JSON lines and what is said about broken ones."""

import pytest

from helpers.data_utils import load_jsonl, save_jsonl


def test_rows_come_back_as_they_were(tmp_path):
    rows = [{"text": "오늘은 김치찌개! 🍲\u2028\n"}, {"n": 1, "list": [1.5, None, {}]}]
    path = tmp_path / "new" / "rows.jsonl"
    assert save_jsonl(path, iter(rows)) == 2
    assert load_jsonl(path) == rows
    assert path.read_bytes().count(b"\n") == 2
    assert "김치".encode() in path.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_no_rows_are_an_empty_file(tmp_path):
    assert save_jsonl(tmp_path / "none.jsonl", []) == 0
    assert load_jsonl(tmp_path / "none.jsonl") == []


def test_windows_line_ends_a_mark_and_blank_lines_are_fine(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r\n\n')
    assert load_jsonl(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "line, words",
    [
        (b'{"a": 1', r"line 2, column \d+: not JSON .*expected one object"),
        (b"[1, 2]", "line 2: found a list, expected an object"),
        (b'"a"', "line 2: found a str, expected an object"),
        (b'{"a": "\xff"}', "line 2: byte 8 is not UTF-8, save the file as UTF-8"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, words):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b"\n")
    with pytest.raises(ValueError, match=f"rows.jsonl, {words}"):
        load_jsonl(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*none.jsonl"):
        load_jsonl(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "row, error, words",
    [
        ("text", TypeError, "row 2 is a str, expected a dict"),
        ({"a": float("nan")}, ValueError, "row 2 cannot be written"),
        ({"a": {1, 2}}, ValueError, "row 2 cannot be written.*set"),
        ({"a": "\ud800"}, ValueError, "row 2 cannot be written.*surrogates"),
    ],
)
def test_a_row_that_cannot_be_written_leaves_the_old_file(tmp_path, row, error, words):
    path = tmp_path / "rows.jsonl"
    save_jsonl(path, [{"old": 1}])
    with pytest.raises(error, match=words):
        save_jsonl(path, [{"a": 1}, row])
    assert load_jsonl(path) == [{"old": 1}]
    assert list(tmp_path.iterdir()) == [path]
