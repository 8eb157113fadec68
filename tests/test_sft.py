"""helpers.sft, helpers.training and helpers.checkpoints: runs that can be trusted.

The model is tiny and random, and learns a few rows in a few steps.
"""

import contextlib
import json
import shutil
import signal
from functools import partial

import pytest
import torch

from helpers import checkpoints, lora, models, sft, training
from helpers.sft_data import IGNORE, TrainSet, collate, encode_rows
from tests.test_lora import WIDE, base
from tests.test_sft_data import ROWS, row, tokenizer

TOK = tokenizer()
MORE = [
    row(f"Say {word}.", f"{word}!") for word in ("fox", "hill", "kite", "Tom was glad")
]
DATA = encode_rows(TOK, ROWS + MORE)  # 7 rows: 4 steps an epoch of 2
SHORT = {"max_steps": 9, "save_steps": 3, "per_device_train_batch_size": 2}
SHORT |= {"learning_rate": 2e-2, "bf16": False, "progress": False}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small sums only wait for a second thread
    yield
    torch.set_num_threads(threads)


def new_model(**options):
    return lora.attach(base(), r=4, lora_dropout=0.1, **options)


def train(model, folder, **options):
    return sft.train(model, TOK, DATA, output_dir=folder, **SHORT | options)


def adapter(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" in n}


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run without interruption: its folder, its history, its adapter."""
    folder, model = tmp_path_factory.mktemp("straight"), new_model()
    run = train(model, folder)
    return folder, run, adapter(model)


def same_curve(run, straight):
    return run.curve() == straight.curve() and len(run.history) == SHORT["max_steps"]


# ---------------------------------------------------------------- what is learned
def test_the_first_loss_is_that_of_the_answers_alone(straight):
    """TRL 0.16.1's own collator would replace the labels by the ids."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    model = base()
    first = sft.batches([len(r["input_ids"]) for r in DATA.rows], 2)[0]
    rows = [DATA.rows[i] for i in first]
    theirs = DataCollatorForLanguageModeling(0)(rows)["labels"]
    assert (theirs != IGNORE).sum() == sum(len(r["input_ids"]) for r in rows)
    with torch.no_grad():
        expected = model(**collate(rows)).loss.item()
    assert straight[1].history[0]["loss"] == pytest.approx(expected, abs=2e-4)


def test_it_learns_the_answers_and_changes_the_adapter_only(tmp_path):
    model, whole = base(), base()
    wrapped = lora.attach(model, r=8)
    before = sft.heldout_loss(wrapped, DATA)
    run = train(
        wrapped, tmp_path, max_steps=40, save_steps=40, heldout=DATA, eval_steps=20
    )
    after = sft.heldout_loss(wrapped, DATA)
    assert after < 0.75 * before
    steps, values = run.curve("heldout")
    assert steps == [20, 40] and values[0] > values[1] == pytest.approx(after, abs=1e-4)
    assert run.curve("learning_rate")[1][-1] < 1e-4
    for name, weight in whole.named_parameters():
        name = name.replace("_proj.weight", "_proj.base_layer.weight")
        assert torch.equal(model.get_parameter(name), weight)
    assert 0 < run.tokens < run.cells and run.seconds > 0


def test_the_heldout_loss_is_the_mean_over_tokens():
    model = base().train()
    total = 0.0
    for one in DATA.rows:
        with torch.no_grad():
            count = sum(label != IGNORE for label in one["labels"])
            total += count * model(**collate([one])).loss.item()
    for batch_size in (1, 3, 100):
        found = sft.heldout_loss(model, DATA, batch_size=batch_size)
        assert found == pytest.approx(total / DATA.trained, abs=1e-5)
    assert model.training  # as it was


def test_the_model_comes_back_as_it_was(tmp_path):
    """While it trains in 16 bits its `forward` is another one."""
    model = new_model()
    train(model, tmp_path, max_steps=1, bf16=True)
    plain = lora.attach(base(), r=4)
    plain.load_state_dict(model.state_dict())
    inputs = collate(DATA.rows)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, plain.eval()(**inputs).logits)
    assert not model.training and "forward" not in vars(model)
    assert model.generate(inputs["input_ids"][:1], max_new_tokens=2).shape[0] == 1


def test_gradient_checkpointing_and_accumulation_change_no_number(tmp_path, straight):
    again = train(new_model(), tmp_path, gradient_checkpointing=True)
    assert same_curve(again, straight[1])
    model = lora.attach(base(), r=4)
    options = {"max_steps": 1, "per_device_train_batch_size": 1}
    parts = train(model, tmp_path, gradient_accumulation_steps=7, **options)
    assert parts.history[0]["loss"] == pytest.approx(
        sft.heldout_loss(base(), DATA), abs=2e-4
    )


