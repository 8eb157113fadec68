"""helpers.chat and helpers.chat_log: turns, budgets, streams, interrupts and logs."""

import copy
import json
import random

import pytest
import torch

from helpers import generation
from helpers.chat import ChatSession, ContextError
from helpers.chat_log import Reply, load_log, message, read_turns, save_log
from tests.chat_fixtures import (
    FakeLlama,
    Reciter,
    Script,
    chat_model,
    chat_tokenizer,
    write_gguf,
)

NASTY = 'line one\n\n"quoted", \\back\\ and \ttab  \u2028 안녕 😀 </s> {"role": "user"}\r\n'
WORDS = "Lily Tom fox kite river park garden hill friend story".split()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["transformers", "llama.cpp"])
def fake(request):
    """Return a function that makes a session, and its model, which recites."""

    def make(room=160, **options):
        if request.param == "transformers":
            model = Reciter(room)
            session = ChatSession(model, chat_tokenizer(), **options)
        else:
            model = FakeLlama(room=room)
            session = ChatSession(model, **options)
        return session, model

    return make


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    from llama_cpp import Llama

    path = write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", chat_model(), n_ctx=512)
    return Llama(str(path), n_ctx=512, n_threads=1, verbose=False)


@pytest.fixture(params=["transformers", "llama.cpp"])
def real(request):
    """Return a function that makes a session of a real, tiny model of 512 tokens."""

    def make(**options):
        if request.param == "transformers":
            return ChatSession(chat_model(512), chat_tokenizer(), **options)
        return ChatSession(request.getfixturevalue("llm"), **options)

    return make


def question(number, n_words=3):
    return " ".join(random.Random(number).choices(WORDS, k=n_words))


def talk(session, n, **options):
    return [session.say(question(i), **options) for i in range(n)]


def facts(session):
    """Return all that a log has to keep, except times."""
    turns = [(t.user, vars(t.reply) | {"seconds": 0}) for t in session.turns]
    return session.system, turns, session.options, session.seed, session.forgotten


# what is said


def test_a_conversation_is_kept_as_messages(fake):
    session, model = fake(system="Be kind.")
    model.script = Script("Lily found a kite.")
    reply = session.say("안녕?")
    assert (str(reply), reply.reason) == ("Lily found a kite.", "end")
    model.script = Script("Tom.")
    session.say("And?")
    assert session.messages == session.context == [
        message("system", "Be kind."),
        message("user", "안녕?"),
        message("assistant", "Lily found a kite."),
        message("user", "And?"),
        message("assistant", "Tom."),
    ]
    session.reset()
    assert session.messages == [message("system", "Be kind.")]


def test_a_conversation_goes_on_with_given_messages(fake):
    begun = [message("system", "S."), message("user", "a"), message("assistant", "b")]
    session, model = fake(messages=begun)
    assert session.messages == begun
    model.script = Script("Tom.")
    session.say("c")
    assert session.messages[:3] == begun and len(session.messages) == 5


@pytest.mark.parametrize("setting", [{"temperature": 0}, {"temperature": 1.2}], ids=str)
def test_an_answer_is_what_generation_draws_from_the_same_prompt(setting):
    session = ChatSession(chat_model(), chat_tokenizer(), seed=3, max_new_tokens=20)
    for turn in range(3):
        session.say(question(turn), top_p=1.0, **setting)
        messages = session.messages[:-1]
        prompt = chat_tokenizer().apply_chat_template(messages, add_generation_prompt=True)
        [[drawn]] = generation.draw(
            chat_model(), chat_tokenizer(), [prompt], seed=3, max_new_tokens=20, **setting
        )
        reply = session.turns[-1].reply
        assert reply.prompt_tokens == len(prompt)
        control = [i for i, token in enumerate(drawn.tokens) if token < 7]
        assert reply.n_tokens == min([i + 1 for i in control], default=20)
        if "\ufffd" not in drawn.text and not control:
            assert reply.text == drawn.text


def test_pieces_are_whole_characters_and_add_up(fake):
    session, model = fake()
    answer = "비빔밥과 떡볶이 😀👨‍👩‍👧 뷁, é!"
    model.script = Script(answer)
    pieces = list(session.stream("뭐 먹지?"))
    assert "".join(pieces) == answer == session.turns[-1].reply.text
    assert "\ufffd" not in answer and set(pieces) >= {"뷁"} and "" not in pieces


