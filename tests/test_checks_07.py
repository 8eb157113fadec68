"""The checks of notebook 07: right answers pass, and each likely mistake is told."""

import numpy as np
import pytest

from helpers import checks_07
from helpers.gguf_utils import llama_cpp_rows


def said(capsys, check, *answer):
    assert check(*answer) is None
    return capsys.readouterr().out


def back(rows, n_heads):
    halves = rows.reshape(n_heads, -1, 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def mean_read(share, *, lost=0, message=20, forget=False):
    """Count what is read a turn; the options are mistakes to be told."""
    history = total = 0
    for _ in range(1000):
        if history + 20 > 480:
            total += int(share * 480)
            history = 0 if forget else int(share * 480) - 20
        else:
            total += message
        history += 50 - lost
    return total / 1000


def test_right_answers_pass(capsys):
    for answer in (46.1, 46.137344, np.float64(46.14)):
        assert "pass" in said(capsys, checks_07.check_07_1, answer)
    assert "pass" in said(capsys, checks_07.check_07_2, back)
    assert "pass" in said(capsys, checks_07.check_07_3, mean_read)


@pytest.mark.parametrize("wrong", [46_137_344, 23.07, 369.1, 44, "46.1"])
def test_another_number_of_mb(capsys, wrong):
    text = said(capsys, checks_07.check_07_1, wrong)
    assert "not yet" in text and "46.1" in text


@pytest.mark.parametrize(
    "wrong",
    [
        lambda rows, n_heads: rows,
        llama_cpp_rows,  # once more is not back
        lambda rows, n_heads: back(rows, 1),  # all heads as one
        lambda rows, n_heads: back(rows, n_heads).ravel(),
        lambda rows, n_heads: "rows",
    ],
)
def test_rows_in_another_order(capsys, wrong):
    assert "not yet" in said(capsys, checks_07.check_07_2, wrong)


@pytest.mark.parametrize(
    "mistake", [{"lost": 30}, {"message": 50}, {"forget": True}, {"message": 0}]
)
def test_another_cost_of_a_turn(capsys, mistake):
    wrong = lambda share: mean_read(share, **mistake)  # noqa: E731
    text = said(capsys, checks_07.check_07_3, wrong)
    assert "not yet" in text and "tokens a turn for a share of" in text


def test_what_is_not_answered_and_what_fails(capsys):
    for check in (checks_07.check_07_2, checks_07.check_07_3):
        assert "not answered yet" in said(capsys, check, lambda *given: ...)
        assert "raised ZeroDivisionError" in said(capsys, check, lambda *given: 1 / 0)
    assert "not answered yet" in said(capsys, checks_07.check_07_1, ...)
