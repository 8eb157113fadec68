"""helpers.metrics on texts whose numbers are known, and against a model's own loss."""

import math
import random

import pytest
import torch

from helpers import metrics
from tests.model_fixtures import encode, tiny_model, tiny_tokenizer

TEXTS = ["Lily found a magic kite", "Tom", "Once upon a time a small fox lived near"]


@pytest.fixture(scope="module")
def lm():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small sums only wait for a second thread
    yield tiny_model(), tiny_tokenizer()
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", []),
        ("...!", []),
        ("Don't, said LILY_2!", ["don't", "said", "lily", "2"]),
        ("김치 찌개를, 먹었다.", ["김치", "찌개를", "먹었다"]),
        ("'quoted' Mia’s well-known", ["quoted", "mia’s", "well", "known"]),
    ],
)
def test_words(text, expected):
    assert metrics.words(text) == expected


@pytest.mark.parametrize(
    "texts, n, expected",
    [
        (["a b c"], 2, 1.0),
        (["a b c", "a b c"], 2, 0.5),
        (["a a a a"], 1, 0.25),
        (["a b", "b a"], 2, 1.0),
        (["a", ""], 2, 0.0),
        ([], 1, 0.0),
    ],
)
def test_distinct_n(texts, n, expected):
    assert metrics.distinct_n(texts, n=n) == expected


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ("the red kite", "Kite, red the", 1.0),
        ("a b", "c d", 0.0),
        ("a b c", "b c d", 0.5),
        ("", "", 1.0),
        ("a", "", 0.0),
    ],
)
def test_jaccard(a, b, expected):
    assert metrics.jaccard(a, b) == metrics.jaccard(b, a) == expected


def test_mean_jaccard_is_the_mean_over_pairs():
    assert metrics.mean_jaccard(["a b", "a b", "c d"]) == pytest.approx(1 / 3)
    assert metrics.mean_jaccard(["same words"] * 4) == 1


@pytest.mark.parametrize(
    "text, n, expected",
    [
        ("one two three four five", 4, 0.0),
        ("a b a b a b", 2, 0.6),  # 5 pairs, 2 of them different
        ("go " * 8, 4, 0.8),
        ("too short", 4, 0.0),
    ],
)
def test_repetition(text, n, expected):
    assert metrics.repetition(text, n=n) == pytest.approx(expected)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_nats_equal_the_models_own_loss(lm, batch_size):
    model, _ = lm
    losses = []
    for text in TEXTS:
        ids = torch.tensor([[1, *encode(text)]])
        with torch.inference_mode():
            losses.append(model(ids, labels=ids).loss.item())
    found = metrics.nats_per_token(*lm, TEXTS, batch_size=batch_size)
    assert found == pytest.approx(losses, abs=1e-4)


def test_perplexity_weighs_tokens_alike(lm):
    counts = [len(encode(text)) for text in TEXTS]
    nats = metrics.nats_per_token(*lm, TEXTS)
    mean = sum(n * c for n, c in zip(nats, counts)) / sum(counts)
    assert metrics.perplexity(*lm, TEXTS) == pytest.approx(math.exp(mean), rel=1e-5)


def test_the_end_token_counts_when_asked(lm):
    model, _ = lm
    ids = torch.tensor([[1, *encode(TEXTS[0]), 2]])
    with torch.inference_mode():
        loss = model(ids, labels=ids).loss.item()
    found = metrics.nats_per_token(*lm, TEXTS[:1], ended=True)
    assert found == pytest.approx([loss], abs=1e-4)


def test_wilson_interval_of_known_cases():
    assert metrics.wilson_interval(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert metrics.wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert metrics.wilson_interval(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)


def test_wilson_interval_covers_the_truth_about_95_times_in_100():
    rng, covered = random.Random(0), 0
    for _ in range(2000):
        k = sum(rng.random() < 0.9 for _ in range(40))
        low, high = metrics.wilson_interval(k, 40)
        covered += low <= 0.9 <= high
    assert 0.92 < covered / 2000 < 0.98


def test_mean_interval_covers_the_truth_and_repeats():
    rng, covered = random.Random(0), 0
    for _ in range(300):
        low, high = metrics.mean_interval(
            [rng.gauss(5, 2) for _ in range(60)], resamples=400
        )
        covered += low <= 5 <= high
    assert 0.9 < covered / 300 < 0.98
    first, again, other = (
        metrics.mean_interval([1.0, 2.0, 4.0, 7.5, 9.0], seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert metrics.mean_interval([3.0]) == (3.0, 3.0)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: metrics.distinct_n(["a"], n=0), "n is 0, expected 1 or more"),
        (lambda: metrics.repetition("a", n=-1), "n is -1, expected 1 or more"),
        (lambda: metrics.mean_jaccard(["a"]), "got 1 texts, expected 2 or more"),
        (lambda: metrics.wilson_interval(3, 2), "k=3 successes of n=2 trials"),
        (lambda: metrics.wilson_interval(0, 0), "n >= 1"),
        (lambda: metrics.mean_interval([]), "values are empty or not finite"),
        (lambda: metrics.mean_interval([math.nan]), "values are empty or not finite"),
        (lambda: metrics.mean_interval([1.0], level=95), "level is 95"),
    ],
)
def test_bad_values_say_what_is_wrong(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_texts_that_cannot_be_scored_say_why(lm):
    with pytest.raises(ValueError, match="perplexity got no texts"):
        metrics.perplexity(*lm, [])
    with pytest.raises(ValueError, match="is empty, expected at least one word"):
        metrics.nats_per_token(*lm, [""])
    with pytest.raises(ValueError, match="has 201 tokens .* at most 160"):
        metrics.nats_per_token(*lm, ["Lily " * 100])
