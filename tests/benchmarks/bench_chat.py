"""What a turn of a conversation costs, with a prefix cache and without, as it grows.

Sessions that are compared take turns and say the same, so they meet the same load.
"""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from bench_generation import base
from run import Figure, seconds

from helpers.chat import ChatSession, Reply

TURNS = 30
NEW = 16  # tokens an answer, at most
SETTING = {"temperature": 0, "repetition_penalty": 1.2, "max_new_tokens": NEW}
WORDS = "Lily found a red kite in the garden and ran to the river with her friend".split()


@lru_cache(maxsize=2)
def talker(n_ctx: int):
    """Return the embedded model and its tokenizer; longer texts cost what they cost."""
    model, tokenizer = copy.deepcopy(base())
    model.config.max_position_embeddings = n_ctx
    if not tokenizer.chat_template:
        from tests.chat_fixtures import TEMPLATE

        tokenizer.chat_template = TEMPLATE
    return model, tokenizer


def question(turn: int) -> str:
    """Return a message of 6 to 14 words, the same for the same turn."""
    rng = random.Random(turn)
    return " ".join(rng.choices(WORDS, k=rng.randrange(6, 15)))


def converse(turns: int, *sessions: ChatSession, forget: int = -1) -> list[list[Reply]]:
    """Let sessions talk in turns; the one numbered `forget` loses its cache each time."""
    replies: list[list[Reply]] = [[] for _ in sessions]
    for turn in range(turns):
        for number, session in enumerate(sessions):
            if number == forget:
                session.backend.forget()
            replies[number].append(session.say(question(turn)))
    return replies


def read(replies: list[Reply]) -> int:
    """Return how many prompt tokens were computed for these answers."""
    return sum(reply.prompt_tokens - reply.cached_tokens for reply in replies)


def wait(replies: list[Reply]) -> float:
    """Return the mean of the times until the first token, in milliseconds."""
    return 1000 * sum(reply.first_seconds for reply in replies) / len(replies)


def mean_length(replies: list[Reply]) -> float:
    """Return the mean length of the prompts, in tokens."""
    return sum(reply.prompt_tokens for reply in replies) / len(replies)


def bench_growing_conversation() -> Iterator[Figure]:
    """Compare the cost of a turn, early and late, where all of the history fits."""
    pair = [ChatSession(*talker(4096), **SETTING) for _ in range(2)]
    cached, bare = converse(TURNS, *pair, forget=1)
    assert [r.text for r in cached] == [r.text for r in bare], "the cache changes answers"
    early, late, unit = slice(1, 6), slice(-5, None), "ms to the first token"
    growth = mean_length(cached[late]), mean_length(cached[early])
    yield Figure(f"prompt of turns {TURNS - 4} to {TURNS}, against 2 to 6", *growth, "tokens")
    # twice at most: attention and the template still run over the whole history
    for name, replies, bound in (("prefix cache", cached, 2), ("no cache", bare, None)):
        yield Figure(
            f"{name}, turns {TURNS - 4} to {TURNS} against 2 to 6",
            wait(replies[late]),
            wait(replies[early]),
            unit=unit,
            at_most=bound,
        )
    name = f"{TURNS} turns, prefix cache against none"
    yield Figure(f"{name}: prompt tokens read", read(cached), read(bare))
    yield Figure(f"{name}: to the first token", wait(cached), wait(bare), unit="ms")
    total = [sum(reply.seconds for reply in replies) for replies in (cached, bare)]
    yield Figure(f"{name}: in all", *total, unit="s", at_most=1)


def bench_trimmed_conversation() -> Iterator[Figure]:
    """Compare cuts to one half of the room with cuts of one turn after the other."""
    pair = [ChatSession(*talker(512), **SETTING, trim_to=share) for share in (0.5, 1)]
    half, one = converse(TURNS + 20, *pair)
    full = next(i for i, reply in enumerate(one) if reply.dropped_turns)
    half, one = half[full:], one[full:]
    cuts = [sum(reply.dropped_turns > 0 for reply in some) for some in (half, one)]
    name = f"{len(half)} turns past n_ctx 512, cut to half, against turn by turn"
    yield Figure(f"{name}: cuts", *cuts)
    yield Figure(f"{name}: tokens read", read(half), read(one), at_most=0.6)
    yield Figure(f"{name}: to the first token", wait(half), wait(one), "ms")
    whole = sum(reply.prompt_tokens for reply in half)
    yield Figure("the same, against no cache: tokens read", read(half), whole)


def bench_decoding() -> Iterator[Figure]:
    """Compare the tokens a second of a session with those of a bare loop."""
    import torch

    model, tokenizer = talker(4096)
    session = ChatSession(model, tokenizer, **SETTING | {"max_new_tokens": 100})
    session.say(question(1))
    prompt = torch.tensor([session.backend.encode(session.messages[:1])])
    n = session.turns[-1].reply.n_tokens

    def generate():
        options = {"min_new_tokens": n, "max_new_tokens": n, "repetition_penalty": 1.2}
        mask = torch.ones_like(prompt)
        model.generate(prompt, attention_mask=mask, do_sample=False, **options)

    def say():
        session.reset()
        session.backend.forget()
        session.say(question(1))

    ours, theirs = seconds(say, generate, repeats=4)
    yield Figure("a session against transformers' generate", n / ours, n / theirs, "tokens/s")


def bench_llama_cpp_decoding() -> Iterator[Figure]:
    """Compare a session with llama-cpp-python's own loop, on a model of our shape."""
    from llama_cpp import Llama
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.chat_fixtures import write_gguf
    from tests.model_fixtures import tiny_tokenizer

    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=10,
        num_attention_heads=4,
        tie_word_embeddings=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = write_gguf(Path(folder) / "random.gguf", LlamaForCausalLM(config))
        llm = Llama(str(path), n_ctx=512, verbose=False)
    session = ChatSession(llm, **SETTING | {"max_new_tokens": 100})
    session.say(question(1))
    prompt, n = session.backend.encode(session.messages[:1]), session.turns[-1].reply.n_tokens

    def loop():
        llm.reset()
        tokens = llm.generate(prompt, temp=0, repeat_penalty=1.2)
        b"".join(llm.detokenize([next(tokens)]) for _ in range(n))

    def say():
        session.reset()
        llm.reset()
        session.say(question(1))

    ours, raw = seconds(say, loop, repeats=6)
    name = "a session against llama-cpp-python's own loop"
    yield Figure(name, n / ours, n / raw, "tokens/s", at_least=0.9)