def test_in_4_bits(tmp_path):
    TOK.save_pretrained(tmp_path / "base")
    base(**WIDE).half().save_pretrained(tmp_path / "base")
    model, tok = lora.load_4bit(tmp_path / "base")
    model = lora.attach(model, r=4)
    before = sft.heldout_loss(model, DATA)
    run = sft.train(model, tok, DATA, output_dir=tmp_path / "run", **SHORT)
    assert len(run.history) == 9 and sft.heldout_loss(model, DATA) < before
    again, _ = lora.load_4bit(tmp_path / "base")
    again = lora.attach(again, r=4)
    done = sft.train(
        again, tok, DATA, output_dir=tmp_path / "run", resume=True, **SHORT
    )
    assert done.curve() == run.curve()
    assert sft.heldout_loss(again, DATA) == pytest.approx(sft.heldout_loss(model, DATA))


# ------------------------------------------------------- the same run once more
def test_the_seed_decides_the_curve(tmp_path, straight):
    assert same_curve(train(new_model(), tmp_path), straight[1])
    other = train(new_model(), tmp_path, seed=1)
    assert other.curve() != straight[1].curve()


def test_the_number_format_of_one_run_is_not_the_nexts(tmp_path, straight):
    train(new_model(), tmp_path, bf16=True, max_steps=1)
    assert same_curve(train(new_model(), tmp_path), straight[1])


class Crash(Exception):
    """What ends a run from outside."""


def crash_at(step, row):
    if row["step"] == step:
        raise Crash


@pytest.mark.parametrize("step", [1, 4, 8])
def test_a_run_that_crashed_goes_on_to_the_same_end(tmp_path, straight, step):
    with pytest.raises(Crash):
        train(new_model(), tmp_path, on_step=partial(crash_at, step))
    model = new_model(seed=5)  # its weights are the checkpoint's, if there is one
    model = model if step > 3 else new_model()
    run = train(model, tmp_path, resume=True)
    kept = {
        1: None,
        4: str(tmp_path / "checkpoint-3"),
        8: str(tmp_path / "checkpoint-6"),
    }
    assert run.resumed_from == kept[step]
    assert same_curve(run, straight[1])
    for name, weight in adapter(model).items():
        # Two threads may add in another order; one thread gives the same bits.
        torch.testing.assert_close(weight, straight[2][name], rtol=1e-4, atol=1e-6)


def test_ctrl_c_ends_after_the_step_and_saves(tmp_path, straight):
    usual = signal.getsignal(signal.SIGINT)

    def press(row):
        if row["step"] == 5:
            signal.raise_signal(signal.SIGINT)

    model = new_model()
    run = train(model, tmp_path, on_step=press)
    assert run.interrupted and run.curve()[0] == [1, 2, 3, 4, 5, 6]
    assert signal.getsignal(signal.SIGINT) is usual
    assert sft.heldout_loss(model, DATA) > 0  # the model is of use
    assert train(model, tmp_path, resume=True).resumed_from.endswith("checkpoint-6")
    rest = train(new_model(), tmp_path, resume=True)
    assert same_curve(rest, straight[1]) and not rest.interrupted


def test_ctrl_c_twice_ends_at_once(tmp_path):
    def press_twice(row):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    # A process started in the background ignores Ctrl-C: set Python's own handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(new_model(), tmp_path, on_step=press_twice)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_finished_run_is_not_run_again(tmp_path, straight):
    folder = shutil.copytree(straight[0], tmp_path / "run")
    steps, model = [], new_model(seed=5)
    run = train(model, folder, resume=True, on_step=steps.append)
    assert not steps and same_curve(run, straight[1])
    for name, weight in adapter(model).items():
        # Two threads may add in another order; one thread gives the same bits.
        torch.testing.assert_close(weight, straight[2][name], rtol=1e-4, atol=1e-6)


def test_without_resume_it_begins_anew(tmp_path, straight):
    folder = shutil.copytree(straight[0], tmp_path / "run")
    run = train(new_model(), folder, max_steps=2, save_steps=2)
    assert run.resumed_from is None and len(run.history) == 2
    assert names(folder) == ["checkpoint-2"]


def test_two_whole_checkpoints_are_kept(straight):
    folder = straight[0]
    assert names(folder) == ["checkpoint-6", "checkpoint-9"]
    assert not any(checkpoints.fault(place) for place in folder.iterdir())


