"""Talk with a model in the terminal, where answers come word by word.

    python -m helpers.apps.cli                the course's own chat model (`make chat`)
    python -m helpers.apps.cli model.gguf     any GGUF file, run by llama.cpp
    python -m helpers.apps.cli --plain        the base model goes on with your story
    echo "Tell me a story." | python -m helpers.apps.cli    prints only the answer

A line that begins with / is a command; /help lists them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from helpers import runtime, sampling
from helpers.apps.opening import WHY, make_parser, open_backend
from helpers.chat import ChatSession

__all__ = ["HELP", "command", "main", "talk"]

EXIT_WORDS = {"exit", "quit", "/exit", "/quit"}
HELP = """\
/reset         begin anew
/retry         another answer to your last message
/temp 0.7      how freely words are chosen: 0 takes the likeliest, 1.5 runs wild
/save [file]   write the conversation to a file
/help          this list
exit           leave, as do quit, Ctrl-D, and Ctrl-C while nothing is being written

While the model writes, Ctrl-C stops the answer; what it wrote so far stays."""
CHAT = "Write a message and press Enter. /help lists the commands, exit leaves."
STORY = """\
Write how a story begins and press Enter; the model goes on with it. When it pauses,
write what happens next. /help lists the commands, exit leaves."""
ASK = "Write a few words first, or /help."


def talk(session: ChatSession, *, plain: bool = False, quiet: bool = False) -> None:
    """Read a line, answer it, and so on, until an exit word or the end of the input.

    With `plain` the model continues a text, and another begins where one has ended.
    With `quiet` nothing but answers is printed, and errors, on stderr.
    """
    say = (lambda *_: None) if quiet else print  # remarks, not answers
    say(STORY if plain else CHAT)
    while True:
        try:
            line = input("" if quiet else "\nyou> ").strip()
        except (EOFError, KeyboardInterrupt):
            say()
            break
        if line.lower() in EXIT_WORDS:
            break
        try:
            if not line:
                say(ASK)
            elif line.startswith("/") and line.lower() != "/retry":
                say(command(session, line))
            else:
                retry = line.startswith("/")
                pieces = session.stream_retry() if retry else session.stream(line)
                _print_answer(pieces)
                if remark := _remark(session, plain):
                    say(f"({remark})")
        except KeyboardInterrupt:
            say(f"\n({WHY['interrupted']})")
        except BrokenPipeError:  # nobody reads any more, as after `| head -1`
            raise
        except (ValueError, OSError, RuntimeError) as error:
            print(error, file=sys.stderr)
    say("Goodbye.")


def command(session: ChatSession, line: str) -> str:
    """Carry out a command other than /retry; return what to say about it.

    Raises ValueError for an unknown one and for a wrong temperature, OSError if a file
    cannot be written.
    """
    name, _, rest = line.partition(" ")
    name, rest = name.lower(), rest.strip()
    if name == "/help":
        return HELP
    if name == "/reset":
        session.reset()
        return "Everything is forgotten; begin anew."
    if name == "/temp":
        if rest:
            session.options["temperature"] = _temperature(rest)
        return f"The temperature is {session.options['temperature']:g}."
    if name == "/save":
        path = os.path.expanduser(rest) or _new_log()
        session.save(path)
        return f"Saved to {path}."
    raise ValueError(f"there is no command {name}: /help lists them")


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number, expected one such as 0.7") from None
    sampling.check_setting("temperature", value)
    return value


def _new_log() -> str:
    name = time.strftime("chat-%Y%m%d-%H%M%S.jsonl")
    return str(runtime.RUNS / "chats" / name)


def _print_answer(pieces: Iterator[str]) -> None:
    """Print an answer as it comes, and end it wherever this is interrupted."""
    with contextlib.closing(pieces):
        for piece in pieces:
            print(piece, end="", flush=True)
    print(flush=True)


def _remark(session: ChatSession, plain: bool) -> str | None:
    """Return what there is to say about the last answer; forget a story that ended."""
    reply = session.turns[-1].reply
    if plain and reply.reason == "end":
        session.reset()
        return "The end. Your next line begins another story."
    if not reply.text.strip():
        return "The model ended its turn without a word: /retry, or say more."
    return None if plain else WHY.get(reply.reason)


def main(argv: Sequence[str] | None = None) -> int:
    """Open a model and talk; return 0, or 1 after a sentence that says why not."""
    parser = make_parser(__doc__, model="a GGUF file or a folder (the course's own)")
    parser.add_argument("--plain", action="store_true", help="continue a text, no turns")
    parser.add_argument("--system", help="what the model is told before all else")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--max-new-tokens", type=int, help="length of an answer (160)")
    parser.add_argument("--seed", type=int, help="the same answers every time")
    args = parser.parse_args(argv)
    quiet = not sys.stdin.isatty()
    for stream in sys.stdin, sys.stdout:  # a terminal may know few characters
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  arrow keys and past lines, if there is readline
    try:
        options: dict[str, Any] = {"temperature": args.temperature, "seed": args.seed}
        if args.max_new_tokens is not None:
            options["max_new_tokens"] = args.max_new_tokens
        sampling.check_setting("temperature", args.temperature)  # before a long wait
        if not quiet:
            print("Loading the model...", flush=True)
        chosen = {"plain": args.plain, "family": args.family, "n_ctx": args.n_ctx}
        backend, plain = open_backend(args.model, **chosen)
        if plain and not (args.plain or quiet):
            print("This model has no chat template: it continues what you write.")
        session = ChatSession(backend, system=args.system, **options)
        talk(session, plain=plain, quiet=quiet)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
