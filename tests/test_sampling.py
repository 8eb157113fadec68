"""helpers.sampling against the logits processors of transformers, on random logits."""

import inspect
import math

import numpy as np
import pytest
import torch
from transformers.generation import logits_process as library

from helpers import sampling

SHAPES = [(1, 2), (3, 7), (2, 101), (5, 4096)]
SEEDS = range(6)
NO_IDS = torch.zeros(1, 0, dtype=torch.long)


def random_logits(seed, shape):
    """Normal logits of a seed-dependent spread; odd seeds are rounded, to make ties."""
    torch.manual_seed(seed)
    logits = torch.randn(shape) * (0.5 + 2 * seed)
    return logits.round() if seed % 2 else logits


def every_case():
    return [random_logits(seed, shape) for seed in SEEDS for shape in SHAPES]


def same(ours, reference):
    assert ours.shape == reference.shape
    assert torch.equal(ours.isinf(), reference.isinf())
    torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 0.7, 1.0, 2.0, 50.0])
def test_temperature_equals_the_library(temperature):
    processor = library.TemperatureLogitsWarper(temperature)
    for logits in every_case():
        ours = sampling.apply_temperature(logits, temperature)
        same(ours, processor(NO_IDS, logits))
        same(sampling.softmax(logits, temperature=temperature), ours.softmax(-1))


@pytest.mark.parametrize("k", [1, 2, 40, 4096])
def test_top_k_equals_the_library(k):
    for logits in every_case():
        at_most = min(k, logits.shape[-1])
        processor = library.TopKLogitsWarper(at_most)
        same(sampling.top_k(logits, at_most), processor(NO_IDS, logits))


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_top_p_equals_the_library(p):
    for logits in every_case():
        same(sampling.top_p(logits, p), library.TopPLogitsWarper(p)(NO_IDS, logits))


@pytest.mark.parametrize("p", [0.0, 0.02, 0.3, 1.0])
def test_min_p_equals_the_library(p):
    for logits in every_case():
        same(sampling.min_p(logits, p), library.MinPLogitsWarper(p)(NO_IDS, logits))


@pytest.mark.parametrize("length", [0, 1, 30])
@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.1, 1.3, 5.0])
def test_repetition_penalty_equals_the_library(penalty, length):
    processor = library.RepetitionPenaltyLogitsProcessor(penalty)
    for logits in every_case():
        ids = torch.randint(logits.shape[-1], (len(logits), length))  # with repeats
        ours = sampling.repetition_penalty(logits, ids, penalty)
        same(ours, processor(ids, logits.clone()))


def test_chained_filters_equal_the_library():
    for logits in every_case():
        k = min(5, logits.shape[-1])
        ours = sampling.apply_temperature(logits, 0.8)
        ours = sampling.min_p(sampling.top_p(sampling.top_k(ours, k), 0.9), 0.05)
        theirs = library.TemperatureLogitsWarper(0.8)(NO_IDS, logits)
        theirs = library.TopKLogitsWarper(k)(NO_IDS, theirs)
        theirs = library.TopPLogitsWarper(0.9)(NO_IDS, theirs)
        same(ours, library.MinPLogitsWarper(0.05)(NO_IDS, theirs))


@pytest.mark.parametrize(
    "function, values",
    [
        (sampling.apply_temperature, [0.1, 1.0, 2.5]),
        (sampling.top_k, [0, 1, 9]),
        (sampling.top_p, [0.2, 0.9, 1.0]),
        (sampling.min_p, [0.0, 0.1, 1.0]),
    ],
)
def test_one_value_a_row_equals_row_by_row(function, values):
    logits = random_logits(0, (3, 50))
    rows = [function(row, value) for row, value in zip(logits, values)]
    same(function(logits, torch.tensor(values)), torch.stack(rows))


def test_one_penalty_a_row_equals_row_by_row():
    logits, ids = random_logits(0, (3, 50)), torch.randint(50, (3, 8))
    values = [0.7, 1.0, 1.4]
    rows = [sampling.repetition_penalty(*case) for case in zip(logits, ids, values)]
    same(
        sampling.repetition_penalty(logits, ids, torch.tensor(values)),
        torch.stack(rows),
    )


def test_numbers_of_numpy_and_torch_count_as_numbers():
    logits = random_logits(0, (3, 50))
    for number in (np.float64(0.9), np.float32(0.9), torch.tensor(0.9)):
        same(sampling.top_p(logits, number), sampling.top_p(logits, 0.9))
        same(
            sampling.softmax(logits, temperature=number), sampling.softmax(logits / 0.9)
        )
    same(sampling.top_k(logits, np.int64(3)), sampling.top_k(logits, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: sampling.apply_temperature(x, 0.5),
        lambda x: sampling.top_k(x, 2),
        lambda x: sampling.top_p(x, 0.5),
        lambda x: sampling.min_p(x, 0.5),
        lambda x: sampling.repetition_penalty(x, torch.tensor([[1], [2]]), 2.0),
    ],
)
def test_the_input_is_left_alone(call):
    logits = random_logits(2, (2, 9))
    before = logits.clone()
    call(logits)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    "function, value",
    [(sampling.top_k, 3), (sampling.top_p, 0.5), (sampling.min_p, 0.5)],
)
def test_leading_axes_of_any_number(function, value):
    logits = random_logits(4, (2, 3, 11))
    flat = function(logits.reshape(6, 11), value).reshape(2, 3, 11)
    same(function(logits, value), flat)
    same(function(logits[0, 0], value), flat[0, 0])


