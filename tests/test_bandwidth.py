"""helpers.bandwidth: what is counted, by a clock that we move, and bad input."""

import pytest
import torch
from transformers import AutoTokenizer

from helpers import bandwidth, calculator, models
from helpers.models import n_params


class Clock:
    """Stands in for `time`: it goes on by what it is told, or by a step a look."""

    def __init__(self, step=0.0):
        self.now, self.step = 0.0, step

    def perf_counter(self):
        self.now += self.step
        return self.now


class FakeLlama:
    """Takes as long for a token as `delays` says, round after round."""

    def __init__(self, clock, delays):
        self.clock, self.delays, self.seen, self.held = clock, list(delays), [], 0

    def n_ctx(self):
        return 16

    def token_bos(self):
        return -1  # a model without a BOS

    def reset(self):
        self.held = 0

    def eval(self, tokens):
        assert 0 <= min(tokens)
        self.held += len(tokens)
        assert self.held <= self.n_ctx()
        self.clock.now += self.delays.pop(0)
        self.seen.append(len(tokens))


def test_speed_is_that_of_the_best_round_without_its_first_token(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(bandwidth, "time", clock)
    fake = FakeLlama(clock, [9, 2, 2, 2, 9, 1, 1, 1])
    assert bandwidth.decode_rate(fake, tokens=3, repeats=2) == 1.0
    assert fake.seen == [1] * 8 and fake.held == 0


def test_bandwidth_counts_the_bytes_of_the_matrix(monkeypatch):
    monkeypatch.setattr(bandwidth, "time", Clock(step=1.0))
    assert bandwidth.measure_bandwidth(megabytes=3, repeats=1) == 3e6


def test_this_machine_has_a_bandwidth():
    found = bandwidth.measure_bandwidth(megabytes=8, repeats=2)
    assert 1e7 < found < 1e14


def test_a_line_through_sizes_and_speeds_is_found_again():
    sizes = [1e7, 5e7, 1e8, 3e8]
    rates = [1 / (0.0005 + size / 20e9) for size in sizes]
    overhead, speed = bandwidth.fit_overhead(sizes, rates)
    assert overhead == pytest.approx(0.0005) and speed == pytest.approx(20e9)


def test_a_random_llama_has_the_size_that_was_asked_for():
    state = torch.get_rng_state()
    options = {"megabytes": 6, "vocab_size": 1000, "hidden_size": 256}
    model = bandwidth.random_llama(**options)
    assert torch.get_rng_state().equal(state)
    size = sum(weight.nbytes for weight in model.parameters())
    assert abs(size - 6e6) < 0.9e6  # it has whole layers, of 1.7 MB
    assert n_params(model) == calculator.count_params(model.config)[0]
    for weight in model.parameters():
        assert weight.dtype == torch.float16 and weight.isfinite().all()
        assert weight.shape[-1] % 256 == 0
    again = bandwidth.random_llama(**options)
    assert again.lm_head.weight.equal(model.lm_head.weight)


def test_a_random_model_is_written_run_and_removed(tmp_path, monkeypatch):
    pytest.importorskip("llama_cpp")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(models.MODELS / "tiny-tale")
    options = {"megabytes": 7, "hidden_size": 256, "types": ("F16", "Q8_0")}
    options["tokens"] = 2
    found = bandwidth.random_speeds(tokenizer, **options)
    (large, _), (small, _) = found.values()
    assert list(found) == ["F16", "Q8_0"] and 0.5 < small / large < 0.6
    assert all(rate > 0 for _, rate in found.values())
    assert not list(tmp_path.iterdir())


def test_the_law_is_a_line_and_a_bound():
    speeds = {"F16": (2e8, 80.0), "Q8_0": (1e8, 150.0)}
    lines = bandwidth.law_table(speeds, 20e9, start="[here]").splitlines()
    assert [line.split()[-1] for line in lines] == ["80%", "75%"]
    assert all(line.startswith("[here] ") for line in lines)
    [ax] = bandwidth.law_figure({"mine": speeds}, 20e9).axes
    mine, law = (line.get_xydata().tolist() for line in ax.get_lines())
    assert mine == [[100, 150], [200, 80]] and law == [[100, 200], [200, 100]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda b: b.measure_bandwidth(megabytes=0), "megabytes=0 and repeats=5"),
        (lambda b: b.measure_bandwidth(repeats=0), "expected 1 or more"),
        (lambda b: b.decode_rate(FakeLlama(Clock(), []), tokens=16), "context of 16"),
        (lambda b: b.decode_rate(FakeLlama(Clock(), []), tokens=0), "tokens=0"),
        (lambda b: b.decode_rate(FakeLlama(Clock(), []), repeats=0), "repeats=0"),
        (lambda b: b.fit_overhead([1e8], [10]), "two different sizes"),
        (lambda b: b.fit_overhead([1e8, 1e8], [10, 11]), "two different sizes"),
        (lambda b: b.fit_overhead([1e8, 2e8], [10]), "2 sizes and 1 rates"),
        (lambda b: b.fit_overhead([1e8, 2e8], [10, 0]), "a rate above 0"),
        (lambda b: b.random_llama(megabytes=5), "expected about 4[0-9] or more"),
        (lambda b: b.random_llama(hidden_size=500), "a multiple of 256"),
    ],
)
def test_bad_input_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call(bandwidth)
