"""Korean particles that agree with the sound in front of them.

Many particles have two forms: one after a final consonant (받침), one after a vowel
(김밥은, 김치는). Templates name both, with a slash; :func:`attach` keeps the right one.
The particle 으로/로 has one exception: ㄹ counts as a vowel (연필로).

Source of the rules: 국립국어원, 표준국어대사전, entries of the particles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["PAIRS", "attach", "has_final", "particle_errors", "with_particle"]

PAIRS: tuple[tuple[str, str], ...] = (
    ("은", "는"), ("이", "가"), ("을", "를"), ("과", "와"), ("아", "야"),
    ("으로", "로"), ("이랑", "랑"), ("이나", "나"), ("이라는", "라는"),
    ("이라고", "라고"), ("이라", "라"), ("이에요", "예요"),
    ("이었어요", "였어요"), ("이었", "였"), ("이다", "다"), ("이며", "며"),
    ("이야", "야"),
)
_DIGIT_READINGS = "영일이삼사오육칠팔구"
_RIEUL = 8
_LEFT = r"가-힣0-9A-Za-z"
_PAIR = re.compile(
    rf"(?<=[{_LEFT}])("
    + "|".join(f"{a}/{b}" for a, b in sorted(PAIRS, key=lambda p: -len(p[0] + p[1])))
    + ")"
)
# What may still follow a particle inside the same word, for `particle_errors`.
_TAILS = {
    "으로": "(?:는|도|만|부터|서|써|서는)?", "이랑": "(?:은|도|만)?",
    "과": "(?:는|도|의)?", "이라": "(?:서|도|니|는데|던)?",
    "이라고": "(?:는|도|요|해요)?", "이었": "[가-힣]*",
}


def _final(word: str) -> int:
    """Index (0 to 27) of the final consonant of the last letter; 0 is none."""
    if not word:
        raise ValueError(
            "The word is empty: give a word that ends in a Hangul syllable, a digit or "
            "a Latin letter."
        )
    last = word[-1]
    if last.isascii() and last.isdigit():
        last = _DIGIT_READINGS[int(last)]
    if "가" <= last <= "힣":
        return (ord(last) - ord("가")) % 28
    return 0


def has_final(word: str) -> bool:
    """Does the last syllable of `word` end in a consonant?

    A digit counts by its Korean reading, a Latin letter (and any other sign) as a
    vowel. Raises ValueError for an empty word.

    >>> has_final("김밥"), has_final("김치"), has_final("10"), has_final("PC")
    (True, False, True, False)
    """
    return _final(word) != 0


def with_particle(word: str, pair: str) -> str:
    """`word` followed by the form of `pair` ("은/는", as in PAIRS) that fits it.

    Raises ValueError for a pair that is not in PAIRS, or an empty word.

    >>> with_particle("비빔밥", "을/를"), with_particle("서울", "으로/로")
    ('비빔밥을', '서울로')
    """
    forms = tuple(pair.split("/"))
    if forms not in PAIRS:
        known = ", ".join("/".join(p) for p in PAIRS)
        raise ValueError(f"Unknown particle pair {pair!r}: use one of {known}.")
    return word + _choose(word, *forms)


def _choose(word: str, closed: str, vowel: str) -> str:
    final = _final(word)
    if final == 0 or (closed == "으로" and final == _RIEUL):
        return vowel
    return closed


def attach(text: str) -> str:
    """Replace every slash pair of PAIRS by the form that fits the syllable before it.

    Only pairs that directly follow a Hangul syllable, a digit or a Latin letter are
    touched; every other slash stays as it is.

    >>> attach("토끼은/는 공을/를 들고 연필으로/로 2을/를 썼어요. 은/는")
    '토끼는 공을 들고 연필로 2를 썼어요. 은/는'
    """

    def fit(match: re.Match[str]) -> str:
        closed, vowel = match.group(1).split("/")
        return _choose(text[match.start() - 1], closed, vowel)

    return _PAIR.sub(fit, text)


def _wrong_forms() -> dict[str, re.Pattern[str]]:
    """For each kind of ending, a pattern of the particles that may not follow it."""
    wrong: dict[str, list[str]] = {"closed": ["에요", "이예요"], "vowel": ["이예요"]}
    wrong["rieul"] = list(wrong["closed"])
    for closed, vowel in PAIRS:
        tail = _TAILS.get(closed, "")
        wrong["vowel"].append(closed + tail)
        wrong["closed"].append(vowel + tail)
        wrong["rieul"].append((closed if closed == "으로" else vowel) + tail)
    return {
        kind: re.compile(f"(?:{'|'.join(forms)})(?![{_LEFT}])")
        for kind, forms in wrong.items()
    }


_WRONG = _wrong_forms()


def particle_errors(text: str, nouns: Iterable[str]) -> list[str]:
    """Wrong noun + particle combinations of `nouns` in `text`, in order of appearance.

    A noun counts where a word begins with it (the longest noun wins), and the particle
    must be the rest of that word, so 사과 is not read as 사 + 과 if both are nouns.

    >>> particle_errors("김밥는 맛있고 김치는 매워요. 물로 씻어요.", ["김밥", "김치", "물"])
    ['김밥는']
    """
    listed = sorted({n for n in nouns if n}, key=len, reverse=True)
    if not listed:
        return []
    start = re.compile(rf"(?<![{_LEFT}])(?:{'|'.join(map(re.escape, listed))})")
    errors = []
    for match in start.finditer(text):
        final = _final(match.group())
        kind = "rieul" if final == _RIEUL else "closed" if final else "vowel"
        bad = _WRONG[kind].match(text, match.end())
        if bad:
            errors.append(match.group() + bad.group())
    return errors
