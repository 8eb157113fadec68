"""Mix the pretraining corpus: stories, tasks, food talk and conversations.

Nothing is stored: ``make_document(rng)`` writes the next document.  Held-out
stories, label words, patterns, formats and dishes never appear.  Conversations
show the words of a request and the control tokens, but the reply is drawn
without looking at the request: following instructions is left for fine-tuning.

Run it:  python -m data.recipes.corpus --number 5
"""

from __future__ import annotations

import argparse
import random

from helpers import tasks
from helpers.menus import food_talk
from helpers.grammar import Teller
from helpers.tales import Tale, cast, is_heldout, make_tale, tidy

CONTROL = ["<|system|>", "<|user|>", "<|assistant|>"]
ASKING = ("ask_story", "ask_more", "ask_about", "ask_change", "ask_chat")
QUESTIONS = {
    "en": [("Who is the story about?", "[It is|The story is] about {hero}."),
           ("What is the name of the hero?", "The [hero|name] is {hero}."),
           ("Which thing is [important|named] in the story?", "It is [the|a] {thing}."),
           ("What [|kind of ]thing is in the story?", "There is a {thing}."),
           ("What was the {thing} like?", "It was {tadj}.")],
    "ko": [("누구의 이야기인가요?", "{hero}의 이야기예요."),
           ("주인공의 이름은 무엇인가요?", "주인공의 이름은 {hero}이에요/예요."),
           ("이야기에 무엇이 나오나요?", "{thing}이/가 나와요.")],
}


def story(rng: random.Random, language: str) -> Tale:
    """Tell a story that is not held out."""
    while is_heldout(tale := make_tale(rng, language=language)):
        pass
    return tale


def story_with_questions(rng: random.Random, language: str) -> str:
    """Write a story and one or two questions, answered in full sentences."""
    tale = story(rng, language)
    teller = Teller(rng, language)
    teller.slots = tale.slots
    asked = [(q, a) for q, a in QUESTIONS[language] if "{tadj}" not in a or "tadj" in tale.slots]
    lines = [tale.text, ""]
    names = {"en": ("Question", "Answer"), "ko": ("질문", "답")}[language]
    for pair in rng.sample(asked, rng.choice((1, 2))):
        lines += [f"{n}: {tidy(teller.expand(p), language)}" for n, p in zip(names, pair)]
    return "\n".join(lines)


def say(rng: random.Random, name: str, language: str) -> str:
    """Expand one line of the list ``name``."""
    return tidy(Teller(rng, language).expand(f"<{name}>"), language)


def conversation(rng: random.Random, language: str) -> list[dict[str, str]]:
    """Write turns whose replies are independent of what was asked."""
    messages = []
    if rng.random() < 0.2:
        messages.append({"role": "system", "content": say(rng, "system", language)})
    for _ in range(rng.choice((1, 1, 2, 3))):
        asked = say(rng, rng.choice(ASKING), language)
        if rng.random() < 0.15:
            asked += "\n" + story(rng, language).text
        reply = say(rng, "reply_chat", language)
        if len(messages) < 2 and rng.random() < 0.35:
            reply = story(rng, language).text
        messages += [{"role": "user", "content": asked},
                     {"role": "assistant", "content": reply}]
    return messages


def about_two(rng: random.Random, language: str) -> str:
    """Write sentences about one hero and one friend, whose names keep coming back.

    They let a model practise bringing a name back many times a line. An earlier
    run, without them for its first 8.6 million tokens, gave all names about the
    same probability until they came in.
    """
    teller = Teller(rng, language)
    cast(teller)
    first = [teller.slots["who"] + "."] if rng.random() < 0.5 else []
    lines = first + [teller.expand("<about>") for _ in range(rng.randint(6, 22))]
    return tidy(" ".join(lines), language)


def echo(rng: random.Random) -> str:
    """Repeat a line of random words, until it is worth looking back for the next one.

    Such lines teach copying from the context directly (Olsson et al. 2022, "In-context
    Learning and Induction Heads", measure it on them).
    """
    language = rng.choice(("en", "en", "ko"))
    pool = sum((tasks.words(n, language) for n in ("thing", "animal", "boy", "girl", "place")), ())
    line = rng.choices(pool, k=rng.randint(2, 30))
    joint = rng.choice((" ", " ", ", ", " - ", "; "))
    end = rng.choice((joint, joint, "\n"))
    return end.join([joint.join(line)] * rng.randint(2, 3 + 60 // len(line)))


# Document kinds and their weights; stories are the longest documents.
KINDS = {
    "tale_en": (30, lambda rng: story(rng, "en").text),
    "tale_ko": (13, lambda rng: story(rng, "ko").text),
    "task": (60, tasks.make_document),
    "echo": (10, echo),
    "food": (12, food_talk),
    "about_en": (14, lambda rng: about_two(rng, "en")),
    "about_ko": (7, lambda rng: about_two(rng, "ko")),
    "questions_en": (3, lambda rng: story_with_questions(rng, "en")),
    "questions_ko": (2, lambda rng: story_with_questions(rng, "ko")),
    "conversation_en": (4, lambda rng: conversation(rng, "en")),
    "conversation_ko": (3, lambda rng: conversation(rng, "ko")),
}


def make_document(rng: random.Random) -> str | list[dict[str, str]]:
    """Write one document: a text, or a list of messages."""
    kind = rng.choices(list(KINDS), weights=[w for w, _ in KINDS.values()])[0]
    return KINDS[kind][1](rng)


def plain_text(rng: random.Random) -> str:
    """Write one document as text without control tokens, for the tokenizer."""
    document = make_document(rng)
    if isinstance(document, str):
        return document
    return "\n".join(message["content"] for message in document)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    for _ in range(args.number):
        print(make_document(rng), end="\n\n")


if __name__ == "__main__":
    main()
