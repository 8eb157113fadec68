"""Tests of helpers.runtime: what is chosen for which machine, seeds and meters."""

import os
import random
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import torch

from helpers import runtime


@pytest.fixture
def machine(monkeypatch):
    """Return a function that pretends to be a machine."""

    def pretend(*, capability=None, network=False, tier=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capability))
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda *_: (capability, 0)
        )
        monkeypatch.setattr(runtime, "online", lambda: network)
        if tier is None:
            monkeypatch.delenv("COURSE_TIER", raising=False)
        else:
            monkeypatch.setenv("COURSE_TIER", tier)
        return runtime.detect()

    return pretend


@pytest.mark.parametrize("network", [True, False])
def test_a_cpu_runs_the_embedded_models(machine, network):
    found = machine(network=network)
    assert (found.device, found.tier, found.dtype) == ("cpu", "embedded", torch.float32)
    assert found.threads >= 1
    assert found.reason == "no CUDA GPU was found"


@pytest.mark.parametrize(
    "capability, dtype",
    [(7, torch.float16), (8, torch.bfloat16), (9, torch.bfloat16)],
)
def test_a_gpu_with_network_runs_the_hub_models(machine, capability, dtype):
    found = machine(capability=capability, network=True)
    assert (found.device, found.tier, found.dtype) == ("cuda", "hub", dtype)


def test_a_gpu_without_network_falls_back_and_says_so(machine):
    found = machine(capability=7)
    assert (found.device, found.tier) == ("cuda", "embedded")
    assert "does not answer" in found.reason


@pytest.mark.parametrize("tier", ["embedded", "hub", " Hub "])
def test_course_tier_overrides(machine, tier):
    found = machine(capability=8, network=False, tier=tier)
    assert found.tier == tier.strip().lower()
    assert "COURSE_TIER" in found.reason


def test_an_unknown_tier_is_refused(machine):
    with pytest.raises(ValueError, match="COURSE_TIER is 'huge'.*expected 'embedded'"):
        machine(tier="huge")


def test_an_empty_tier_is_no_tier(machine):
    assert machine(tier="").tier == "embedded"


def test_online_is_false_without_a_network(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert runtime.online(timeout=0.5) is False
    monkeypatch.setenv("HF_ENDPOINT", "no address at all")
    assert runtime.online(timeout=0.5) is False


def test_online_honours_the_offline_switch(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("HF_ENDPOINT", "https://off.example")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert runtime.online() is False


def test_a_hub_that_complains_is_there(monkeypatch):
    def complain(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 429, "too many", {}, None)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    monkeypatch.setattr(urllib.request, "urlopen", complain)
    assert runtime.online() is True


def test_the_hub_is_asked_once(monkeypatch):
    asked = []

    def refuse(request, timeout):
        asked.append(request.full_url)
        raise urllib.error.URLError("no route")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://once.example")
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert [runtime.online() for _ in range(3)] == [False] * 3
    assert asked == ["https://once.example"]


def test_the_card_keeps_what_differs_to_its_last_line(machine, capsys):
    machine()
    runtime.device_card()
    *same, here = capsys.readouterr().out.splitlines()
    assert same == [
        "device   cpu, numbers in float32",
        "tier     embedded: the course's own models, already in data/models: "
        "no download",
        "why      no CUDA GPU was found",
    ]
    assert here.startswith(runtime.HERE) and torch.__version__ in here


def test_seeds_repeat_everything():
    import numpy as np

    def draws():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    runtime.seed_everything(7)
    first = draws()
    runtime.seed_everything(7)
    assert draws() == first
    runtime.seed_everything(8)
    assert all(a != b for a, b in zip(draws(), first))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7", True, None])
def test_a_bad_seed_is_refused(seed):
    with pytest.raises(ValueError, match="seed is .* expected a whole number"):
        runtime.seed_everything(seed)


def test_the_meter_sees_a_peak_inside_the_block():
    with runtime.Meter(interval=0.005) as quiet:
        pass
    with runtime.Meter(interval=0.005) as busy:
        block = torch.ones(40_000_000)  # 160 MB, given back before the end
        for _ in range(5):
            block += 1
        del block
    assert busy.rss_mb - quiet.rss_mb > 100
    assert 0 < busy.seconds < 30
    assert busy.gpu_mb == 0 or torch.cuda.is_available()


def test_the_meter_stops_when_the_block_fails():
    meter = runtime.Meter()
    with pytest.raises(ZeroDivisionError):
        with meter:
            1 / 0
    assert meter.seconds > 0 and not meter._watcher.is_alive()


def test_a_printed_meter_is_marked_as_of_this_machine():
    meter = runtime.Meter()
    meter.seconds, meter.rss_mb = 3.21, 1234.5
    assert str(meter) == "[this machine] 3.2 s, 1,234 MB at the peak"
    meter.gpu_mb = 20
    assert str(meter).endswith(", 20 MB of the GPU")


@pytest.mark.parametrize("name", ["", "elsewhere"])
def test_what_a_learner_makes_can_lie_elsewhere(name, tmp_path):
    folder = tmp_path / name if name else ""
    code = "from helpers import runtime; print(runtime.RUNS)"
    environment = os.environ | {"COURSE_RUNS": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=runtime.ROOT,
        capture_output=True, text=True, check=True,
    )
    assert done.stdout.strip() == str(folder or runtime.ROOT / "runs")
