"""helpers.checks_05: right answers pass, and wrong ones are told what is off."""

import math

import pytest

from helpers import checks


def said(check, answer, capsys):
    check(answer)
    return capsys.readouterr().out


def test_the_loss_of_a_pair(capsys):
    right = math.log(1 + math.exp(-1))
    assert "pass" in said(checks.check_05_1, right, capsys)
    for wrong in (math.log(2), -right, 1.0):
        assert "pass" not in said(checks.check_05_1, wrong, capsys)


def ipo(chosen, rejected, ref_chosen, ref_rejected, beta):
    return ((chosen - ref_chosen) - (rejected - ref_rejected) - 1 / (2 * beta)) ** 2


@pytest.mark.parametrize("change", [
    lambda loss: loss.mean(), lambda loss: -loss, lambda loss: loss.sqrt(), lambda _: None,
])
def test_ipo_and_what_is_not_ipo(change, capsys):
    assert "pass" in said(checks.check_05_2, ipo, capsys)
    assert "pass" not in said(checks.check_05_2, lambda *a: change(ipo(*a)), capsys)
