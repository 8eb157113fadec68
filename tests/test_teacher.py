"""The teacher against an endpoint of our own that can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from helpers import self_instruct
from helpers.teacher import TeacherError, make_teacher

openai = pytest.importorskip("openai")
SEED = {"instruction": "Name a fruit.", "input": "", "output": "A pear."}
SEED |= {"is_classification": False}
GOOD = " Name a bird number {n}.\n2. Input: <noinput>\n2. Output: Wren {n}."


class Endpoint:
    """An endpoint that answers by a list of plans, the last one for ever."""

    def __init__(self, *plans):
        self.plans, self.asked = list(plans), []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append((self.path, json.loads(body)))
                plan = outer.plans.pop(0) if len(outer.plans) > 1 else outer.plans[0]
                outer.answer(self, plan)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler, plan):
        status, kind, body = 200, "application/json", plan
        if isinstance(plan, int):
            status, body = plan, json.dumps({"error": {"message": f"status {plan}"}})
        elif plan == "slow":
            time.sleep(1.0)
            body = "{}"
        elif plan == "html":
            kind, body = "text/html", "<html>log in</html>"
        elif plan == "good":
            n = len(self.asked)
            choice = {"index": 0, "finish_reason": "stop", "text": GOOD.format(n=n)}
            choice["message"] = {"role": "assistant", "content": choice["text"]}
            body = json.dumps({"id": "1", "object": "x", "choices": [choice]})
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", kind)
            handler.end_headers()
            handler.wfile.write(body.encode())
        except BrokenPipeError:
            pass  # the client did not wait

    def teacher(self, **options):
        url = f"http://127.0.0.1:{self.server.server_port}/v1"
        client = openai.OpenAI(base_url=url, api_key="k", max_retries=0, timeout=0.5)
        return make_teacher(client, model="m", **{"waits": (0.01,) * 3} | options)


@pytest.fixture
def endpoint(monkeypatch):
    made = []

    def start(*plans):
        made.append(Endpoint(*plans))
        return made[-1]

    yield start
    for one in made:
        one.server.shutdown()
        one.server.server_close()


@pytest.mark.parametrize("plan", [429, 500, 503, "slow", "html", "{}", '{"choices": []}'])
def test_what_fails_once_is_asked_again(endpoint, plan):
    place = endpoint(plan, plan, "good")
    text = place.teacher()("1. Instruction:")
    assert text == GOOD.format(n=3) + "\n###"
    assert len(place.asked) == 3


@pytest.mark.parametrize("plan", [429, "html", "{}"])
def test_what_fails_always_is_said_in_a_sentence(endpoint, plan):
    place = endpoint(plan)
    with pytest.raises(TeacherError, match="gave no text .* asked 4 times: see that"):
        place.teacher()("1. Instruction:")


def test_an_endpoint_that_is_down_is_said(endpoint):
    place = endpoint("good")
    teacher = place.teacher()
    place.server.shutdown()
    place.server.server_close()
    with pytest.raises(TeacherError, match="gave no text"):
        teacher("1. Instruction:")


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_model_is_not_asked_twice(endpoint, status):
    place = endpoint(status)
    with pytest.raises(TeacherError, match=f"refuses .{status}.*check the key"):
        place.teacher()("1. Instruction:")
    assert len(place.asked) == 1


def test_chat_endpoints_get_the_prompt_as_a_message(endpoint):
    place = endpoint("good")
    assert place.teacher(chat=True)("1. Instruction:").startswith(" Name a bird")
    [(path, body)] = place.asked
    assert path.endswith("/chat/completions")
    assert body["messages"][-1]["content"] == "1. Instruction:"


def test_the_same_prompt_is_asked_with_the_same_seed(endpoint):
    place = endpoint("good")
    teacher = place.teacher()
    for prompt in ("a", "a", "b"):
        teacher(prompt)
    one, two, three = (body["seed"] for _, body in place.asked)
    assert one == two != three


def test_nothing_accepted_is_lost_when_the_endpoint_fails(endpoint, tmp_path):
    place, path = endpoint("good", "good", 429), tmp_path / "replies.jsonl"
    options = {"path": path, "shots": 1, "threshold": 1.0}
    with pytest.raises(TeacherError):
        self_instruct.collect(place.teacher(), [SEED], max_asks=4, **options)
    before = len(place.asked)
    place.plans = ["good"]
    report = self_instruct.collect(place.teacher(), [SEED], max_asks=4, **options)
    assert len(report.tasks) == 4 and report.curve == [1, 2, 3, 4]
    assert len(place.asked) == before + 2  # the first two were not paid for again
