"""helpers.apps.gradio_app: the page as a program uses it (people: test_apps_browser)."""

import json
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.apps import gradio_app
from helpers.ports import bind
from helpers.preflight import ROOT

pytest.importorskip("gradio")
pytestmark = pytest.mark.filterwarnings("ignore:'HTTP_422")  # of Gradio's own making


class Storyteller:
    """A backend that answers with a number and with what it was asked.

    `go` can hold the second word back; `trouble` is raised after the first.
    """

    n_ctx, cached, stop_strings = 512, 0, ()

    def __init__(self):
        self.trouble, self.n_answers, self.at_work = None, 0, 0
        self.go = threading.Event()
        self.go.set()

    def encode(self, messages):
        return [one["content"] for one in messages]

    def stream(self, prompt, **_):
        self.n_answers += 1
        self.at_work += 1
        try:
            assert self.at_work == 1, "two answers at once"
            yield 7, f"Story {self.n_answers}".encode()
            self.go.wait(60)
            if self.trouble:
                raise self.trouble
            for word in f"about a fox 여우: {prompt[-1]}".split():
                yield 7, f" {word}".encode()
            yield 2, None
        finally:
            self.at_work -= 1


def story(number, asked):
    return f"Story {number} about a fox 여우: {asked}"


@pytest.fixture
def model():
    return Storyteller()


@pytest.fixture
def page(model):
    page = gradio_app.make_page(model, title="Mina's story friend", examples=["A fox!"])
    gradio_app.launch(page)
    yield page
    page.close(verbose=False)


@pytest.fixture
def tab(page):
    """Return a function that opens the page as another visitor."""
    from gradio_client import Client

    return lambda: Client(page.local_url, verbose=False, analytics_enabled=False)


def bubbles(shown):
    """Return what a chat shows: (role, text)."""
    return [(one["role"], one["content"][0]["text"]) for one in shown]


def test_an_answer_comes_in_pieces(tab):
    job = tab().submit("안녕?", api_name="/send")
    field, talk, told = job.result(timeout=60)
    assert field == "" and "tokens in" in told
    assert bubbles(talk) == [("user", "안녕?"), ("assistant", story(1, "안녕?"))]
    texts = [bubbles(talk)[-1][1] for _, talk, _ in job.outputs()]
    assert texts[0] == "안녕?" and len(set(texts)) > 3


def test_visitors_share_the_model_and_not_their_talk(tab, model):
    tabs = [tab() for _ in range(4)]
    with ThreadPoolExecutor() as people:
        ask = lambda n: tabs[n].predict(f"I am {n}.", api_name="/send")  # noqa: E731
        for number, (_, talk, told) in enumerate(people.map(ask, range(4))):
            [(_, asked), (_, said)] = bubbles(talk)
            assert asked == f"I am {number}." and said.endswith(asked)
            assert "No answer" not in told
    assert model.n_answers == 4


def test_ask_again_puts_another_answer_in_the_place(tab):
    me = tab()
    me.predict("Hi.", api_name="/send")
    field, talk, _ = me.predict("half a mess", api_name="/again")
    assert bubbles(talk) == [("user", "Hi."), ("assistant", story(2, "Hi."))]
    assert field == "half a mess"


@pytest.mark.parametrize("trouble", [RuntimeError("out of memory"), KeyError("x")])
def test_a_model_that_fails_is_said_and_the_text_is_kept(tab, model, trouble, capfd):
    me = tab()
    me.predict("Hi.", api_name="/send")
    model.trouble = trouble
    field, talk, told = me.predict("Are you there?", api_name="/send")
    assert field == "Are you there?" and str(trouble) in told and "No answer" in told
    assert bubbles(talk) == [("user", "Hi."), ("assistant", story(1, "Hi."))]
    model.trouble = None
    field, talk, told = me.predict(field, api_name="/send")
    assert field == "" and len(talk) == 4 and "No answer" not in told
    assert type(trouble).__name__ in capfd.readouterr().err


@pytest.mark.parametrize("typed", ["", "  "])
def test_nothing_typed_is_no_message(tab, typed):
    field, talk, told = tab().predict(typed, api_name="/send")
    assert field == typed and not talk and "expected some words" in told


