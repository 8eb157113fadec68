"""A page to chat on, made with Gradio: in a notebook, on Colab, or in a browser.

    page = make_page(model, tokenizer, title="Mina's story friend")
    launch(page)      # in a notebook: shows it below the cell; page.close() ends it

Only this machine can open the page, unless you ask for a public link with share=True.
Every tab has a conversation of its own, kept until it is closed or loaded again.

Run it:  python -m helpers.apps.gradio_app [model.gguf] --title "Mina's story friend"
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from helpers import ports, runtime
from helpers.apps.opening import describe, make_parser, new_log, open_backend
from helpers.backends import make_backend
from helpers.chat import ChatSession, ContextError

if TYPE_CHECKING:
    from gradio import Blocks

    Shown = tuple[str, list[dict[str, str]], str, ChatSession]

__all__ = ["EXAMPLES", "KOREAN", "LABELS", "launch", "make_page"]

EXAMPLES = "Please write a story about Lily and a kite.", "매운 음식 추천해 주세요."
LABELS = {  # what stands on a page
    "typed": "Write a message, then press Enter",
    "nothing": "Nothing said yet.",
    "send": "Send",
    "stop": "Stop",
    "again": "Ask again",
    "clear": "Clear",
    "stopped": "Stopped.",
    "no_answer": "No answer",
}
KOREAN = {  # the same for a Korean page, and what the model's host says in English
    "typed": "메시지를 쓰고 Enter를 누르세요",
    "nothing": "아직 나눈 이야기가 없어요.",
    "send": "보내기",
    "stop": "멈추기",
    "again": "다시 묻기",
    "clear": "지우기",
    "stopped": "멈췄어요.",
    "no_answer": "답하지 못했어요",
    "empty": "메시지를 적어 주세요.",
    "too_long": "메시지가 너무 길어요. 짧게 줄여 주세요.",
    "took": "{:.1f}초 걸렸어요.",
}


def make_page(
    model: Any,
    tokenizer: Any = None,
    *,
    title: str = "Tiny Tale",
    about: str = "",
    examples: Sequence[str] = EXAMPLES,
    family: str | None = None,
    labels: Mapping[str, str] = LABELS,
    logs: str | Path | None = None,
    **options: Any,
) -> Blocks:
    """Return a page that chats with a model: what `ChatSession` takes, and its options.

    `title` names it, `about` stands below, in Markdown. A click on one of `examples`
    puts it into the field. `labels` are the words on it, `LABELS` or `KOREAN`. With
    `logs`, a folder, every conversation is kept there, as `ChatSession.save` writes it.
    When the model fails, the page says why, and what was typed is still there. Raises ValueError and TypeError as `ChatSession` does, and
    ImportError without Gradio.
    """
    gr = _gradio()
    backend = make_backend(model, tokenizer, family=family)
    ChatSession(backend, **options)  # a wrong option is said now, not when somebody types
    one_at_a_time = Lock()  # all tabs share the model

    def begin() -> ChatSession:
        session = ChatSession(backend, **options)
        session.log = None if logs is None else new_log(logs)
        return session

    def why(error: Exception, typed: str) -> str:
        cause = "too_long" if isinstance(error, ContextError) else ""
        cause = cause or ("" if typed.strip() else "empty")
        return labels.get(cause) or str(error) or type(error).__name__

    def answer(
        session: ChatSession, pieces: Callable[[], Iterator[str]], typed: str, left: str
    ) -> Iterator[Shown]:
        """Yield what the page shows as an answer comes; `left` stays in the field."""
        try:
            with one_at_a_time, closing(pieces()) as stream:
                new = [] if left == typed else [{"role": "user", "content": typed}]
                yield left, [*_bubbles(session), *new], "", session  # before any word
                for _ in stream:
                    yield left, _bubbles(session), "", session
            reply = session.turns[-1].reply
            told = labels.get("took", "").format(reply.seconds) or describe(reply)
            if session.log:
                session.save(session.log)
        except Exception as error:  # whatever it was, the page goes on
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            left, told = typed, f"⚠️ **{labels['no_answer']}:** {why(error, typed)}"
        yield left, _bubbles(session), told, session

    def send(typed: str, session: ChatSession | None) -> Iterator[Shown]:
        session = session or begin()
        yield from answer(session, partial(session.stream, typed), typed, "")

    def again(typed: str, session: ChatSession | None) -> Iterator[Shown]:
        session = session or begin()
        yield from answer(session, session.stream_retry, typed, typed)

    with gr.Blocks(title=title, analytics_enabled=False, fill_height=True) as page:
        gr.Markdown(f"# {title}\n\n{about}")
        session = gr.State()
        talk = gr.Chatbot(
            show_label=False,
            buttons=["copy", "copy_all"],
            placeholder=labels["nothing"],
            height="50vh",
            scale=1,
            elem_id="talk",
        )
        told = gr.Markdown(elem_id="told")
        typed = gr.Textbox(
            placeholder=labels["typed"],
            show_label=False,
            max_lines=6,
            autofocus=True,
            elem_id="typed",
        )
        with gr.Row():
            button = gr.Button(labels["send"], variant="primary")
            stop = gr.Button(labels["stop"])
            other = gr.Button(labels["again"])
            clear = gr.Button(labels["clear"])
        if examples:
            gr.Examples([[text] for text in examples], typed)
        shown, hidden = [typed, talk, told, session], {"show_progress": "hidden"}
        given = [typed, session]
        sent = gr.on([typed.submit, button.click], send, given, shown, **hidden)
        asked = other.click(again, given, shown, **hidden)
        stop.click(lambda: labels["stopped"], None, told, cancels=[sent, asked], **hidden)
        empty = [clear.click, talk.clear]  # the button, and the talk's own little one
        hidden["cancels"] = [sent, asked]
        gr.on(empty, lambda: ([], "", None), None, shown[1:], **hidden)
    return page


def launch(
    page: Blocks,
    *,
    port: int | None = None,
    share: bool = False,
    inbrowser: bool = False,
    block: bool = False,
    height: int = 720,
) -> str:
    """Serve a page and return its address; a notebook shows it, `height` pixels high.

    On loopback; `port` None takes a free one. `share` makes a public link through
    Gradio's own server, for three days: whoever has it can use the page. With `block`
    it does not return before Ctrl-C. Raises OSError if the port is taken.
    """
    gr = _gradio()
    if port:
        ports.check_free(ports.LOOPBACK, port)
    for name in "no_proxy", "NO_PROXY":  # Gradio asks itself whether it has started
        known = [os.environ.get(name), ports.LOOPBACK]
        os.environ[name] = ",".join(filter(None, known))
    serif = ["system-ui", "sans-serif"]  # Korean too; Gradio's own font has none
    _, near, far = page.launch(
        inline=False if block else None,
        inbrowser=inbrowser,
        share=share,
        server_name=ports.LOOPBACK,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        height=height,
        theme=gr.themes.Soft(font=serif, font_mono=["monospace"]),
        footer_links=[],
        ssr_mode=False,
        strict_cors=True,
        enable_monitoring=False,
        _frontend=False,  # no second look at it, which a busy machine fails after 3 s
    )
    print(f"{runtime.HERE} {far or near}", flush=True)
    if block:
        page.block_thread()
    return far or near


def _bubbles(session: ChatSession) -> list[dict[str, str]]:
    """Return what was said as Gradio wants it, without the system message."""
    both = [(turn.user, turn.reply.text) for turn in session.turns]
    roles = "user", "assistant"
    rows = [dict(role=r, content=c) for one in both for r, c in zip(roles, one)]
    return [row for row in rows if row["content"]]


def _gradio() -> Any:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        cure = 'run `make lab`, or `pip install -e ".[apps]"`'
        raise ImportError(f"this page needs gradio ({error}): {cure}") from error
    return gradio


def main(argv: Sequence[str] | None = None) -> int:
    """Open a model and serve a page; return 0, or 1 after a sentence why not."""
    parser = make_parser(__doc__, model="a GGUF file or a folder (the course's own)")
    parser.add_argument("--title", default="Tiny Tale", help="a name for the page")
    parser.add_argument("--system", help="what the model is told before all else")
    parser.add_argument("--port", type=int, help="where it is served (a free one)")
    parser.add_argument("--share", action="store_true", help="make a public link, too")
    parser.add_argument("--no-browser", action="store_true", help="do not open one")
    args = parser.parse_args(argv)
    try:
        _gradio()
        print("Loading the model...", flush=True)
        backend, _ = open_backend(args.model, family=args.family, n_ctx=args.n_ctx)
        page = make_page(backend, title=args.title, system=args.system, seed=None)
        where = {"port": args.port, "share": args.share}
        launch(page, inbrowser=not args.no_browser, block=True, **where)
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
