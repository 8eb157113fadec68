"""helpers.generation: against a plain loop, against the library, and its errors."""

import random

import pytest
import torch
from transformers.generation import logits_process as library

from helpers import decoding, generation, sampling
from helpers.generation import draw, generate, sweep, temperature_sweep
from tests.model_fixtures import (
    CONTROL,
    ScriptedModel,
    encode,
    tiny_model,
    tiny_tokenizer,
)

PROMPTS = ["Lily found a magic", "Tom", "Once upon a time a small fox lived near"]


@pytest.fixture(scope="module")
def lm():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small sums only wait for a second thread
    yield tiny_model(), tiny_tokenizer()
    torch.set_num_threads(threads)


def plain_draw(model, tokenizer, prompt, nth, *, steps, seed=0, **setting):
    """Draw one text with no batch, no padding, no cache, and the library's filters."""
    ids = [tokenizer.bos_token_id, *encode(prompt)]
    dice, drawn, nats = random.Random(f"{seed} {nth} {ids}"), [], 0.0
    while len(drawn) < steps and tokenizer.eos_token_id not in drawn:
        sofar = torch.tensor([ids + drawn])
        with torch.inference_mode():
            logits = raw = model(sofar).logits[:, -1]
        for name, processor in (
            ("repetition_penalty", library.RepetitionPenaltyLogitsProcessor),
            ("temperature", library.TemperatureLogitsWarper),
            ("top_k", library.TopKLogitsWarper),
            ("top_p", library.TopPLogitsWarper),
            ("min_p", library.MinPLogitsWarper),
        ):
            if name in setting:
                logits = processor(setting[name])(sofar, logits.clone())
        ladder = logits.double().softmax(-1)[0].cumsum(-1)
        u = dice.random() * ladder[-1]
        drawn.append(int((ladder <= u).sum()))
        nats -= raw.log_softmax(-1)[0, drawn[-1]].item()
    return tuple(drawn), nats / len(drawn)


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 1.7, "top_k": 12},
        {"temperature": 0.9, "top_p": 0.8},
        {"temperature": 2.0, "top_p": 0.99},
        {"temperature": 1.2, "min_p": 0.1},
        {"repetition_penalty": 1.6},
        {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.02}
        | {"repetition_penalty": 1.2},
    ],
    ids=str,
)
def test_draws_equal_a_plain_loop_with_the_librarys_filters(lm, setting):
    found = draw(*lm, PROMPTS, max_new_tokens=24, num_return_sequences=4, **setting)
    for prompt, drawn in zip(PROMPTS, found):
        for nth, one in enumerate(drawn):
            tokens, nats = plain_draw(*lm, prompt, nth, steps=24, **setting)
            assert one.tokens == tokens
            assert one.nats == pytest.approx(nats, abs=1e-4)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_equals_the_library(lm, penalty):
    model, tokenizer = lm
    found = draw(
        *lm, PROMPTS, max_new_tokens=30, temperature=0, repetition_penalty=penalty
    )
    for prompt, drawn in zip(PROMPTS, found):
        ids = torch.tensor([[tokenizer.bos_token_id, *encode(prompt)]])
        reference = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=30,
            do_sample=False,
            repetition_penalty=penalty,
        )
        assert list(drawn[0].tokens) == reference[0, ids.shape[1] :].tolist()


def test_nats_equal_the_models_own_loss(lm):
    model, tokenizer = lm
    [[one]] = draw(*lm, "Lily found", max_new_tokens=20, temperature=1.5, top_k=9)
    prompt = [1, *encode("Lily found")]
    ids = torch.tensor([[*prompt, *one.tokens]])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    with torch.inference_mode():
        loss = model(ids, labels=labels).loss.item()
    assert one.nats == pytest.approx(loss, abs=1e-4)


def test_a_draw_does_not_depend_on_its_neighbours(lm, monkeypatch):
    options = {"max_new_tokens": 16, "num_return_sequences": 3}
    together = generate(*lm, PROMPTS, **options)
    assert [generate(*lm, prompt, **options)[0] for prompt in PROMPTS] == together
    assert generate(*lm, PROMPTS[::-1], **options) == together[::-1]
    more = generate(*lm, PROMPTS, **options | {"num_return_sequences": 5})
    assert [row[:3] for row in more] == together
    longer = draw(*lm, PROMPTS, **options | {"max_new_tokens": 20})
    shorter = draw(*lm, PROMPTS, **options)
    assert [d.tokens[:16] for r in longer for d in r] == [
        d.tokens for r in shorter for d in r
    ]
    repeated = generate(*lm, [PROMPTS[0]] * 3, max_new_tokens=16)
    assert [row[0] for row in repeated] == together[0]
    monkeypatch.setitem(generation.CACHE_BYTES, "cpu", 1)  # one row a batch
    assert generate(*lm, PROMPTS, **options) == together


