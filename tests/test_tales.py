"""Stories: what every one keeps, and that the verifier can say no."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from helpers.grammar import grammar
from helpers.tales import is_heldout, make_tale, tidy, verify_tale, vocabulary, vocative

TELLING = {
    language: [make_tale(random.Random(seed), language=language) for seed in range(400)]
    for language in ("en", "ko")
}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_story_passes_the_verifier(language: str) -> None:
    for tale in TELLING[language]:
        assert verify_tale(tale.text, language=language)["all"], tale


@pytest.mark.parametrize("language, plots", [("en", 40), ("ko", 20)])
def test_there_are_enough_plots_and_fillers(language: str, plots: int) -> None:
    g = grammar(language)
    assert len(g.plots) >= plots
    assert sum(len(items) for items in g.lists.values()) > 1000
    assert sum(name.startswith("return") for name in g.plots) >= 6


@pytest.mark.parametrize("language", ["en", "ko"])
def test_stories_are_rarely_alike(language: str) -> None:
    slots = Counter(
        (t.plot, t.hero, t.thing, t.slots.get("tadj")) for t in TELLING[language]
    )
    assert sum(n for n in slots.values() if n > 1) <= 0.01 * len(TELLING[language])
    assert len({t.text for t in TELLING[language]}) == len(TELLING[language])


@pytest.mark.parametrize("language, floor", [("en", 1.2), ("ko", 1.5)])
def test_the_grammar_has_many_choices_a_word(language: str, floor: float) -> None:
    nats = sum(t.nats for t in TELLING[language])
    assert nats / sum(len(t.text.split()) for t in TELLING[language]) > floor


def test_english_articles_spaces_and_capitals() -> None:
    for tale in TELLING["en"]:
        assert not re.search(r"\ba [aeio]|\ban [bcdfgjklmnpqrstvwz]", tale.text), tale.text
        assert not re.search(r"  | [,.!?]|\.\.|,,|[<>{}\[\]|]", tale.text), tale.text
        assert tale.text.count('"') % 2 == 0, tale.text
        assert not re.search(r"(^|\. )[a-z]", tale.text), tale.text


def test_same_seed_same_story() -> None:
    assert TELLING["ko"][5] == make_tale(random.Random(5), language="ko")


def test_a_swapped_hero_is_noticed() -> None:
    caught = 0
    names = sorted(vocabulary("en")["names"])
    for i, tale in enumerate(TELLING["en"][:100]):
        cut = len(tale.text) // 2
        other = names[i] if names[i] != tale.hero else names[i + 1]
        swapped = tale.text[:cut] + tale.text[cut:].replace(tale.hero, other)
        caught += not verify_tale(swapped)["hero"]
    assert caught >= 99


def test_a_swapped_thing_is_noticed() -> None:
    for tale in TELLING["en"][:100]:
        at = tale.text.rfind(tale.thing)
        other = next(t for t in sorted(vocabulary("en")["things"]) if t != tale.thing)
        swapped = tale.text[:at] + other + tale.text[at + len(tale.thing):]
        assert not verify_tale(swapped)["thing"]


def test_a_word_outside_the_language_is_noticed() -> None:
    text = TELLING["en"][0].text
    assert not verify_tale(text.replace(" the ", " thef ", 1))["words"]


def test_an_unfinished_story_and_a_wrong_particle_are_noticed() -> None:
    assert not verify_tale(TELLING["en"][0].text[:-1])["finished"]
    tale = next(t for t in TELLING["ko"] if t.hero + "는" in t.text)
    assert not verify_tale(tale.text.replace(tale.hero + "는", tale.hero + "은"),
                           language="ko")["words"]


def test_an_empty_text_holds_nothing() -> None:
    assert not any(verify_tale("")[key] for key in ("hero", "thing", "finished", "all"))


def test_four_percent_of_pairs_are_held_out() -> None:
    share = sum(map(is_heldout, TELLING["en"] + TELLING["ko"])) / 800
    assert 0.02 < share < 0.07


def test_tidy_and_vocative() -> None:
    assert tidy('a owl saw a unicorn. it said, "hello" .', "en") == (
        'An owl saw a unicorn. It said, "Hello".'
    )
    assert tidy("곰은/는 연을/를 보았어요", "ko") == "곰은 연을 보았어요"
    assert [vocative("지우"), vocative("민준이")] == ["지우야", "민준아"]


@pytest.mark.parametrize(
    "options, message", [({"language": "fr"}, "'fr'"), ({"plot": "none"}, "no plot")]
)
def test_unknown_language_or_plot(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_tale(random.Random(0), **options)
