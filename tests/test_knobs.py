"""helpers.knobs: what llama.cpp's settings cost and write, on a tiny random model."""

import pytest

from helpers import knobs
from helpers.gguf_utils import write_gguf
from helpers.knobs import Cost, Text
from helpers.llama_cpp_utils import load_llama
from tests.gguf_fixtures import small_pair

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (an extra)")
START = "Lily found a magic kite."
# a random model says control tokens and lone bytes as readily as anything else
PLAIN = {"logit_bias": {i: -100 for i in range(7 + 256)}}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_gguf(small_pair(), tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def llm(path):
    llm = load_llama(path, n_ctx=192, n_threads=1, logits_all=True)
    yield llm
    llm.close()


def test_each_setting_is_measured(path):
    small = {"n_threads": 1, "n_threads_batch": 1}
    settings = {"one": small, "two": small | {"n_batch": 8}}
    found = knobs.costs(path, settings, prompt=START * 4, tokens=8)
    assert [*found] == ["one", "two"]
    assert all(cost.read > 0 and cost.speak > 0 for cost in found.values())
    assert found["one"].words == found["two"].words and len(found["one"].words) == 8
    lines = knobs.cost_table(found, start="here").splitlines()
    assert len(lines) == 2 and all(line.startswith("here ") for line in lines)


def test_a_large_context_takes_memory(path):
    few, many = ({"n_ctx": n, "n_threads": 1} for n in (256, 65_536))
    found = knobs.costs(path, {"few": few, "many": many}, prompt=START, tokens=4)
    # two layers, each with 64 numbers of 16 bits for keys and as many for values
    expected = 65_280 * 2 * 2 * 64 * 2 / 1e6
    assert found["many"].rss_mb - found["few"].rss_mb > 0.5 * expected


def test_other_words_are_told():
    costs = {"a": Cost(1, 1, 1, (1, 2)), "b": Cost(1, 1, 1, (1, 3))}
    one, two = knobs.cost_table(costs).splitlines()
    assert one.endswith("the same words") and two.endswith("other words")


def test_a_prompt_that_does_not_fit(path):
    with pytest.raises(ValueError, match=r"expected at most 248 here \(short\)"):
        knobs.costs(path, {"short": {"n_ctx": 256}}, prompt="x " * 300, tokens=8)


def test_what_is_spoken_is_greedy(llm):
    tokens, rate = knobs.speak(llm, START, tokens=12)
    assert len(tokens) == 12 and rate > 0
    ids, expected = llm.tokenize(START.encode(), special=False), []
    for _ in range(12):
        llm.reset()
        llm.eval([*ids, *expected])
        expected.append(int(llm.scores[llm.n_tokens - 1].argmax()))
    assert tokens == expected
    typed, _ = knobs.speak(llm, f"{START}</s>", tokens=1)
    control = llm.tokenize(f"{START}</s>".encode(), special=True)
    assert len(control) == len(ids) + 1  # so it would have been one token
    known = list(llm.eval_tokens)
    assert known[: len(ids)] == ids and len(known) > len(control)


def test_a_seed_is_a_text(llm):
    texts = knobs.write(llm, [START, "She"], draws=2, max_tokens=12, temperature=2, **PLAIN)
    assert [len(group) for group in texts] == [2, 2]
    assert texts == knobs.write(
        llm, [START, "She"], draws=2, max_tokens=12, temperature=2, **PLAIN
    )
    assert texts[0][0] != texts[0][1]  # another seed
    assert {text.start for text in texts[0]} == {START}
    assert all(0 < text.n_tokens and not text.ended for text in texts[0])


def test_pieces_make_the_text(llm):
    pieces = list(knobs.stream(llm, START, seed=0, max_tokens=12, **PLAIN))
    [[text]] = knobs.write(llm, [START], max_tokens=12, **PLAIN)
    assert "".join(piece for piece, _ in pieces) == text.text and len(pieces) > 5
    assert pieces[-1][1] == "length" and pieces[0][1] is None


def test_an_end_token_and_a_stop_string_end_a_text(llm):
    end = {"logit_bias": {llm.token_eos(): 100}}
    [[none]] = knobs.write(llm, [START], **end)
    assert none == Text(START, "", 0, True)
    [[whole]] = knobs.write(llm, [START], max_tokens=24, temperature=0, **PLAIN)
    stop = whole.text[4:6]
    [[cut]] = knobs.write(llm, [START], max_tokens=24, temperature=0, stop=[stop], **PLAIN)
    assert cut.ended and cut.text == whole.text[: whole.text.find(stop)]


@pytest.mark.parametrize(
    "text, holds",
    [
        (" Lily smiled. The kite", True),  # the last sentence is not finished
        (" Lily smiled. The kite was red.", True),
        (" Lily smiled at the qzx. The kite was red.", False),
        (" Tom smiled. The kite was red.", False),
    ],
)
def test_what_holds(text, holds):
    start = "Lily had a red kite. Lily loved the kite."
    assert knobs.hold(Text(start, text, 9, False)) == holds


def test_the_table():
    loop = "the owl sat on the box and " * 6
    ended, open_ = Text("", loop, 30, True), Text("", "the owl sat on a kite", 10, False)
    found = {"two": [[ended, open_]], "one": [[open_]]}
    title, two, one = knobs.text_table(found, start="here").splitlines()
    assert title.split() == ["here", "tokens", "ended", "alike", "again", "holds"]
    # words: the owl sat on box and / the owl sat on a kite: four of eight are shared
    assert two.split()[:5] == ["here", "two", "20", "50%", "50%"]
    assert int(two.split()[5][:-1]) > 30 and one.split()[:4] == ["here", "one", "10", "0%"]
    assert len(one.split()) == 6  # one draw is like no other
