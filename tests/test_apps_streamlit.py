"""helpers.apps.remote and streamlit_app: against a scripted server, and without any."""

import copy
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from helpers.apps import streamlit_app
from helpers.apps.remote import ServerBackend, stream
from helpers.chat import ChatSession, ContextError
from helpers.chat_log import load_log
from helpers.gguf_utils import write_gguf
from helpers.serving import Server
from tests.gguf_fixtures import small_pair

APP = streamlit_app.__file__
ANSWER = "Once a fox 여우 met a hen 😀."
KEY = "a-key-of-the-class"


class FakeServer:
    """Speak OpenAI's interface; say ANSWER, in pieces, unless told otherwise.

    Use `room` messages as the context, `trouble` for a status and a message, and
    `cut` to close the connection in the middle. `go` can hold the second piece back.
    """

    def __init__(self, port=0):
        self.asked, self.trouble, self.room = [], None, 99
        self.cut, self.end = False, "stop"
        self.go = threading.Event()
        self.go.set()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.headers["Authorization"] != f"Bearer {KEY}":
                    return self.reply(401, {"error": {"message": "Invalid API key"}})
                self.reply(200, {"object": "list", "data": [{"id": "fake"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.asked.append(body)
                trouble = fake.trouble
                if len(body["messages"]) > fake.room:
                    trouble = 400, "Requested tokens exceed context window of 512"
                if trouble:
                    return self.reply(trouble[0], {"error": {"message": trouble[1]}})
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                words = ANSWER.split(" ")
                self.tell({"role": "assistant"})
                for number, word in enumerate(words):
                    if number == 2:
                        fake.go.wait(60)
                    if number == 3 and fake.cut:
                        return None
                    self.tell({"content": " " * (number > 0) + word})
                self.tell({}, fake.end)
                return self.wfile.write(b"data: [DONE]\n\n")

            def tell(self, delta, reason=None):
                choice = {"index": 0, "delta": delta, "finish_reason": reason}
                row = {"id": "1", "object": "chat.completion.chunk", "choices": [choice]}
                self.wfile.write(b"data: " + json.dumps(row).encode() + b"\n\n")
                self.wfile.flush()

            def reply(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

        class Quiet(ThreadingHTTPServer):
            daemon_threads, allow_reuse_address = True, True

            def handle_error(self, *_):  # a client that left
                pass

        self.http = Quiet(("127.0.0.1", port), Handler)
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self.http.serve_forever, args=[0.05], daemon=True).start()

    def stop(self):
        self.go.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = FakeServer()
    yield server
    server.stop()


def session(server, **options):
    return ChatSession(ServerBackend(server.url), **options)


# --- the server as a backend


def test_an_answer_comes_in_pieces_with_the_setting(server):
    chat = session(server, system="Be kind.", seed=3)
    options = {"temperature": 0.25, "max_new_tokens": 40}
    pieces = list(stream(chat, "안녕?", max_turns=4, **options))
    assert len(pieces) == 8 and "".join(pieces) == ANSWER
    assert chat.turns[-1].reply.reason == "end"
    [body] = server.asked
    assert body["messages"] == chat.messages[:-1] and body["model"] == "fake"
    assert body["temperature"] == 0.25 and body["max_tokens"] == 40 and body["stream"]
    assert (body["top_p"], body["top_k"], body["repeat_penalty"]) == (0.9, 0, 1.0)


def test_the_seed_is_the_same_again_and_other_for_another_answer(server):
    seeds = []
    for seed in 3, 3, None:
        chat = session(server, seed=seed)
        chat.say("Hi.")
        chat.retry()
        seeds.append([body.get("seed") for body in server.asked])
        server.asked.clear()
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 2 and seeds[2] == [None, None]


def test_an_answer_that_is_cut_off(server):
    server.end = "length"
    chat = session(server)
    assert chat.say("Hi.").reason == "length"


def test_only_the_turns_kept_are_sent(server):
    chat = session(server)
    for number in range(4):
        list(stream(chat, str(number), max_turns=1))
    assert [len(body["messages"]) for body in server.asked] == [1, 3, 3, 3]
    assert len(chat.turns) == 4


def test_half_of_the_turns_go_when_the_server_finds_them_too_long(server):
    chat = session(server)
    for number in range(4):
        list(stream(chat, str(number), max_turns=20))
    server.room, server.asked = 7, []
    list(stream(chat, "more", max_turns=20))
    assert [len(body["messages"]) for body in server.asked] == [9, 5]
    list(stream(chat, "more", max_turns=20))  # they do not come back
    assert len(server.asked[-1]["messages"]) == 7 and len(chat.turns) == 6
    server.room, server.asked = 0, []
    with pytest.raises(ContextError, match="exceed context window"):
        list(stream(chat, "far too long", max_turns=20))
    assert [len(body["messages"]) for body in server.asked] == [9, 5, 3, 1]
    assert len(chat.turns) == 6


@pytest.mark.parametrize(
    "trouble, kind, told",
    [
        ((500, "out of memory"), RuntimeError, "refuses this: out of memory"),
        ((400, "no chat template"), RuntimeError, "refuses this: no chat template"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(server, trouble, kind, told):
    server.trouble = trouble
    chat = session(server)
    with pytest.raises(kind, match=told):
        chat.say("Hi.")
    assert not chat.turns


def test_a_wrong_key_says_what_to_do(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    with pytest.raises(PermissionError, match="set the environment variable OPENAI_API_KEY"):
        session(server).say("Hi.")


def test_a_server_that_goes_in_the_middle_or_is_not_there(server):
    chat = session(server)
    server.cut = True
    with pytest.raises(ConnectionError, match="server at .*/v1 cannot be reached: start"):
        chat.say("Hi.")
    server.stop()
    with pytest.raises(ConnectionError, match="cannot be reached"):
        chat.say("Hi.")
    assert not chat.turns
    back = FakeServer(server.port)
    assert chat.say("Hi.").text == ANSWER
    back.stop()


def test_what_was_said_before_the_stream_is_closed_stays(server):
    chat = session(server)
    pieces = stream(chat, "Hi.", max_turns=4)
    assert next(pieces) == "Once"
    pieces.close()
    assert chat.turns[-1].reply.text == "Once"
    assert chat.turns[-1].reply.reason == "interrupted"


def test_the_real_server_answers_and_refuses(tmp_path):
    path = write_gguf(small_pair(), tmp_path / "tiny.gguf")
    with Server(path, n_ctx=256, n_threads=1, log=tmp_path / "log") as real:
        backend = ServerBackend(real.base_url, api_key=real.api_key)
        roles = ["user", "assistant"] * 8  # more than 256 tokens
        said = [{"role": role, "content": "Tom & Mia? " * 4} for role in roles]
        chat = ChatSession(backend, messages=said, max_new_tokens=8)
        list(stream(chat, "And then?", max_turns=20))
        assert len(chat.turns) == 9 and 4 <= chat.forgotten < 8
        with pytest.raises(ContextError, match="exceed context window of 256"):
            list(stream(chat, "kite " * 300, max_turns=20))
        assert len(chat.turns) == 9


# --- the page, without a browser


@pytest.fixture
def page(server, monkeypatch, tmp_path):
    """Return Streamlit's own tester of the page, once drawn."""
    testing = pytest.importorskip("streamlit.testing.v1")
    words = [APP, "--url", server.url, "--title", "My model", "--logs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    return testing.AppTest.from_file(APP, default_timeout=120).run()


def said(page):
    """Return the bubbles: (name, text without the figures)."""
    return [(one.name, one.markdown[0].value) for one in page.chat_message]


def test_the_page_answers_and_remembers(page, server, tmp_path):
    assert page.title[0].value == "My model" and not page.exception and not said(page)
    page.chat_input[0].set_value("안녕?").run()
    assert said(page) == [("user", "안녕?"), ("assistant", ANSWER)]
    assert "tokens in" in page.chat_message[1].caption[0].value
    page.chat_input[0].set_value("More!").run()
    assert len(said(page)) == 4 and len(server.asked[-1]["messages"]) == 3
    [log] = tmp_path.glob("*.jsonl")
    assert [turn.user for turn in load_log(log)[1]] == ["안녕?", "More!"]
    assert not page.exception and not page.error


def test_the_sliders_set_the_next_answer(page, server):
    temperature, longest, kept = page.slider
    temperature.set_value(1.5)
    longest.set_value(32)
    kept.set_value(0).run()
    for _ in range(2):
        page.chat_input[0].set_value("Hi.").run()
    body = server.asked[-1]
    assert (body["temperature"], body["max_tokens"], len(body["messages"])) == (1.5, 32, 1)


def test_clear_begins_anew_with_a_log_of_its_own(page, tmp_path):
    page.chat_input[0].set_value("Hi.").run()
    page.button[0].click().run()
    assert not said(page)
    page.chat_input[0].set_value("Bye.").run()
    logs = [load_log(log)[1] for log in tmp_path.glob("*.jsonl")]
    assert sorted(turns[0].user for turns in logs) == ["Bye.", "Hi."]


def test_a_server_that_is_gone_is_said_and_the_text_is_kept(page, server):
    page.chat_input[0].set_value("Hi.").run()
    server.stop()
    page.chat_input[0].set_value("Are you there?").run()
    assert "cannot be reached" in page.error[0].value and not page.exception
    field = page.chat_input[0].proto
    assert field.set_value and field.value == "Are you there?"
    assert said(page) == [("user", "Hi."), ("assistant", ANSWER)]
    back = FakeServer(server.port)
    page.chat_input[0].set_value("Are you there?").run()
    assert not page.error and len(said(page)) == 4
    back.stop()


def test_two_tabs_share_nothing(page, monkeypatch):
    testing = pytest.importorskip("streamlit.testing.v1")
    page.chat_input[0].set_value("Mine.").run()
    other = testing.AppTest.from_file(APP, default_timeout=120).run()
    assert not said(other) and len(said(page)) == 2


def test_a_page_without_a_server_says_so(page, monkeypatch):
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setattr(sys, "argv", [APP])
    bare = testing.AppTest.from_file(APP, default_timeout=120).run()
    assert "no server to talk to" in bare.error[0].value and not bare.exception


# --- the command


@pytest.mark.parametrize(
    "words, fault",
    [
        ([], "found neither: expected a GGUF file, or --url"),
        (["a.gguf", "--url", "http://127.0.0.1:1/v1"], "found both"),
        (["nothing.gguf"], "there is no file nothing.gguf"),
        ([APP], "is not a GGUF file"),
    ],
)
def test_what_is_wrong_is_one_sentence(words, fault, capsys):
    assert streamlit_app.main(words) == 1
    error = capsys.readouterr().err
    assert fault in error and error.count("\n") == 1


def test_a_port_that_is_taken(server, capsys):
    words = ["--url", server.url, "--port", str(server.port)]
    assert streamlit_app.main(words) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_without_a_template_is_refused_before_it_is_loaded(tmp_path, capsys):
    model, tokenizer = small_pair()
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    path = write_gguf((model, bare), tmp_path / "base.gguf")
    assert streamlit_app.main([str(path)]) == 1
    said = capsys.readouterr()
    assert "has no chat template" in said.err and "--family" in said.err
    assert said.err.count("\n") == 1 and "Loading" not in said.out
