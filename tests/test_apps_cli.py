"""helpers.apps.cli and opening: a scripted person, pipes, Ctrl-C, and tiny models."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from helpers.apps import cli
from helpers.apps.opening import MOST_CONTEXT, context_size, describe, open_backend
from helpers.chat import ChatSession
from helpers.chat_log import Reply
from helpers.gguf_utils import write_gguf
from helpers.preflight import ROOT
from tests.gguf_fixtures import copied, small_pair, small_tokenizer


class Parrot:
    """A backend that says again what it hears, a character at a time."""

    n_ctx, cached, stop_strings = 512, 0, ()

    def __init__(self, trouble=None, pause=0.0):
        self.trouble, self.pause, self.settings = trouble, pause, []

    def encode(self, messages):
        return [one["content"] for one in messages]

    def stream(self, prompt, *, nth=0, **setting):
        self.settings.append(setting)
        text = prompt[-1] if not nth else f"{prompt[-1]} ({nth + 1})"
        for number, character in enumerate(text):
            if self.trouble and number == 2:
                raise self.trouble
            time.sleep(self.pause)
            yield 7, character.encode()
        yield 2, None


@pytest.fixture
def talk(monkeypatch, capsys):
    """Return a function that types lines; it returns stdout, stderr and the session."""

    def typing(*lines, backend=None, plain=False, quiet=False):
        script = iter(lines)

        def read(prompt):
            line = next(script, EOFError)
            if isinstance(line, type):
                raise line
            print(prompt, end="")
            return line

        monkeypatch.setattr("builtins.input", read)
        session = ChatSession(backend or Parrot())
        cli.talk(session, plain=plain, quiet=quiet)
        assert next(script, None) is None, "not all was read"
        said = capsys.readouterr()
        return said.out, said.err, session

    return typing


# --- the loop


@pytest.mark.parametrize("word", ["exit", "quit", " EXIT ", "/quit", EOFError])
def test_every_way_out(talk, word):
    out, err, _ = talk(word)
    assert out.endswith("Goodbye.\n") and not err


def test_ctrl_c_at_the_prompt_leaves(talk):
    out, _, _ = talk("Hi.", KeyboardInterrupt)
    assert "Hi.\n" in out and out.endswith("Goodbye.\n")


def test_an_answer_is_printed_and_remembered(talk):
    out, err, session = talk("안녕, Lily 😀", "  Tell me more.  ", "exit")
    assert "\nyou> 안녕, Lily 😀\n" in out and "\nyou> Tell me more.\n" in out and not err
    assert [turn.user for turn in session.turns] == ["안녕, Lily 😀", "Tell me more."]


def test_empty_input_is_asked_again(talk):
    out, _, session = talk("", "   ", "exit")
    assert out.count(cli.ASK) == 2 and not session.turns


def test_ctrl_c_stops_an_answer_and_not_the_program(talk):
    parrot = Parrot(trouble=KeyboardInterrupt())
    out, err, session = talk("Hello there.", "/temp", "exit", backend=parrot)
    assert "He\n(stopped)\n" in out and out.endswith("Goodbye.\n") and not err
    assert session.turns[0].reply.text == "He"
    assert session.turns[0].reply.reason == "interrupted"


@pytest.mark.parametrize("trouble", [RuntimeError("no memory"), OSError("no disk")])
def test_a_model_that_fails_does_not_end_the_program(talk, trouble):
    out, err, session = talk("Hello.", "/help", "exit", backend=Parrot(trouble))
    assert err == f"{trouble}\n" and cli.HELP in out and not session.turns


def test_a_message_too_long_is_one_sentence(talk):
    class Counting(Parrot):
        def encode(self, messages):
            return "".join(one["content"] for one in messages)

    _, err, session = talk("x" * 600, "exit", backend=Counting())
    assert "shorten it by" in err and not session.turns


def test_an_answer_without_a_word_and_one_cut_off(talk):
    class Mute(Parrot):
        def stream(self, prompt, *, max_new_tokens, **_):
            if prompt[-1] == "long":
                yield from ((7, b"na ") for _ in range(max_new_tokens))
            else:
                yield 2, None

    out, _, _ = talk("Hi.", "long", "exit", backend=Mute())
    assert "without a word" in out and "(cut off: no room for more tokens)" in out


def test_a_story_goes_on_until_it_ends(talk):
    out, _, session = talk("Once upon a time", "exit", plain=True)
    assert cli.STORY in out and "The end." in out and not session.turns


def test_quiet_prints_only_answers(talk):
    out, err, _ = talk("Hi.", "", "/temp 0.5", "/nothing", "Bye.", "exit", quiet=True)
    assert out == "Hi.\nBye.\n" and "no command /nothing" in err


# --- commands


def test_reset_forgets(talk):
    _, _, session = talk("Hi.", "/reset", "Bye.", "exit")
    assert [turn.user for turn in session.turns] == ["Bye."]


def test_temp_is_said_set_and_used(talk):
    parrot = Parrot()
    out, err, _ = talk("/temp", "Hi.", "/TEMP 0.25", "Hi.", "exit", backend=parrot)
    assert "temperature is 0.7." in out and "temperature is 0.25." in out and not err
    assert [one["temperature"] for one in parrot.settings] == [0.7, 0.25]


@pytest.mark.parametrize("wrong", ["hot", "-1", "nan", "0.5 0.6"])
def test_a_wrong_temperature_changes_nothing(talk, wrong):
    out, err, session = talk(f"/temp {wrong}", "exit")
    assert "expected" in err and session.options["temperature"] == 0.7


def test_retry_answers_anew(talk):
    out, err, session = talk("/retry", "Hi.", "/retry", "exit")
    assert "nothing" in err or "no message" in err
    assert "Hi. (2)" in out and [t.reply.text for t in session.turns] == ["Hi. (2)"]


def test_save_writes_what_load_reads(talk, tmp_path, monkeypatch):
    path = tmp_path / "new folder" / "chat.jsonl"
    out, err, session = talk("안녕?", f"/save {path}", "exit")
    assert f"Saved to {path}." in out and not err
    again = ChatSession(Parrot())
    again.load(path)
    assert again.messages == session.messages
    monkeypatch.setattr(cli.runtime, "RUNS", tmp_path)
    out, _, _ = talk("Hi.", "/save", "exit")
    [log] = (tmp_path / "chats").iterdir()
    assert f"Saved to {log}." in out


def test_a_file_that_cannot_be_written(talk, tmp_path):
    _, err, _ = talk("Hi.", f"/save {tmp_path}", "exit")
    assert str(tmp_path) in err and err.count("\n") == 1


def test_help_names_every_command(talk):
    out, _, _ = talk("/help", "exit")
    for name in "/reset", "/retry", "/temp", "/save", "/help", "exit", "Ctrl-C":
        assert name in out


# --- as a program


def program(*words, code=None):
    """Start the program, or some code that stands for it, with three pipes."""
    what = ["-c", code] if code else ["-m", "helpers.apps.cli"]
    pipe = subprocess.PIPE
    env = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, *what, *map(str, words)],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        cwd=ROOT,
        env=env,
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has another Ctrl-C")
def test_a_real_ctrl_c_and_a_real_pipe():
    code = """if True:
        from helpers.apps import cli
        from helpers.chat import ChatSession
        from tests.test_apps_cli import Parrot
        cli.talk(ChatSession(Parrot(pause=0.02)))
    """
    with program(code=code) as run:
        run.stdin.write(b"x" * 400 + b"\n")
        run.stdin.flush()
        seen = b""
        while b"xxx" not in seen:
            seen += run.stdout.read(1)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate("안녕\nexit\n".encode(), timeout=60)
    text = (seen + out).decode()
    assert run.returncode == 0 and "Traceback" not in err.decode()
    assert 3 <= text.count("x") - cli.CHAT.count("x") < 400
    assert "(stopped)" in text and "안녕\n" in text and text.endswith("Goodbye.\n")


@pytest.fixture(scope="module")
def chat_file(tmp_path_factory):
    return write_gguf(small_pair(), tmp_path_factory.mktemp("gguf") / "chat.gguf")


@pytest.fixture(scope="module")
def base_file(chat_file):
    tokenizer = copied(small_tokenizer())
    tokenizer.chat_template = None
    return write_gguf((small_pair()[0], tokenizer), chat_file.with_name("base.gguf"))


def test_a_gguf_file_answers_what_is_piped_in(chat_file):
    options = ["--seed=1", "--max-new-tokens=8", "--temperature=0.5"]
    with program(chat_file, *options) as run:
        script = b"\nLily found a kite\n/save /no/such\0place\n/temp hot\n"
        out, err = run.communicate(script, timeout=300)
    errors = err.decode().splitlines()
    assert run.returncode == 0 and b"you>" not in out and b"Goodbye" not in out
    assert errors[-1] == "'hot' is no number, expected one such as 0.7"
    assert len(errors) == 2, "nothing else is said, by llama.cpp neither"


@pytest.mark.parametrize(
    "words, fault",
    [
        (["nothing.gguf"], "there is no file nothing.gguf"),
        (["Makefile"], "Makefile is not a GGUF file"),
        (["tests"], "tests has no config.json"),
        (["--temperature", "-1"], "temperature is -1.0, expected"),
    ],
)
def test_what_is_wrong_is_one_sentence(words, fault, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert fault in error and error.count("\n") == 1


def test_the_chat_model_of_the_course(monkeypatch, capsys):
    if not (ROOT / "data/models/tiny-tale-chat").is_dir():
        pytest.skip("the model is not built yet: make data")
    script = iter(["Write a story about a fox.", "exit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(script))
    assert cli.main(["--max-new-tokens=12", "--seed=0"]) == 0
    assert len(capsys.readouterr().out.split()) > 3


# --- opening


def test_a_base_model_continues_a_text(base_file, chat_file):
    backend, plain = open_backend(base_file)
    assert plain and open_backend(chat_file, plain=True)[1]
    assert not open_backend(chat_file)[1]
    assert not open_backend(base_file, family="chatml")[1]
    told = [("user", "Lily found"), ("assistant", "a kite."), ("user", "She smiled")]
    ids = backend.encode([{"role": r, "content": c} for r, c in told])
    llm = backend.llm
    assert ids[0] == llm.token_bos()
    assert llm.detokenize(ids[1:]).decode().strip() == "Lily found a kite. She smiled"
    session = ChatSession(backend, max_new_tokens=8, temperature=0)
    assert session.say("Lily found").n_tokens


def test_a_folder_of_ones_own(tmp_path):
    model, tokenizer = small_pair()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    backend, plain = open_backend(tmp_path)
    assert not plain and ChatSession(backend, max_new_tokens=4).say("Hi.").n_tokens
    bare = copied(tokenizer)
    bare.chat_template = None
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    bare.save_pretrained(tmp_path)
    assert open_backend(tmp_path)[1]


def test_the_context_is_the_files_own_up_to_a_bound(chat_file, monkeypatch):
    facts = json.loads('{"general.architecture": "llama", "llama.context_length": 131072}')
    assert context_size(chat_file) == 192 and open_backend(chat_file)[0].n_ctx == 192
    assert open_backend(chat_file, n_ctx=100)[0].n_ctx == 100
    fake = type("Info", (), {"metadata": facts})
    monkeypatch.setattr("helpers.apps.opening.inspect", lambda path: fake)
    assert context_size("large.gguf") == MOST_CONTEXT


@pytest.mark.parametrize(
    "reason, said",
    [("end", ""), ("stop", ""), ("length", "cut off"), ("interrupted", "stopped")],
)
def test_an_answer_in_one_line(reason, said):
    line = describe(Reply("Hi", reason, n_tokens=5, seconds=1.04, first_seconds=0.5))
    assert line.startswith("5 tokens in 1.0 s, the first after 0.50 s") and said in line
    assert bool(said) == (";" in line)
