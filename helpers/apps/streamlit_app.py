"""A page to judge any chat model on, made with Streamlit; a server runs the model.

    python -m helpers.apps.streamlit_app model.gguf     starts the server, and the page
    python -m helpers.apps.streamlit_app --url http://192.0.2.7:8000/v1   only the page

The second talks to any server with OpenAI's interface, such as the one that a teacher
shares (helpers/serving.py); its key is read from the environment variable
OPENAI_API_KEY. Sliders set temperature, length and memory; the whole conversation is
written to a log in runs/chats, which `ChatSession.load` reads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from helpers import ports, runtime
from helpers.apps.opening import context_size, describe, make_parser, new_log
from helpers.apps.remote import ServerBackend, stream
from helpers.chat import ChatSession
from helpers.gguf_utils import inspect
from helpers.serving import Server

__all__ = ["main", "page"]

WANTED = "expected a GGUF file, or --url and the address of a server, one of the two"
TEMPLATE = "tokenizer.chat_template"
NO_TEMPLATE = (
    "has no chat template, and this page speaks in turns: name a format with --family, "
    "or go on with a text in helpers.apps.cli or helpers.apps.gradio_app"
)
QUIET = {
    "browser.gatherUsageStats": False,
    "server.showEmailPrompt": False,
    "server.fileWatcherType": "none",
    "logger.hideWelcomeMessage": True,
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
}


def page() -> None:
    """Draw the page; Streamlit calls this anew whenever somebody does something."""
    import streamlit as st

    args = _parser().parse_args()
    state, title = st.session_state, args.title or "Chat"
    st.set_page_config(page_title=title, page_icon="💬")
    if not args.url:
        st.error(f"There is no server to talk to: {WANTED}.", icon="⚠️")
        return
    if "chat" not in state:
        state.chat = ChatSession(ServerBackend(args.url), seed=None)
        state.log, state.trouble = new_log(args.logs), ""
    chat: ChatSession = state.chat
    with st.sidebar:
        temperature = st.slider(
            "Temperature", 0.0, 2.0, 0.7, 0.1, help="0 takes the likeliest word"
        )
        longest = st.slider(
            "Maximum tokens", 16, 1024, 160, 16, help="of one answer; a word has 1 to 3"
        )
        kept = st.slider(
            "Turns kept", 0, 20, 8, help="past turns that the model reads again"
        )
        st.button("Clear", on_click=_clear, args=[args.logs], width="stretch")
        st.caption(f"The conversation is written to {state.log}")
    st.title(title)
    for turn in chat.turns:
        st.chat_message("user").markdown(turn.user)
        with st.chat_message("assistant"):
            st.markdown(turn.reply.text)
            st.caption(describe(turn.reply))
    if state.trouble:
        told = f"No answer: {state.trouble}. What you typed is still below."
        st.error(told, icon="⚠️")
    if "back" in state:  # only here, before the field is drawn, can it be filled
        state.typed = state.pop("back")
    if not (typed := st.chat_input("Write a message, then press Enter", key="typed")):
        return
    state.trouble = ""
    st.chat_message("user").markdown(typed)
    options = {"temperature": temperature, "max_new_tokens": longest}
    try:
        try:
            with closing(stream(chat, typed, max_turns=kept, **options)) as pieces:
                st.chat_message("assistant").write_stream(pieces)
        finally:  # half an answer, too: a slider that moves stops it
            if chat.turns:
                chat.save(state.log)
    except Exception as error:  # whatever it was, the page goes on
        state.trouble, state.back = str(error) or type(error).__name__, typed
    st.rerun()


def _clear(logs: str) -> None:
    import streamlit as st

    st.session_state.chat.reset()
    st.session_state.log, st.session_state.trouble = new_log(logs), ""


def _parser() -> Any:
    parser = make_parser(__doc__, model="a GGUF file, to be served")
    parser.add_argument("--url", help="a server that runs, instead of a GGUF file")
    parser.add_argument("--title", help="a name for the page (the model's)")
    parser.add_argument("--port", type=int, default=0, help="of the page (a free one)")
    parser.add_argument("--no-browser", action="store_true", help="do not open one")
    logs = runtime.RUNS / "chats"
    parser.add_argument("--logs", default=str(logs), help="folder of the logs")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Start the server and the page; return 0, or 1 after a sentence why not."""
    args = _parser().parse_args(argv)
    try:
        if bool(args.model) == bool(args.url):
            raise ValueError(f"found {'both' if args.url else 'neither'}: {WANTED}")
        with ExitStack() as stack, ports.bind(ports.LOOPBACK, args.port) as held:
            if args.model:
                if not args.family and TEMPLATE not in inspect(args.model).metadata:
                    raise ValueError(f"{args.model} {NO_TEMPLATE}")
                print("Loading the model...", flush=True)
                options = {"n_ctx": args.n_ctx or context_size(args.model)}
                if args.family:
                    options["chat_format"] = args.family
                server = stack.enter_context(Server(args.model, **options))
                args.url, args.title = server.base_url, args.title or server.model_alias
                os.environ["OPENAI_API_KEY"] = server.api_key  # arguments can be seen
            port = held.getsockname()[1]
            held.close()
            _serve_page(args, port)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


def _serve_page(args: Any, port: int) -> None:
    """Serve the page on loopback until Ctrl-C."""
    try:
        from streamlit.web import bootstrap
    except ImportError as error:
        cure = 'run `make lab`, or `pip install -e ".[apps]"`'
        raise ImportError(f"this page needs streamlit ({error}): {cure}") from error
    options = QUIET | {"server.address": ports.LOOPBACK, "server.port": port}
    options["server.headless"] = args.no_browser
    flags = {name.replace(".", "_"): value for name, value in options.items()}
    bootstrap.load_config_options(flags)
    where = f"http://{ports.LOOPBACK}:{port}"
    print(f"{runtime.HERE} {where} in a moment; Ctrl-C ends it", flush=True)
    given = ["--url", args.url, "--title", args.title or "Chat", "--logs", args.logs]
    bootstrap.run(__file__, False, given, flags)


if __name__ == "__main__":
    if "streamlit" in sys.modules:  # it runs this file, again and again
        page()
    else:
        sys.exit(main())
