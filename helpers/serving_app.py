"""What runs in a server's own process: llama_cpp.server, with its doors closed.

helpers/serving.py starts this file and tells it over stdin what to serve; stdin then
stays open for as long as the server is wanted. Run as `python -m llama_cpp.server`,
the same server would let any web page ask it (CORS), take HOST or SEED from the
environment, show its key in the list of processes, outlive the program that started
it, read control tokens in what people type, guess a format for a model without a chat
template, cut an answer short when the next request comes, answer for whatever model it
is asked for, call a request that it cannot read its own mistake (status 500), and
crash when someone sends a grammar that llama.cpp cannot read.
"""

# No `from __future__ import annotations` here: FastAPI has to see the types.
import json
import os
import sys
import threading
from functools import cache
from types import SimpleNamespace
from typing import Any

from helpers.backends import LlamaCppBackend
from helpers.chat_templates import find_family
from helpers.messages import check_messages
from helpers.ports import bind

__all__ = ["main", "make_app", "make_chat_handler"]


def make_app(api_key: str, settings: dict) -> Any:
    """Load a model and return the FastAPI application that answers for it.

    `settings` are those of llama_cpp.server's ModelSettings, `model_alias` among them;
    `chat_format` is one of `chat_templates.FAMILIES`. It has three addresses:
    /v1/models, /v1/completions and /v1/chat/completions. Raises ValueError for an
    unknown setting or format, and for a file that llama.cpp cannot run.
    """
    from fastapi import Depends, FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from llama_cpp import _internals
    from llama_cpp._logger import set_verbose
    from llama_cpp.server import app as upstream
    from llama_cpp.server.settings import ModelSettings, ServerSettings, Settings
    from llama_cpp.server.types import (
        CreateChatCompletionRequest,
        CreateCompletionRequest,
    )
    from starlette.exceptions import HTTPException

    if "chat_template_kwargs" in settings:
        what = "chat_template_kwargs cannot be used here, expected chat_format"
        raise ValueError(f"{what}, or a GGUF file with the template that you want")
    for name in set(os.environ):  # else each of these would change a setting
        if name.lower() in Settings.model_fields:
            del os.environ[name]
    # upstream's own choice, True, works out the next token at every place of a prompt
    settings = {"logits_all": False} | settings
    # llama.cpp rounds it up, but llama-cpp-python would have no room for that
    settings["n_ctx"] = -(-settings["n_ctx"] // 256) * 256
    alias, verbose = settings["model_alias"], settings.pop("verbose", False)
    family = settings.pop("chat_format", None)
    server = ServerSettings(api_key=api_key, interrupt_requests=False)
    upstream.set_server_settings(server)
    upstream.set_llama_proxy([ModelSettings(**settings, verbose=True)])
    llm = upstream._llama_proxy()
    if not verbose:  # why a file did not load stands in the log, but not every answer
        set_verbose(False)
        llm.verbose = False
    plain = llm.tokenize  # upstream asks it for the control tokens in a prompt as well
    llm.tokenize = lambda text, add_bos=True, special=False: plain(text, add_bos)
    llm.chat_handler = make_chat_handler(llm, family=family)
    cpp = _internals.llama_cpp
    cpp.llama_sampler_init_grammar = _checking(cpp.llama_sampler_init_grammar)
    upstream.get_event_publisher = _telling(upstream.get_event_publisher)

    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    known = {"dependencies": [Depends(upstream.authenticate)], "response_model": None}

    def check(body: Any) -> None:
        if body.model not in (None, alias):
            what = f"there is no model {body.model!r}, expected {alias!r}"
            raise HTTPException(404, what)

    @api.get("/v1/models", **known)
    async def models() -> dict:  # upstream's own waits until nobody is being answered
        model = {"id": alias, "object": "model", "created": 0, "owned_by": "me"}
        return {"object": "list", "data": [model]}

    @api.post("/v1/completions", **known)
    async def completions(request: Request, body: CreateCompletionRequest) -> Any:
        check(body)
        if not isinstance(body.prompt, str) and len(body.prompt) != 1:
            raise HTTPException(400, f"got {len(body.prompt)} prompts, expected one")
        return await upstream.create_completion(request, body)

    @api.post("/v1/chat/completions", **known)
    async def chat(request: Request, body: CreateChatCompletionRequest) -> Any:
        check(body)
        if body.tools or body.functions:
            what = "this server offers a model no tools, expected messages alone"
            raise HTTPException(400, what)
        check_messages(body.messages)
        return await upstream.create_chat_completion(request, body)

    @api.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(_error(error.detail, error.status_code), error.status_code)

    @api.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return JSONResponse(_error(f"{where}: {first['msg']}", 400), 400)

    # such as a text longer than the context, or two questions without an answer
    @api.exception_handler(ValueError)
    @api.exception_handler(TypeError)
    async def impossible(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(_error(str(error), 400), 400)

    return api


def make_chat_handler(llm: Any, *, family: str | None = None) -> Any:
    """Return a `chat_handler` for a Llama: whatever people type stays text.

    The prompt's ids are those of `LlamaCppBackend.encode`; any control token ends the
    answer. Without `family` the file's own template is used. Raises ValueError for an
    unknown family; the handler does for a file without a template, which can still
    continue texts.
    """
    from llama_cpp import StoppingCriteriaList
    from llama_cpp.llama_chat_format import (
        ChatFormatterResponse,
        chat_formatter_to_chat_completion_handler,
    )

    if family is not None:
        find_family(family)

    @cache
    def backend() -> LlamaCppBackend:
        return LlamaCppBackend(llm, family=family)

    def handle(*, llama: Any, messages: Any, **options: Any) -> Any:
        ids, ends = backend().encode(messages), backend().ends

        def over(seen: Any, _: Any) -> bool:
            return len(seen) > len(ids) and seen[-1] in ends

        form = ChatFormatterResponse(
            prompt="",  # upstream's handler would make ids of it: it is given ours
            stop=[*backend().stop_strings],
            stopping_criteria=StoppingCriteriaList([over]),
        )
        reader = SimpleNamespace(
            tokenize=lambda *_, **__: ids,
            create_completion=llama.create_completion,
            verbose=llama.verbose,
        )
        answer = chat_formatter_to_chat_completion_handler(lambda **_: form)
        return answer(llama=reader, messages=messages, **options)

    return handle


def _error(message: str, status: int) -> dict:
    """Return an error as OpenAI's clients expect it."""
    kind = "invalid_request_error" if status < 500 else "internal_server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def _checking(init: Any) -> Any:
    """Wrap llama.cpp's reader of grammars: what it cannot read would end the process."""

    def checked(*given: Any) -> Any:
        if not (sampler := init(*given)):
            raise ValueError("this grammar, or this schema, cannot be read")
        return sampler

    return checked


def _telling(publish: Any) -> Any:
    """Wrap upstream's streaming, so that an error ends the stream as a message in it."""

    async def told(*, inner_send_chan: Any, **rest: Any) -> None:
        async with inner_send_chan, inner_send_chan.clone() as channel:
            try:
                await publish(inner_send_chan=inner_send_chan, **rest)
            except Exception as error:
                print(f"error in a stream: {error!r}", flush=True)
                status = 400 if isinstance(error, (ValueError, TypeError)) else 500
                await channel.send({"data": json.dumps(_error(str(error), status))})

    return told


def main() -> int:
    """Read from stdin what to serve, and serve it until stdin is closed."""
    # A copy of stdin: on Windows, who waits on stdin itself can block other threads.
    pipe = os.fdopen(os.dup(0), "rb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # transformers writes the conversations; it need not load torch, nor say so
    os.environ |= {"USE_TORCH": "0", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
    wanted = json.loads(pipe.readline())

    def leave_with_parent() -> None:
        pipe.read()  # ends when the other end is closed, by stop() or by any death
        os._exit(0)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    try:
        sock = bind(wanted["host"], wanted["port"])
        print("listening on port", sock.getsockname()[1], flush=True)
        app = make_app(wanted["api_key"], wanted["settings"])
    except (OSError, ValueError) as error:
        print(error, flush=True)
        return 1
    import uvicorn

    uvicorn.Server(uvicorn.Config(app)).run(sockets=[sock])
    return 0


if __name__ == "__main__":
    sys.exit(main())