def test_entropy_of_known_distributions():
    assert sampling.entropy(torch.tensor([1.0, 0.0])).item() == 0
    assert sampling.entropy(torch.full((2, 8), 1 / 8)).tolist() == pytest.approx(
        [math.log(8)] * 2
    )
    logits = random_logits(0, (4, 30))
    reference = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(sampling.entropy(logits.softmax(-1)), reference)


def test_greedy_is_argmax():
    logits = random_logits(0, (4, 30))
    assert torch.equal(sampling.greedy(logits), logits.argmax(-1))


def test_draws_follow_the_distribution():
    logits = random_logits(0, (6,))
    generator = torch.Generator().manual_seed(0)
    drawn = sampling.sample_token(logits.expand(40_000, 6), generator=generator)
    share = torch.bincount(drawn, minlength=6) / 40_000
    torch.testing.assert_close(share, logits.softmax(-1), atol=0.01, rtol=0)


def test_a_ruled_out_token_is_never_drawn():
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf])
    u = torch.cat(
        [
            torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1],
            torch.tensor([1 - 2**-53], dtype=torch.float64),
        ]
    )
    drawn = sampling.sample_token(logits.expand(len(u), 5), u=u)
    assert set(drawn.tolist()) == {1, 3}


def test_same_generator_seed_same_draw():
    logits = random_logits(0, (100, 50))
    first, second, other = (
        sampling.sample_token(logits, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


LOGITS = torch.tensor([[1.0, 2.0, 3.0]])
ID = torch.tensor([[0]])


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: sampling.apply_temperature(LOGITS, -0.5), "temperature is -0.5"),
        (lambda: sampling.apply_temperature(LOGITS, 0), "use greedy(logits)"),
        (lambda: sampling.softmax(LOGITS, temperature=0.0), "use greedy(logits)"),
        (lambda: sampling.apply_temperature(LOGITS, torch.zeros(1)), "use greedy"),
        (lambda: sampling.apply_temperature(LOGITS, math.nan), "temperature is nan"),
        (lambda: sampling.apply_temperature(LOGITS, math.inf), "temperature is inf"),
        (lambda: sampling.apply_temperature(LOGITS, "hot"), "temperature is 'hot'"),
        (lambda: sampling.apply_temperature(LOGITS, torch.ones(2)), "one value a row"),
        (lambda: sampling.top_k(LOGITS, -1), "top_k is -1, expected a whole number"),
        (lambda: sampling.top_k(LOGITS, 1.5), "top_k is 1.5, expected a whole number"),
        (lambda: sampling.top_k(LOGITS, 4), "at most 3, the vocabulary"),
        (lambda: sampling.top_p(LOGITS, 0), "top_p is 0, expected above 0"),
        (lambda: sampling.top_p(LOGITS, 1.01), "top_p is 1.01, expected above 0"),
        (lambda: sampling.top_p(LOGITS, -0.1), "top_p is -0.1, expected above 0"),
        (lambda: sampling.min_p(LOGITS, -0.1), "min_p is -0.1, expected between"),
        (lambda: sampling.min_p(LOGITS, 1.1), "min_p is 1.1, expected between"),
        (lambda: sampling.repetition_penalty(LOGITS, ID, 0), "penalty is 0, expected"),
        (lambda: sampling.repetition_penalty(LOGITS, ID, -1), "expected above 0"),
        (
            lambda: sampling.repetition_penalty(LOGITS, ID + 3, 1.1),
            "vocabulary, 0 to 2",
        ),
        (lambda: sampling.sample_token(LOGITS, u=torch.ones(1)), "[0, 1)"),
        (lambda: sampling.entropy(LOGITS), "not the logits"),
    ],
)
def test_bad_values_say_what_is_wrong(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value)
    assert "expected" in str(error.value) and "\n" not in str(error.value)


FUNCTIONS = {
    "softmax": sampling.softmax,
    "greedy": sampling.greedy,
    "sample_token": sampling.sample_token,
    "apply_temperature": lambda x: sampling.apply_temperature(x, 0.5),
    "top_k": lambda x: sampling.top_k(x, 1),
    "top_p": lambda x: sampling.top_p(x, 0.5),
    "min_p": lambda x: sampling.min_p(x, 0.5),
    "repetition_penalty": lambda x: sampling.repetition_penalty(x, ID, 1.1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "logits, says",
    [
        (torch.tensor([[0.0, math.nan, 1.0]]), "hold 1 NaN"),
        (torch.tensor([[0.0, math.inf, 1.0]]), "expected a finite one"),
        (torch.full((1, 3), -math.inf), "expected a finite one"),
        (torch.zeros(1, 0), "vocab > 0"),
        (torch.tensor(1.0), "vocab > 0"),
        (torch.tensor([[1, 2]]), "tensor of floats"),
        ([1.0, 2.0], "tensor of floats"),
    ],
)
def test_bad_logits_say_what_is_wrong(name, logits, says):
    with pytest.raises(ValueError, match="logits") as error:
        FUNCTIONS[name](logits)
    assert says in str(error.value)


def test_each_function_is_at_most_fifteen_lines():
    for name in sampling.__all__:
        source = inspect.getsource(getattr(sampling, name))
        body = source.split('"""')[-1].strip().splitlines()
        assert len(body) <= 15, f"{name} has {len(body)} lines below its docstring"
