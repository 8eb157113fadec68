"""Checks of how a model talks: does it end, vary, repeat itself, remember, hold out?

They go through `ChatSession`, as the course's front ends do. A base model is judged by
a text that it writes together with us. A check takes a `Candidate` and returns its
findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median
from typing import TYPE_CHECKING

from helpers import metrics
from helpers.acceptance_file import TALK, decode
from helpers.acceptance_trial import Candidate, Finding, last_logits
from helpers.chat import ChatSession
from helpers.chat_templates import MARKER

if TYPE_CHECKING:
    from llama_cpp import Llama

__all__ = ["check_conversation", "check_greedy", "check_long_chat", "check_needle"]
__all__ += ["check_temperatures"]

CHAT = (
    "Hello! Introduce yourself in one sentence.",
    "Tell me a short story about a fox.",
    "What could the fox be called? Answer with one name.",
    "오늘 저녁에 뭐 먹을까요? 한 문장으로 추천해 주세요.",
    "Thank you! Say goodbye in one sentence.",
)
STORY = (
    "Once upon a time, a little fox",
    "The next day,",
    "Then an old owl said,",
    "옛날 옛적에 작은 여우가",
    "In the end,",
)
TEMPERATURES, DRAWS = (0.1, 0.7, 1.5), 3
SLACK = 0.1  # of an overlap: three draws are few
LOOP = 0.5  # a text is a loop if more of its runs of four words came before
FIVE_MINUTES, SOON = 300, 2.0  # seconds: for all answers, and until a first token
AGAIN = 2.5  # how often a token may be read: cutting away half of a history makes it 2
DEPTHS = (0.1, 0.5, 0.9, 1.0)
WORDS = "river garden lantern kite drum basket window feather apple horse".split()
SAY, ASK = "The secret word is {}.", "The secret word is"
HAY = (
    "The sun was warm and the grass was green.",
    "A bird sang in a tall tree.",
    "The children walked to the market.",
    "It was a quiet day in the village.",
    "An old man sat near the door.",
    "The wind moved the leaves.",
    "Two dogs ran along the road.",
    "A woman baked bread in her kitchen.",
)


def check_conversation(model: Candidate) -> list[Finding]:
    """Hold a conversation of five prompts: does it flow, does it end, is it quick?

    Returns three findings. It flows if no answer is blank, a loop or the same as
    another, and all take under five minutes. Turns end if most answers end before
    their tokens run out and none writes the user's part.
    """
    most = model.tokens(0.4 / len(CHAT), least=24, most=160)
    session = _fresh(model, max_new_tokens=most)
    replies = [session.say(text) for text in _script(model)]
    texts, faults = [reply.text.strip() for reply in replies], []
    for i, text in enumerate(texts):
        if not text:
            faults.append(f"answer {i + 1} is blank")
        elif text in texts[:i]:
            faults.append(f"answer {i + 1} is that of an earlier prompt")
        elif metrics.repetition(text) > LOOP:
            faults.append(f"answer {i + 1} goes round in a loop")
    seconds, tokens = sum(r.seconds for r in replies), sum(r.n_tokens for r in replies)
    if seconds > FIVE_MINUTES:
        faults.append("that is more than five minutes")
    said = f"5 answers, {tokens} tokens in {seconds:.1f} s"
    figures = {"seconds": seconds, "tokens": tokens, "answers": texts}
    script = not faults, "; ".join([said, *faults]), figures
    wait = [reply.first_seconds for reply in replies]
    said = f"{wait[0]:.2f} s after a prompt of {replies[0].prompt_tokens} tokens, "
    said += f"{wait[-1]:.2f} s in turn 5"
    first = max(wait) <= SOON, said, {"first_seconds": wait[0], "last_seconds": wait[-1]}
    if not model.chat:
        return [script, _stop(model, replies[0].text, most), first]
    ended, leaked = sum(r.reason in ("end", "stop") for r in replies), _leaked(model, texts)
    said = f"{ended} of 5 answers end by themselves within {most} tokens"
    said += f", but one has {leaked!r} as text" if leaked else ""
    passed = ended > len(replies) / 2 and not leaked
    return [script, (passed, said, {"ended": ended, "tokens": most}), first]


def check_temperatures(model: Candidate) -> list[Finding]:
    """Fail unless three draws have less in common the higher the temperature (A1)."""
    new = model.tokens(0.2 / 11, least=12, most=60)
    overlap = {}
    for t in TEMPERATURES:
        options = {"temperature": t, "top_p": 1.0, "max_new_tokens": new}
        texts = [
            ChatSession(model.backend, seed=seed, **options).say(_script(model)[1]).text
            for seed in range(DRAWS)
        ]
        overlap[t] = metrics.mean_jaccard(texts)
    low, middle, high = overlap.values()
    passed = low > high and low + SLACK >= middle >= high - SLACK
    each = ", ".join(f"{share:.0%} at {t}" for t, share in overlap.items())
    said = f"{DRAWS} answers to one prompt share of their words {each}"
    return [(passed, said, {str(t): share for t, share in overlap.items()})]


def check_greedy(model: Candidate) -> list[Finding]:
    """Fail unless temperature 0 writes the same again, with nothing kept in between."""
    new = model.tokens(0.2 / 11, least=12, most=60)
    options = {"temperature": 0, "max_new_tokens": new}
    one, two = (_fresh(model, **options).say(_script(model)[1]) for _ in range(2))
    same = one.text == two.text
    said = f"at temperature 0 it writes {'the same' if same else 'another'} answer"
    return [(same, f"{said} of {two.n_tokens} tokens again", {"tokens": two.n_tokens})]


def check_long_chat(model: Candidate) -> list[Finding]:
    """Talk for up to 50 turns in a small context; return two findings.

    The cost of a turn is flat if llama.cpp reads few tokens more than once. The
    context is trimmed well if the oldest turns go and the answers go on.
    """
    encode, new = model.backend.encode, min(8, model.backend.n_ctx // 8)
    turns = model.tokens(0.1 / new, least=18, most=50)
    first, third = len(encode(TALK[1:2])), len(encode(TALK[1:]))
    room = min(model.backend.n_ctx, first + 8 * (third - first + new))  # eight turns
    session = _fresh(model, n_ctx=room, max_new_tokens=new)
    start = _read(model.llm)
    asks = "Tell me more about number {}." if model.chat else "Then number {} came and"
    replies = [session.say(asks.format(i)) for i in range(1, turns + 1)]
    read = _read(model.llm) - start
    pairs = zip(replies, replies[1:])
    grew = [b.prompt_tokens - a.prompt_tokens for a, b in pairs if not b.dropped_turns]
    grew = [tokens for tokens in grew if tokens > 0]
    if not (grew and any(reply.text.strip() for reply in replies)):
        blank = (False, "nothing was said, so that nothing grew", {"turns": turns})
        return [blank, blank]
    again = read / (turns * mean(grew))
    wait = [1000 * reply.first_seconds for reply in replies]
    early, late = median(wait[1:9]), median(wait[-8:])
    said = f"{turns} turns, each token read {again:.1f} times; usual wait for a first"
    said += f" token {early:.0f} ms in turns 2 to 9, {late:.0f} ms in the last eight"
    figures = {"turns": turns, "read": again, "ms_early": early, "ms_late": late}
    cost = (again <= AGAIN, said, figures)
    dropped, spoke = session.forgotten, any(reply.text.strip() for reply in replies[-3:])
    said = f"after {turns} turns in {room} tokens, {dropped} of the oldest are left out"
    said += "" if spoke else ", and it fell silent"
    return [cost, (dropped > 0 and spoke, said, {"dropped": dropped, "tokens": room})]


def check_needle(model: Candidate) -> list[Finding]:
    """Fail unless a word told at 10, 50 and 90% of a long text is known at its end.

    Also at 100%: what is not known even there is not lost for the length of the text.
    Four words are told in turn. One is known if telling it makes it likelier, against
    what the other three make of it, than any other word: so words that a model likes
    anyway win nothing. At each depth, most have to be known.
    """
    import numpy as np

    start = len(_ids(model, ASK))
    firsts: dict[int, str] = {}  # the words' first tokens, which have to differ
    for word in WORDS:
        firsts.setdefault(_ids(model, f"{ASK} {word}")[start], word)
    tokens, words = [*firsts][:4], [*firsts.values()][:4]
    if len(words) < 4:
        return [(None, "its tokens are too short to tell the words apart by one", {})]
    budget = int(model.seconds * 0.4 * model.read_rate / 7)  # texts share beginnings
    room = min(model.backend.n_ctx - 1, max(budget, 256))
    lines = room * len(HAY) // len(_ids(model, " ".join(HAY)))
    spots = [(depth, word) for depth in DEPTHS for word in words]
    while lines > 4 and max(len(_ids(model, _hay(lines, *s))) for s in spots) > room:
        lines -= 1
    if lines < 5:
        return [(None, "the context is too short to hide a word in", {"tokens": room})]
    found = {}
    for depth in DEPTHS:
        rows = []
        for word in words:
            ids = _ids(model, _hay(lines, depth, word))
            next(model.llm.generate(ids, temp=0.0))
            rows.append(last_logits(model.llm)[tokens])
        table = np.array(rows)
        table -= table.mean(axis=0)
        found[f"{depth:.0%}"] = int((table.argmax(axis=1) == np.arange(4)).sum())
    each = ", ".join(f"{n} told at {depth}" for depth, n in found.items())
    said = f"at the end of {len(ids)} tokens it knows, of 4 secret words each, {each}"
    return [(min(found.values()) > 2, said, found | {"tokens": len(ids)})]


def _fresh(model: Candidate, **options: float) -> ChatSession:
    """Return a conversation with a model that knows nothing of the one before."""
    model.backend.forget()
    return ChatSession(model.backend, **options)


def _script(model: Candidate) -> tuple[str, ...]:
    return CHAT if model.chat else STORY


def _leaked(model: Candidate, texts: Sequence[str]) -> str | None:
    """Return a marker of the chat format that stands in an answer as text, if any."""
    ids = model.backend.encode(TALK[1:])
    markers = {decode(model, [i], True) for i in ids if i in model.backend.ends}
    glue = decode(model, ids)  # what else stands between the messages
    for one in TALK[1:]:
        glue = glue.replace(one["content"], "\n")
    markers |= {line.strip() for line in glue.splitlines() if MARKER.search(line)}
    return next((m for m in sorted(markers) for text in texts if m in text), None)


def _stop(model: Candidate, text: str, most: int) -> Finding:
    """Write a text anew with a stop string out of its middle: it has to end there."""
    if len(text) < 12:
        return False, f"the text {text!r} is too short for a stop string", {}
    stop = text[len(text) // 2 :][:4]
    session = _fresh(model, max_new_tokens=most)
    reply = session.say(_script(model)[0], stop_strings=[stop])
    passed = reply.reason == "stop" and reply.text == text[: text.find(stop)]
    said = f"no turns to end; a text {'ends' if passed else 'does not end'}"
    return passed, f"{said} before the stop string {stop!r}", {"stop": stop}


def _read(llm: Llama) -> int:
    """Return how many tokens llama.cpp has computed: read at once, or one by one."""
    import llama_cpp

    seen = llama_cpp.llama_perf_context(llm.ctx)
    return seen.n_p_eval + seen.n_eval


def _ids(model: Candidate, text: str) -> list[int]:
    return model.llm.tokenize(text.encode(), special=False)


def _hay(lines: int, depth: float, word: str) -> str:
    """Return a text of so many lines with the secret word told at a depth."""
    found = [HAY[i % len(HAY)] for i in range(lines)]
    found.insert(round(depth * lines), SAY.format(word))
    return " ".join([*found, ASK])
