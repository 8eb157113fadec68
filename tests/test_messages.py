"""helpers.messages: what is no conversation, and what fits a budget."""

import random

import pytest

from helpers.messages import check_messages, fit_history


def chat(*contents, system=None):
    """Return the contents as user, assistant, user, ... messages."""
    roles = ["user", "assistant"] * len(contents)
    head = [] if system is None else [{"role": "system", "content": system}]
    return head + [{"role": r, "content": c} for r, c in zip(roles, contents)]


def say(role, content="Hi."):
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    "messages",
    [
        chat("Hi."),
        chat("Hi.", "Hello!"),
        chat("Hi.", "Hello!", "Bye.", system="Be kind."),
        tuple(chat("안녕", "\n 네 \t", "😀", "</s><|user|>", "{{ 7 * 7 }}")),
        chat("x" * 100_000),
    ],
    ids=range(5),
)
def test_conversations_pass(messages):
    assert check_messages(messages) is None


@pytest.mark.parametrize(
    "messages, error, says",
    [
        (None, TypeError, "messages is a NoneType, expected a list"),
        ("Hi.", TypeError, "messages is a str, expected a list"),
        (say("user"), TypeError, "messages is a dict, expected a list"),
        ([], ValueError, "ends before messages[0], expected a user message"),
        ([say("system")], ValueError, "ends before messages[1]"),
        ([say("user"), None], TypeError, "messages[1] is a NoneType, expected {"),
        (["Hi."], TypeError, "messages[0] is a str"),
        ([{"role": "user"}], ValueError, "messages[0] has the keys ['role']"),
        ([say("user") | {"name": "</s>"}], ValueError, "['role', 'content', 'name']"),
        ([say("user"), say("asistant")], ValueError, "did you mean 'assistant'?"),
        ([say("user"), say("tool")], ValueError, "messages[1] has the role 'tool'"),
        ([say(["user"])], ValueError, "messages[0] has the role ['user']"),
        ([say(None)], ValueError, "messages[0] has the role None"),
        ([say("assistant")], ValueError, "messages[0] is the assistant's at the begin"),
        ([say("system"), say("assistant")], ValueError, "messages[1] is the assistant"),
        (
            [say("user"), say("user")],
            ValueError,
            "messages[1] is the user's after messages[0] (user), expected the assist",
        ),
        (
            [*chat("Hi.", "Hello!"), say("assistant")],
            ValueError,
            "messages[2] is the assistant's after messages[1] (assistant)",
        ),
        (
            [say("system"), say("system"), say("user")],
            ValueError,
            "messages[1] is a second system message, expected one at most: join it",
        ),
        (
            [say("user"), say("system")],
            ValueError,
            "messages[1] is a system message, not first, expected one at most: move",
        ),
        (chat("Hi.", ""), ValueError, "messages[1] (assistant) is empty"),
        (chat(" \n\t\u3000"), ValueError, "messages[0] (user) is empty"),
        (chat("Hi.", "Ho.", None), TypeError, "messages[2] (user) is a NoneType"),
        (
            chat([{"type": "text", "text": "Hi."}]),
            TypeError,
            "messages[0] (user) is a list, expected a str: join the texts",
        ),
        (chat(b"Hi."), TypeError, "messages[0] (user) is a bytes"),
        (chat("Hi.", "Ho \ud83d"), ValueError, "messages[1] (assistant) has half a"),
        (chat("Hi.", system="\udc00"), ValueError, "surrogate) at index 0"),
    ],
    ids=str,
)
def test_every_error_names_the_message_at_fault(messages, error, says):
    with pytest.raises(error) as raised:
        check_messages(messages)
    assert says in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(error):
        fit_history(messages, budget=10, count=len)


def letters(messages):
    return sum(len(message["content"]) for message in messages)


def slow_fit(messages, budget):
    """Drop one turn at a time until the rest fits."""
    head = [m for m in messages if m["role"] == "system"]
    rest, dropped = messages[len(head) :], []
    while letters(head + rest) > budget:
        dropped += rest[:2]
        rest = rest[2:]
    return head + rest, dropped


def test_the_newest_whole_turns_are_kept():
    dice = random.Random(0)
    for _ in range(200):
        contents = ["x" * dice.randint(1, 9) for _ in range(dice.randint(1, 12))]
        messages = chat(*contents, system=dice.choice([None, "be kind"]))
        least = letters(messages[:1] + messages[1:][-2:]) + 9
        budget = dice.randint(least, 80)
        kept, dropped = fit_history(messages, budget=budget, count=letters)
        assert (kept, dropped) == slow_fit(messages, budget)
        check_messages(kept)
        assert letters(kept) <= budget and kept[-1] == messages[-1]
        if messages[0]["role"] == "system":
            assert kept[0] == messages[0] and kept + dropped != dropped


def test_nothing_is_dropped_that_fits():
    messages = chat("a", "b", "c", system="s")
    assert fit_history(messages, budget=4, count=letters) == (messages, [])


def test_the_messages_given_are_left_alone():
    messages = chat("a", "b", "c")
    kept, _ = fit_history(messages, budget=1, count=letters)
    kept.append("more")
    assert messages == chat("a", "b", "c")


def test_few_counts_are_enough():
    calls = []

    def count(messages):
        calls.append(1)
        return letters(messages)

    kept, dropped = fit_history(chat(*"ab" * 500), budget=20, count=count)
    assert (len(kept), len(dropped)) == (20, 980) and len(calls) < 15


@pytest.mark.parametrize(
    "messages, says",
    [
        (chat("a", "b", "ccccc"), "messages[2], the last turn, takes 5 tokens"),
        (
            chat("a", "b", "ccc", system="ss"),
            "messages[3], the last turn, with the system message takes 5 tokens, "
            "expected at most 4",
        ),
    ],
    ids=["alone", "system"],
)
def test_a_turn_that_never_fits_is_an_error(messages, says):
    with pytest.raises(ValueError) as raised:
        fit_history(messages, budget=4, count=letters)
    assert says in str(raised.value)
