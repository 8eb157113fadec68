"""Write stories with the course's model, line by line, in a terminal.

You write how a story begins, the model goes on until the story ends or it has said
enough, and your next line carries on from there. exit, quit or Ctrl-C leaves.

Run it:  make chat   (or: python -m helpers.apps.terminal --temperature 0.7)
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Printer", "continue_text", "fit", "main", "talk"]

EXIT_WORDS = {"exit", "quit"}
WELCOME = """\
Write how a story begins, then press Enter; the model goes on with it.
When it pauses, write what happens next. exit or quit leaves."""
ASK = "Write a few words first, such as: Once upon a time there was a small fox"


class Printer:
    """A streamer for `model.generate` that writes each new piece of text at once."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Sequence[int],
        write: Callable[[str], object],
    ) -> None:
        self.tokenizer, self.write = tokenizer, write
        self.prompt, self.tokens = list(prompt), []
        self.text = ""  # what was written so far
        self.waiting = True  # for the prompt, which comes first

    def put(self, value: Any) -> None:
        """Take the next token ids, a tensor; the first time those of the prompt."""
        if self.waiting:
            self.waiting = False
            return
        self.tokens += value.flatten().tolist()
        text = self._decode(self.tokens)[len(self._decode([])) :]
        if not text.endswith("\ufffd"):  # a character of several bytes is not whole
            self.write(text[len(self.text) :])
            self.text = text

    def end(self) -> None:
        """Do nothing: the story may go on."""

    def _decode(self, tokens: list[int]) -> str:
        # with the prompt, because a text on its own would lose its leading space
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return self.tokenizer.decode(self.prompt + tokens, **options)


def fit(
    tokenizer: PreTrainedTokenizerBase, story: str, *, room: int, keep: str = ""
) -> list[int]:
    """Return the story's token ids, at most `room`, without its oldest sentences.

    Whole sentences go, never the text `keep` at its end. Raises ValueError if `keep`
    alone does not fit.
    """
    from helpers.generation import encode_prompt

    while len(ids := encode_prompt(tokenizer, story)) > room:
        first = re.search(r"[.!?]\W*\s", story[: len(story) - len(keep)])
        if not first and story == keep:
            raise ValueError(
                f"this line has {len(ids)} tokens, expected at most {room}: shorten it"
            )
        story = story[first.end() :] if first else keep
    return ids


def continue_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    *,
    write: Callable[[str], object],
    max_new_tokens: int = 160,
    temperature: float = 0.8,
    top_p: float = 0.9,
) -> tuple[str, bool]:
    """Write on from token ids, each piece as it comes; return (text, has it ended)."""
    import torch

    from helpers.decoding import end_tokens

    printer = Printer(tokenizer, ids, write)
    prompt = torch.tensor([list(ids)], device=model.device)
    with torch.inference_mode():
        model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            temperature=temperature,
            top_p=top_p,
            top_k=0,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            streamer=printer,
        )
    return printer.text, printer.tokens[-1] in end_tokens(model, tokenizer)


def talk(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    read: Callable[[str], str] = input,
    write: Callable[[str], object] = lambda text: print(text, end="", flush=True),
    max_new_tokens: int = 160,
    **options: Any,
) -> None:
    """Read a line, go on with the story, and so on, until an exit word or the end.

    Takes the options of `continue_text`. The end of the input (Ctrl-D) and Ctrl-C
    leave as an exit word does.
    """
    write(WELCOME + "\n")
    context = getattr(model.config, "max_position_embeddings", 512)
    story = ""
    while True:
        try:
            line = read("\nyou> ").strip()
            if line.lower() in EXIT_WORDS:
                break
            if not line:
                write(ASK + "\n")
                continue
            told = f"{story} {line}".strip()
            room = context - max_new_tokens
            ids = fit(tokenizer, told, room=room, keep=line)
            write(line)
            more, ended = continue_text(
                model,
                tokenizer,
                ids,
                write=write,
                max_new_tokens=max_new_tokens,
                **options,
            )
            story = "" if ended else told + more
            write("\n(The end. Your next line begins another story.)\n" * ended)
            write("\n" * (not ended))
        except ValueError as error:
            write(f"{error}\n")
        except (EOFError, KeyboardInterrupt):
            write("\n")
            break
    write("Goodbye.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Load a model and talk; return 0, or 1 after a sentence that says why not."""
    parser = argparse.ArgumentParser(description="Write stories with a small model.")
    parser.add_argument("--role", default="base", help="which model: base")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--max-new-tokens", type=int, default=160)
    parser.add_argument("--seed", type=int, help="the same stories every time")
    args = parser.parse_args(argv)
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  arrow keys and history, where there is readline
    print("Loading the model...", flush=True)
    try:
        from helpers import models, runtime, sampling

        sampling.check_setting("temperature", args.temperature)
        sampling.check_setting("top_p", args.top_p)
        if args.temperature == 0 or args.max_new_tokens < 1:
            raise ValueError("temperature and max-new-tokens have to be above 0")
        if args.seed is not None:
            runtime.seed_everything(args.seed)
        model, tokenizer = models.load(args.role)
        talk(
            model,
            tokenizer,
            max_new_tokens=args.max_new_tokens,
            temperature=args.temperature,
            top_p=args.top_p,
        )
    except (ValueError, OSError) as error:  # OSError: a model that is not there
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
