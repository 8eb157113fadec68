"""The checks of notebook 03: right answers pass, likely wrong ones are told apart."""

import pytest
from transformers import AutoTokenizer

from helpers import checks, chat_templates, models
from helpers.checks_03 import _conversations


def said(capsys, check, answer):
    assert check(answer) is None
    return capsys.readouterr().out


def chatml(messages, *, prompt="<|im_start|>assistant\n", end="<|im_end|>\n", add=str):
    lines = [f"<|im_start|>{m['role']}\n{add(m['content'])}{end}" for m in messages]
    return "".join(lines) + prompt


def fold(messages, between="\n\n"):
    if messages[0]["role"] != "system":
        return messages
    both = messages[0]["content"] + between + messages[1]["content"]
    return [{"role": "user", "content": both}, *messages[2:]]


def fold_in_place(messages):
    if messages[0]["role"] == "system":
        system = messages.pop(0)
        messages[0]["content"] = f"{system['content']}\n\n{messages[0]['content']}"
    return messages


def gap(tokenizer):
    """Return what the template writes before each content: the line break, a space."""
    written = tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
    return written.partition("<|user|>")[2].partition("?")[0]


def encode(tokenizer, messages, *, bos=True, split=True, last="\n", before=None):
    as_text = {"add_special_tokens": False, "split_special_tokens": split}
    before = gap(tokenizer) if before is None else before
    ids = [tokenizer.bos_token_id] * bos
    for number, message in enumerate(messages):
        ids += tokenizer("\n" if number else "", **as_text).input_ids
        ids.append(tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"))
        ids += tokenizer(before + message["content"], **as_text).input_ids
        ids.append(tokenizer.eos_token_id)
    return ids + tokenizer(last, **as_text).input_ids


def test_right_answers_pass(capsys):
    import torch

    for check, answer in (
        (checks.check_03_1, chatml),
        (checks.check_03_2, fold),
        (checks.check_03_2, lambda messages: [dict(m) for m in fold(messages)]),
        (checks.check_03_3, encode),
        (checks.check_03_3, lambda *given: torch.tensor(encode(*given))),
        (checks.check_03_3, lambda *given: chat_templates.encode_conversation(*given).ids),
    ):
        assert said(capsys, check, answer).endswith(": pass\n")


@pytest.mark.parametrize(
    "check, answer, tells",
    [
        ("check_03_1", lambda m: chatml(m, prompt=""), "<|im_start|>assistant"),
        ("check_03_1", lambda m: chatml(m, end="<|im_end|>"), "<|im_end|>\\n"),
        ("check_03_1", lambda m: chatml(m, add=str.strip), "assistant\\n 잘"),
        ("check_03_1", lambda m: m, "<|im_start|>user"),
        ("check_03_1", lambda: "", "raised TypeError"),
        ("check_03_1", "<|im_start|>", "raised TypeError"),
        ("check_03_2", lambda m: fold(m, "\n"), "Be kind.\\n\\nHi, Lily!"),
        ("check_03_2", lambda m: m[1:] if m[0]["role"] == "system" else m, "Be kind."),
        ("check_03_2", lambda m: fold([{"role": "system", "content": ""}, *m]), "Hi, Lily!"),
        ("check_03_2", fold_in_place, "the list that was given, unchanged"),
        ("check_03_3", lambda t, m: encode(t, m, bos=False), "control tokens <s>"),
        ("check_03_3", lambda t, m: encode(t, m, split=False), "control tokens <s>"),
        ("check_03_3", lambda t, m: encode(t, m, last=""), "'</s>', '<0x0A>'], not ["),
        ("check_03_3", lambda t, m: encode(t, m, before=gap(t) + " "), "'<|user|>', '<0x0A>', '"),
        ("check_03_3", lambda t, m: encode(t, m, before=""), "'<|user|>', '<0x0A>', '"),
        ("check_03_3", lambda t, m: encode(t, m)[::-1], "control tokens <s>"),
        ("check_03_3", lambda t, m: t.apply_chat_template(m), "</s>, not <s><|system|>"),
        ("check_03_3", lambda t, m: "text", "raised ValueError"),
        ("check_03_3", lambda t, m: 7, "raised TypeError"),
    ],
)
def test_wrong_answers_are_told_apart(capsys, check, answer, tells):
    text = said(capsys, getattr(checks, check), answer)
    assert text.startswith(f"{check}: not yet\n") and tells in text
    assert max(map(len, text.splitlines())) < 600


@pytest.mark.parametrize("check", ["check_03_1", "check_03_2", "check_03_3"])
def test_nothing_written_yet_is_not_a_wrong_answer(capsys, check):
    for answer in (..., None, lambda *given: ..., lambda *given: None):
        assert said(capsys, getattr(checks, check), answer) == f"{check}: not answered yet\n"


def test_the_conversations_are_what_they_should_be():
    tokenizer = AutoTokenizer.from_pretrained(models.locate("base"), local_files_only=True)
    calm, *_, evil = _conversations()
    assert encode(tokenizer, calm) == tokenizer.apply_chat_template(calm)
    assert encode(tokenizer, evil) != tokenizer.apply_chat_template(evil)
    for messages in _conversations():
        chat_templates.check_messages(messages)
