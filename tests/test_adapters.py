"""helpers.adapters: an adapter goes onto its own base only, and is saved whole."""

import copy
import json
import shutil

import pytest
import torch

from helpers import adapters, lora
from helpers.adapters import load_adapter, merge, save_adapter
from helpers.fingerprints import file_fingerprint, fingerprint, same_base
from tests.model_fixtures import tiny_tokenizer
from tests.test_lora import IDS, WIDE, base


def trained(model, *, seed=0):
    """Wrap a model in an adapter that makes a difference."""
    return lora.attach(model, r=4, seed=seed, init_lora_weights=False).eval()


NEAR = {"rtol": 1e-3, "atol": 5e-3}  # two orders of summation, through random layers


def logits(model):
    with torch.no_grad():
        return model(IDS).logits.float()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An adapter's folder, and what its model computes."""
    model = trained(base())
    place = save_adapter(model, tmp_path_factory.mktemp("adapters") / "sft")
    return place, logits(model)


def changed(place, tmp_path):
    return shutil.copytree(place, tmp_path / "copy")


# ---------------------------------------------------------------- fingerprints
def test_the_same_weights_in_other_formats_are_the_same_base():
    stored = base().half()  # as models are shipped
    mark = fingerprint(stored)
    assert fingerprint(copy.deepcopy(stored).float()) == mark
    half = fingerprint(copy.deepcopy(stored).bfloat16())
    assert half != mark and same_base(half, mark) and same_base(mark, half)


def test_one_changed_weight_is_another_base():
    mark = fingerprint(base())
    other = base()
    with torch.no_grad():
        other.model.layers[1].mlp.down_proj.weight[3, 5] += 0.01
    assert not same_base(fingerprint(other), mark)
    moved = base()
    layers = moved.model.layers  # the same tensors in another order
    layers[0], layers[1] = layers[1], layers[0]
    assert not same_base(fingerprint(moved), mark)


@pytest.mark.parametrize("tied", [True, False])
def test_a_file_has_the_fingerprint_of_its_model(tmp_path, tied):
    model = base(tie_word_embeddings=tied).half()
    model.save_pretrained(tmp_path)
    file = file_fingerprint(tmp_path / "model.safetensors", tied=tied)
    assert file == fingerprint(model)


def test_an_adapter_does_not_change_it():
    model = base()
    mark = fingerprint(model)
    wrapped = trained(model)
    assert fingerprint(wrapped) == fingerprint(model) == mark


# --------------------------------------------------------------- save and load
def test_what_is_saved_is_what_is_loaded(saved):
    place, expected = saved
    model = load_adapter(base(), place)
    torch.testing.assert_close(logits(model), expected)
    assert not any(p.requires_grad for p in model.parameters())
    again = load_adapter(base(), place, is_trainable=True)
    names = {n for n, p in again.named_parameters() if p.requires_grad}
    assert names and all("lora_" in name for name in names)


def test_the_folder_names_no_path_of_this_machine(tmp_path):
    from transformers import LlamaForCausalLM

    base().save_pretrained(tmp_path / "tiny-base")
    model = LlamaForCausalLM.from_pretrained(tmp_path / "tiny-base")
    place = save_adapter(trained(model), tmp_path / "sft")
    texts = [p.read_text("utf-8") for p in place.glob("*.json")]
    assert len(texts) == 2 and all(str(tmp_path) not in text for text in texts)
    assert all("tiny-base" in text for text in texts)
    assert sorted(p.suffix for p in place.iterdir()) == [
        ".json",
        ".json",
        ".safetensors",
    ]


@pytest.mark.parametrize("name", ["tiny-other", "anything"])
def test_another_base_is_refused_whatever_the_config_says(saved, tmp_path, name):
    place = changed(saved[0], tmp_path)
    config = place / "adapter_config.json"
    text = json.loads(config.read_text("utf-8"))
    length = len(config.read_text("utf-8"))
    text["base_model_name_or_path"] = name  # the cell that "repairs" a merge (source E)
    config.write_text(json.dumps(text, indent=2).ljust(length), "utf-8")
    other = merge(base(), saved[0])  # the same but for what an adapter has added
    for use in (load_adapter, merge):
        with pytest.raises(ValueError, match="trained on other weights"):
            use(copy.deepcopy(other), saved[0])
        with pytest.raises(ValueError, match="trained on other weights|half-written"):
            use(copy.deepcopy(other), place)


