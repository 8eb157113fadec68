"""How fast helpers.prompting measures a prompt, against one call for each prompt."""

from __future__ import annotations

from bench_generation import base
from run import Figure, seconds

from helpers import generation, prompting

FAMILY, SHOTS, PROMPTS = "label", (0, 1, 2, 4, 8), 40
NEW = 16  # tokens an answer may take in the loops; the sweep knows its longest answer


def asked() -> list[str]:
    """Return the texts of the prompts that the sweep asks."""
    problems = prompting.make_problems(FAMILY, examples=max(SHOTS), prompts=PROMPTS)
    return [problem.prompt(k).text for k in SHOTS for problem in problems]


def swept() -> list[dict]:
    """Run the sweep over the number of shots of notebook 02, with fewer prompts."""
    return prompting.shots_sweep(
        *base(), family=FAMILY, shots=SHOTS, prompts=PROMPTS, progress=False
    )


def library_loop(texts: list[str]) -> None:
    """Call the library's own generate once for each prompt, up to a line break."""
    model, tokenizer = base()
    for text in texts:
        batch = tokenizer(text, return_tensors="pt").to(model.device)
        model.generate(
            **batch, do_sample=False, max_new_tokens=NEW, stop_strings=["\n"],
            tokenizer=tokenizer, pad_token_id=tokenizer.pad_token_id,
        )


def own_loop(texts: list[str]) -> None:
    """Call helpers.generation once for each prompt."""
    for text in texts:
        generation.generate(
            *base(), text, temperature=0, max_new_tokens=NEW, stop_strings="\n"
        )


def bench_sweep_against_one_call_a_prompt():
    """Compare the sweep with two loops over its prompts, in prompts a second."""
    texts, some = asked(), asked()[::4]
    swept()  # the first call also warms the model up
    ours, library, own = seconds(
        swept, lambda: library_loop(some), lambda: own_loop(some)
    )
    fast = len(texts) / ours
    yield Figure(
        "shots sweep, against the library called once a prompt",
        fast, len(some) / library, unit="prompts/s", at_least=5,
    )
    yield Figure(
        "shots sweep, against helpers.generation called once a prompt",
        fast, len(some) / own, unit="prompts/s",
    )


def bench_choices_against_one_pass_a_choice():
    """Compare the scores of labels in batches with a forward pass for each label."""
    problems = prompting.make_problems(FAMILY, examples=8, prompts=PROMPTS)
    texts = [problem.prompt(8).text for problem in problems]
    labels = [sorted({y for _, y in problem.pairs}) for problem in problems]

    def loop():
        for text, some in zip(texts, labels):
            for label in some:
                prompting.score_choices(*base(), [text], [label])

    n = sum(map(len, labels))
    ours, single = seconds(
        lambda: prompting.score_choices(*base(), texts, labels), loop
    )
    yield Figure(
        "scores of labels, against one pass a label", n / ours, n / single,
        unit="labels/s",
    )
