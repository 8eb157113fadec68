"""The pages as people use them, in a headless Chromium: type, look, click, reload.

Skipped where there is no Chromium or Chrome, or no playwright to drive it. With
SCREENSHOTS=folder in the environment, pictures of the pages are left there.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers.apps import gradio_app
from helpers.chat_log import load_log
from helpers.gguf_utils import write_gguf
from helpers.preflight import ROOT
from tests.gguf_fixtures import small_pair
from tests.test_apps_gradio import Storyteller, story
from tests.test_apps_streamlit import ANSWER, KEY, FakeServer

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
NAMES = "chromium", "chromium-browser", "google-chrome", "chrome", MAC
FOUND = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.skipif(not FOUND, reason="there is no Chromium or Chrome here"),
    pytest.mark.filterwarnings("ignore:'HTTP_422"),  # of Gradio's own making
]
PATIENCE = 120  # seconds, for a machine that has other things to do
TYPED = "Are you still there, 여우?"


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=FOUND)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Return a function that opens an address as a new visitor.

    Afterwards it must turn out that no page has asked anything of another machine.
    """
    contexts, asked = [], []

    def opening(url):
        context = chromium.new_context(viewport={"width": 1000, "height": 760})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(1000 * PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        return page

    playwright.expect.set_options(timeout=1000 * PATIENCE)
    yield opening
    for context in contexts:
        context.close()
    outside = r"(?!https?://127\.0\.0\.1[:/]|data:|blob:)"
    assert not [url for url in asked if re.match(outside, url)]


def picture(page, name):
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(500)
        page.screenshot(path=Path(folder, f"{name}.png"))


def see(where, *texts):
    for text in texts:
        playwright.expect(where).to_contain_text(text)


# --- Gradio


@pytest.fixture
def storyteller():
    return Storyteller()


@pytest.fixture
def address(storyteller):
    page = gradio_app.make_page(
        storyteller,
        title="Mina's story friend",
        about="A small model that tells stories.",
        examples=["A fox!", "매운 음식 추천해 주세요."],
    )
    yield gradio_app.launch(page)
    storyteller.go.set()
    page.close(verbose=False)


def on(page):
    """Return the parts of a Gradio page: the field, the talk and the line below it."""
    return page.locator("#typed textarea"), page.locator("#talk"), page.locator("#told")


def test_gradio_as_a_person_uses_it(visit, address, storyteller):
    page = visit(address)
    field, talk, told = on(page)
    see(page.locator("h1"), "Mina's story friend")
    picture(page, "gradio-1-empty")
    storyteller.go.clear()
    field.fill("Tell me a story.")
    field.press("Enter")
    see(talk, "Tell me a story.", "Story 1")
    playwright.expect(field).to_have_value("")
    assert "about a fox" not in talk.inner_text()  # half of it is there to be read
    picture(page, "gradio-2-streaming")
    storyteller.go.set()
    see(talk, story(1, "Tell me a story."))
    see(told, "tokens in")
    page.get_by_text("매운 음식 추천해 주세요.").click()  # an example, into the field
    playwright.expect(field).to_have_value("매운 음식 추천해 주세요.")
    page.get_by_role("button", name="Send").click()
    see(talk, story(2, "매운 음식 추천해 주세요."))
    page.get_by_role("button", name="Ask again").click()
    see(talk, story(3, "매운 음식 추천해 주세요."))
    playwright.expect(talk).not_to_contain_text("Story 2")
    see(told, "tokens in")
    picture(page, "gradio-3-talk")
    talk.get_by_role("button", name=re.compile("copy", re.I)).last.click()
    page.wait_for_timeout(500)
    assert "Story 3" in page.evaluate("navigator.clipboard.readText()")
    for number, clear in enumerate([page.get_by_text("Clear"), talk.get_by_title("Clear")]):
        clear.click()
        playwright.expect(talk).not_to_contain_text("Story")
        field.fill("And another?")
        field.press("Enter")
        see(talk, story(4 + number, "And another?"))
        assert talk.inner_text().count("Story") == 1
    page.reload()
    playwright.expect(talk).not_to_contain_text("Story")
    field.fill("Hello again.")
    field.press("Enter")
    see(talk, story(6, "Hello again."))


def test_gradio_stop_and_a_second_tab(visit, address, storyteller):
    page = visit(address)
    field, talk, told = on(page)
    storyteller.go.clear()
    field.fill("Tell me a story.")
    field.press("Enter")
    see(talk, "Story 1")
    page.get_by_role("button", name="Stop").click()
    see(told, "Stopped.")
    storyteller.go.set()
    other = visit(address)
    their_field, their_talk, _ = on(other)
    playwright.expect(their_talk).not_to_contain_text("Story")
    their_field.fill("It is my turn.")
    their_field.press("Enter")
    see(their_talk, story(2, "It is my turn."))
    assert "my turn" not in talk.inner_text() and "about a fox" not in talk.inner_text()
    field.fill("Go on.")
    field.press("Enter")
    see(talk, "Tell me a story.", story(3, "Go on."))


def test_gradio_when_the_model_fails_and_when_the_program_ends(visit, address, storyteller):
    page = visit(address)
    field, talk, told = on(page)
    storyteller.trouble = RuntimeError("the model is out of memory")
    field.fill(TYPED)
    field.press("Enter")
    see(told, "No answer", "the model is out of memory")
    playwright.expect(field).to_have_value(TYPED)
    playwright.expect(talk).not_to_contain_text(TYPED)
    picture(page, "gradio-4-failed")
    storyteller.trouble = None
    field.press("Enter")
    see(talk, f"about a fox 여우: {TYPED}")
    playwright.expect(told).not_to_contain_text("No answer")


def await_port(port):
    for _ in range(10 * PATIENCE):
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:  # the program has not begun to listen
            time.sleep(0.1)
    raise AssertionError(f"nobody listens on port {port}")


@pytest.fixture
def start():
    """Return a function that runs a front end as a command, and reads its address."""
    started = []

    def starting(module, *words):
        command = [sys.executable, "-u", "-m", f"helpers.apps.{module}", "--no-browser"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        env = os.environ | {"OPENAI_API_KEY": KEY}
        run = subprocess.Popen([*command, *map(str, words)], cwd=ROOT, env=env, **pipes)
        started.append(run)
        for line in run.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                await_port(int(found[1]))
                return run, found.group()
        raise AssertionError(f"{module} ended with {run.wait()}")

    yield starting
    for run in started:
        run.terminate()
        run.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_gguf(small_pair(), tmp_path_factory.mktemp("gguf") / "my-model.gguf")


def test_gradio_as_a_command_with_a_file_and_without_its_server(visit, start, file):
    run, url = start("gradio_app", file, "--title", "My own")
    page = visit(url)
    field, talk, told = on(page)
    see(page.locator("h1"), "My own")
    field.fill("Lily found a kite")
    field.press("Enter")
    see(talk, "Lily found a kite")
    see(told, "tokens in")
    run.terminate()
    run.wait(PATIENCE)
    field.fill(TYPED)
    field.press("Enter")
    see(page.locator("body"), re.compile("connection|lost", re.I))
    playwright.expect(field).to_have_value(TYPED)
    picture(page, "gradio-5-gone")


# --- Streamlit


@pytest.fixture
def server():
    server = FakeServer()
    yield server
    server.stop()


def parts(page):
    """Return the parts of a Streamlit page: the field, the bubbles, the error."""
    field = page.get_by_test_id("stChatInputTextArea")
    return field, page.get_by_test_id("stChatMessage"), page.get_by_test_id("stAlert")


def test_streamlit_as_a_person_uses_it(visit, start, server, tmp_path):
    words = "--url", server.url, "--title", "Mine", "--logs", tmp_path
    _, url = start("streamlit_app", *words)
    page = visit(url)
    field, bubbles, error = parts(page)
    see(page.locator("h1"), "Mine")
    picture(page, "streamlit-1-empty")
    server.go.clear()
    field.fill("Tell me a story.")
    field.press("Enter")
    see(bubbles.nth(1), "Once a")
    assert "met a hen" not in bubbles.nth(1).inner_text()
    picture(page, "streamlit-2-streaming")
    server.go.set()
    see(bubbles.nth(1), ANSWER, "tokens in")
    slider = page.get_by_role("slider", name="Temperature")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowRight")
    see(page.get_by_test_id("stSlider").first, re.compile(r"1\.0"))
    field.fill("And now?")
    field.press("Enter")
    see(bubbles.nth(3), ANSWER, "tokens in")
    assert abs(server.asked[-1]["temperature"] - 1.0) < 1e-6
    picture(page, "streamlit-3-talk")
    port = server.port
    server.stop()
    field.fill(TYPED)
    field.press("Enter")
    see(error, "cannot be reached", "still below")
    playwright.expect(field).to_have_value(TYPED)
    playwright.expect(bubbles).to_have_count(4)
    picture(page, "streamlit-4-gone")
    back = FakeServer(port)
    field.press("Enter")
    see(bubbles.nth(5), ANSWER, "tokens in")
    playwright.expect(error).to_have_count(0)
    page.get_by_role("button", name="Clear").click()
    playwright.expect(bubbles).to_have_count(0)
    page.reload()
    field.fill("Hello again.")
    field.press("Enter")
    see(bubbles.nth(1), ANSWER, "tokens in")
    assert len(back.asked[-1]["messages"]) == 1
    back.stop()
    logs = {len(load_log(log)[1]) for log in tmp_path.glob("*.jsonl")}
    assert logs == {3, 1}


def test_streamlit_a_slider_that_moves_stops_the_answer(visit, start, server, tmp_path):
    _, url = start("streamlit_app", "--url", server.url, "--logs", tmp_path)
    page = visit(url)
    field, bubbles, _ = parts(page)
    server.go.clear()
    field.fill("Tell me a story.")
    field.press("Enter")
    see(bubbles.nth(1), "Once a")
    page.get_by_role("slider", name="Turns kept").press("ArrowRight")
    server.go.set()
    see(bubbles.nth(1), "stopped")
    field.fill("Go on.")
    field.press("Enter")
    see(bubbles.nth(3), ANSWER, "tokens in")
    see(bubbles.nth(1), "Once a")
    [log] = tmp_path.glob("*.jsonl")
    assert [turn.reply.reason for turn in load_log(log)[1]] == ["interrupted", "end"]


def test_streamlit_as_a_command_with_a_server_of_its_own(visit, start, file, tmp_path):
    run, url = start("streamlit_app", file, "--logs", tmp_path, "--n-ctx", "256")
    page = visit(url)
    field, bubbles, error = parts(page)
    see(page.locator("h1"), "my-model")
    field.fill("Lily found a kite")
    field.press("Enter")
    see(bubbles.nth(1), "tokens in")
    [own] = psutil.Process(run.pid).children()
    assert "helpers.serving_app" in own.cmdline()
    own.kill()
    field.fill(TYPED)
    field.press("Enter")
    see(error, "cannot be reached")
    playwright.expect(field).to_have_value(TYPED)
    run.terminate()
    assert run.wait(PATIENCE) == 0
    playwright.expect(field).to_have_value(TYPED)
    picture(page, "streamlit-5-ended")
