"""The checks of notebook 04: right answers pass, and each likely mistake is told."""

import pytest
import torch

from helpers import checks_04, lora

TINY = lora.KNOWN["TinyLlama-1.1B"]


def said(capsys, check, *answer):
    assert check(*answer) is None
    return capsys.readouterr().out


def labels(ids, start, end, *, close=True, begin=0, last_only=False):
    """Label the assistant's turns; the options are mistakes to be told."""
    found, inside, turns = [], False, 0
    for i, token in enumerate(ids):
        on = inside and (close or token != end)
        found.append(token if on else -100)
        if inside and token == end:
            inside = False
        elif ids[max(0, i + 1 - len(start)) : i + 1] == start:
            inside, turns = True, turns + 1
            if last_only:
                found = [-100] * len(found)
            if begin:
                found[-1] = token
    return found


def share(matrix, k, *, power=2):
    values = torch.linalg.svdvals(matrix) ** power
    return values[:k].sum() / values.sum()


def test_right_answers_pass(capsys):
    right = [50_462_720, labels, share]
    for check, answer in zip((checks_04.check_04_1, checks_04.check_04_2), right):
        assert "pass" in said(capsys, check, answer)
    assert "pass" in said(capsys, checks_04.check_04_3, share)
    as_tensor = lambda *given: torch.tensor(labels(*given))  # noqa: E731
    assert "pass" in said(capsys, checks_04.check_04_2, as_tensor)
    assert "pass" in said(capsys, checks_04.check_04_3, lambda m, k: share(m, k).item())


@pytest.mark.parametrize("r, layers", [(16, lora.ALL_LINEAR), (64, ["q_proj", "v_proj"])])
def test_another_adapter_is_another_number(capsys, r, layers):
    wrong = lora.lora_params(TINY, r=r, target_modules=layers)
    text = said(capsys, checks_04.check_04_1, wrong)
    assert "not yet" in text and "50462720" in text


@pytest.mark.parametrize(
    "mistake, told",
    [
        ({"close": False}, "label 2, not -100 (turns: 1"),  # the end token is forgotten
        ({"begin": 1}, "label -100, not 10 (turns: 1"),  # the opening ids are trained too
        ({"last_only": True}, "(turns: 2, place"),  # as TRL's collator does it
    ],
)
def test_the_first_wrong_label_is_shown_with_its_place(capsys, mistake, told):
    text = said(capsys, checks_04.check_04_2, lambda *given: labels(*given, **mistake))
    assert "not yet" in text and "-100" in text and told in text


@pytest.mark.parametrize("wrong", [lambda ids, *_: ids[1:], lambda *_: 7])
def test_labels_of_another_length_are_told(capsys, wrong):
    text = said(capsys, checks_04.check_04_2, wrong)
    assert "not yet" in text and "labels for [1, 5, 10" in text


@pytest.mark.parametrize("k, power", [(0, 1), (1, 2)])
def test_other_shares_are_told(capsys, k, power):
    wrong = lambda matrix, n: share(matrix, n + k, power=power)  # noqa: E731
    assert "not yet" in said(capsys, checks_04.check_04_3, wrong)


@pytest.mark.parametrize("number", [2, 3])
def test_an_empty_function_is_not_a_wrong_one(capsys, number):
    check = getattr(checks_04, f"check_04_{number}")
    assert "not answered yet" in said(capsys, check, lambda *given: ...)
