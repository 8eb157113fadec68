"""The terminal loop, with a scripted person and a tiny model of random weights."""

import subprocess
import sys

import pytest

from helpers.apps import terminal
from helpers.preflight import ROOT
from tests.model_fixtures import tiny_model, tiny_tokenizer


def talk(lines: list, **options: object) -> tuple[str, list[str]]:
    """Talk with the tiny model; return what was written and the prompts shown."""
    script, written, asked = iter(lines), [], []

    def read(prompt: str) -> str:
        asked.append(prompt)
        line = next(script, EOFError)
        if isinstance(line, type):
            raise line
        return line

    options = {"max_new_tokens": 12, **options}
    terminal.talk(
        tiny_model(), tiny_tokenizer(), read=read, write=written.append, **options
    )
    return "".join(written), asked


@pytest.mark.parametrize(
    "word", ["exit", "quit", " EXIT ", EOFError, KeyboardInterrupt]
)
def test_every_way_out(word: object) -> None:
    text, asked = talk([word, "never read"])
    assert text.endswith("Goodbye.\n") and len(asked) == 1


def test_empty_input_is_asked_again() -> None:
    text, asked = talk(["", "   ", "exit"])
    assert text.count(terminal.ASK) == 2 and len(asked) == 3


def test_the_model_goes_on_with_the_line() -> None:
    import torch

    torch.manual_seed(0)
    text, _ = talk(["Lily found a magic", "exit"])
    story = text.split(terminal.WELCOME)[1].strip()
    assert story.startswith("Lily found a magic")
    assert len(story) > len("Lily found a magic\nGoodbye.") + 5


def test_a_long_story_keeps_within_the_context() -> None:
    lines = ["The fox ran to the river and was glad. One day she smiled."] * 12
    text, asked = talk([*lines, "exit"], max_new_tokens=40)
    assert "expected at most" not in text and len(asked) == 13


def test_a_line_that_cannot_fit_is_said_and_asked_again() -> None:
    text, asked = talk(["fox " * 300, "exit"])
    assert "expected at most 148: shorten it" in text and len(asked) == 2


def test_the_oldest_sentences_go_first() -> None:
    tokenizer = tiny_tokenizer()
    ids = terminal.fit(
        tokenizer, 'One. "Two!" Three. And four', room=14, keep="And four"
    )
    kept = tokenizer.decode(ids, skip_special_tokens=True)
    assert kept.endswith("And four") and "One" not in kept and len(ids) <= 14


def test_the_pieces_add_up_to_what_the_tokenizer_decodes() -> None:
    import torch

    tokenizer, pieces = tiny_tokenizer(), []
    options = {"add_special_tokens": False}
    prompt = tokenizer("Lily found", **options).input_ids
    whole = tokenizer("Lily found a 마법 kite", **options).input_ids
    printer = terminal.Printer(tokenizer, prompt, pieces.append)
    printer.put(torch.tensor([prompt]))
    for token in whole[len(prompt) :]:
        printer.put(torch.tensor([token]))
    assert "".join(pieces) == " a 마법 kite" and "\ufffd" not in "".join(pieces)


@pytest.mark.parametrize(
    "words, fault",
    [
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "0"], "above 0"),
        (["--top-p", "2"], "top_p"),
        (["--role", "poet"], "poet"),
    ],
)
def test_a_bad_option_is_one_sentence(
    words: list, fault: str, capsys: pytest.CaptureFixture
) -> None:
    assert terminal.main(words) == 1
    error = capsys.readouterr().err
    assert fault in error and "Traceback" not in error


def test_a_scripted_person_and_the_shipped_model() -> None:
    if not (ROOT / "data/models/tiny-tale/model.safetensors").exists():
        pytest.skip("the model is not built yet: make data")
    done = subprocess.run(
        [sys.executable, "-m", "helpers.apps.terminal", "--max-new-tokens=20"],
        input="\nOne bright morning a girl named Lily\nexit\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert terminal.ASK in done.stdout and done.stdout.endswith("Goodbye.\n")
    assert "a girl named Lily" in done.stdout
