"""Particles: the right form after every ending, and errors found where they are."""

import doctest

import pytest

from helpers import korean
from helpers.korean import PAIRS, attach, has_final, particle_errors, with_particle


def test_doctests():
    assert doctest.testmod(korean).failed == 0


@pytest.mark.parametrize("word, final", [
    ("김밥", True), ("김치", False), ("물", True), ("0", True), ("1", True), ("2", False),
    ("3", True), ("4", False), ("5", False), ("6", True), ("7", True), ("8", True),
    ("9", False), ("10", True), ("kcal", False), ("A", False),
])
def test_final(word, final):
    assert has_final(word) is final


def test_empty_word_is_refused():
    with pytest.raises(ValueError, match="empty"):
        has_final("")


@pytest.mark.parametrize("pair", PAIRS)
def test_every_pair_after_every_ending(pair):
    closed, vowel = pair
    both = f"{closed}/{vowel}"
    rieul = vowel if closed == "으로" else closed
    assert attach(f"김밥{both}") == f"김밥{closed}" == with_particle("김밥", both)
    assert attach(f"김치{both}") == f"김치{vowel}" == with_particle("김치", both)
    assert attach(f"물{both}") == f"물{rieul}" == with_particle("물", both)


@pytest.mark.parametrize("text, expected", [
    ("7으로/로 가고 6으로/로 가요", "7로 가고 6으로 가요"),
    ("민지이에요/예요. 민준이에요/예요.", "민지예요. 민준이에요."),
    ("서울으로/로부터", "서울로부터"),
    ("떡이라는/라는 말", "떡이라는 말"),
    ("김밥이었어요/였어요", "김밥이었어요"),
])
def test_attach(text, expected):
    assert attach(text) == expected


@pytest.mark.parametrize("text", ["은/는", "그리고/또는", " 을/를", "1/2", "\"이/가", ""])
def test_attach_leaves_the_rest_alone(text):
    assert attach(text) == text


def test_attach_twice_changes_nothing():
    once = attach("토끼은/는 공과/와 연을/를 좋아해요")
    assert attach(once) == once


def test_unknown_pair_is_refused():
    with pytest.raises(ValueError, match="은/는"):
        with_particle("김밥", "는/은")


@pytest.mark.parametrize("pair", PAIRS)
def test_errors_are_found_for_every_pair(pair):
    closed, vowel = pair
    assert particle_errors(f"김밥{vowel} 김치{vowel}", ["김밥", "김치"]) == [f"김밥{vowel}"]
    assert particle_errors(f"김밥{closed} 김치{closed}", ["김밥", "김치"]) == [
        f"김치{closed}"]


@pytest.mark.parametrize("text", [
    "사과와 배를 먹어요.", "물로 씻어요.", "김밥이에요. 김치예요.", "김밥이랑 김치랑",
    "김치는요? 김밥만요.", "담배를 끊어요.",
])
def test_no_false_errors(text):
    assert particle_errors(text, ["사", "사과", "배", "물", "김밥", "김치"]) == []


def test_longest_noun_wins():
    assert particle_errors("사과는 사과를", ["사", "사과"]) == []


@pytest.mark.parametrize("text", ["김치이에요", "김밥예요", "물으로", "김밥에요", "김밥로는"])
def test_common_mistakes(text):
    assert particle_errors(text, ["김치", "김밥", "물"]) == [text]


def test_no_nouns():
    assert particle_errors("김밥는", []) == []