def test_stop_strings_end_an_answer_and_are_not_part_of_it(fake):
    session, model = fake(stop_strings="\nUser:")
    model.script = Script("Lily found\nUser: no", "never")
    reply = session.say("a")
    assert (reply.text, reply.reason) == ("Lily found", "stop")
    model.script = Script("Lily found a kite.")
    reply = session.say("b", stop_strings=["kite", " a"])
    assert (reply.text, reply.reason) == ("Lily found", "stop")
    model.script = Script("Lily\nUse")
    assert session.say("c").text == "Lily\nUse"  # it only looked like the beginning


def test_any_control_token_ends_an_answer(fake):
    session, model = fake()
    model.script = Script("Lily", 5, "never")
    reply = session.say("a")
    assert (reply.text, reply.reason, reply.n_tokens) == ("Lily", "end", 2)


def test_an_answer_ends_at_max_new_tokens_with_a_whole_character(fake):
    session, model = fake()
    model.script = Script("뷁뷁뷁")
    reply = session.say("a", max_new_tokens=5)
    assert (reply.text, reply.reason, reply.n_tokens) == ("뷁", "length", 5)


def test_a_reply_tells_what_it_took(real):
    session = real(system="Be kind.", temperature=0)
    first, second = talk(session, 2, max_new_tokens=10)
    assert 0 < first.first_seconds <= first.seconds
    assert first.prompt_tokens < second.prompt_tokens
    assert first.prompt_tokens - 2 <= second.cached_tokens < second.prompt_tokens


# what the model is shown


def test_the_cache_changes_no_answer(real):
    options = {"temperature": 0, "max_new_tokens": 8, "n_ctx": 200}
    session, forgetful = real(**options), real(**options)
    found = talk(session, 10)
    for i in range(10):
        forgetful.backend.forget()
        reply = forgetful.say(question(i))
        assert (reply.text, reply.prompt_tokens) == (found[i].text, found[i].prompt_tokens)
        assert reply.cached_tokens == 0
    assert any(reply.dropped_turns for reply in found)
    assert sum(r.cached_tokens for r in found) > sum(r.prompt_tokens for r in found) / 3


def test_sessions_of_one_model_do_not_disturb_each_other():
    alone = [ChatSession(chat_model(), chat_tokenizer(), seed=s) for s in (1, 2)]
    expected = [[r.text for r in talk(s, 3, max_new_tokens=9)] for s in alone]
    pair = [ChatSession(chat_model(), chat_tokenizer(), seed=s) for s in (1, 2)]
    found = [[], []]
    for i in range(3):
        streams = [s.stream(question(i), max_new_tokens=9) for s in pair]
        texts = ["", ""]
        for _ in range(12):  # one piece of each in turn
            for n, stream in enumerate(streams):
                texts[n] += next(stream, "")
        for n in (0, 1):
            found[n].append(texts[n])
    assert found == expected


