"""helpers.dpo, dpo_data and rewards: TRL's numbers, and runs that can be trusted.

The model is tiny and random, and learns a few pairs in a few steps.
"""

import contextlib
import math
import shutil
import signal
from functools import partial

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from helpers import adapters, checkpoints, dpo, lora, rewards
from helpers.chat_templates import encode_conversation
from helpers.dpo_data import encode_pairs
from helpers.fingerprints import fingerprint
from helpers.preferences import make_split
from helpers.sft_data import encode_rows
from tests.test_lora import WIDE, base
from tests.test_sft import Crash, crash_at, names, one_thread  # noqa: F401
from tests.test_sft_data import tokenizer

TOK = tokenizer()
LN2 = math.log(2)


def pair(asked, chosen, rejected, system=None):
    head = [{"role": "system", "content": system}] if system else []
    replies = [[{"role": "assistant", "content": text}] for text in (chosen, rejected)]
    prompt = [*head, {"role": "user", "content": asked}]
    return dict(zip(("prompt", "chosen", "rejected"), (prompt, *replies)))


ROWS = [
    pair("Who ran?", "Tom ran to the river.", "Tom."),
    pair("Who was glad?", "The fox was glad all day.", "The fox.", system="Be kind."),
    pair("Where is Lily?", "In the garden near the hill.", "In."),
    pair("Hi.", "Hello! Once upon a time.", "No"),
    pair("Who is Mia?", "A little girl.", "A hill."),
    pair("Who smiled?", "Lily smiled and ran.", "The kite ran."),
]
DATA = encode_pairs(TOK, ROWS)
SHORT = {"max_steps": 9, "save_steps": 3, "per_device_train_batch_size": 2}
SHORT |= {"learning_rate": 2e-2, "bf16": False, "progress": False}
PLAIN = {"bf16": False}


def new_model(seed=0, **options):
    return lora.attach(base(), r=4, seed=seed, **options)


def moved_model(scale=0.1):
    """Return a model whose adapter changes something."""
    model = new_model()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, scale)
    return model


def train(model, folder, data=DATA, **options):
    return dpo.train(model, TOK, data, output_dir=folder, **SHORT | options)


