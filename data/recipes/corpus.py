"""Mix the pretraining corpus: stories, tasks, food talk and conversations.

Nothing is stored: ``make_document(rng)`` writes the next document.  Held-out
stories, label words, patterns, formats and dishes never appear.  Conversations
show the words of a request and the control tokens, but most replies are small
talk: following instructions is left for fine-tuning.

Run it:  python -m data.recipes.corpus --number 5
"""

from __future__ import annotations

import argparse
import random

from helpers import rules, tasks
from helpers.grammar import Teller
from helpers.instructions import TASKS, make_example, make_quiz
from helpers.menus import food_talk
from helpers.tales import Tale, cast, is_heldout, make_tale, tidy

CONTROL = ["<|system|>", "<|user|>", "<|assistant|>"]
ANSWER = {"en": "Answer", "ko": "답"}
FOLLOWED = 0.2  # of the replies to an instruction do as asked
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


def exercise(rng: random.Random, language: str, *tasks: str) -> str:
    """Write an instruction and a right answer as plain text, without control tokens.

    The instruction comes first, so that a text which begins with a scene is a story.
    """
    while True:
        example = make_example(rng, task=rng.choice(tasks), language=language,
                               events=rng.choice((1, 2)))
        first, _, rest = example.request.partition("\n")
        if not rest or len(first) < len(rest):
            return f"{example.request}\n{ANSWER[language]}: {example.reply}"


def quiz(rng: random.Random, language: str) -> str:
    """Ask about a scene of two persons, show it, answer, and ask some more.

    The first question comes before the scene, for the reason above.
    """
    text, pairs = make_quiz(rng, language=language, number=rng.randint(3, 6))
    asked = [f"{question}\n{ANSWER[language]}: {right}" for question, right in pairs]
    return "\n".join([asked[0].replace("\n", f"\n{text}\n", 1), *asked[1:]])


def say(rng: random.Random, name: str, language: str) -> str:
    """Expand one line of the list ``name``."""
    return tidy(Teller(rng, language).expand(f"<{name}>"), language)


def conversation(rng: random.Random, language: str) -> list[dict[str, str]]:
    """Write turns between a person who asks and an assistant that seldom does as asked.

    One reply in five to an instruction is right (`helpers.instructions` made both);
    the others are small talk, as are all replies to small talk. So a model learns what
    a good reply is made of, and that it is not the likely one.
    """
    tasks_here = [task for task in TASKS if (task, language) != ("dish", "en")]
    messages = []
    if rng.random() < 0.2:
        messages.append({"role": "system", "content": say(rng, "system", language)})
    for _ in range(rng.choice((1, 1, 2, 3))):
        teller = Teller(rng, language)
        cast(teller)
        reply = ""
        if rng.random() < 0.75:
            example = make_example(rng, task=rng.choice(tasks_here), language=language)
            asked, reply = example.request, example.reply
            teller.slots |= {n: example.facts[n] for n in ("hero", "thing") if n in example.facts}
        else:
            asked = tidy(teller.expand(f"<{rng.choice(ASKING)}>"), language)
        if not reply or rng.random() > FOLLOWED:
            reply = tidy(teller.expand("<reply_chat>"), language)
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]
        if sum(len(m["content"]) for m in messages) > {"en": 500, "ko": 300}[language]:
            break
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
    return tidy(rng.choice((" ", " ", "\n")).join(lines), language)


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


# Document kinds with their weights in each stage.  Names, stories and patterns come first;
# instructions need these, and come in the second; the third is mostly instructions.
KINDS = {
    "tale_en": (32, 32, 12, lambda rng: story(rng, "en").text),
    "tale_ko": (15, 16, 7, lambda rng: story(rng, "ko").text),
    "task": (60, 50, 38, tasks.make_document),
    "echo": (8, 5, 2, echo),
    "food": (12, 10, 5, food_talk),
    "about_en": (10, 8, 3, lambda rng: about_two(rng, "en")),
    "about_ko": (6, 5, 2, lambda rng: about_two(rng, "ko")),
    "questions_en": (3, 2, 1, lambda rng: story_with_questions(rng, "en")),
    "questions_ko": (2, 2, 1, lambda rng: story_with_questions(rng, "ko")),
    "wish_en": (0, 0, 7, lambda rng: exercise(rng, "en", "story", "continue")),
    "wish_ko": (0, 0, 5, lambda rng: exercise(rng, "ko", "story", "continue")),
    "exercise_en": (4, 11, 9, lambda rng: exercise(rng, "en", "question", "word", "happy")),
    "exercise_ko": (4, 11, 11, lambda rng: exercise(rng, "ko", "question", "word", "happy")),
    "dish": (6, 16, 28, lambda rng: exercise(rng, "ko", "dish")),
    "quiz_en": (0, 4, 12, lambda rng: quiz(rng, "en")),
    "quiz_ko": (0, 4, 12, lambda rng: quiz(rng, "ko")),
    "conversation_en": (8, 12, 4, lambda rng: conversation(rng, "en")),
    "conversation_ko": (6, 12, 5, lambda rng: conversation(rng, "ko")),
}


def make_document(rng: random.Random, *, stage: int = 1) -> str | list[dict[str, str]]:
    """Write one document of a stage, 1 to 3: a text, or a list of messages."""
    kind = rng.choices(list(KINDS), weights=[kind[stage - 1] for kind in KINDS.values()])[0]
    return KINDS[kind][-1](rng)


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
    parser.add_argument("--stage", type=int, choices=(1, 2, 3), default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    for _ in range(args.number):
        print(make_document(rng, stage=args.stage), end="\n\n")


if __name__ == "__main__":
    main()
