"""What runs a model for helpers.chat: transformers or llama.cpp, behind one face.

A backend turns a conversation into a prompt, and a prompt into tokens. Whatever has
these is one, a client of a server too:

    n_ctx                 how many tokens a prompt and its answer may have together
    cached                how many tokens of the last prompt were known from before
    encode(messages)      the prompt, up to where the answer begins; len() counts tokens
    stream(prompt, ...)   yields (id, bytes) a token, and (id, None) where a turn ends
    forget()              drops what is known of past prompts
    stop_strings          texts that end a turn, if any

Both backends compute only what follows the longest beginning that a prompt shares with
the text before it. Any control token ends an answer: none can be part of a text.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator
from itertools import islice
from os.path import commonprefix  # of lists, too
from typing import TYPE_CHECKING, Any

from helpers import decoding
from helpers.chat_templates import encode_conversation, find_family
from helpers.streaming import token_bytes
from helpers.templating import split

if TYPE_CHECKING:
    from llama_cpp import Llama
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from helpers.messages import Messages

    Piece = tuple[int, bytes | None]

__all__ = ["LlamaCppBackend", "TransformersBackend", "make_backend"]

TEMPLATE = "tokenizer.chat_template"  # where a GGUF file has it
FILTERS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def make_backend(
    model: Any, tokenizer: Any = None, *, family: str | None = None
) -> Any:
    """Return the backend of a model and its tokenizer, or of a `llama_cpp.Llama`.

    Something that is a backend already comes back as it is. `family` names the format
    of conversations, one of `chat_templates.FAMILIES`; without it the model's own
    template is used. Raises TypeError for anything else, ValueError for an unknown
    family and for a GGUF file without a template.
    """
    if tokenizer is not None:
        return TransformersBackend(model, tokenizer, family=family)
    if hasattr(model, "detokenize"):
        return LlamaCppBackend(model, family=family)
    if hasattr(model, "encode") and hasattr(model, "stream"):
        return model
    raise TypeError(
        f"model is a {type(model).__name__} without a tokenizer, expected a model and "
        "its tokenizer, as models.load gives them, or a llama_cpp.Llama"
    )


class TransformersBackend:
    """A transformers model and its tokenizer. Call `forget` after more training."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        family: str | None = None,
    ) -> None:
        limit = getattr(model.config, "max_position_embeddings", None)
        self.n_ctx: int = limit or tokenizer.model_max_length
        self.model, self.tokenizer, self.family = model, tokenizer, family
        self.stop_strings = find_family(family).stop if family else ()
        added = tokenizer.added_tokens_decoder.items()
        self.ends = {i for i, token in added if token.special}
        self.ends |= decoding.end_tokens(model, tokenizer)
        self._bytes = token_bytes(tokenizer)
        self.forget()

    def forget(self) -> None:
        """Drop the keys and values of past tokens."""
        self._cache = decoding.growing_cache()
        self._past, self.cached = [], 0

    def encode(self, messages: Messages) -> list[int]:
        """Return the ids of a conversation whose messages can hold no control token."""
        options = {"family": self.family, "add_generation_prompt": True}
        return encode_conversation(self.tokenizer, messages, **options).ids

    def stream(
        self,
        prompt: list[int],
        *,
        max_new_tokens: int,
        seed: int | None = 0,
        nth: int = 0,
        **setting: float,
    ) -> Iterator[Piece]:
        """Yield (id, bytes) as the nth draw of `generation.draw` with this seed does.

        None takes the place of a control token's bytes. `setting` has all `FILTERS`.
        """
        import torch

        self.model.eval()  # a trainer leaves it in training mode, with dropout
        dice = _dice(prompt, seed, nth)
        filters = [[float(setting[name])] for name in FILTERS]
        filters = torch.tensor(filters, device=self.model.device)
        self.cached = _shared(self._past, prompt)
        self._cache.crop(self.cached)
        del self._past[self.cached :]
        text, fresh = list(prompt), prompt[self.cached :]
        for _ in range(max_new_tokens):
            logits = self._forward(fresh)
            u = logits.new_tensor([dice.random()], dtype=torch.float64)
            seen = torch.tensor([text], device=logits.device)
            token = int(decoding.next_tokens(logits, seen, setting=filters, u=u))
            text.append(token)
            fresh = [token]
            yield token, None if token in self.ends else self._bytes(token)

    def _forward(self, ids: list[int]) -> Tensor:
        """Read more tokens; return the logits of the next one, shape (1, vocab)."""
        import torch

        with torch.inference_mode():  # not around a yield: it would leak to the caller
            out = self.model(
                input_ids=torch.tensor([ids], device=self.model.device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._past += ids  # only now: if Ctrl-C came before, the next crop cleans up
        return out.logits[:, -1].float()


class LlamaCppBackend:
    """A `llama_cpp.Llama`, which keeps the keys and values of past tokens itself.

    Sessions may share one as long as each answer is over before the next begins.
    """

    def __init__(self, llm: Llama, *, family: str | None = None) -> None:
        self.llm, self.cached = llm, 0
        # llama.cpp rounds n_ctx up, but llama-cpp-python has no room for that
        self.n_ctx = min(llm.n_ctx(), len(llm.input_ids))
        self.template, self.stop_strings = llm.metadata.get(TEMPLATE), ()
        if family:
            chosen = find_family(family)
            self.template, self.stop_strings = chosen.template, chosen.stop
        if not self.template:
            raise ValueError(
                "this GGUF file has no chat template, expected one: pass family=, such "
                "as 'chatml', unless it is a base model, made to continue texts"
            )
        # llama.cpp shows no control token unless it is told to
        hidden = {i for i in range(llm.n_vocab()) if not llm.detokenize([i])}
        ids = {"bos_token": llm.token_bos(), "eos_token": llm.token_eos()}
        hidden |= {*ids.values()} - {-1}
        names = {i: llm.detokenize([i], special=True).decode() for i in hidden}
        self._names = {key: names.get(i, "") for key, i in ids.items()}
        self._control = {name: i for i, name in names.items() if name}
        self.ends = set(self._control.values())

    def forget(self) -> None:
        """Drop the keys and values of past tokens."""
        self.llm.reset()

    def encode(self, messages: Messages) -> list[int]:
        """Return the ids of a conversation whose messages can hold no control token.

        The template's own control tokens become ids; all between two of them is read
        at once with `special=False`, as llama.cpp itself does with the whole text.
        """
        found, _ = split(
            self.template,
            messages,
            tokens=self._control,
            names=self._names,
            add_generation_prompt=True,
            title="the template of the GGUF file",
        )
        ids, text = [], ""
        for part in found:
            if part.role != "control":
                text += part.text
                continue
            ids += [*self._plain(text), self._control[part.text]]
            text = ""
        return ids + self._plain(text)

    def stream(
        self,
        prompt: list[int],
        *,
        max_new_tokens: int,
        seed: int | None = 0,
        nth: int = 0,
        **setting: float,
    ) -> Iterator[Piece]:
        """Yield each token that is drawn, and its bytes; None for a control token.

        `setting` has all `FILTERS`. llama.cpp counts only the last 64 tokens for the
        repetition penalty, and puts the temperature last.
        """
        self.llm.set_seed(_dice(prompt, seed, nth).getrandbits(31))
        self.cached = _shared(list(self.llm.eval_tokens), prompt)
        setting["temp"] = setting.pop("temperature")
        setting["repeat_penalty"] = setting.pop("repetition_penalty")
        for token in islice(self.llm.generate(prompt, **setting), max_new_tokens):
            yield token, None if token in self.ends else self._bytes(token)

    def _plain(self, text: str) -> list[int]:
        return self.llm.tokenize(text.encode(), add_bos=False, special=False)

    def _bytes(self, token: int) -> bytes:
        if raw := self.llm.detokenize([token]):
            return raw
        # llama-cpp-python 0.3.36 gives nothing of a piece of more than 32 bytes
        import llama_cpp

        room, vocab = ctypes.create_string_buffer(1024), self.llm._model.vocab
        size = llama_cpp.llama_token_to_piece(vocab, token, room, len(room), 0, False)
        return room.raw[: max(size, 0)]


def _shared(past: list[int], prompt: list[int]) -> int:
    """Return how many first tokens are known; the prompt's last gives the first logits."""
    return len(commonprefix([past, prompt[:-1]]))


def _dice(prompt: list[int], seed: int | None, nth: int) -> random.Random:
    """Return dice that fall alike for the same prompt, seed and number."""
    return random.Random(None if seed is None else f"{seed} {nth} {prompt}")
