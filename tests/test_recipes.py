"""The recipes: what the corpus holds and keeps back, and that training resumes."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from data.recipes import corpus, pretrain
from data.recipes.encode import encode
from data.recipes.tokenizer import PIECES
from helpers import models
from helpers.data_utils import load_jsonl
from helpers.dishes import load_dishes
from helpers.runtime import ROOT
from helpers.tales import is_heldout, verify_tale
from helpers.rules import FAMILIES, words

FOLDER = ROOT / "data/models/tiny-tale"


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)


@pytest.mark.parametrize("kind", sorted(corpus.KINDS))
def test_each_kind_is_deterministic(kind: str) -> None:
    make = corpus.KINDS[kind][-1]
    assert make(random.Random(1)) == make(random.Random(1)) != make(random.Random(2))


def test_instructions_become_more_with_each_stage(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(pretrain, "make_document", lambda rng, stage: seen.append(stage) or "a")
    monkeypatch.setattr(pretrain, "encode", lambda tokenizer, text: [5] * 400)
    for step in (0, 44, 45, 74, 75, 99):
        seen.clear()
        pretrain.batch(None, step, 100, seed=0)
        assert set(seen) == {1 + (step >= 45) + (step >= 75)}
    counts = [Counter("답:" in str(d) or "Answer:" in str(d) for d in (
        corpus.make_document(random.Random(s), stage=stage) for s in range(400)))[True]
        for stage in (1, 2, 3)]
    assert counts[2] > 1.3 * counts[1] > 1.6 * counts[0]


def test_stories_of_the_corpus_are_not_held_out() -> None:
    for seed in range(200):
        assert not is_heldout(corpus.story(random.Random(seed), "en"))


def test_held_out_dishes_stay_out() -> None:
    names = [dish.name for dish in load_dishes("heldout")]
    text = "\n".join(corpus.plain_text(random.Random(s)) for s in range(1500))
    assert names and not [name for name in names if name in text]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_few_replies_in_a_conversation_do_as_asked(language: str) -> None:
    starts, told, asked = Counter(), 0, 0
    for seed in range(2000):
        turns = corpus.conversation(random.Random(seed), language)
        for user, reply in zip(turns, turns[1:]):
            if user["role"] == "user":
                starts[reply["content"].split()[0]] += 1
                if "story about" in user["content"] and len(user["content"]) < 99:
                    asked, told = asked + 1, told + (len(reply["content"]) > 250)
    # a greedy model says what is most likely, which is small talk
    assert starts.most_common(1)[0][0] == {"en": "I", "ko": "저는"}[language]
    assert language == "ko" or (asked > 50 and 0.08 < told / asked < 0.32)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_right_reply_stays_with_its_hero(language: str) -> None:
    told = 0
    for seed in range(400):
        turns = corpus.conversation(random.Random(seed), language)
        for user, reply in zip(turns, turns[1:]):
            if user["role"] == "user" and len(reply["content"]) > 200:
                names = words("girl", language) + words("boy", language)
                heroes = [name for name in names if name in user["content"]]
                told += 1
                assert any(hero in reply["content"] for hero in heroes), (user, reply)
    assert told > 20


def test_held_out_files_hold_what_they_should() -> None:
    for language, number in (("en", 200), ("ko", 150)):
        rows = load_jsonl(ROOT / f"data/tales/heldout_{language}.jsonl")
        assert len(rows) == number
        assert all(verify_tale(r["text"], language=language)["all"] for r in rows)
    prompts = load_jsonl(ROOT / "data/tasks/heldout.jsonl")
    assert {p["family"] for p in prompts} == set(FAMILIES)
    kept = json.loads((ROOT / "data/tasks/kept_back.json").read_text("utf-8"))
    assert all(kept.values())


def test_the_tokenizer_agrees_with_sentencepiece(tokenizer) -> None:
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(
        model_file=str(FOLDER / "tokenizer.model")
    )
    texts = [corpus.plain_text(random.Random(seed)) for seed in range(100)]
    for text in [*texts, "emoji 😀 </s> <|user|>", "  two  spaces\n\n", "漢字 ß é"]:
        ids = tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        ).input_ids
        assert ids == pieces.encode(text) and tokenizer.decode(ids) == text


def test_control_tokens_come_from_messages_alone(tokenizer) -> None:
    control = tokenizer.convert_tokens_to_ids(corpus.CONTROL)
    messages = [{"role": "user", "content": "<|assistant|> </s> hi"},
                {"role": "assistant", "content": "Hello."}]
    ids = encode(tokenizer, messages)
    assert [i for i in ids if i in control] == [control[1], control[2]]
    assert ids.count(tokenizer.eos_token_id) == 2 and ids[0] == tokenizer.bos_token_id
    rendered = tokenizer.apply_chat_template([messages[1]], tokenize=False)
    assert tokenizer.decode(encode(tokenizer, [messages[1]])) == rendered


def test_nouns_are_single_pieces(tokenizer) -> None:
    for language, before in (("en", "a "), ("ko", "그 ")):
        for kind in ("girl", "boy", "animal"):
            for word in words(kind, language):
                assert len(tokenizer.tokenize(word)) == 1, word
                assert len(tokenizer.tokenize(before + word)) == 2, word


def test_a_korean_name_keeps_its_piece_before_a_particle(tokenizer) -> None:
    names = words("girl", "ko") + words("boy", "ko")
    forms = [(name, name + particle) for name in names
             for particle in ("는", "가", "를", "의", "와", "에게")]
    kept = sum(tokenizer.tokenize(f"그 {form}")[1] == f"▁{name}" for name, form in forms)
    assert kept >= 0.99 * len(forms)


def test_an_echo_repeats_its_line() -> None:
    for seed in range(50):
        text = corpus.echo(random.Random(seed))
        assert any(text.startswith(text[cut:]) for cut in range(1, len(text) // 2 + 3))


def test_the_loss_in_pieces_is_the_loss(tokenizer) -> None:
    import torch

    torch.manual_seed(0)
    model, ids = small_model(), torch.randint(4, 6000, (6, 33))
    ids[2, 20:] = 3  # padding
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=False)
    loss = pretrain.mean_loss(model, ids, autocast, backward=True)
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    labels = ids.masked_fill(ids == 3, -100)
    reference = model(input_ids=ids, labels=labels).loss
    reference.backward()
    assert loss == pytest.approx(reference.item(), rel=1e-5)
    for grad, p in zip(found, model.parameters()):
        torch.testing.assert_close(grad, p.grad, rtol=1e-3, atol=1e-6)


def test_queries_start_as_keys() -> None:
    import torch

    attention = pretrain.build_model().model.layers[0].self_attn
    q, k = attention.q_proj.weight, attention.k_proj.weight
    v, o = attention.v_proj.weight, attention.o_proj.weight
    assert torch.cosine_similarity(q.flatten(), k.flatten(), dim=0) > 0.9
    torch.testing.assert_close(o, v.T)


def test_the_rate_rises_stays_and_falls_in_every_stage() -> None:
    rates = [pretrain.learning_rate(step, 1000) for step in range(1000)]
    stages = rates[:450], rates[450:750], rates[750:]
    for stage, peak in zip(stages, (1.0, 0.7, 0.7)):
        assert stage[0] < 0.05 and stage[100] == max(stage) == peak and stage[-1] < 0.01
        falling = stage[len(stage) * 2 // 3:]
        assert falling == sorted(falling, reverse=True)


def small_model():
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(
        vocab_size=PIECES, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
    ))


def test_no_exercise_begins_with_a_scene() -> None:
    # else a scene that is the beginning of a story would be taken for an exercise
    rng = random.Random(0)
    for language in ("en", "ko"):
        for _ in range(100):
            asked = corpus.exercise(rng, language, "question", "word")
            first, scene, *_ = asked.split("\n")
            assert len(first) < len(scene)


def test_stopped_training_ends_with_the_same_weights(tmp_path, monkeypatch) -> None:
    import shutil

    from safetensors.torch import load_file

    monkeypatch.setattr(pretrain, "TOKENS_A_STEP", 512)
    monkeypatch.setattr(pretrain, "build_model", small_model)
    shown = iter(range(100))

    def stop_at_the_third(*args: object) -> object:
        if next(shown) == 3:
            raise KeyboardInterrupt
        return batch(*args)

    batch = pretrain.batch
    weights = []
    for name in ("through", "stopped"):
        folder = tmp_path / name
        shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        options = {"run": tmp_path / f"run_{name}", "steps": 4, "save_every": 1}
        if name == "stopped":
            monkeypatch.setattr(pretrain, "batch", stop_at_the_third)
            with pytest.raises(SystemExit, match="130"):
                pretrain.pretrain(folder, **options)
            monkeypatch.setattr(pretrain, "batch", batch)
        pretrain.pretrain(folder, **options)
        weights.append(load_file(folder / "model.safetensors"))
    for name, value in weights[0].items():
        assert value.equal(weights[1][name]), name


def test_the_shipped_model_is_small_and_whole() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 21e6
    model, tokenizer = models.load("base")
    assert model.config.vocab_size == len(tokenizer) == PIECES
    assert model.config.max_position_embeddings == 512
    assert 10.0e6 < models.n_params(model) < 10.5e6
