"""helpers.streaming: bytes of tokens, whole characters, stop strings."""

import random

import pytest

from helpers.streaming import text_pieces, token_bytes
from tests.model_fixtures import encode, tiny_tokenizer

TEXTS = ["Lily found a kite.", "안녕하세요! 뷁 맛있어요.", "😀👨‍👩‍👧🇰🇷 é ﷽", 'a "b"\n\tc']


def byte_level_tokenizer():
    """Return a tokenizer of the GPT-2 kind, with pieces that end inside a character."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, "Ġa", "ìķ", "ìķĪ", "ĪëħķíķĺìĦ¸"]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["byte fallback", "byte level"])
def test_the_bytes_of_the_tokens_are_those_of_the_text(text, kind):
    if kind == "byte level":
        tokenizer = byte_level_tokenizer()
        ids = tokenizer(text).input_ids
    else:
        tokenizer, ids = tiny_tokenizer(), encode(text)
    of = token_bytes(tokenizer)
    assert b"".join(map(of, ids)) == text.encode()


def test_every_piece_of_a_byte_level_vocabulary_has_its_bytes():
    tokenizer = byte_level_tokenizer()
    of = token_bytes(tokenizer)
    assert sorted(of(i) for i in range(256)) == [bytes([b]) for b in range(256)]
    ids = tokenizer.convert_tokens_to_ids(["Ġa", "ìķ", "ĪëħķíķĺìĦ¸"])
    assert b"".join(map(of, ids)).decode() == " a안녕하세"


def test_the_leading_space_of_a_piece_is_kept():
    of = token_bytes(tiny_tokenizer())
    [token] = encode(" found")
    assert of(token) == b" found"


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_whole_characters_however_the_bytes_come(text):
    raw, rng = text.encode(), random.Random(text)
    for _ in range(30):
        cuts = sorted(rng.sample(range(1, len(raw)), k=rng.randrange(len(raw) - 1)))
        parts = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)])]
        *pieces, last = text_pieces(enumerate(parts))
        assert "".join(piece for piece, _ in pieces) == text
        assert last == ("", "length") and {why for _, why in pieces} <= {None}


def test_no_character_waits_longer_than_it_must():
    pieces = [text for text, _ in text_pieces((0, b) for b in [b"\xec\x95", b"\x88"])]
    assert pieces == ["", "안", ""]


def test_bytes_that_are_no_text_are_marked_and_half_a_character_is_left_out():
    tokens = [(0, b"a\xff"), (0, b"b"), (0, b"\xec\x95")]
    assert "".join(text for text, _ in text_pieces(tokens)) == "a\ufffdb"
    assert [*text_pieces([*tokens, (2, None)])][-1] == ("", "end")


def test_a_token_without_bytes_ends_the_text():
    tokens = iter([(0, b"a"), (2, None), (0, b"never")])
    assert [*text_pieces(tokens)] == [("a", None), ("", "end")]
    assert next(tokens) == (0, b"never")  # nothing more was asked for


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize(
    "stops",
    [["\n\n"], ["###"], ["끝"], ["User:", "\nU"], ["aab"], ["no such"], ["a", "ab"], []],
)
@pytest.mark.parametrize(
    "text", ["Hi.\n\nUser: no", "a ## b ###", "여기서 끝이다", "aaaab", "\nUs"]
)
def test_nothing_of_a_stop_string_is_shown(text, stops, size):
    raw = text.encode()
    parts = [raw[i : i + size] for i in range(0, len(raw), size)]
    pieces = [*text_pieces(enumerate(parts), stop_strings=stops)]
    shown, reason = "".join(piece for piece, _ in pieces), pieces[-1][1]
    found = [text.find(stop) for stop in stops if stop in text]
    assert shown == text[: min(found, default=None)]
    assert reason == ("stop" if found else "length")
    assert all(why is None for _, why in pieces[:-1])
