"""The checks of notebook 08: right answers pass, likely wrong ones do not."""

from dataclasses import replace

import pytest

from helpers import checks, checks_08
from helpers.dishes import load_dishes

MENU = load_dishes()
MINE = replace(MENU[0], name="고추호떡", taste=("매운",), meal=("간식",), price=2500)


@pytest.mark.parametrize(("answer", "ok"), [(0.857, True), (0.95, False), ("0.86", False)])
def test_three_conditions(answer, ok, capsys):
    checks.check_08_1(answer)
    assert ("pass" in capsys.readouterr().out) == ok


@pytest.mark.parametrize(
    ("answer", "ok"),
    [
        (MINE, True),
        (MENU[0], False),
        (replace(MINE, name="김밥"), False),
        (replace(MINE, price=3000), False),
        (replace(MINE, taste=("달콤한",)), False),
        ("고추호떡", False),
    ],
)
def test_a_dish_for_the_menu(answer, ok, capsys):
    checks.check_08_2(answer)
    assert ("pass" in capsys.readouterr().out) == ok


@pytest.mark.parametrize(
    ("answer", "ok"),
    [
        (checks_08._relax, True),
        (lambda limits: limits, False),
        (lambda limits: dict(list(limits.items())[:-1]), False),
        (lambda limits: {}, False),
        (lambda: None, False),
    ],
)
def test_giving_way(answer, ok, capsys):
    checks.check_08_3(answer)
    assert ("pass" in capsys.readouterr().out) == ok


def test_empty_answers_are_told_apart_from_wrong_ones(capsys):
    for check in (checks.check_08_1, checks.check_08_2):
        check(...)
        assert "not answered yet" in capsys.readouterr().out
