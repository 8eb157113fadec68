"""Checks of what a GGUF file says of itself: facts, licence, chat format, tokens.

A check takes a `Candidate` and returns its findings, most of them just one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from helpers.acceptance_trial import Candidate, Finding
from helpers.backends import make_backend
from helpers.chat_log import message
from helpers.llama_cpp_utils import FLOATS

__all__ = ["TALK", "check_file", "check_format", "check_licence", "check_metadata"]
__all__ += ["check_round_trip", "check_template", "decode"]

CHATTY = re.compile(r"chat|instruct|assistant|-(?:it|sft|dpo)\b", re.I)
TALK = [
    message("system", "Answer in one word."),
    message("user", "What colour is the sky?"),
    message("assistant", "Blue."),
    message("user", "And the grass?"),
]
TEXTS = {
    "Korean": "안녕하세요, 오늘 점심은 비빔밥 어때요? 값은 9,000원이에요.",
    "emoji": "🦊🌙 hi 👩‍👩‍👧 😀!",
}


def check_file(model: Candidate) -> list[Finding]:
    """Tell how large the file is and how fast it was loaded."""
    size, seconds = model.info.n_bytes / 1e6, model.load_seconds
    said = f"{size:,.1f} MB, loaded in {seconds:.2f} s"
    return [(True, said, {"file_mb": size, "seconds": seconds})]


def check_metadata(model: Candidate) -> list[Finding]:
    """Tell what the model is; fail for a type that its weights do not have.

    Only 16 bits or more are told from fewer: a quantized file mixes types.
    """
    import gguf

    facts, millions = model.info.metadata, model.info.n_weights / 1e6
    types = {one.value: one.name.split("_", 1)[-1] for one in gguf.LlamaFileType}
    named = types.get(facts.get("general.file_type"))  # such as "Q4_K_M"
    figures = {
        "name": facts.get("general.name", "a model without a name"),
        "architecture": facts.get("general.architecture"),
        "parameters": model.info.n_weights,
        "type": named,
        "bits": model.info.bits,
        "context": model.fact("context_length"),
    }
    said = "{name}: {architecture}, context {context}, ".format(**figures)
    said += f"{millions:,.1f} million parameters of {model.info.bits:.2f} bits each"
    said += f" ({named})" if named else ""
    if named and (named in FLOATS) != (model.info.bits >= 16):
        return [(False, f"{said}: the bits are not those of {named}", figures)]
    return [(True, said, figures)]


def check_licence(model: Candidate) -> list[Finding]:
    """Tell the licence; fail where the file names none."""
    found = model.info.metadata.get("general.license")
    if not found:
        cure = "read its maker's page before you use or share it"
        return [(False, f"the file names none: {cure}", {})]
    link = model.info.metadata.get("general.license.link")
    said = f"{found} ({link})" if link else str(found)
    return [(True, said, {"licence": str(found)})]


def check_format(model: Candidate) -> list[Finding]:
    """Tell how a chat is written for the model, and why so.

    llama-cpp-python takes a given format, else the file's template, else that of
    Llama 2. Fails for a file without a template whose name says that it is for chats.
    """
    usual, facts = model.llm.chat_format, model.info.metadata
    figures = {"format": model.family or usual, "template": model.has_template}
    if model.chat:
        written = decode(model, model.backend.encode([message("user", "Hi.")]), True)
        figures["hi"] = written
        why = "you asked for it" if model.family else "the file has a template"
        said = f"{figures['format']}, because {why}: 'Hi.' becomes "
        return [(True, said + written.replace("\n", "↵"), figures)]
    judged = "judged as a base model, by how it continues texts"
    if model.family or model.has_template:
        why = "you asked for plain text" if model.family else "its template fails"
        return [(None, f"{why}: {judged}", figures)]
    said = f"the file has no template, so a server would fall back to {usual}"
    names = ("general.name", "general.finetune", "general.basename", "general.tags")
    name = next((str(facts[n]) for n in names if CHATTY.search(str(facts.get(n)))), None)
    if name:
        cure = "find out its format and pass it, such as --family chatml"
        return [(False, f"{said}, though it is called {name!r}: {cure}", figures)]
    return [(None, f"{said}: {judged}", figures)]


def check_template(model: Candidate) -> list[Finding]:
    """Fail for a template that cannot be run, loses a message or ends no turn.

    A turn has to end with a control token at which llama.cpp stops by itself.
    """
    import llama_cpp

    if model.family == "plain" or not (model.family or model.has_template):
        return [(None, "no template to write conversations with", {})]
    backend = model.backend if model.chat else make_backend(model.llm)
    note, talk = "", TALK
    try:
        ids = backend.encode(talk)
    except ValueError:  # some refuse a system message
        note, talk = "; it refuses a system message", TALK[1:]
        ids = backend.encode(talk)
    text, answer = decode(model, ids), talk[-2]["content"]
    if lost := [one["role"] for one in talk if one["content"] not in text]:
        said = f"it leaves out the {lost[0]}'s message"
        return [(False, f"{said}: the model would never read it", {"lost": lost[0]})]
    after = next(n for n in range(len(ids) + 1) if answer in decode(model, ids[:n]))
    end = next((i for i in ids[after:] if i in backend.ends), None)
    if end is None:
        cure = "give chats a stop string"
        return [(False, f"no control token ends the assistant's turn: {cure}", {})]
    name = decode(model, [end], True)
    figures = {"end": name, "system": not note}
    vocab = llama_cpp.llama_model_get_vocab(model.llm.model)
    if not llama_cpp.llama_vocab_is_eog(vocab, end):
        said = f"after an answer comes {name}, at which llama.cpp does not stop"
        return [(False, f"{said}: give chats a stop string", figures)]
    return [(True, f"it writes a conversation, and {name} ends a turn{note}", figures)]


def check_round_trip(model: Candidate) -> list[Finding]:
    """Fail unless Korean and emoji come back from the tokens that they become."""
    figures, wrong = {}, None
    for name, text in TEXTS.items():
        ids = model.llm.tokenize(text.encode(), add_bos=False, special=False)
        back = decode(model, ids)
        if back.lstrip(" ") != text:  # some put a space before every text
            wrong = wrong or f"{name} comes back changed: {back!r}"
        figures[name] = len(ids) / len(text)
    each = ", ".join(f"{name} takes {rate:.1f}" for name, rate in figures.items())
    return [(wrong is None, wrong or f"both come back; {each} tokens a character", figures)]


def decode(model: Candidate, ids: Sequence[int], special: bool = False) -> str:
    """Return the text of some tokens, with control tokens in it if `special`."""
    return model.llm.detokenize([*ids], special=special).decode("utf-8", "replace")
