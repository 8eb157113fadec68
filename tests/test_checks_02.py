"""The checks of notebook 02: right answers pass, and each likely mistake is told."""

from collections import Counter

import pytest
from transformers import AutoTokenizer

from helpers import checks_02, generation, models, variants
from helpers.prompting import few_shot_prompt


@pytest.fixture(autouse=True)
def only_the_tokenizer(monkeypatch):
    """Let no test load weights: the checks must not depend on them."""
    path = models.MODELS / models.ROLES["base"].embedded
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    monkeypatch.setattr(models, "load", lambda role="base": (None, tokenizer))
    return tokenizer


def verdict(capsys, check, *answer):
    assert check(*answer) is None
    return capsys.readouterr().out


def budget_with(tokenizer, *, new=16, bos=True, more=0, limit=None):
    def budget(pairs, query, n_ctx):
        fit = 0
        for k in range(1, len(pairs[:limit]) + 1):
            text = few_shot_prompt(pairs[:k], query)
            ids = generation.encode_prompt(tokenizer, text)[not bos :]
            fit = k if len(ids) + new <= n_ctx else fit
        return fit + more

    return budget


def test_a_right_budget_passes(capsys, only_the_tokenizer):
    budget = budget_with(only_the_tokenizer)
    assert "pass" in verdict(capsys, checks_02.check_02_1, budget)


@pytest.mark.parametrize("mistake", [{"new": 15}, {"new": 17}, {"new": 0}, {"bos": False},
                                     {"more": 1}, {"more": -1}, {"limit": 8}])
def test_a_wrong_budget_is_told(capsys, only_the_tokenizer, mistake):
    budget = budget_with(only_the_tokenizer, **mistake)
    text = verdict(capsys, checks_02.check_02_1, budget)
    assert "not yet" in text and "of the 12 pairs of" in text


def test_a_budget_in_characters_or_without_the_query_is_wrong(capsys, only_the_tokenizer):
    def characters(pairs, query, n_ctx):
        sizes = [len(few_shot_prompt(pairs[:k], query)) for k in range(len(pairs) + 1)]
        return max((k for k, size in enumerate(sizes) if size <= n_ctx), default=0)

    def no_query(pairs, query, n_ctx):
        return budget_with(only_the_tokenizer)(pairs, "a", n_ctx)

    for budget in (characters, no_query, lambda *_: True, lambda *_: "3"):
        assert "not yet" in verdict(capsys, checks_02.check_02_1, budget)


def vote(ask, pairs, query, *, n=5, strip=True, same=False, one_by_one=False):
    some = variants.orders(pairs, n=n)
    prompts = [few_shot_prompt(some[0] if same else one, query) for one in some]
    texts = [ask([p])[0] for p in prompts] if one_by_one else ask(prompts)
    return Counter(t.strip() if strip else t for t in texts).most_common(1)[0][0]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_right_vote_passes(capsys, one_by_one):
    def answer(*given):
        return vote(*given, one_by_one=one_by_one)

    assert "pass" in verdict(capsys, checks_02.check_02_2, answer)


@pytest.mark.parametrize(
    "mistake, told",
    [
        ({"n": 4}, "five prompts, each in another order, not 4 prompts"),
        ({"n": 6}, "five prompts, each in another order, not 6 prompts"),
        ({"same": True}, "not 5 prompts, 1 of them different"),
        ({"strip": False}, "of the answers"),
    ],
)
def test_a_wrong_vote_is_told(capsys, mistake, told):
    text = verdict(capsys, checks_02.check_02_2, lambda *given: vote(*given, **mistake))
    assert "not yet" in text and told in text


def test_a_vote_without_asking_or_with_other_prompts_is_told(capsys):
    def first(ask, pairs, query):
        return ask([few_shot_prompt(one, query) for one in variants.orders(pairs, n=5)])[0].strip()

    def fewer(ask, pairs, query):
        return vote(ask, pairs[:4], query)

    def text_alone(ask, pairs, query):
        return ask(few_shot_prompt(pairs, query))

    for answer, told in (
        (first, "of the answers"), (fewer, "with all shots"), (text_alone, "a list of prompts"),
        (lambda ask, pairs, query: "kite", "0 prompts"),
    ):
        assert told in verdict(capsys, checks_02.check_02_2, answer)


def calibrated(score, pairs, query, labels, *, empty="nothing", sign=-1, pick=max):
    scores, none = score([few_shot_prompt(pairs, q) for q in (query, empty)], labels)
    gains = [a + sign * b for a, b in zip(scores, none)]
    return labels[gains.index(pick(gains))]


def test_a_right_calibration_passes(capsys):
    assert "pass" in verdict(capsys, checks_02.check_02_3, calibrated)


@pytest.mark.parametrize(
    "mistake, told",
    [({"sign": 0}, "'kite', with"), ({"sign": 1}, "not yet"), ({"pick": min}, "not yet"),
     ({"empty": "N/A"}, "expected the shots and the query 'pear' or 'nothing'")],
)
def test_a_wrong_calibration_is_told(capsys, mistake, told):
    def answer(*given):
        return calibrated(*given, **mistake)

    text = verdict(capsys, checks_02.check_02_3, answer)
    assert "not yet" in text and told in text


@pytest.mark.parametrize("name", checks_02.__all__)
def test_what_is_not_answered_and_what_is_no_function(capsys, name):
    check = getattr(checks_02, name)
    for empty in (..., None, lambda *given: ..., lambda *given: None):
        assert verdict(capsys, check, empty) == f"{name}: not answered yet\n"
    for wrong in (3, "kite", lambda: 1, lambda *given: object()):
        assert verdict(capsys, check, wrong).startswith(f"{name}: not yet\n")