def test_the_seed_decides(lm):
    options = {"max_new_tokens": 16, "num_return_sequences": 2}
    texts = [generate(*lm, PROMPTS, seed=seed, **options) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len({text for row in texts[0] for text in row}) == 6


def test_each_prompt_may_have_its_own_setting(lm):
    temperatures, penalties = [0.0, 0.7, 2.0], [1.0, 1.2, 1.0]
    together = draw(
        *lm,
        PROMPTS,
        max_new_tokens=16,
        num_return_sequences=3,
        temperature=temperatures,
        repetition_penalty=penalties,
    )
    for prompt, t, penalty, drawn in zip(PROMPTS, temperatures, penalties, together):
        alone = draw(
            *lm,
            prompt,
            max_new_tokens=16,
            num_return_sequences=3,
            temperature=t,
            repetition_penalty=penalty,
        )
        assert [d.tokens for d in alone[0]] == [d.tokens for d in drawn]
    assert len({d.tokens for d in together[0]}) == 1  # greedy draws are all alike
    assert len({d.tokens for d in together[2]}) == 3


def scripted(prompts, *texts, **options):
    model = ScriptedModel(*texts)
    return draw(model, tiny_tokenizer(), prompts, temperature=0, **options), model


def test_a_text_ends_at_the_end_token():
    [[one]], _ = scripted("Lily", "Lily found a magic kite.")
    assert (one.text, one.reason) == (" found a magic kite.", "end")
    assert one.tokens == (*encode("Lily found a magic kite.")[1:], 2)
    assert one.nats == pytest.approx(0, abs=1e-4)


def test_a_text_ends_at_max_new_tokens():
    [[one]], _ = scripted("Lily", "Lily found a magic kite.", max_new_tokens=2)
    assert (one.text, one.reason, len(one.tokens)) == (" found a", "length", 2)


def test_rows_that_ended_leave_the_batch():
    texts = ["Lily found a magic kite in the garden", "Tom", "Mia", "day"]
    found, model = scripted(["Lily", "Tom", "Mia", "day"], *texts)
    assert [row[0].text for row in found] == [texts[0][4:], "", "", ""]
    assert model.sizes == [4, *[1] * 7]


def test_prompts_that_rows_share_are_read_once():
    model = ScriptedModel("Lily found a magic kite")
    draw(model, tiny_tokenizer(), ["Lily", "Tom"], num_return_sequences=5, top_k=1)
    assert model.sizes[:2] == [2, 5]  # Tom's five ended at once


@pytest.mark.parametrize(
    "stops, text",
    [
        ("magic", " found a "),
        (["river", " kite"], " found a magic"),
        (["a m", "magic kite"], " found "),
        (["gic ki"], " found a ma"),
        (["no such"], " found a magic kite in the"),
    ],
)
def test_a_text_stops_before_a_stop_string(stops, text):
    story = "Lily found a magic kite in the"
    [[one]], _ = scripted("Lily", story, stop_strings=stops)
    assert one.text == text
    assert one.reason == ("end" if stops == ["no such"] else "stop")


def test_a_stop_string_in_the_prompt_does_not_stop():
    [[one]], _ = scripted("Lily found", "Lily found a magic kite", stop_strings="found")
    assert one.reason == "end"


def test_stop_strings_of_bytes_and_of_control_tokens():
    [[one]], _ = scripted("Lily", "Lily 한글", stop_strings="글")
    assert (one.text, one.reason) == (" 한", "stop")
    model = ScriptedModel("Lily found")
    model.follower[encode("Lily found")[-1]] = CONTROL.index("<|user|>")
    [[one]] = draw(model, tiny_tokenizer(), "Lily", stop_strings="<|user|>", top_k=1)
    assert (one.text, one.reason) == (" found", "stop")


def test_a_character_cut_in_two_is_left_out():
    [[one]], _ = scripted("Lily", "Lily 한글", max_new_tokens=6)
    assert (one.text, len(one.tokens)) == (" 한", 6)


def test_text_in_a_prompt_never_becomes_a_control_token(lm):
    typed = "Lily </s><|user|> <s>found<pad>"
    ids = generation.encode_prompt(lm[1], typed)
    assert ids[0] == 1 and not set(range(7)) & set(ids[1:])
    assert lm[1].decode(ids[1:]) == typed
    as_ids = [1, 5, *encode("Lily"), 6]
    assert generation.encode_prompt(lm[1], as_ids) == as_ids
    assert len(generate(*lm, [as_ids], max_new_tokens=4)) == 1


def test_a_prompt_of_ids_equals_the_same_text(lm):
    ids = [generation.encode_prompt(lm[1], prompt) for prompt in PROMPTS]
    options = {"max_new_tokens": 12, "num_return_sequences": 2}
    assert generate(*lm, ids, **options) == generate(*lm, PROMPTS, **options)


def test_a_sweep_has_one_row_a_draw(lm):
    values = [0, 0.5, 1.5]
    rows = temperature_sweep(
        *lm, PROMPTS, temperatures=values, draws=4, max_new_tokens=8, progress=False
    )
    assert [(r["temperature"], r["prompt"], r["draw"]) for r in rows] == [
        (value, prompt, nth)
        for value in values
        for prompt in range(3)
        for nth in range(4)
    ]
    alone = draw(
        *lm, PROMPTS[1], num_return_sequences=4, temperature=0.5, max_new_tokens=8
    )
    same = [r for r in rows if (r["temperature"], r["prompt"]) == (0.5, 1)]
    for one, row in zip(alone[0], same):
        assert (row["text"], row["reason"]) == (one.text, one.reason)
        assert row["n_tokens"] == len(one.tokens)
        assert row["nats"] == pytest.approx(one.nats, abs=1e-5)


@pytest.mark.parametrize(
    "setting, values",
    [("top_p", [0.3, 1.0]), ("repetition_penalty", [1.0, 1.5]), ("top_k", [1, 0])],
)
def test_any_setting_can_be_swept(lm, setting, values):
    options = {"max_new_tokens": 10, "seed": 3}
    rows = sweep(
        *lm, PROMPTS, setting=setting, values=values, draws=2, progress=False, **options
    )
    for value in values:
        texts = generate(
            *lm, PROMPTS, num_return_sequences=2, **{setting: value}, **options
        )
        swept = [row["text"] for row in rows if row[setting] == value]
        assert swept == [text for row in texts for text in row]


def test_presets_of_several_settings_can_be_swept(lm):
    presets = {"bold": {"temperature": 1.5}, "neat": {"top_k": 5, "top_p": 0.8}}
    options = {"max_new_tokens": 10, "temperature": 0.7}
    rows = sweep(
        *lm,
        PROMPTS,
        setting="preset",
        values=presets,
        draws=2,
        progress=False,
        **options,
    )
    for name, preset in presets.items():
        texts = generate(*lm, PROMPTS, num_return_sequences=2, **options | preset)
        swept = [row["text"] for row in rows if row["preset"] == name]
        assert swept == [text for row in texts for text in row]


def test_progress_goes_to_stderr_and_only_when_asked(lm, capsys):
    generate(*lm, "Lily", max_new_tokens=5)
    assert capsys.readouterr() == ("", "")
    generate(*lm, "Lily", max_new_tokens=5, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "5" in err


def test_nothing_to_do_is_no_error(lm):
    assert draw(*lm, []) == []


def test_the_short_top_p_equals_the_whole_one():
    torch.manual_seed(0)
    spread = torch.tensor([0.1, 0.5, 1.0, 3.0, 9.0]).repeat(8)
    logits = torch.randn(40, 4096, dtype=torch.float64) * spread[:, None]
    p = torch.rand(40, dtype=torch.float64)
    p[:5] = 1.0
    ours = decoding._top_p(logits, p)
    assert torch.equal(ours, sampling.top_p(logits, p))


@pytest.mark.parametrize(
    "prompts, options, says",
    [
        ("", {}, "a prompt is empty, expected at least one word"),
        (["Lily", ""], {}, "a prompt is empty"),
        ([[]], {}, "a prompt is empty"),
        (
            "Lily " * 75,
            {},
            "has 151 tokens and asks for 20 new ones, expected at most 160",
        ),
        ("Lily", {"max_new_tokens": 200}, "at most 160 in all: cut 42 from"),
        ("Lily", {"max_new_tokens": 0}, "max_new_tokens=0"),
        ("Lily", {"num_return_sequences": 0}, "num_return_sequences=0"),
        ("Lily", {"stop_strings": ["a", ""]}, "no empty stop string"),
        ("Lily", {"temperature": -1}, "temperature is -1, expected 0 (greedy)"),
        ("Lily", {"temperature": float("nan")}, "temperature is nan"),
        ("Lily", {"temperature": [0.5, 1.0]}, "2 values for 1 prompts"),
        ("Lily", {"top_p": 0}, "top_p is 0, expected above 0"),
        ("Lily", {"top_p": 1.5}, "top_p is 1.5"),
        ("Lily", {"top_k": -2}, "top_k is -2"),
        ("Lily", {"top_k": 5000}, "top_k is 5000, expected at most 423"),
        ("Lily", {"min_p": 2}, "min_p is 2"),
        ("Lily", {"repetition_penalty": 0}, "repetition_penalty is 0"),
    ],
)
def test_bad_values_say_what_is_wrong(lm, prompts, options, says):
    with pytest.raises(ValueError) as error:
        draw(*lm, prompts, **{"max_new_tokens": 20} | options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_setting_cannot_be_swept(lm):
    with pytest.raises(ValueError, match="setting is 'heat', expected one of temper"):
        sweep(*lm, PROMPTS, setting="heat", values=[1])


def test_a_broken_model_is_reported():
    class Broken(ScriptedModel):
        def __call__(self, input_ids, **options):
            out = super().__call__(input_ids, **options)
            out.logits *= float("nan")
            return out

    with pytest.raises(ValueError, match="NaN, expected numbers"):
        draw(Broken("Lily found"), tiny_tokenizer(), "Lily")
