"""Tests of helpers.checks: a check says what is wrong and never raises."""

import math
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers import checks, models

MODULES = sorted(Path(checks.__file__).parent.glob("checks_*.py"))
NAMES = [name for m in MODULES for name in import_module(f"helpers.{m.stem}").__all__]
assert len(NAMES) >= 6


class Unshowable:
    """An answer that cannot even be printed or compared."""

    def __repr__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


@checks.exercise(look="the cell above")
def check_99_1(answer):
    """Expect twelve."""
    return checks.near(answer, 12), 12


def said(capsys, check, *answer):
    assert check(*answer) is None
    return capsys.readouterr().out


@pytest.mark.parametrize("answer", [None, ..., (None, ...), [None], {"a": ...}])
def test_an_empty_answer_is_not_a_wrong_one(capsys, answer):
    assert said(capsys, check_99_1, answer) == "check_99_1: not answered yet\n"
    assert said(capsys, check_99_1) == "check_99_1: not answered yet\n"


def test_a_right_answer_passes(capsys):
    assert said(capsys, check_99_1, 12.0) == "check_99_1: pass\n"


def test_a_wrong_answer_is_shown_beside_the_right_one(capsys):
    assert said(capsys, check_99_1, 11) == (
        "check_99_1: not yet\n  yours     11\n  expected  12\n"
        "  look at   the cell above\n"
    )


@pytest.mark.parametrize(
    "answer",
    ["twelve", b"", [], {}, object(), Unshowable(), len, math.nan, 10**400, "x" * 9999],
)
@pytest.mark.parametrize("name", NAMES)
def test_no_answer_makes_a_check_raise(capsys, name, answer):
    text = said(capsys, getattr(checks, name), answer)
    assert text.splitlines()[0] == f"{name}: not yet"
    assert max(map(len, text.splitlines())) < 600


def test_a_judge_that_fails_says_how(capsys):
    @checks.exercise(look="here")
    def check_99_2(answer):
        return answer["key"], 1

    text = said(capsys, check_99_2, {"other": 1})
    assert "raised KeyError" in text and "look at   here" in text


def test_a_function_that_returns_nothing_yet_is_not_answered(capsys):
    assert "not answered yet" in said(capsys, checks.check_00_4, lambda text: None)
    assert "not answered yet" in said(capsys, checks.check_00_4, lambda text: ...)


def test_arrays_and_tensors_are_judged(capsys):
    import numpy as np
    import torch

    assert checks.near(torch.tensor(12.0), 12)
    assert checks.near(np.array([1.0, 2.0]), [1, 2])
    assert not checks.near(torch.tensor([1.0, 2.5]), [1, 2])
    assert checks.near({"a": 1.001}, {"a": 1}) and not checks.near({}, {"a": 1})
    assert "not yet" in said(capsys, check_99_1, np.arange(3))


def test_near_takes_a_share_or_an_amount():
    assert checks.near(101, 100) and not checks.near(102, 100)
    assert checks.near(0.04, 0, abs=0.05) and not checks.near(True, 1)


def test_check_00_1(capsys):
    assert "pass" in said(capsys, checks.check_00_1, " Embedded.")
    assert "expected  'embedded'" in said(capsys, checks.check_00_1, "hub")


def test_check_00_2_takes_any_name(capsys, monkeypatch):
    tokenizer = SimpleNamespace(tokenize=lambda text: text.split("-"))
    monkeypatch.setattr(models, "load", lambda role: (None, tokenizer))
    right = {"Mina": 1, "미나": 1, "Jean-Luc": 2}
    assert "pass" in said(capsys, checks.check_00_2, right)
    text = said(capsys, checks.check_00_2, {"Jean-Luc": 3, "미나": ...})
    assert "not yet" in text and "expected  {'Jean-Luc': 2, '미나': 1}" in text
    assert "a dict from each name" in said(capsys, checks.check_00_2, {7: 1})
    assert "not answered yet" in said(capsys, checks.check_00_2, {"Mina": ...})


def test_check_00_2_asks_the_model_of_the_lesson(capsys):
    _, tokenizer = models.load("base")
    right = {name: len(tokenizer.tokenize(name)) for name in ("Mina", "미나", "쀍")}
    assert "pass" in said(capsys, checks.check_00_2, right)
    wrong = right | {"Mina": right["Mina"] + 1}
    assert f"expected  {right}" in said(capsys, checks.check_00_2, wrong)


def test_check_00_3(capsys):
    assert "pass" in said(capsys, checks.check_00_3, 2.2)
    assert "pass" in said(capsys, checks.check_00_3, 1_100_048_384 * 2 / 1e9)
    assert "expected  2.2\n" in said(capsys, checks.check_00_3, 4.4)


def test_check_00_4(capsys):
    import re

    def first(text):
        return re.match(r"[^.!?]*[.!?]", text).group()

    assert "pass" in said(capsys, checks.check_00_4, first)
    text = said(capsys, checks.check_00_4, lambda text: text)
    assert "yours     the function <lambda>" in text
    assert "'Lily had a kite.' for 'Lily had a kite. It was red.'" in text
