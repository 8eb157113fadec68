"""The grammar: parsing, drawing, counting choices, enriching."""

from __future__ import annotations

import math
import random

import pytest

from helpers.grammar import Enricher, Grammar, Teller, grammar, parse, steps_of


def test_parse_nests() -> None:
    assert parse("a [b|[c|d] {e}] <f>") == [
        "a ", ("choice", [["b"], [("choice", [["c"], ["d"]]), " ", ("slot", "e")]]),
        " ", ("list", "f"),
    ]


@pytest.mark.parametrize("line", ["a [b", "[a|[b]"])
def test_open_bracket_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="not closed"):
        parse(line)


def test_slots_stay_and_lists_move() -> None:
    teller = Teller(random.Random(0), "en")
    places = [teller.expand("{place}") for _ in range(20)]
    assert len(set(places)) == 1
    assert len({teller.expand("<place>") for _ in range(50)}) > 10


def test_a_second_slot_differs_from_the_first() -> None:
    for seed in range(100):
        teller = Teller(random.Random(seed), "en")
        assert teller.expand("{colour}") != teller.expand("{colour2}")


def test_choices_are_counted_in_nats() -> None:
    teller = Teller(random.Random(0), "en")
    teller.expand("[a|b|c] [d|e]")
    assert teller.nats == pytest.approx(math.log(6))


def test_unknown_list_is_named() -> None:
    with pytest.raises(ValueError, match="@no_such_list"):
        Teller(random.Random(0), "en").expand("<no_such_list>")


def test_shuffled_steps_come_in_every_order() -> None:
    plot = ["~ a", "~ b", "~ c", "end"]
    orders = {tuple(steps_of(plot, Teller(random.Random(s), "en"))) for s in range(200)}
    assert len(orders) == 6
    assert {order[-1] for order in orders} == {"end"}


def test_optional_step_is_kept_half_of_the_time() -> None:
    kept = sum(
        len(steps_of(["? a"], Teller(random.Random(s), "en"))) for s in range(1000)
    )
    assert 440 < kept < 560


def test_enricher_leaves_slots_and_short_items_alone() -> None:
    swap = Enricher(["walked|went"], ["path: old|new"])
    assert swap.enrich("walked") == "walked"
    assert swap.enrich("{walked} <path> the path walked") == (
        "{walked} <path> the [|old |new ]path [walked|went]"
    )


def test_a_line_before_any_list_is_refused(tmp_path) -> None:
    (tmp_path / "english_x.txt").write_text("stray line\n", encoding="utf-8")
    with pytest.raises(ValueError, match="before any @list"):
        Grammar.read("en", tmp_path)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_list_that_is_named_exists(language: str) -> None:
    g = grammar(language)
    special = {"who", "fwho", "child"}

    def names(parts) -> set[str]:
        found = set()
        for part in parts:
            if isinstance(part, tuple) and part[0] == "choice":
                found |= set().union(*map(names, part[1]))
            elif isinstance(part, tuple):
                found.add(part[1])
        return found

    slots = set(Teller(random.Random(0), language).slots)
    from helpers.tales import PRONOUNS

    cast = {p + w for p in ("", "f") for w in (*PRONOUNS["girl"], "call", "kind")}
    for lines in [*g.lists.values(), *g.plots.values()]:
        for line in lines:
            for name in names(parse(line.lstrip("?~* "))):
                base = name.rstrip("0123456789")
                assert base in g.lists or name in special | slots | cast | {
                    "hero", "friend"
                }, f"{name} in {line!r}"
