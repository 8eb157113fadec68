"""Judge whether a reply follows an instruction, whatever its words are.

`helpers.instructions` makes the examples. A verifier asks for what the request named
and for nothing else: a story about Lily and a kite has Lily for its first name and in
its last half, and names no other treasure more often than the kite. The gold reply is
one of many that pass. Every fault is told in one sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from helpers.dishes import FOLDER as MENUS
from helpers.dishes import Request, dishes_in, satisfies
from helpers.grammar import Grammar, grammar
from helpers.metrics import words
from helpers.tales import ENDINGS, vocabulary

__all__ = ["Example", "fault", "follows", "named", "sentences", "story_fault", "wordings"]

LANGUAGE = {"en": "English", "ko": "Korean"}
MORE_ENDINGS = "요 이요 죠 이죠 지요 이지요 입니다 였습니다 이었습니다 라고 에서는 에서요 네요"
# A word that turns a sad event round ("lost the kite but found it again").
TURN = {"en": re.compile(r"\b(?:but|then|again|back|soon|until|later)\b", re.I),
        "ko": re.compile("다시|하지만|그런데|그러나|그래도|결국|[았었였]지만")}
# What makes "sad" say the opposite, before it or after it.
NOT = {"en": (r"(?:\b(?:not|no longer)\s+|n't\s+)(?:\w+\s+)?", "(?!)"),
       "ko": (r"(?<![가-힣])안 ", "[가-힣]{0,3}지 ?(?:않|못)")}
# What a menu chatbot says of itself when it is asked for something else.
OFFER = re.compile("(?:음식|메뉴|먹을지|좋을지|한국어로)[^.!?]*(?:추천|도와|골라|답할 수|물어봐)|추천[^.!?]*(?:있어요|드려요)")
VERB = r"\b(?:is|was|are|were|did|had|has|\w+ed|(?:it|that|he|she)['’]s|{})\b"


@dataclass(frozen=True)
class Example:
    """A request and its gold reply as `messages`, the task, and the facts to judge by."""

    messages: list[dict[str, str]]
    task: str
    facts: dict

    @property
    def request(self) -> str:
        """What the user says."""
        return self.messages[-2]["content"]

    @property
    def reply(self) -> str:
        """The gold reply: one of many right ones."""
        return self.messages[-1]["content"]


@lru_cache(maxsize=None)
def wordings(language: str) -> Grammar:
    """Read the lists and scenes of the requests, on top of the lists of the stories."""
    own = Grammar.read(language, MENUS.parent / "instructions")
    return Grammar({**grammar(language).lists, **own.lists}, own.plots)


def sentences(text: str) -> list[str]:
    """Split a text behind full stops, question and exclamation marks, and at newlines.

    >>> sentences('Lily ran. "Look!" said Tom.')
    ['Lily ran.', '"Look!"', 'said Tom.']
    """
    return re.split(r'(?<=[.!?])\s+|(?<=[.!?]["”])\s+|\n+', text.strip())


@lru_cache(maxsize=4096)
def _pattern(nouns: frozenset[str] | tuple[str, ...]) -> re.Pattern[str]:
    """Find nouns as whole words, with a plural s or with particles behind them."""
    stems = sorted(nouns, key=len, reverse=True)
    if not re.search("[가-힣]", stems[0]):
        name = stems[0][0].isupper()  # Lily is a name, lily is not; Kite is a kite
        return re.compile(rf"\b({'|'.join(map(re.escape, stems))})(?:s|['’]s)?\b",
                          0 if name else re.I)
    names = vocabulary("ko")["names"]
    stems = [s[:-1] + "이?" if s in names and len(s) == 3 and s[-1] == "이" else re.escape(s)
             for s in stems]
    ends = "|".join(sorted({*ENDINGS, *MORE_ENDINGS.split()}, key=len, reverse=True))
    return re.compile(rf"(?<![가-힣])({'|'.join(stems)})(?:{ends}){{0,2}}(?![가-힣])")


def named(noun: str, text: str) -> bool:
    """Tell whether a text has a noun, as a whole word or before Korean particles.

    >>> named("kite", "Two kites!"), named("민준이", "민준아, 안녕?"), named("배", "배낭을")
    (True, True, False)
    """
    return bool(_pattern((noun,)).search(text))


def _all_named(kind: str, text: str, language: str) -> list[str]:
    """List every name or every treasure in a text, in its order."""
    nouns = vocabulary(language)[kind]
    if language == "ko":
        found = [m[1] for m in _pattern(nouns).finditer(text)]
        return [noun if noun in nouns else noun + "이" for noun in found]
    said = re.findall("[A-Za-z]+", text if kind == "names" else text.lower())
    return [w.removesuffix("s") if w not in nouns else w for w in said
            if w in nouns or (w[-1] == "s" and w[:-1] in nouns)]


def _other_fault(text: str, facts: dict) -> str:
    """Say that the hero or the treasure is missing, or that another one stands out."""
    names = _all_named("names", text, facts["language"])
    things = Counter(_all_named("things", text, facts["language"]))
    if facts["hero"] not in names:
        return f"{facts['hero']} is not named"
    if facts["thing"] not in things:
        return f"{facts['thing']} is not named"
    most = things.most_common(1)[0]
    return f"it is more about {most[0]}" if most[1] > things[facts["thing"]] else ""


def story_fault(text: str, facts: dict) -> str:
    """Say why a text is no finished story about a hero and a thing, or return ""."""
    if wrong := _other_fault(text, facts):
        return wrong
    said = sentences(text)
    if (first := _all_named("names", text, facts["language"])[0]) != facts["hero"]:
        return f"{first} is named first, not {facts['hero']}"
    if not named(facts["hero"], text[len(text) // 2:]):
        return f"{facts['hero']} is lost in the second half"
    if len(set(said)) < max(3, 0.7 * len(said)):
        return "it has fewer than three sentences" if len(said) < 3 else "it repeats itself"
    return "" if text.rstrip()[-1] in '.!?"”' else "it is not finished"


def _continue_fault(text: str, facts: dict, request: str) -> str:
    """The same hero and the same thing go on, and nothing is told again."""
    old = set(sentences(request.partition("\n")[2]))
    if again := [s for s in sentences(text) if s in old and len(s.split()) > 2]:
        return f"it repeats: {again[0]}"
    if wrong := _other_fault(text, facts):
        return wrong
    if len(set(sentences(text))) < max(2, 0.7 * len(sentences(text))):
        return "it is too short, or repeats itself"
    return "" if text.rstrip()[-1] in '.!?"”' else "it is not finished"


def _answer_fault(text: str, facts: dict, request: str) -> str:
    """The answer is given, and no other person, thing or place comes in."""
    if not named(facts["answer"], text):
        return f"it does not say {facts['answer']}"
    if other := [noun for noun in facts["wrong"] if named(noun, text)]:
        return f"it says {other[0]}"
    for kind in ("names", "things"):
        for noun in _all_named(kind, text, facts["language"]):
            if not named(noun, request):
                return f"{noun} is not in the story"
    return ""


def _question_fault(text: str, facts: dict, request: str) -> str:
    if wrong := _answer_fault(text, facts, request):
        return wrong
    said = sentences(text)
    if len(said) > 2 or "?" in text:
        return "it is more than an answer"
    if facts["language"] == "en":
        full = re.search(VERB.format(facts["verb"] or "is"), text) and len(text.split()) > 1
    else:  # 지우예요 is a sentence, 지우요 is not
        bare = rf"{re.escape(facts['answer'])}(?:이|에서|을|를)?요\W*$"
        full = re.search(r"[요다죠]\W*$", text) and not re.search(bare, text)
    return "" if full and text.rstrip()[-1] in '.!"”' else "it is not a full sentence"


def _word_fault(text: str, facts: dict, request: str) -> str:
    if len(text.split()) > 1:
        return f"it has {len(text.split())} words"
    return _answer_fault(text, facts, request)


def moods(text: str, language: str) -> set[str]:
    """Find "glad" and "sad" in a text; what is denied counts as the opposite.

    >>> moods("Lily was not sad.", "en"), moods("지우는 슬펐어요.", "ko")
    ({'glad'}, {'sad'})
    """
    found, lists = set(), wordings(language).lists
    before, after = NOT[language]
    start, end = (r"\b", r"\b") if language == "en" else ("(?<![가-힣])", "")
    for mood, other in (("glad", "sad"), ("sad", "glad")):
        signs = lists[f"i_{mood}"] + lists[f"i_{mood}_signs"][0].replace("_", "~").split()
        signs = "|".join(map(re.escape, signs)).replace("\\~", " ").replace("~", " ")
        for m in re.finditer(f"({before})?{start}(?:{signs}){end}({after})?", text, re.I):
            found.add(other if m[1] or m[2] else mood)
    return found


def _happy_fault(text: str, facts: dict, request: str) -> str:
    """It is about the same hero and thing, and neither the feeling nor the event is sad."""
    if wrong := _other_fault(text, facts):
        return wrong
    felt, said = moods(text, facts["language"]), words(text)
    if "sad" in felt or "glad" not in felt:
        return "it is still sad" if "sad" in felt else "nobody is happy in it"
    mended = TURN[facts["language"]].search(text) or set(facts["undone"]) & set(said)
    if set(facts["event"]) <= set(said) and not mended:
        return f"what was sad still happens: {' '.join(facts['event'])}"
    return "" if len(sentences(text)) <= 8 else "it is more than the sentence"


def _dish_fault(text: str, facts: dict, request: str) -> str:
    named_before = facts.get("exclude", ())
    verdict = satisfies(text, Request("", **facts["limits"], exclude=named_before))
    return "" if verdict else verdict.reason


def _none_fault(text: str, facts: dict, request: str) -> str:
    if dishes_in(text):
        return "it recommends a dish"
    return "" if re.search("없", text) else "it does not say that there is none"


def _scope_fault(text: str, facts: dict, request: str) -> str:
    """A question that is not about food wants no dish, and a word on what can be done."""
    if dishes_in(text):
        return "it recommends a dish"
    return "" if OFFER.search(text) else "it does not say what it can do"


_FAULTS: dict[str, Callable[[str, dict, str], str]] = {
    "story": lambda text, facts, request: story_fault(text, facts),
    "continue": _continue_fault, "question": _question_fault, "word": _word_fault,
    "happy": _happy_fault, "dish": _dish_fault, "again": _dish_fault, "scope": _scope_fault,
    "none": _none_fault, "talk": lambda text, facts, request: "",
}


def fault(example: Example, reply: str) -> str:
    """Say in a few words why a reply does not follow the request; "" if it does.

    Raises ValueError for an example of an unknown task.
    """
    if example.task not in _FAULTS:
        raise ValueError(f"task is {example.task!r}; expected one of {', '.join(_FAULTS)}.")
    language = example.facts["language"]
    if not reply.strip():
        return "it is empty"
    if "<|" in reply or "</s>" in reply:
        return "it has control tokens"
    korean = re.search("[가-힣]", reply)
    latin = re.search("[A-Za-z]", reply.replace("kcal", ""))
    if (korean if language == "en" else latin or not korean):
        return f"it is not in {LANGUAGE[language]}"
    return _FAULTS[example.task](reply.strip(), example.facts, example.request)


def follows(example: Example, reply: str) -> bool:
    """Tell whether a reply does what the request asks; `fault` says what is wrong."""
    return not fault(example, reply)
