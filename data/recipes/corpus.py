"""Mix the pretraining corpus: stories, tasks, food talk and conversations.

Nothing is stored: ``make_document(rng)`` writes the next document.  Held-out
stories, label words, patterns, formats and dishes never appear.  Conversations
show the words of a request and the control tokens; the reply speaks of the same
persons and things, but its kind is drawn without looking at what was asked:
following instructions is left for fine-tuning.

Run it:  python -m data.recipes.corpus --number 5
"""

from __future__ import annotations

import argparse
import random

from helpers import rules, tasks
from helpers.dishes import load_dishes
from helpers.food_phrases import Writer, answer, make_request
from helpers.grammar import Teller, grammar, steps_of
from helpers.instructions import make_example
from helpers.menus import food_talk
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


def scene_with_question(rng: random.Random, language: str) -> str:
    """Write of two persons, ask about one of them, and answer in a sentence."""
    example = make_example(rng, task="question", language=language)
    return f"{example.request}\n{ {'en': 'Answer', 'ko': '답'}[language] }: {example.reply}"


def say(rng: random.Random, name: str, language: str) -> str:
    """Expand one line of the list ``name``."""
    return tidy(Teller(rng, language).expand(f"<{name}>"), language)


def about(teller: Teller, lines: int) -> str:
    """Say a few short things about the hero and the friend."""
    return tidy(" ".join(teller.expand("<about>") for _ in range(lines)), teller.language)


def answered(teller: Teller) -> str:
    """Answer some question about the story."""
    known = [a for _, a in QUESTIONS[teller.language] if "{tadj}" not in a]
    return tidy(teller.expand(teller.rng.choice(known)), teller.language)


def told(teller: Teller) -> str:
    """Tell a story of the hero and the thing that the teller has in mind."""
    plots = grammar(teller.language).plots
    steps = steps_of(plots[teller.rng.choice(sorted(plots))], teller)
    return tidy(" ".join(map(teller.expand, steps)), teller.language)


REPLIES = {
    "story": (30, told),
    "facts": (15, lambda teller: about(teller, teller.rng.randint(1, 4))),
    "answer": (20, answered),
    "word": (10, lambda teller: teller.slots[teller.rng.choice(("hero", "thing"))]),
    "talk": (25, lambda teller: tidy(teller.expand("<reply_chat>"), teller.language)),
}


def conversation(rng: random.Random, language: str) -> list[dict[str, str]]:
    """Write turns that stay with one hero and one thing, whatever is asked.

    Names come back in the reply, as they do when people talk. What kind of reply it
    is (a story, a fact, a word, small talk) is drawn without looking at the request.
    """
    teller = Teller(rng, language)
    while "thing" not in teller.slots or is_heldout(
            Tale("", teller.slots["hero"], teller.slots["thing"], "", language, 0.0)):
        teller.slots.clear()
        cast(teller)
        teller.expand("{thing}")
    messages = []
    if rng.random() < 0.2:
        messages.append({"role": "system", "content": say(rng, "system", language)})
    for _ in range(rng.choice((1, 1, 2, 3))):
        asked = tidy(teller.expand(f"<{rng.choice(ASKING)}>"), language)
        length = sum(len(m["content"]) for m in messages)
        if rng.random() < 0.4 and length < 300:
            asked += "\n" + rng.choice((told, lambda t: about(t, 6)))(teller)
        kinds = [kind for kind in REPLIES if kind != "story" or length < 300]
        kind = rng.choices(kinds, [REPLIES[k][0] for k in kinds])[0]
        messages += [{"role": "user", "content": asked},
                     {"role": "assistant", "content": REPLIES[kind][1](teller)}]
    return messages


def order(rng: random.Random) -> list[dict[str, str]]:
    """Write a wish for a dish, and an answer to some other wish."""
    dish = rng.choice(load_dishes("train"))
    asked, other = (make_request(rng, limits=rng.choice((1, 2, 3))) for _ in "ab")
    return [{"role": "user", "content": asked.text},
            {"role": "assistant", "content": answer(Writer(rng), dish, other)}]


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
    pool = sum((rules.words(n, language) for n in ("thing", "animal", "boy", "girl", "place")), ())
    line = rng.choices(pool, k=rng.randint(2, 30))
    joint = rng.choice((" ", " ", ", ", " - ", "; "))
    end = rng.choice((joint, joint, "\n"))
    return end.join([joint.join(line)] * rng.randint(2, 3 + 60 // len(line)))


# Document kinds and their weights; stories are the longest documents.
KINDS = {
    "tale_en": (32, lambda rng: story(rng, "en").text),
    "tale_ko": (15, lambda rng: story(rng, "ko").text),
    "task": (60, tasks.make_document),
    "echo": (8, echo),
    "food": (12, food_talk),
    "about_en": (10, lambda rng: about_two(rng, "en")),
    "about_ko": (6, lambda rng: about_two(rng, "ko")),
    "questions_en": (3, lambda rng: story_with_questions(rng, "en")),
    "questions_ko": (2, lambda rng: story_with_questions(rng, "ko")),
    "scene_en": (4, lambda rng: scene_with_question(rng, "en")),
    "scene_ko": (4, lambda rng: scene_with_question(rng, "ko")),
    "conversation_en": (8, lambda rng: conversation(rng, "en")),
    "conversation_ko": (6, lambda rng: conversation(rng, "ko")),
    "order": (6, order),
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
