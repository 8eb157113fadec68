"""Few-shot tasks: one rule a document, held-out parts kept back, fair scoring."""

from __future__ import annotations

import random

import pytest

from helpers import rules, tasks


@pytest.mark.parametrize("family", sorted(tasks.FAMILIES))
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_same_seed_same_prompt(family: str, split: str) -> None:
    one, two = (
        tasks.make_prompt(random.Random(3), family, shots=4, split=split) for _ in "ab"
    )
    assert one == two and one.answer
    assert tasks.is_correct(f" {one.answer}\nnext line", one.answer)


@pytest.mark.parametrize("family", ["codes", "known", "label", "count"])
def test_a_rule_is_a_function(family: str) -> None:
    for seed in range(30):
        rng = random.Random(seed)
        task, answers = tasks.make_task(rng, family), {}
        for _ in range(50):
            x, y = task.draw(rng)
            assert answers.setdefault(x, y) == y


@pytest.mark.parametrize("family", ["pick", "place"])
def test_the_answer_stands_in_the_input(family: str) -> None:
    rng = random.Random(0)
    for _ in range(50):
        x, y = tasks.make_task(rng, family).draw(rng)
        assert y in x


def test_held_out_label_words_never_label_a_training_document() -> None:
    kept = set(rules.words("thing", "en", "heldout"))
    assert kept and not kept & set(rules.words("thing", "en", "train"))
    for seed in range(200):
        rng = random.Random(seed)
        task = tasks.make_task(rng, "label")
        assert not {task.draw(rng)[1] for _ in range(20)} & kept


def test_held_out_formats_patterns_and_sentences_stay_out_of_documents() -> None:
    text = "\n".join(tasks.make_document(random.Random(s)) for s in range(600))
    assert " => " not in text and "Tag:" not in text
    for template in rules.kept(rules.PICK["en"], 2, "heldout"):
        part = max(template.replace("{", "}").split("}")[::2], key=len)
        assert part not in text


def test_patterns_are_many_and_hold_both_words() -> None:
    made = [rules.make_pattern(random.Random(seed)) for seed in range(2000)]
    assert len(set(made)) > 800
    assert all("{a}" in pattern and "{n}" in pattern for pattern in made)
    for seed in range(2000):
        task = tasks.make_task(random.Random(seed), "rewrite")
        x, y = task.draw(random.Random(0))
        adjective, noun = x.split()
        for pattern in rules.HELDOUT_PATTERNS:
            assert y != pattern.format(a=adjective, n=noun)


def test_every_trained_family_appears_and_count_does_not() -> None:
    assert set(tasks.TRAINED) == set(tasks.FAMILIES) - {"count"}


@pytest.mark.parametrize("shots", [0, 1, 8])
def test_prompts_hold_the_number_of_shots(shots: int) -> None:
    prompt = tasks.make_prompt(random.Random(1), "label", shots=shots, format="arrow")
    assert prompt.text.count("\n") == shots and prompt.text.endswith(" ->")


def test_the_query_is_new() -> None:
    for seed in range(50):
        text = tasks.make_prompt(random.Random(seed), "label", shots=8, format="arrow").text
        *shots, query = text.split("\n")
        assert not any(shot.startswith(query) for shot in shots)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: tasks.make_task(random.Random(0), "poem"), "'poem'"),
        (lambda: tasks.make_task(random.Random(0), "pick", split="test"), "'test'"),
        (lambda: tasks.make_prompt(random.Random(0), "pick", shots=1, format="x"), "'x'"),
    ],
)
def test_unknown_names_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_answer_must_end_where_it_ends() -> None:
    assert tasks.is_correct("kite", "kite") and not tasks.is_correct("kite and key", "kite")
