"""helpers.lora: the arithmetic against PEFT and bitsandbytes, and what it wraps."""

from types import SimpleNamespace

import pytest
import torch
from peft import get_peft_model_state_dict
from transformers import LlamaConfig, LlamaForCausalLM

from helpers import lora, models, roles
from tests.model_fixtures import tiny_model, tiny_tokenizer

WIDE = {"hidden_size": 64, "head_dim": 16, "intermediate_size": 128}
IDS = torch.arange(10, 42).reshape(2, 16)


def base(**changes):
    """Make a Llama of random weights, the same one every time."""
    config = LlamaConfig(**tiny_model().config.to_dict() | changes)
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model of rows of 64 weights, in float16 as models are shipped."""
    place = tmp_path_factory.mktemp("models") / "tiny"
    tiny_tokenizer().save_pretrained(place)
    base(**WIDE).half().save_pretrained(place)
    return place


# ------------------------------------------------------------------ arithmetic
@pytest.mark.parametrize("r", [1, 8])
@pytest.mark.parametrize(
    "target_modules", [["q_proj", "v_proj"], ["down_proj"], lora.ALL_LINEAR], ids=str
)
@pytest.mark.parametrize(
    "changes", [{}, {"head_dim": 16}, {"num_key_value_heads": 4}], ids=str
)
def test_the_formula_counts_what_peft_makes(r, target_modules, changes):
    model = lora.attach(base(**changes), r=r, target_modules=target_modules)
    count = lora.lora_params(model.config, r=r, target_modules=target_modules)
    assert count == model.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}], ids=str)
def test_the_parts_are_the_models_parameters(changes):
    model = base(**changes)
    parts = lora.weight_parts(model.config)
    assert sum(parts.values()) == models.n_params(model)
    linear = [m.weight.numel() for n, m in model.named_modules() if "_proj" in n]
    assert parts["linear"] == sum(linear)


def test_the_known_models_have_their_published_sizes():
    sizes = {n: sum(lora.weight_parts(c).values()) for n, c in lora.KNOWN.items()}
    assert sizes["TinyLlama-1.1B"] == models.ROLES["tune"].hub_params
    assert sizes["LLaMA-65B"] == 65_285_660_672  # LLaMA paper, table 2: 65.2B


def test_the_qlora_papers_figures_follow():
    big = lora.KNOWN["LLaMA-65B"]
    full = lora.training_memory(big, method="full")
    assert full["total"] == 12 * sum(lora.weight_parts(big).values())
    assert full["total"] == pytest.approx(780e9, rel=0.01)  # claim E3
    # claim E3: all of it, activations too, fits in 48 GB
    assert 40e9 < lora.training_memory(big, method="qlora", r=64)["total"] < 48e9
    small = lora.KNOWN["TinyLlama-1.1B"]
    in_32 = lora.training_memory(small, method="full", weight_bits=32)["weights"]
    in_4 = lora.training_memory(small, method="qlora")
    assert in_32 == pytest.approx(4.4e9, rel=0.01)
    assert in_4["weights"] + in_4["constants"] < 1e9  # claim E2: from 4 GB to 1


@pytest.mark.parametrize("double_quant", [False, True])
def test_the_constants_are_those_of_bitsandbytes(double_quant):
    from bitsandbytes.functional import quantize_4bit

    weight = torch.randn(256, 512)
    options = {"quant_type": "nf4", "compress_statistics": double_quant}
    packed, state = quantize_4bit(weight, **options)
    kept = state.absmax.nbytes + (state.state2.absmax.nbytes if double_quant else 0)
    assert packed.nbytes * 8 == 4 * weight.numel()
    assert kept * 8 == lora.constant_bits(double_quant=double_quant) * weight.numel()


def test_the_parts_of_the_memory_are_what_training_holds(folder):
    model, _ = lora.load_4bit(folder)
    model = lora.attach(model, r=4)
    said = lora.training_memory(model.config, method="qlora", r=4, weight_bits=32)
    trained = [p for p in model.parameters() if p.requires_grad]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert said["adapter"] == sum(p.nbytes for p in trained)
    assert said["weights"] == sum(p.nbytes for p in frozen)
    model(IDS, labels=IDS).loss.backward()
    assert said["gradients"] == sum(p.grad.nbytes for p in trained)
    optimizer = torch.optim.AdamW(trained)
    optimizer.step()
    states = optimizer.state.values()
    moments = [state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]
    assert said["optimizer"] == sum(moment.nbytes for moment in moments)
    assert said["total"] == sum(said.values()) - said["total"]


@pytest.mark.parametrize(
    "call",
    [
        lambda c: lora.lora_params(c, r=0),
        lambda c: lora.lora_params(c, r=8, target_modules=["query"]),
        lambda c: lora.lora_params(c, r=8, target_modules="q_proj"),
        lambda c: lora.training_memory(c, method="adapter"),
    ],
)
def test_the_arithmetic_refuses_what_it_does_not_know(call):
    with pytest.raises(ValueError, match="expected"):
        call(lora.KNOWN["TinyLlama-1.1B"])


def test_a_config_needs_no_library():
    plain = SimpleNamespace(**vars(lora.KNOWN["TinyLlama-1.1B"]))
    assert lora.linear_shapes(plain)["v_proj"] == (256, 2048)


# ------------------------------------------------------------------ in 4 bits
def test_linear_layers_are_nf4_with_double_quantization(folder):
    model, tokenizer = lora.load_4bit(folder)
    layers = {n: m for n, m in model.named_modules() if n.endswith("_proj")}
    assert len(layers) == 14 and len(tokenizer) == model.config.vocab_size
    for layer in layers.values():
        state = layer.weight.quant_state
        assert (state.quant_type, state.nested) == ("nf4", True)
        assert layer.compute_dtype == torch.float32
    others = [p for n, p in model.named_parameters() if "_proj" not in n]
    assert {p.dtype for p in others} == {torch.float32}
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training


def test_it_computes_with_the_dequantized_weights(folder):
    from bitsandbytes.functional import dequantize_4bit

    model, _ = lora.load_4bit(folder, double_quant=False)
    reference = base(**WIDE)
    with torch.no_grad():
        for name, layer in model.named_modules():
            if name.endswith("_proj"):
                weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
                exact = reference.get_submodule(name).weight
                assert 0.01 < (weight - exact).norm() / exact.norm() < 0.15  # 16 values
                exact.copy_(weight)
        reference.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight)
        torch.testing.assert_close(
            model(IDS).logits, reference(IDS).logits, rtol=1e-3, atol=1e-3
        )


def test_rows_that_would_be_read_wrongly_are_refused(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path)
    base().save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match="rows of 32 weights, expected a multiple of 64"
    ):
        lora.load_4bit(tmp_path, device="cpu")


def gradients(model):
    model.train()
    model.zero_grad()
    model(IDS, labels=IDS).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def test_evaluating_it_first_does_not_change_its_gradients(folder):
    # bitsandbytes 0.50 repacks evaluated layers on CPUs with AVX512-BF16, and then
    # passes no gradient through them: the lower layers would hardly learn.
    model, _ = lora.load_4bit(folder)
    model = lora.attach(model, r=4, init_lora_weights=False)
    before = gradients(model)
    model.eval()
    with torch.no_grad():
        model(IDS)
    after = gradients(model)
    for name in before:
        torch.testing.assert_close(after[name], before[name])


def test_a_role_is_loaded_from_its_folder(folder, monkeypatch):
    monkeypatch.setenv("COURSE_TIER", "embedded")
    monkeypatch.setattr(models, "MODELS", folder.parent)
    monkeypatch.setitem(models.ROLES, "tune", roles.Role("", folder.name, "", 0))
    model, _ = lora.load_4bit("tune")
    assert model.is_loaded_in_4bit
    with pytest.raises(ValueError, match="unknown role 'tuna'"):
        lora.load_4bit("tuna")
    with pytest.raises(FileNotFoundError, match="no config.json"):
        lora.load_4bit(folder.parent)


# ------------------------------------------------------------------ the adapter
def test_a_new_adapter_changes_nothing_and_alone_is_trained():
    model = base()
    before = model(IDS).logits
    wrapped = lora.attach(model, r=4)
    torch.testing.assert_close(wrapped(IDS).logits, before)
    trained = {n for n, p in wrapped.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained)


def test_the_seed_decides_and_no_other_dice_are_touched():
    bases = [base() for _ in range(3)]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    wrapped = [lora.attach(model, r=2, seed=s) for model, s in zip(bases, (1, 1, 2))]
    assert torch.equal(torch.rand(3), expected)
    states = [get_peft_model_state_dict(model) for model in wrapped]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert any(not torch.equal(states[0][n], states[2][n]) for n in states[0])


def test_a_model_is_wrapped_once():
    model = base()
    wrapped = lora.attach(model, r=2)
    for again in (wrapped, model):  # the base has the layers inside, too
        with pytest.raises(ValueError, match="already has an adapter"):
            lora.attach(again, r=2)


@pytest.mark.parametrize("wrong", [["query_key_value"], "q_proj", ["q_proj", "wq"]])
def test_layers_that_are_not_there_are_refused(wrong):
    model = base()
    with pytest.raises(ValueError, match="expected .* some of down_proj, .*v_proj"):
        lora.attach(model, target_modules=wrong)
    with pytest.raises(ValueError, match="r=0"):
        lora.attach(model, r=0)
    lora.attach(model)  # nothing was wrapped by the attempts