# ------------------------------------------------------------------------ faults
@pytest.mark.parametrize(
    "name, words",
    [
        ("optimizer.pt", "optimizer.pt has 10 of [0-9,]+ bytes"),
        ("adapter_model.safetensors", "adapter_model.safetensors has 0 of"),
        ("complete.json", "it has no complete.json"),
    ],
)
def test_a_half_written_checkpoint_is_skipped_and_named(
    tmp_path, straight, name, words
):
    folder = shutil.copytree(straight[0], tmp_path / "run")
    broken = folder / "checkpoint-9" / name
    if name == "optimizer.pt":
        broken.write_bytes(broken.read_bytes()[:10])
    else:
        broken.unlink()
    with pytest.warns(UserWarning, match=f"checkpoint-9 is half-written: {words}"):
        run = train(new_model(), folder, resume=True)
    assert run.resumed_from.endswith("checkpoint-6") and len(run.skipped) == 1
    assert same_curve(run, straight[1])
    assert not checkpoints.fault(folder / "checkpoint-9")  # written anew


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path, straight, monkeypatch):
    save, calls = torch.save, []

    def full(thing, place, *rest, **options):
        calls.append(place)
        if "checkpoint-6" in str(place):
            raise RuntimeError("PytorchStreamWriter failed: No space left on device")
        return save(thing, place, *rest, **options)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        OSError, match="checkpoint-6 was not saved .*No space.*resume=True"
    ):
        train(new_model(), tmp_path)
    assert calls and checkpoints.last_complete(tmp_path)[0].name == "checkpoint-3"
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="checkpoint-6 is half-written"):
        run = train(new_model(), tmp_path, resume=True)
    assert same_curve(run, straight[1])


@pytest.mark.parametrize("what", ["a gradient", "the loss"])
def test_it_stops_where_numbers_stop(tmp_path, what, monkeypatch):
    model = new_model()
    layer = model.get_submodule("base_model.model.model.layers.1.mlp.down_proj")

    def spoil(row):
        if row["step"] == 4:
            monkeypatch.setattr(layer, "scaling", {"default": float("inf")})

    if what == "the loss":  # as in fp16, where odd gradients are the scaler's business
        monkeypatch.setattr(torch.Tensor, "isfinite", torch.Tensor.isreal)
    with pytest.raises(
        FloatingPointError,
        match=f"{what} is not a number at step 5 .learning rate .*loss before [0-9.]+",
    ):
        train(model, tmp_path, on_step=spoil)
    monkeypatch.undo()
    if what == "a gradient":  # seen before the step: the adapter is whole
        assert all(weight.isfinite().all() for weight in adapter(model).values())
    assert checkpoints.last_complete(tmp_path)[0].name == "checkpoint-3"


def test_other_settings_do_not_go_on_with_a_run(tmp_path, straight):
    folder = shutil.copytree(straight[0], tmp_path / "run")
    with pytest.raises(ValueError, match="learning_rate=0.02, but this .*=0.01: go on"):
        train(new_model(), folder, resume=True, learning_rate=1e-2)
    with pytest.raises(ValueError, match="r=4, but this one has r=2"):
        train(lora.attach(base(), r=2), folder, resume=True)
    less = TrainSet(DATA.rows[1:], 6, 0, 0, 0)
    with pytest.raises(ValueError, match="with data='"):
        sft.train(new_model(), TOK, less, output_dir=folder, resume=True, **SHORT)
    assert names(folder) == names(straight[0])


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"learning_rat": 1e-4}, "'learning_rat' cannot be set here: did you mean lea"),
        ({"packing": True}, "'packing' .* drops the labels"),
        ({"group_by_length": True}, "'group_by_length' .* always groups"),
        ({"xyzzy": 1}, "'xyzzy' cannot be set here"),
    ],
)
def test_options_that_do_nothing_are_refused(tmp_path, wrong, words):
    with pytest.raises(ValueError, match=words):
        train(new_model(), tmp_path, **wrong)


def test_a_model_with_nothing_to_train_is_refused(tmp_path):
    model = base()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train, expected .*lora.attach"):
        train(model, tmp_path)


# ---------------------------------------------------------------------- the rest
def test_stdout_is_left_alone_and_nothing_is_reported(tmp_path, capfd, no_network):
    with contextlib.suppress(Crash):
        train(new_model(), tmp_path, progress=True, on_step=partial(crash_at, 2))
    said = capfd.readouterr()
    assert not said.out
    assert "loss=" in said.err and "wandb" not in said.err


def test_the_hardware_decides(monkeypatch):
    model = new_model()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    found = training.hardware(model)
    assert found["use_cpu"] and not (found["bf16"] or found["fp16"])
    assert found["optim"] == "adamw_torch" and not found["gradient_checkpointing"]
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert training.hardware(model)["bf16"]

    class OnGpu:
        device = torch.device("cuda")

        def num_parameters(self):
            return models.ROLES["tune"].hub_params

    for version, bf16 in (((7, 5), False), ((8, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, v=version: v)
        found = training.hardware(OnGpu())
        assert (found["bf16"], found["fp16"]) == (bf16, not bf16)  # a T4 has no bf16
        assert found["optim"] == "paged_adamw_32bit" and found["gradient_checkpointing"]


def test_a_checkpoint_keeps_its_settings(straight):
    place = straight[0] / "checkpoint-9"
    kept = json.loads((place / "complete.json").read_text("utf-8"))["settings"]
    assert kept["learning_rate"] == 2e-2 and kept["r"] == 4 and len(kept["data"]) == 16
    assert checkpoints.read_state(place)["global_step"] == 9
    checkpoints.check_settings(place, kept)