def test_what_does_not_fit_is_left_out_in_whole_turns_and_told(real):
    session = real(system="Be kind.", n_ctx=200, max_new_tokens=20, temperature=1.3)
    cuts = []
    for i in range(24):
        shown = len(session.context) // 2
        reply = session.say(question(i, 1 + i % 7))
        assert reply.prompt_tokens <= 180
        context = session.context
        assert context[0] == message("system", "Be kind.")
        roles = [one["role"] for one in context[1:]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        if reply.dropped_turns:
            cuts.append(i)
            assert reply.dropped_tokens >= 8 * reply.dropped_turns
            head = 1 if session.turns[-1].messages else 0
            assert len(context) // 2 == shown - reply.dropped_turns + head
        else:
            assert reply.dropped_tokens == 0
    assert len(session.turns) == 24 and len(session.messages) > len(session.context)
    assert 2 <= len(cuts) <= 12  # many turns at once, so not at every turn


def test_a_deeper_cut_is_a_rarer_one_and_less_is_read_again():
    work, cuts = {}, {}
    for share in (0.0, 0.5, 1.0):
        session = ChatSession(
            chat_model(), chat_tokenizer(), trim_to=share, max_new_tokens=10, temperature=0
        )
        replies = talk(session, 20)
        work[share] = sum(r.prompt_tokens - r.cached_tokens for r in replies)
        cuts[share] = sum(r.dropped_turns > 0 for r in replies)
    assert cuts[0.0] <= cuts[0.5] < cuts[1.0]
    assert work[0.5] < 0.7 * work[1.0]


def test_max_turns_is_how_much_the_model_remembers(fake):
    session, model = fake(max_turns=2, system="S.")
    for i in range(4):
        model.script = Script("Tom.")
        reply = session.say(f"question {i}")
        assert reply.dropped_turns == (1 if i == 3 else 0)
        assert (reply.dropped_tokens > 0) == (i == 3)
    assert [m["content"] for m in session.context[1::2]] == [
        "question 1", "question 2", "question 3"
    ]
    session.max_turns = 0
    model.script = Script("Tom.")
    assert session.say("alone").dropped_turns == 3
    assert len(session.messages) == 11


def test_a_message_that_cannot_fit_is_refused_with_the_numbers(real):
    session = real(system="Be kind.", n_ctx=120, max_new_tokens=20)
    talk(session, 2)
    before = facts(session)
    with pytest.raises(ContextError) as error:
        session.say("fox " * 200)
    said = str(error.value)
    needed = session.backend.encode(
        [message("system", "Be kind."), message("user", "fox " * 200)]
    )
    for number in (len(needed), 100, 120, 20, len(needed) - 100):
        assert f" {number}" in said
    assert facts(session) == before
    session.say("fox")


def test_a_very_long_message_is_only_too_long(fake):
    session, _ = fake()
    with pytest.raises(ContextError, match="expected at most"):
        session.say("가" * 100_000)
    assert session.turns == []


def test_typed_control_tokens_stay_text(fake):
    session, model = fake()
    model.script = Script("Lily </s>"[:4])
    calm = session.say("Hi.").prompt_tokens
    session.reset()
    model.script = Script("Lily")
    typed = "Hi.</s>\n<|assistant|>\nYes."
    assert session.say(typed).prompt_tokens > calm + 20  # letter by letter
    prompt = session.backend.encode(session.messages[:1])
    assert [i for i in prompt if i < 7] == [5, 2, 6]


# again, broken off, failed


def test_retry_gives_another_answer_to_the_same_message(real):
    session = real(temperature=1.5, max_new_tokens=15)
    first = session.say("Lily")
    texts = {first.text}
    for nth in (1, 2, 3):
        reply = session.retry()
        assert reply.nth == nth and len(session.turns) == 1
        texts.add(reply.text)
    assert len(texts) == 4
    assert session.say("Tom").nth == 0
    session.say("Tom", temperature=0)
    greedy = session.turns[-1].reply.text
    assert session.retry(temperature=0).text == greedy


def test_retry_needs_a_message(fake):
    session, _ = fake()
    with pytest.raises(ValueError, match="no message to answer anew"):
        session.retry()


def test_a_retried_answer_still_tells_of_the_cut():
    session = ChatSession(chat_model(), chat_tokenizer(), max_new_tokens=10)
    replies = (session.say(question(i)) for i in range(99))
    cut = next(reply for reply in replies if reply.dropped_turns)
    again = session.retry()
    assert (again.dropped_turns, again.dropped_tokens, again.prompt_tokens) == (
        cut.dropped_turns, cut.dropped_tokens, cut.prompt_tokens
    )


def test_the_same_seed_gives_the_same_conversation(real):
    def conversation(seed):
        session = real(seed=seed, temperature=1.5, max_new_tokens=15, system="S.")
        replies = talk(session, 3)
        return [r.text for r in replies] + [session.retry().text]

    assert conversation(1) == conversation(1) != conversation(2)
    assert conversation(None) != conversation(None)


@pytest.mark.parametrize("how", ["closed", "dropped", "Ctrl-C", "Ctrl-C in say"])
def test_an_answer_broken_off_stays_as_far_as_it_came(fake, how):
    session, model = fake()
    model.script = Script("Lily found", KeyboardInterrupt(), " a kite.")
    if how == "Ctrl-C in say":
        with pytest.raises(KeyboardInterrupt):
            session.say("Hi.")
    elif how == "Ctrl-C":
        with pytest.raises(KeyboardInterrupt):
            for _ in session.stream("Hi."):
                pass
    else:
        stream = session.stream("Hi.")
        assert next(stream) == "Lily"
        assert session.turns[-1].reply.text == "Lily"
        stream.close() if how == "closed" else None
        del stream
    reply = session.turns[-1].reply
    assert reply.reason == "interrupted"
    assert reply.text == ("Lily found" if "Ctrl-C" in how else "Lily")
    assert session.messages[-1] == message("assistant", reply.text)
    model.script = Script("Tom.")
    assert session.say("And?").text == "Tom." and len(session.turns) == 2
    assert reply.reason == "interrupted"


def test_an_answer_broken_off_before_its_first_word_is_not_shown_to_the_model(fake):
    session, model = fake(system="S.")
    model.script = Script(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        session.say("Hi.")
    assert [t.user for t in session.turns] == ["Hi."]
    assert session.messages == [message("system", "S.")]
    model.script = Script("Lily")
    assert session.retry().text == "Lily" and len(session.turns) == 1


def test_a_blank_answer_is_not_shown_to_the_model(fake):
    session, model = fake()
    for blank in (Script(), Script(" ")):
        model.script = blank
        assert not session.say("Hi.").text.strip()
    assert len(session.turns) == 2 and session.messages == []
    model.script = Script("Lily")
    session.say("Hello.")
    assert session.messages == [message("user", "Hello."), message("assistant", "Lily")]


def test_a_retry_broken_off_at_once_leaves_the_old_answer(fake):
    session, model = fake()
    model.script = Script("Lily")
    session.say("Hi.")
    model.script = Script(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        session.retry()
    assert session.turns[-1].reply.text == "Lily" and len(session.turns) == 1
    model.script = Script("Tom", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        session.retry()
    assert session.turns[-1].reply.text == "Tom" and len(session.turns) == 1


def test_a_stream_that_nobody_reads_leaves_nothing(fake):
    session, model = fake()
    session.stream("Hi.")
    assert session.turns == []


def test_a_backend_that_fails_leaves_the_history_as_it_was(fake):
    session, model = fake()
    model.script = Script("Lily")
    session.say("Hi.")
    before = facts(session)
    for action in (lambda: session.say("And?"), session.retry):
        model.script = Script("Tom", OSError("out of memory"))
        with pytest.raises(OSError, match="out of memory"):
            action()
        assert facts(session) == before


def test_two_answers_at_once_are_refused(fake):
    session, model = fake()
    model.script = Script("Lily found a magic kite")
    first = session.stream("one")
    next(first)
    assert session.say("two").text
    turns = list(session.turns)
    with pytest.raises(RuntimeError, match="close a stream before another"):
        next(first)
    assert session.turns == turns and [t.user for t in turns] == ["one", "two"]
    model.script = Script("Lily found")
    stale = session.stream("three")
    next(stale)
    session.reset()
    with pytest.raises(RuntimeError):
        next(stale)
    assert session.turns == []


# logs


def test_a_log_loses_nothing_and_can_be_read(fake, tmp_path):
    options = {"system": f"S. {NASTY}", "stop_strings": ["\nUser:"], "seed": 9}
    session, model = fake(room=380, **options)
    for text in ("비빔밥 😀", 'a "b"\n\tc  \n', "Tom"):
        model.script = Script(text)
        session.say(NASTY, max_new_tokens=60)
    assert session.forgotten
    model.script = Script(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        session.say("끊긴 질문", max_new_tokens=9)
    path = tmp_path / "logs" / "대화.jsonl"
    session.save(path)
    other, _ = fake(room=380)
    other.load(path)
    assert facts(other) == facts(session)
    lines = path.read_text(encoding="utf-8").split("\n")
    assert "비빔밥 😀" in path.read_text(encoding="utf-8")
    roles = [json.loads(line).get("role") for line in lines if line]
    assert roles == [None, "system"] + ["user", "assistant"] * 4


def test_a_loaded_conversation_goes_on_as_if_it_had_never_stopped(real, tmp_path):
    options = {"n_ctx": 200, "temperature": 1.2, "max_new_tokens": 15}
    session, other = real(seed=4, **options), real(**options)
    talk(session, 14)
    assert session.forgotten
    session.save(tmp_path / "log")
    other.load(tmp_path / "log")
    session.backend.forget()
    expected = [r.text for r in talk(session, 3)]
    assert [r.text for r in talk(other, 3)] == expected
    assert other.context == session.context


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "is no log of a chat: expected a file that ChatSession.save wrote"),
        ('{"role": "user", "content": "Hi."}', "is no log of a chat"),
        ('{"chat_log": 2}', "is no log of a chat"),
        ("not json", "line 1, column 1: not JSON"),
        ('{"chat_log": 1}\n{"role": "assistant", "content": "a"}', "messages[0] is the"),
        ('{"chat_log": 1}\n{"role": "user", "content": "a"}', "messages[1] is the user's"),
        ('{"chat_log": 1}\n{"role": "user"}', "messages[0] has the keys ['role']"),
        ('{"chat_log": 1, "temperature": -1}', "temperature is -1"),
        ('{"chat_log": 1, "max_new_tokens": 9999}', "max_new_tokens is 9999"),
    ],
)
def test_what_is_no_log_is_refused_and_changes_nothing(fake, tmp_path, text, says):
    session, model = fake()
    model.script = Script("Lily")
    session.say("Hi.")
    before = facts(session)
    (tmp_path / "log").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as error:
        session.load(tmp_path / "log")
    assert says in str(error.value) and "\n" not in str(error.value)
    assert facts(session) == before
    with pytest.raises(FileNotFoundError, match="there is no file"):
        session.load(tmp_path / "nothing")


def test_turns_are_read_with_what_is_known_of_them(tmp_path):
    told = [message("user", "a"), message("assistant", "b") | {"n_tokens": 3, "mood": "x"}]
    system, [turn] = read_turns(told)
    assert system is None and turn.reply == Reply("b", reason="end", n_tokens=3)
    save_log(tmp_path / "log", "S.", [turn], seed=1)
    assert load_log(tmp_path / "log") == ("S.", [turn], {"seed": 1})


# bad input


@pytest.mark.parametrize(
    "text, error, says",
    [
        ("", ValueError, "the message is empty, expected some words"),
        (" \n\t", ValueError, "the message is empty"),
        (None, TypeError, "NoneType, expected a str"),
        (["Hi."], TypeError, "list, expected a str"),
        ("\ud83d", ValueError, "a lone surrogate"),
    ],
)
def test_a_bad_message_is_one_sentence_and_changes_nothing(fake, text, error, says):
    session, model = fake()
    model.script = Script("Lily")
    session.say("Hi.")
    before = facts(session)
    for ask in (session.say, session.stream):
        with pytest.raises(error) as raised:
            ask(text)
        assert says in str(raised.value) and "\n" not in str(raised.value)
    assert facts(session) == before


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"temperature": -1}, ValueError, "temperature is -1, expected 0 (greedy)"),
        ({"top_p": 0}, ValueError, "top_p is 0"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens is 0, expected 1 to 159"),
        ({"max_new_tokens": 160}, ValueError, "max_new_tokens is 160, expected 1 to 159"),
        ({"max_new_tokens": 2.5}, ValueError, "max_new_tokens is 2.5"),
        ({"stop_strings": ["a", ""]}, ValueError, "stop_strings is ['a', '']"),
        ({"heat": 1}, TypeError, "unknown option 'heat', expected max_new_tokens, temp"),
    ],
)
def test_a_bad_option_is_one_sentence(fake, options, error, says):
    session, _ = fake()
    for use in (lambda: fake(**options), lambda: session.say("Hi.", **options)):
        with pytest.raises(error) as raised:
            use()
        assert says in str(raised.value) and "\n" not in str(raised.value)
    assert session.turns == []


