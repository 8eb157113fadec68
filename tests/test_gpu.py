"""What only a CUDA GPU can show: `COURSE_TIER=hub pytest -m gpu`; skipped without one.

The course's own models are used, so nothing is downloaded. The figures are printed with
the GPU's name (`pytest -m gpu -s`).
"""

import math

import pytest
import torch

from helpers import adapters, dpo, dpo_data, generation, instructions, lora, models
from helpers import preferences, runtime, sft, sft_data

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
PROMPTS = ["Lily found a magic", "Once upon a time", "옛날 옛적에"]


@pytest.fixture(autouse=True)
def embedded(monkeypatch):
    monkeypatch.setenv("COURSE_TIER", "embedded")
    runtime.release_memory()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def told(**figures):
    print(torch.cuda.get_device_name(), figures)


def rows(tokenizer, number=200):
    return sft_data.encode_rows(tokenizer, instructions.make_split(number))


def test_greedy_text_is_the_same_on_both_devices():
    options = {"max_new_tokens": 40, "temperature": 0.0}
    texts = []
    for device in ("cpu", "cuda"):
        pair = models.load("base", device=device, dtype=torch.float32)
        texts.append(generation.generate(*pair, PROMPTS, **options))
    assert texts[0] == texts[1]


def test_qlora_in_float16_stays_finite_for_200_steps(tmp_path):
    model, tokenizer = lora.load_4bit("tune", compute_dtype=torch.float16)
    data = rows(tokenizer, 400)
    before = sft.heldout_loss(model, data)
    model = lora.attach(model, r=16, lora_alpha=32)
    options = {"max_steps": 200, "learning_rate": 1e-3, "fp16": True, "bf16": False}
    options |= {"optim": "paged_adamw_32bit", "progress": False}
    run = sft.train(model, tokenizer, data, output_dir=tmp_path, **options)
    losses = run.curve()[1]
    told(first=losses[0], last=losses[-1], seconds=run.seconds,
         tokens_a_second=run.tokens / run.seconds)
    assert len(losses) == 200 and all(map(math.isfinite, losses))
    assert sft.heldout_loss(model, data) < before - 0.2


def test_the_hardware_chooses_a_paged_optimizer_and_a_dtype_it_has(tmp_path):
    model, tokenizer = lora.load_4bit("tune")
    wrapped = lora.attach(model, r=4)
    trainer = sft.make_trainer(wrapped, tokenizer, rows(tokenizer, 16), output_dir=tmp_path)
    recent = torch.cuda.get_device_capability()[0] >= 8
    assert trainer.args.optim.value.startswith("paged_adamw")
    assert (trainer.args.bf16, trainer.args.fp16) == (recent, not recent)


def test_dpo_on_the_chat_model_learns_the_pairs(tmp_path):
    chat, tokenizer = models.load("chat", dtype=torch.float32)
    model = lora.attach(chat, r=8, lora_alpha=16)
    pairs = dpo_data.encode_pairs(tokenizer, preferences.make_split(160))
    run = dpo.train(model, tokenizer, pairs, output_dir=tmp_path, progress=False)
    margins = run.curve("rewards/margins")[1]
    told(first=run.history[0]["loss"], margin=margins[-1], seconds=run.seconds)
    assert run.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert sum(margins[-5:]) > 5 * abs(margins[0]) + 0.05


@pytest.mark.parametrize("bits", [8, 4])
def test_loads_in_8_and_4_bits_answer_like_the_16_bit_model(bits):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = models.locate("base")
    plan = BitsAndBytesConfig(
        load_in_8bit=bits == 8, load_in_4bit=bits == 4, bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float16,
    )
    small = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=plan, device_map={"": "cuda"}, dtype=torch.float16,
        use_safetensors=True,
    )
    whole, tokenizer = models.load("base", dtype=torch.float16)
    ids = tokenizer(PROMPTS[0], return_tensors="pt").input_ids.cuda()
    with torch.no_grad():
        one, other = (m(ids).logits.float().log_softmax(-1)[0, -1] for m in (whole, small))
    apart = (one.exp() * (one - other)).sum().item()  # KL, in nats
    told(bits=bits, kl=apart, mb=small.get_memory_footprint() / 1e6)
    assert 0 <= apart < (0.01 if bits == 8 else 0.15)
    assert small.get_memory_footprint() < whole.get_memory_footprint()


def test_the_calculator_says_what_the_gpu_holds():
    """Of a model of 300 million random weights: of a small one, much is overhead."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=4096, hidden_size=1024, intermediate_size=2816, num_hidden_layers=24,
        num_attention_heads=16, max_position_embeddings=128,
    )
    model = LlamaForCausalLM(config).to("cuda", torch.float16)
    model = lora.attach(model, r=16, lora_alpha=32)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    model(input_ids=torch.ones(1, 8, dtype=torch.long, device="cuda")).logits.sum().backward()
    optimizer.step()
    expected = lora.training_memory(config, method="lora", r=16)["total"]
    peak = torch.cuda.max_memory_allocated()
    told(peak_mb=peak / 1e6, expected_mb=expected / 1e6)
    assert peak == pytest.approx(expected, rel=0.15)


def test_a_full_gpu_is_one_sentence(tmp_path, monkeypatch):
    model, tokenizer = lora.load_4bit("tune")
    model = lora.attach(model, r=4)
    held = torch.cuda.memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((held + 30e6) / total)
    options = {"max_steps": 2, "per_device_train_batch_size": 64, "progress": False}
    try:
        with pytest.raises(MemoryError, match="per_device_train_batch_size=32"):
            sft.train(model, tokenizer, rows(tokenizer), output_dir=tmp_path, **options)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_an_adapter_of_the_gpu_answers_on_the_cpu(tmp_path):
    model, tokenizer = lora.load_4bit("tune")
    model = lora.attach(model, r=4, init_lora_weights=False)
    folder = adapters.save_adapter(model, tmp_path / "adapter")
    base, _ = models.load("tune", device="cpu", dtype=torch.float32)
    merged = adapters.merge(base, folder)
    assert generation.generate(merged, tokenizer, PROMPTS[:1], max_new_tokens=4)
