"""A server for one GGUF file: started, awaited, and stopped with whoever started it.

It is llama_cpp.server in a process of its own (helpers/serving_app.py says what is
changed). Any client of OpenAI's interface can talk to it, but only with its key.

The server holds the reading end of a pipe, we the writing end. However we end, the
operating system closes ours, and the server, which waits for that, ends too: on
Linux, macOS and Windows alike, and after SIGKILL as after `stop`.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import ports
from helpers.gguf_utils import inspect
from helpers.runtime import HERE
from helpers.versions import ROOT

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["Server"]

NEEDS = ("llama_cpp", "fastapi", "uvicorn", "sse_starlette", "starlette_context")
NEEDS += ("pydantic_settings", "openai")
KEY = re.compile(r"[!-~]{12,}")  # printable ASCII, as it goes into a header


class Server:
    """Serve a GGUF file to OpenAI's clients, on this machine unless told otherwise.

    `port` 0 takes a free one. Without `api_key` one is drawn. `host` "0.0.0.0" shares
    with everyone on the network who has the key; it is sent unencrypted, so use one
    for this occasion only. `n_ctx` tokens are the room for a conversation. `settings`
    are those of llama_cpp.server, such as n_threads and model_alias (the file's name);
    `chat_format` is one of `chat_templates.FAMILIES` (the file's own). `log`, appended
    to and kept, is a temporary file if you name none. Requests are answered one by one.

        with Server("tale.gguf") as server:
            chat = server.client().chat.completions
            chat.create(model=server.model_alias, messages=[...])

    Raises FileNotFoundError, and ValueError for a host that is no address, for a
    network without a key and for a key that is too short.

    >>> Server(__file__, host="0.0.0.0")
    Traceback (most recent call last):
        ...
    ValueError: host '0.0.0.0' opens the server to the network, expected api_key, ...
    """

    def __init__(
        self,
        path: str | Path,
        *,
        host: str = ports.LOOPBACK,
        port: int = 0,
        api_key: str | None = None,
        n_ctx: int = 512,
        log: str | Path | None = None,
        **settings: Any,
    ) -> None:
        self.path = Path(path).resolve()
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no file {path}, expected a GGUF file")
        host = ports.LOOPBACK if host == "localhost" else host
        self.shared = not ports.check_host(host)
        if self.shared and api_key is None:
            raise ValueError(
                f"host {host!r} opens the server to the network, expected api_key, a "
                "key of 12 or more characters that you give only to those you invite"
            )
        self.api_key = secrets.token_urlsafe(24) if api_key is None else api_key
        if not KEY.fullmatch(self.api_key):  # and not a word of what it was
            raise ValueError(
                "this api_key cannot be used, expected 12 or more characters, each an "
                "English letter, a digit or a sign, and no spaces"
            )
        self.host, self.port = host, port  # 0 until the first start
        self._near = ports.LOOPBACK if host == ports.EVERYWHERE else host
        self.model_alias: str = settings.pop("model_alias", self.path.stem)
        settings |= {"model": str(self.path), "model_alias": self.model_alias}
        self._settings = settings | {"n_ctx": n_ctx}
        self.log = None if log is None else Path(log).resolve()
        self._process: subprocess.Popen | None = None
        self._before: int | None = None  # size of the log before the last start

    def __repr__(self) -> str:
        where = self.base_url if self.running else "not running"
        return f"<Server of {self.model_alias}: {where}>"

    def __enter__(self) -> Server:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The number of the server's process, to measure it by; None if it is not alive."""
        return self._process.pid if self.running else None

    @property
    def base_url(self) -> str:
        """The address for a client on this machine, such as http://127.0.0.1:8000/v1."""
        return f"http://{self._near}:{self.port}/v1"

    def start(self, *, timeout: float = 60.0) -> Server:
        """Start it and wait until it answers, `timeout` seconds at most; return self.

        Raises RuntimeError if it runs already, OSError if the port is taken or there is
        no network to share on, ImportError for a missing package, ValueError for a file
        that is no GGUF, and with the log's end RuntimeError if the server stops
        instead, TimeoutError if it takes too long.
        """
        if self.running:
            where = f"this server runs already, at {self.base_url}"
            raise RuntimeError(f"{where}: use it, or stop() it first")
        if lacking := [n for n in NEEDS if importlib.util.find_spec(n) is None]:
            raise ImportError(
                f"the server needs {', '.join(lacking)}: run `make lab`, or "
                '`pip install -e ".[gguf,serve]"`'
            )
        self.stop()  # clears away one that stopped by itself
        ports.check_free(self.host, self.port)
        outside = ports.address_outside(self.host)
        self._spawn()
        try:
            self._wait(timeout)
        except BaseException:  # Ctrl-C too: no half-started server stays behind
            self.stop()
            raise
        if self.shared:
            where = f"http://{outside}:{self.port}/v1"
            print(f"{HERE} give out {where}; the key apart from it", flush=True)
        return self

    def stop(self) -> None:
        """Stop it, in the middle of an answer too; nothing happens if it is stopped."""
        if self._process is not None:
            self._end()
            self._process = None

    def client(self, **options: Any) -> OpenAI:
        """Return an `openai.OpenAI` for it; `options` are those of that class.

        Raises RuntimeError, with the log's end, if it does not run.
        """
        from openai import DefaultHttpxClient, OpenAI

        if not self.running:
            raise RuntimeError(f"the server does not run: start() it{self._last_lines()}")
        if "http_client" not in options:  # a proxy cannot find this machine's own address
            options["http_client"] = DefaultHttpxClient(trust_env=False)
        return OpenAI(**{"base_url": self.base_url, "api_key": self.api_key} | options)

    def _spawn(self) -> None:
        if self.log is None:
            handle, name = tempfile.mkstemp(prefix="server-", suffix=".log")
            os.close(handle)
            self.log = Path(name)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        wanted = {"host": self.host, "port": self.port, "api_key": self.api_key}
        line = json.dumps(wanted | {"settings": self._settings}).encode() + b"\n"
        # it finds the packages that we find, and its log is UTF-8 on Windows too
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        env = os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1"}
        with open(self.log, "ab") as log:
            self._before = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "helpers.serving_app"],
                bufsize=0,
                env=env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is not for the server
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        # runs as well when nobody holds this Server any more, and when Python ends
        self._end = weakref.finalize(self, _end, self._process)
        with contextlib.suppress(OSError):  # it has ended already: _wait will say why
            self._process.stdin.write(line)  # arguments could be seen by everyone

    def _wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.running:
                inspect(self.path)  # says more clearly if the file itself is at fault
                raise RuntimeError(f"the server did not start{self._last_lines()}")
            found = re.search(r"^listening on port (\d+)", self._said(), re.M)
            if found and self._answers(int(found[1])):
                self.port = int(found[1])
                return
            time.sleep(0.05)
        what = f"the server did not answer within {timeout:g} s: give it a longer timeout"
        raise TimeoutError(what + self._last_lines())

    def _said(self) -> str:
        """Return what the last start has written to the log so far."""
        with open(self.log, "rb") as log:
            log.seek(self._before)
            return log.read().decode("utf-8", "replace")

    def _last_lines(self, n: int = 8) -> str:
        if self._before is None:
            return ""
        lines = "".join(f"\n  {line[:200]}" for line in self._said().splitlines()[-n:])
        return f"; the last lines of {self.log}:{lines or ' none'}"

    def _answers(self, port: int) -> bool:
        """Say whether our server is there: one that knows our key."""
        connection = http.client.HTTPConnection(self._near, port, timeout=1)
        try:
            headers = {"Authorization": f"Bearer {self.api_key}"}
            connection.request("GET", "/v1/models", headers=headers)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _end(process: subprocess.Popen) -> None:
    """Close our end of the pipe; the server ends. Kill it if it does not."""
    process.stdin.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