def test_a_wrapped_model_takes_no_second_adapter(saved):
    wrapped = trained(base())
    for model in (wrapped, wrapped.get_base_model()):
        for use in (load_adapter, merge):
            with pytest.raises(ValueError, match="already has an adapter"):
                use(model, saved[0])


def test_a_half_written_folder_is_named(saved, tmp_path):
    place = changed(saved[0], tmp_path)
    weights = place / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"copy/adapter_model.safetensors has .* half"):
        load_adapter(base(), place)
    weights.write_bytes(whole)
    (place / "base.json").write_text('{"base": ')
    with pytest.raises(
        ValueError, match="base.json cannot be read: it is half-written"
    ):
        load_adapter(base(), place)
    for name in ("base.json", "adapter_config.json", "adapter_model.safetensors"):
        (place / name).unlink()
        with pytest.raises(
            FileNotFoundError, match=f"copy is half-.* has no {name}|no {name}"
        ):
            load_adapter(base(), place)
        shutil.copy(saved[0] / name, place / name)
    load_adapter(base(), place)
    with pytest.raises(FileNotFoundError, match="no adapter folder .*nowhere"):
        load_adapter(base(), tmp_path / "nowhere")


@pytest.mark.parametrize("moment", ["weights", "config", "last", "swap"])
def test_a_full_disk_leaves_what_was_there(saved, tmp_path, monkeypatch, moment):
    place = changed(saved[0], tmp_path)
    (place / "README.md").write_text("a model card")
    before = {p.name: p.read_bytes() for p in place.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    if moment == "weights":
        monkeypatch.setattr("safetensors.torch.save_file", full)
    elif moment == "config":
        monkeypatch.setattr("peft.LoraConfig.save_pretrained", full)
    elif moment == "last":
        monkeypatch.setattr(adapters.Path, "write_text", full)
    else:  # the first rename moves the former folder away; the second fails
        replace = adapters.os.replace

        def second_fails(source, target):
            return full() if "partial" in str(source) else replace(source, target)

        monkeypatch.setattr(adapters.os, "replace", second_fails)
    model = trained(base(), seed=7)
    with pytest.raises(OSError, match="copy was not saved .*No space left.* as it was"):
        save_adapter(model, place)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in place.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]
    torch.testing.assert_close(logits(load_adapter(base(), place)), saved[1])
    save_adapter(model, place)  # with room again
    torch.testing.assert_close(logits(load_adapter(base(), place)), logits(model))
    assert (place / "README.md").read_text() == "a model card"


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        save_adapter(trained(base()), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["diary.txt"]
    with pytest.raises(TypeError, match="LlamaForCausalLM has no adapter to save"):
        save_adapter(base(), tmp_path / "new")


def test_16_bits_round_the_adapter_alone(saved, tmp_path):
    model = load_adapter(base(), saved[0])
    place = save_adapter(model, tmp_path / "half", dtype=torch.float16)
    name = "adapter_model.safetensors"
    assert (place / name).stat().st_size < 0.6 * (saved[0] / name).stat().st_size
    again = load_adapter(base(), place)
    kept = dict(again.named_parameters())
    for key, weight in model.named_parameters():
        assert kept[key].dtype == torch.float32
        expected = weight.half().float() if "lora_" in key else weight
        assert torch.equal(kept[key], expected)


# ------------------------------------------------------------------------ merge
def test_a_merged_model_is_a_base_with_a_fingerprint_of_its_own(saved, tmp_path):
    place, _ = saved
    merged = merge(base(), place)
    mark = fingerprint(merged)
    assert not same_base(mark, fingerprint(base()))
    # What was put together tells, also where sums differ in a last digit.
    other = merge(base(), place)
    with torch.no_grad():
        other.model.layers[0].mlp.up_proj.weight.mul_(1.001)
    assert same_base(fingerprint(other), mark)
    # So does the file of the merged model, which holds nothing but weights.
    merged.half().save_pretrained(tmp_path)
    found = file_fingerprint(tmp_path / "model.safetensors", tied=True)
    assert same_base(found, mark) and same_base(mark, found)
    second = save_adapter(trained(merge(base(), place), seed=3), tmp_path / "dpo")
    load_adapter(merge(base(), place), second)
    with pytest.raises(ValueError, match="trained on other weights"):
        load_adapter(base(), second)
    another = save_adapter(trained(base(), seed=9), tmp_path / "other")
    with pytest.raises(ValueError, match="trained on other weights"):
        load_adapter(merge(base(), another), second)


def test_the_merged_model_computes_what_the_wrapped_one_does(saved):
    place, expected = saved
    model = base()
    before = logits(model)
    assert (expected - before).abs().max() > 0.1  # it makes a difference
    merged = merge(model, place)
    torch.testing.assert_close(logits(merged), expected, **NEAR)
    torch.testing.assert_close(logits(model), before)  # a copy was merged
    adapters.refuse_wrapped(merged)
    lora.attach(merged)


def test_a_trained_model_is_merged_without_a_folder(saved):
    merged = merge(base(), trained(base()))
    torch.testing.assert_close(logits(merged), saved[1], **NEAR)


def test_an_adapter_trained_in_4_bits_goes_onto_the_16_bit_base(tmp_path):
    from transformers import LlamaForCausalLM

    tiny_tokenizer().save_pretrained(tmp_path / "base")
    base(**WIDE).half().save_pretrained(tmp_path / "base")
    in_4_bits, _ = lora.load_4bit(tmp_path / "base")
    wrapped = trained(in_4_bits)
    place = save_adapter(wrapped, tmp_path / "sft")
    full = LlamaForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    expected = logits(load_adapter(copy.deepcopy(full), place))
    torch.testing.assert_close(logits(merge(full, place)), expected, **NEAR)
    torch.testing.assert_close(logits(merge(full, wrapped)), logits(merge(full, place)))
    # The other way round it is loaded as well, but a merge would round it again.
    again, _ = lora.load_4bit(tmp_path / "base")
    with pytest.raises(ValueError, match="in 4 bits, where a merge rounds"):
        merge(again, place)
    rounded = merge(again, place, allow_4bit=True)
    unmerged = logits(load_adapter(again, place))
    torch.testing.assert_close(unmerged, logits(wrapped))
    assert (logits(rounded) - unmerged).abs().mean() > 1e-3
    with pytest.raises(ValueError, match="does not show its own weights"):
        fingerprint(rounded)


def test_a_4_bit_model_from_elsewhere_has_no_fingerprint(tmp_path):
    from transformers import BitsAndBytesConfig, LlamaForCausalLM

    base(**WIDE).save_pretrained(tmp_path)
    plan = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = LlamaForCausalLM.from_pretrained(
        tmp_path, quantization_config=plan, device_map={"": "cpu"}
    )
    with pytest.raises(ValueError, match="expected one that `lora.load_4bit`"):
        lora.attach(model)


def test_the_newest_adapter_of_this_base(saved, tmp_path):
    assert adapters.newest(base(), tmp_path / "nothing here") is None
    for name in ("2026-01-02_09-00-00", "2026-01-01_10-00-00"):
        shutil.copytree(saved[0], tmp_path / name / "adapter")
    (tmp_path / "short" / "checkpoint-12").mkdir(parents=True)
    newest = tmp_path / "2026-01-02_09-00-00" / "adapter"
    assert adapters.newest(base(), tmp_path) == newest
    other = base()
    with torch.no_grad():
        other.model.layers[1].mlp.down_proj.weight[3, 5] += 0.01
    assert adapters.newest(other, tmp_path) is None
    (newest / "adapter_model.safetensors").unlink()  # half-written
    found = adapters.newest(base(), tmp_path)
    assert found == tmp_path / "2026-01-01_10-00-00" / "adapter"
