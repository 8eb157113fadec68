"""How fast helpers.generation draws texts, against the library and against itself."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache

from run import Figure, seconds

from helpers import generation, models
from helpers.runtime import ROOT

TEMPERATURES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.8, 2.0)
PROMPTS = ("Lily found a magic", "Once upon a time", "Tom went to the", "One day a fox")
NEW = 48  # tokens a draw: few enough that no story ends before


@lru_cache(maxsize=1)
def base():
    """Return the embedded model, or one of its shape while there is none."""
    try:
        return models.load("base")
    except FileNotFoundError:
        from transformers import LlamaConfig, LlamaForCausalLM

        from tests.model_fixtures import tiny_tokenizer

        print("no embedded model: random weights of its shape", file=sys.stderr)
        config = LlamaConfig(
            vocab_size=4096,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=10,
            num_attention_heads=4,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
        return LlamaForCausalLM(config).eval(), tiny_tokenizer()


def swept(draws: int) -> list[dict]:
    """Run the temperature sweep of notebook 01 on four prompts."""
    return generation.temperature_sweep(
        *base(),
        PROMPTS,
        temperatures=TEMPERATURES,
        draws=draws,
        max_new_tokens=NEW,
        top_p=0.9,
        progress=False,
    )


def library_generate(temperature: float, prompts: list[str]):
    """Call the library's own generate once, for all prompts together."""
    model, tokenizer = base()
    ids = [generation.encode_prompt(tokenizer, prompt) for prompt in prompts]
    tokenizer.padding_side = "left"
    batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
    return model.generate(
        batch.input_ids,
        attention_mask=batch.attention_mask,
        do_sample=True,
        temperature=temperature,
        top_p=0.9,
        top_k=0,
        min_new_tokens=NEW,
        max_new_tokens=NEW,
        pad_token_id=tokenizer.pad_token_id,
    )


def bench_sweep_against_one_call_a_draw():
    """Compare with the loop that claim A1's source uses: one call for each draw."""
    calls = [(t, prompt) for t in TEMPERATURES[::3] for prompt in PROMPTS[:2]]
    tokens = sum(row["n_tokens"] for row in swept(3))
    ours, loop = seconds(
        lambda: swept(3), lambda: [library_generate(t, [p]) for t, p in calls]
    )
    yield Figure(
        "temperature sweep, against one call a draw",
        tokens / ours,
        len(calls) * NEW / loop,
        unit="tokens/s",
        at_least=8,
    )


def bench_sweep_against_bare_generate():
    """Compare with one batched call of the library for as many tokens."""
    rows = list(PROMPTS) * len(TEMPERATURES) * 2
    tokens = sum(row["n_tokens"] for row in swept(2))
    ours, bare = seconds(lambda: swept(2), lambda: library_generate(1.0, rows))
    yield Figure(
        "temperature sweep, against one bare batched generate",
        tokens / ours,
        len(rows) * NEW / bare,
        unit="tokens/s",
        at_least=0.7,
    )


def bench_cost_against_draws():
    """Compare the cost of 2, 5 and 10 times the draws with as many times one."""
    factors = (1, 2, 5, 10)
    one, *more = seconds(*[lambda f=f: swept(2 * f) for f in factors], repeats=2)
    for factor, cost in zip(factors[1:], more):
        name = f"cost of {factor} x 80 draws, against {factor} x the cost of 80"
        yield Figure(name, cost, factor * one, unit="s", at_most=1.3)


def bench_first_text():
    """Measure a cold start: a new process, imports, the model, one sentence."""
    if not (models.MODELS / models.ROLES["base"].embedded).is_dir():
        return
    code = (
        "from helpers import generation, models; "
        "generation.generate(*models.load('base'), 'Lily found', max_new_tokens=30)"
    )
    run = [sys.executable, "-c", code]
    [cost] = seconds(lambda: subprocess.run(run, check=True, cwd=ROOT), repeats=2)
    yield Figure("cold process to first text", cost, unit="s", at_most=12)