def adapter(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" in n}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run without interruption: its folder, its history, its adapter."""
    folder, model = tmp_path_factory.mktemp("straight"), new_model()
    run = train(model, folder)
    return folder, run, adapter(model)


def same_curves(run, straight):
    names = "loss", "rewards/margins", "logps/chosen"
    both = [(run.curve(name), straight.curve(name)) for name in names]
    # sums may differ in their last bits: where an array lies in memory decides the order
    close = all(one == pytest.approx(other, rel=1e-4, abs=1e-5)
                for mine, theirs in both for one, other in zip(mine, theirs))
    return close and len(run.history) == len(straight.history) == 9


# ------------------------------------------------------------------------- the loss
def test_the_loss_is_trls(tmp_path):
    trainer = dpo.make_trainer(new_model(), TOK, DATA, output_dir=tmp_path, bf16=False)
    dice = torch.Generator().manual_seed(0)
    four = [-60 * torch.rand(50, generator=dice) for _ in range(4)]
    for beta in (0.01, 0.1, 2.0):
        for smoothing in (0.0, 0.2):
            trainer.beta, trainer.label_smoothing = beta, smoothing
            found = dpo.dpo_loss(*four, beta=beta, label_smoothing=smoothing)
            for mine, theirs in zip(found, trainer.dpo_loss(*four)):
                torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
                assert mine.shape == (50,)


def test_beta_says_how_much_is_enough():
    """The pull on a pair falls to 1% where its log ratio has grown by ln 99 / beta."""
    zero = torch.zeros(1)
    for beta in (0.03, 0.1, 3.0):
        chosen = torch.tensor([math.log(99) / beta], requires_grad=True)
        dpo.dpo_loss(chosen, zero, zero, zero, beta=beta)[0].backward()
        assert chosen.grad.item() == pytest.approx(-0.01 * beta, rel=1e-3)


def test_the_loss_does_not_run_over():
    far = torch.tensor([-1e4]), torch.tensor([0.0])
    near = torch.tensor([0.0]), torch.tensor([0.0])
    losses, *_ = dpo.dpo_loss(*far, *near, beta=1.0)
    assert losses.item() == pytest.approx(1e4)
    chosen = torch.zeros(1, requires_grad=True)
    losses, reward, _ = dpo.dpo_loss(chosen, *near, near[0], beta=0.1)
    losses.sum().backward()
    assert chosen.grad.item() == pytest.approx(-0.05)  # -beta * sigmoid(-margin)
    assert not reward.requires_grad


@pytest.mark.parametrize("model", [new_model, moved_model], ids=["fresh", "moved"])
def test_log_probabilities_are_trls_and_the_plain_ones(tmp_path, model):
    """TRL's own forward pass over our rows; a pass over each reply alone."""
    model = model()
    trainer = dpo.make_trainer(model, TOK, DATA, output_dir=tmp_path, bf16=False)
    batch = trainer.data_collator([DATA.rows[i] for i in range(6)])
    with torch.no_grad():
        theirs = trainer.concatenated_forward(model, batch)
        ref = trainer.compute_ref_log_probs(batch)
    mine = rewards.logps(model, DATA, batch_size=5, **PLAIN)
    mine_ref = rewards.logps(model, DATA, reference=True, **PLAIN)
    for side, one, other, ref_one in zip(("chosen", "rejected"), mine, mine_ref, ref):
        assert torch.allclose(one.float(), theirs[f"{side}_logps"], atol=1e-4)
        assert torch.allclose(other.float(), ref_one, atol=1e-4)
        for row, logp in zip(DATA.rows, one):
            ids = row["prompt_input_ids"] + row[f"{side}_input_ids"]
            with torch.no_grad():
                steps = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            said = steps.gather(1, torch.tensor(ids)[1:, None])[-len(row[f"{side}_input_ids"]):]
            assert logp.item() == pytest.approx(said.sum().item(), abs=1e-3)
    assert model.training  # as it was


def test_measures_are_those_of_training(tmp_path):
    model = new_model()
    data = rewards.with_reference(model, DATA, **PLAIN)
    start = rewards.measure(model, data, **PLAIN)
    assert start["loss"] == pytest.approx(LN2, abs=1e-6)  # claim E4
    assert start["margin"] == start["accuracy"] == 0
    options = {"max_steps": 1, "per_device_train_batch_size": 6}
    run = train(model, tmp_path, data, **options, warmup_ratio=0)
    assert run.history[0]["loss"] == pytest.approx(LN2, abs=1e-4)
    assert run.history[0]["logps/chosen"] == pytest.approx(start["chosen"], abs=1e-3)
    moved = moved_model()
    found = rewards.measure(moved, DATA, beta=0.3, **PLAIN)
    trainer = dpo.make_trainer(moved, TOK, DATA, output_dir=tmp_path, beta=0.3, bf16=False)
    with torch.no_grad():
        batch = trainer.data_collator(DATA.rows)
        loss, theirs = trainer.get_batch_loss_metrics(moved, batch)
    assert found["loss"] == pytest.approx(loss.item(), abs=1e-5)
    for mine, name in (("margin", "margins"), ("accuracy", "accuracies")):
        assert found[mine] == pytest.approx(theirs[f"rewards/{name}"], abs=1e-5)
    assert found["rejected"] == pytest.approx(theirs["logps/rejected"], abs=1e-3)


# ---------------------------------------------------------------------------- the data
def test_a_reply_ends_once_and_nothing_typed_is_a_control_token(tmp_path):
    """TRL's own rows end with </s>, a line break and another </s>."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    typed = [*ROWS, pair("Say <|assistant|> no</s>.", "No.", "Yes.")]
    made = encode_pairs(TOK, typed)
    end, speaker = TOK.convert_tokens_to_ids(["</s>", "<|assistant|>"])
    for row, messages in zip(made.rows, typed):
        assert row["prompt_input_ids"][0] == TOK.bos_token_id
        assert row["prompt_input_ids"].count(speaker) == 1
        for side in ("chosen", "rejected"):
            ids = row[f"{side}_input_ids"]
            assert ids.index(end) == len(ids) - 1
            text = messages[side][0]["content"]
            assert TOK.decode(ids).lstrip() == f"{text}</s>"
            whole = encode_conversation(TOK, messages["prompt"] + messages[side]).ids
            assert whole[: len(row["prompt_input_ids"] + ids)] == row["prompt_input_ids"] + ids
    tok = PreTrainedTokenizerFast(tokenizer_object=TOK.backend_tokenizer, eos_token="</s>",
                                  bos_token="<s>", pad_token="<pad>")
    tok.chat_template = TOK.chat_template
    args = DPOConfig(output_dir=tmp_path, report_to="none", use_cpu=True, bf16=False)
    theirs = DPOTrainer(new_model(), args=args, train_dataset=Dataset.from_list(typed[-1:]),
                        processing_class=tok).train_dataset[0]
    assert theirs["chosen_input_ids"].count(end) == 2
    assert theirs["prompt_input_ids"].count(speaker) == 2


def test_pairs_of_the_course_are_read_as_they_are():
    pairs = make_split(2, mixture={"dish": 1})
    made = encode_pairs(TOK, pairs, max_length=4000)
    assert len(made.rows) == 2 and not made.cut
    assert TOK.decode(made.rows[0]["chosen_input_ids"]).lstrip() == f"{pairs[0].better}</s>"
    assert "2 of 2 pairs" in str(made) and "0 cut, 0 dropped" in str(made)


def test_long_pairs_are_cut_and_counted():
    first = len(DATA.rows[0]["prompt_input_ids"])
    longest = max(len(row["chosen_input_ids"]) for row in DATA.rows)
    made = encode_pairs(TOK, ROWS[:1] * 2 + [pair("word " * 60, "A.", "B.")],
                        max_length=first + 3)
    assert (made.read, made.cut, made.dropped) == (3, 2, 1)
    assert len(made.rows[0]["chosen_input_ids"]) == 3 < longest
    same = encode_pairs(TOK, [*ROWS, pair("Hi.", "Hello!", "Hello!")])
    assert same.dropped == 1 and len(same.rows) == 6


@pytest.mark.parametrize(
    "rows, words",
    [
        ([], "there are no rows"),
        ([ROWS[0], {"prompt": ROWS[0]["prompt"]}], "row 2: expected `prompt`, and one"),
        ([ROWS[0] | {"chosen": "Tom."}], "row 1: expected"),
        ([ROWS[0] | {"prompt": []}], "row 1: expected"),
        ([ROWS[0] | {"rejected": ROWS[0]["prompt"]}], "row 1: .*user"),
        ([pair("Hi.", "", "No.")], "row 1: "),
        ([pair("Hi.", "Yes.", "Yes.")], "no pair has two different replies"),
    ],
)
def test_rows_that_are_no_pairs_are_named(rows, words):
    with pytest.raises((ValueError, TypeError), match=words):
        encode_pairs(TOK, rows)


# ---------------------------------------------------------------------- what is learned
def test_it_learns_to_prefer_and_changes_the_adapter_only(tmp_path):
    model, whole = base(), base()
    wrapped = lora.attach(model, r=8)
    options = {"max_steps": 20, "save_steps": 20, "beta": 0.5}
    run = train(wrapped, tmp_path, **options)
    found = rewards.measure(wrapped, DATA, beta=0.5, **PLAIN)
    assert found["accuracy"] == 1 and found["loss"] < 0.4 and found["margin"] > 0.5
    margins = run.curve("rewards/margins")[1]
    assert margins[0] == pytest.approx(0, abs=1e-4) and margins[-1] > 0.5
    assert run.curve()[1][0] == pytest.approx(LN2, abs=1e-4)
    for name, weight in whole.named_parameters():
        name = name.replace("_proj.weight", "_proj.base_layer.weight")
        assert torch.equal(model.get_parameter(name), weight)
    assert 0 < run.tokens < run.cells
    assert not wrapped.training and "forward" not in vars(wrapped)


def test_flipped_labels_teach_the_opposite(tmp_path):
    back = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in ROWS]
    model = new_model()
    train(model, tmp_path, encode_pairs(TOK, back), beta=0.5)
    assert rewards.measure(model, DATA, beta=0.5, **PLAIN)["margin"] < 0


def test_the_reference_read_once_gives_the_same_run(tmp_path, straight):
    model = new_model()
    data = rewards.with_reference(model, DATA, **PLAIN)
    assert data.base == fingerprint(base()) and DATA.base is None
    run = train(model, tmp_path, data)
    for name in ("loss", "rewards/margins"):
        assert run.curve(name)[1] == pytest.approx(straight[1].curve(name)[1], abs=2e-4)


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
def test_the_first_loss_is_ln_2_in_any_format(tmp_path, bf16):
    """A reference summed in another format than the model is no reference."""
    model = new_model()
    data = rewards.with_reference(model, DATA, bf16=bf16)
    run = train(model, tmp_path, data, bf16=bf16, max_steps=1)
    assert run.history[0]["loss"] == pytest.approx(LN2, abs=1e-4 if not bf16 else 5e-3)


def test_drift_is_the_kl_of_every_step():
    model = moved_model()
    said = encode_rows(TOK, [{"messages": r["prompt"] + r["chosen"]} for r in ROWS])
    assert max(rewards.drift(new_model(), said, **PLAIN)) < 1e-6
    found = rewards.drift(model, said, batch_size=4, **PLAIN)
    assert min(found) > 0 and len(found) == 6
    for row, kl in zip(said.rows, found):
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            now = model(ids).logits[0].log_softmax(-1)
            with model.disable_adapter():
                before = model(ids).logits[0].log_softmax(-1)
        each = torch.nn.functional.kl_div(before, now, log_target=True, reduction="none")
        places = [i - 1 for i, label in enumerate(row["labels"]) if label != -100]
        assert kl == pytest.approx(each.sum(-1)[places].sum().item(), rel=1e-3)


def test_in_4_bits_on_a_merged_sft_adapter(tmp_path):
    TOK.save_pretrained(tmp_path / "base")
    start = lora.attach(base(**WIDE), r=2)
    with torch.no_grad():
        start.get_parameter(next(n for n, _ in start.named_parameters() if "lora_B" in n)).fill_(0.1)
    adapters.merge(base(**WIDE), start).half().save_pretrained(tmp_path / "base")
    model, tok = lora.load_4bit(tmp_path / "base")
    model = lora.attach(model, r=4)
    data = rewards.with_reference(model, DATA, **PLAIN)
    run = dpo.train(model, tok, data, output_dir=tmp_path / "run", **SHORT | {"beta": 0.5})
    assert run.history[0]["loss"] == pytest.approx(LN2, abs=1e-3)
    assert rewards.measure(model, data, beta=0.5, **PLAIN)["margin"] > 0


def test_orpo_needs_no_reference_and_trains_on_the_reply_alone(tmp_path):
    model = new_model()
    mean = [-x / len(row["chosen_input_ids"])
            for x, row in zip(rewards.logps(model, DATA, **PLAIN)[0].tolist(), DATA.rows)]
    options = {"max_steps": 1, "per_device_train_batch_size": 6, "method": "orpo"}
    run = train(model, tmp_path, **options)
    first = run.history[0]
    assert first["nll_loss"] == pytest.approx(sum(mean) / len(mean), abs=1e-3)
    odds = first["log_odds_ratio"]
    assert first["loss"] == pytest.approx(first["nll_loss"] - 0.1 * odds, abs=1e-4)
    model = new_model()
    run = train(model, tmp_path, method="orpo", max_steps=15, save_steps=15, beta=0.5)
    now = rewards.logps(model, DATA, **PLAIN)
    assert run.curve("nll_loss")[1][-1] < first["nll_loss"]
    assert rewards.measure(model, DATA, **PLAIN)["margin"] > 0 and len(now[0]) == 6


# ----------------------------------------------------------------- the same run once more
def test_the_seed_decides_the_curve(tmp_path, straight):
    assert same_curves(train(new_model(), tmp_path), straight[1])
    assert train(new_model(), tmp_path, seed=1).curve() != straight[1].curve()


@pytest.mark.parametrize("step", [1, 5])
def test_a_run_that_crashed_goes_on_to_the_same_end(tmp_path, straight, step):
    with pytest.raises(Crash):
        train(new_model(), tmp_path, on_step=partial(crash_at, step))
    model = new_model(seed=5) if step > 3 else new_model()
    run = train(model, tmp_path, resume=True)
    assert same_curves(run, straight[1])
    for name, weight in adapter(model).items():
        torch.testing.assert_close(weight, straight[2][name], rtol=1e-3, atol=1e-4)


def test_ctrl_c_ends_after_the_step_and_the_run_goes_on(tmp_path, straight):
    def press(row):
        if row["step"] == 4:
            signal.raise_signal(signal.SIGINT)

    model = new_model()
    run = train(model, tmp_path, on_step=press)
    assert run.interrupted and len(run.history) == 5
    assert rewards.measure(model, DATA, **PLAIN)["loss"] > 0  # the model is of use
    assert same_curves(train(model, tmp_path, resume=True), straight[1])


def test_a_half_written_checkpoint_is_named(tmp_path, straight):
    folder = shutil.copytree(straight[0], tmp_path / "run")
    (folder / "checkpoint-9" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="checkpoint-9 is half-written"):
        run = train(new_model(), folder, resume=True)
    assert run.resumed_from.endswith("checkpoint-6") and same_curves(run, straight[1])


def test_tune_does_it_in_one_go(tmp_path):
    """The same as attach and train, with nothing left on the disk."""
    options = {name: value for name, value in SHORT.items() if name != "save_steps"}
    model = dpo.tune(base(), TOK, ROWS, **options | {"max_steps": 2})
    other = lora.attach(base(), r=16, lora_alpha=32)
    train(other, tmp_path, max_steps=2)
    for name, weight in adapter(model).items():
        torch.testing.assert_close(weight, adapter(other)[name], rtol=1e-3, atol=1e-4)


def test_another_run_is_not_gone_on_with(tmp_path, straight):
    folder = shutil.copytree(straight[0], tmp_path / "run")
    for options, words in (
        ({"beta": 0.5}, "beta=0.1, but this one has beta=0.5"),
        ({"method": "orpo"}, "method='dpo'"),
        ({"data": encode_pairs(TOK, ROWS[1:])}, "data='"),
    ):
        with pytest.raises(ValueError, match=words):
            train(new_model(), folder, resume=True, **options)
    other = lora.attach(base(**WIDE), r=4)
    with pytest.raises(ValueError, match="base='"):
        train(other, folder, resume=True)
    assert names(folder) == names(straight[0])


# ---------------------------------------------------------------------------- faults
def test_the_reference_of_another_base_is_refused(tmp_path):
    data = rewards.with_reference(new_model(), DATA, **PLAIN)
    other = lora.attach(base(**WIDE), r=4)
    for use in (rewards.measure, partial(train, folder=tmp_path)):
        with pytest.raises(ValueError, match="reference of another base .*with_reference"):
            use(other, data=data)


def test_an_adapter_goes_onto_the_merged_model_only(tmp_path):
    """SFT, then DPO: each is merged onto what it was trained on, and nothing else."""
    sft = adapters.save_adapter(moved_model(), tmp_path / "sft")
    merged = adapters.merge(base(), sft)
    model = lora.attach(merged, r=4)
    train(model, tmp_path / "run", max_steps=1)
    folder = adapters.save_adapter(model, tmp_path / "dpo")
    again = adapters.merge(adapters.merge(base(), sft), folder)
    ids = torch.tensor([DATA.rows[0]["prompt_input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="was trained on other weights"):
        adapters.merge(base(), folder)


def test_an_adapter_that_was_trained_is_not_trained_on(tmp_path):
    """Without it the model is the base before SFT: a wrong reference (source E)."""
    with pytest.raises(ValueError, match="has been trained already.*merge.*attach"):
        train(moved_model(), tmp_path)
    with pytest.raises(ValueError, match="has been trained already"):
        train(moved_model(), tmp_path, resume=True)  # there is no checkpoint
    assert train(moved_model(), tmp_path, method="orpo", max_steps=1).history


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"betta": 0.1}, "'betta' cannot be set here: DPOConfig has no such option"),
        ({"max_length": 99}, "'max_length' .* use max_length of `encode_pairs`"),
        ({"precompute_ref_log_probs": True}, "use `rewards.with_reference`"),
        ({"method": "ppo"}, "method is 'ppo', expected one of dpo, orpo"),
    ],
)
def test_options_that_do_nothing_are_refused(tmp_path, wrong, words):
    with pytest.raises(ValueError, match=words):
        train(new_model(), tmp_path, **wrong)


@pytest.mark.parametrize("model", [base, lambda: new_model().requires_grad_(False)])
def test_a_model_with_nothing_to_train_is_refused(tmp_path, model):
    with pytest.raises(ValueError, match="no adapter to train, expected `lora.attach`'s"):
        train(model(), tmp_path)


def test_it_stops_where_numbers_stop(tmp_path, monkeypatch):
    model = new_model()
    layer = model.get_submodule("base_model.model.model.layers.1.mlp.down_proj")

    def spoil(row):
        if row["step"] == 4:
            monkeypatch.setattr(layer, "scaling", {"default": float("inf")})

    with pytest.raises(FloatingPointError, match="is not a number at step 5"):
        train(model, tmp_path, on_step=spoil)
    assert checkpoints.last_complete(tmp_path)[0].name == "checkpoint-3"


def test_nothing_is_said_on_stdout_or_reported(tmp_path, capfd, no_network):
    with contextlib.suppress(Crash):
        train(new_model(), tmp_path, progress=True, on_step=partial(crash_at, 2))
    said = capfd.readouterr()
    assert not said.out and "wandb" not in said.err