def test_nothing_to_ask_again(tab):
    assert "send one first" in tab().predict("", api_name="/again")[2]


def test_only_this_machine_is_told_of_it(page):
    assert page.local_url.startswith("http://127.0.0.1:") and not page.share_url
    with urllib.request.urlopen(page.local_url) as reply:
        text = reply.read().decode()
    assert "Mina" in text and "fonts.googleapis" not in text
    with urllib.request.urlopen(page.local_url + "config") as reply:
        config = json.load(reply)
    assert not config["analytics_enabled"] and not config.get("is_space")


def test_a_proxy_is_not_in_the_way(model, monkeypatch):
    for name in "no_proxy", "NO_PROXY":
        monkeypatch.setenv(name, "example.com")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # no one is there
    page = gradio_app.make_page(model)
    assert gradio_app.launch(page) == page.local_url
    page.close(verbose=False)


def test_in_a_notebook_it_stands_below_the_cell():
    import nbformat
    from nbclient import NotebookClient

    code = """
    from helpers.apps import gradio_app
    from tests.test_apps_gradio import Storyteller
    page = gradio_app.make_page(Storyteller())
    gradio_app.launch(page, height=333);
    page.close(verbose=False)
    """
    cell = nbformat.v4.new_code_cell("if True:" + code)
    book = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(book, timeout=300, resources={"metadata": {"path": ROOT}}).execute()
    shown = [out.data["text/html"] for out in cell.outputs if "data" in out]
    assert len(shown) == 1 and 'src="http://127.0.0.1:' in shown[0] and "333" in shown[0]
    assert not [out for out in cell.outputs if out.get("name") == "stderr"]


def test_a_port_that_is_taken(page, model):
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="is in use"):
            gradio_app.launch(gradio_app.make_page(model), port=port)


def test_a_wrong_option_is_said_before_anybody_types(model):
    with pytest.raises(ValueError, match="temperature is -1"):
        gradio_app.make_page(model, temperature=-1)
    with pytest.raises(TypeError, match="expected a model and"):
        gradio_app.make_page("model.gguf")


def test_without_gradio(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match="this page needs gradio"):
        gradio_app.make_page(model)


@pytest.mark.parametrize(
    "words, fault",
    [(["nothing.gguf"], "there is no file"), (["Makefile"], "is not a GGUF file")],
)
def test_what_is_wrong_is_one_sentence(words, fault, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert gradio_app.main(words) == 1
    error = capsys.readouterr().err
    assert fault in error and error.count("\n") == 1


def test_importing_the_front_ends_loads_nothing_heavy():
    code = "import sys; from helpers.apps import cli, gradio_app, remote, streamlit_app"
    heavy = "{'torch', 'transformers', 'gradio', 'streamlit', 'openai', 'llama_cpp'}"
    code += f"\nprint(sorted({heavy} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_korean_page_speaks_korean_and_keeps_a_log(model, tmp_path):
    from gradio_client import Client

    options = {"labels": gradio_app.KOREAN, "logs": tmp_path, "max_new_tokens": 100}
    page = gradio_app.make_page(model, title="오늘 뭐 먹지?", examples=[], **options)
    gradio_app.launch(page)
    try:
        words = str(page.get_config_file())
        buttons = [gradio_app.KOREAN[name] for name in ("send", "stop", "again", "clear")]
        assert all(word in words for word in buttons)
        assert "'Send'" not in words and "Nothing said" not in words
        client = Client(page.local_url, verbose=False, analytics_enabled=False)
        assert client.predict("안녕하세요", api_name="/send")[2].endswith("걸렸어요.")
        assert "메시지를 적어 주세요." in client.predict("  ", api_name="/send")[2]
        [log] = tmp_path.iterdir()
        assert [json.loads(line).get("content") for line in log.open()][1] == "안녕하세요"
        model.encode = lambda messages: "x" * 10_000
        assert "메시지가 너무 길어요" in client.predict("가" * 10_000, api_name="/send")[2]
    finally:
        page.close(verbose=False)