@pytest.mark.parametrize(
    "options, says",
    [
        ({"n_ctx": 1}, "n_ctx is 1, expected 2 to 160"),
        ({"n_ctx": 161}, "n_ctx is 161"),
        ({"trim_to": 1.5}, "trim_to is 1.5"),
        ({"max_turns": -1}, "max_turns -1"),
        ({"system": " "}, "messages[0] (system) is empty"),
        ({"messages": [message("user", "Hi.")]}, "messages[1] is the user's"),
        ({"system": "a", "messages": [message("system", "b")]}, "a second system message"),
        ({"family": "lama"}, "unknown family 'lama'"),
    ],
)
def test_a_session_that_cannot_be(fake, options, says):
    with pytest.raises(ValueError) as raised:
        fake(**options)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_an_answer_begins_with_its_first_word(fake) -> None:
    session, model = fake()
    model.script = Script(" \n  Lily ran. ")
    assert "".join(session.stream("Who ran?")) == "Lily ran. "
    assert session.turns[-1].reply.text == "Lily ran. "


def test_a_space_of_the_template_keeps_the_answer_in_the_cache() -> None:
    tokenizer = copy.deepcopy(chat_tokenizer())
    spaced = tokenizer.chat_template.replace("|>\n' + message", "|>\n ' + message")
    assert spaced != tokenizer.chat_template
    tokenizer.chat_template = spaced
    session = ChatSession(model := Reciter(), tokenizer)
    known = []
    for question in ("Who ran?", "And then?"):
        model.script = Script(" Lily ran.")
        reply = session.say(question)
        known.append((reply.cached_tokens, reply.prompt_tokens + reply.n_tokens))
    assert known[1][0] >= known[0][1] - 1  # all but, at most, the end of the turn
