"""helpers.roles: what does not fit is refused before a download, and what the hub says."""

import os
import re
import subprocess
import sys
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from helpers import lora, models, roles, runtime
from tests.test_models import hub_cache, tiny  # noqa: F401  (a fixture)

Usage = namedtuple("Usage", "total used free")
GB = 10**9


@pytest.mark.parametrize("gb, fits", [(0.5, False), (0.72, False), (0.8, True)])
def test_a_download_that_the_disk_cannot_hold_is_refused(tmp_path, monkeypatch, gb, fits):
    asked = []
    monkeypatch.setattr(
        roles.shutil, "disk_usage",
        lambda place: asked.append(place) or Usage(9 * GB, 0, gb * GB),
    )
    options = {"memory": GB, "free_memory": 2 * GB, "cache": tmp_path / "not" / "yet"}
    if fits:
        roles.check_room(roles.ROLES["base"], **options)
    else:
        with pytest.raises(OSError, match=r"download of 0\.7 GB.*COURSE_TIER=embedded"):
            roles.check_room(roles.ROLES["base"], **options)
    assert asked == [tmp_path]


def test_what_is_downloaded_already_needs_no_more_of_the_disk(tiny, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(roles.shutil, "disk_usage", lambda _: Usage(GB, GB, 0))
    hub_cache(tmp_path, tiny, roles.ROLES["base"].hub)
    options = {"memory": 1, "free_memory": 2, "cache": tmp_path / "hub"}
    roles.check_room(roles.ROLES["base"], **options)
    with pytest.raises(OSError, match="are free on the disk"):
        roles.check_room(roles.ROLES["chat"], **options)


def test_a_model_that_memory_cannot_hold_is_refused_before_anything_is_asked(monkeypatch):
    monkeypatch.setenv("COURSE_TIER", "hub")
    huge = roles.Role("", "", "nobody/huge", 10**13)
    monkeypatch.setitem(roles.ROLES, "base", huge)
    for load, gb in ((models.load, "40000.0"), (lora.load_4bit, "6250.0")):
        with pytest.raises(OSError, match=f"nobody/huge takes {re.escape(gb)} GB of memory"):
            load("base", device="cpu")


def test_a_download_is_as_large_as_its_numbers():
    assert roles.ROLES["tune"].download == 4 * roles.ROLES["tune"].hub_params
    assert roles.ROLES["dpo"].download == 2 * roles.ROLES["dpo"].hub_params


def test_revisions_are_commits_or_main():
    for role in roles.ROLES.values():
        assert re.fullmatch(r"main|[0-9a-f]{40}", role.revision)
        assert role.licence == "Apache-2.0"


class Answer(BaseHTTPRequestHandler):
    """A hub that gives nothing but one status."""

    def do_HEAD(self):
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("status", [401, 404, 500])
@pytest.mark.parametrize("call", ["models.load('base')", "lora.load_4bit('base')"])
def test_what_the_hub_refuses_is_one_sentence_with_a_way_on(tmp_path, status, call):
    server = HTTPServer(("127.0.0.1", 0), Answer)
    server.status = status
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {**os.environ, "HF_HOME": str(tmp_path), "COURSE_TIER": "hub"}
    env |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "PYTHONPATH": "."}
    env |= {"HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_secretsecret"}
    code = f"from helpers import lora, models\ntry: {call}\nexcept OSError as e: print(e)"
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, cwd=runtime.ROOT, timeout=120
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    said = done.stdout.strip()
    assert said.startswith("the hub did not give HuggingFaceTB/SmolLM2-360M for the role")
    assert "COURSE_TIER=embedded" in said and "\n" not in said
    assert "hf_secret" not in done.stdout + done.stderr
