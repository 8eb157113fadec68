"""helpers.sweeps on rows whose measures are known."""

import pytest

from helpers import metrics, sweeps

TEXTS = {
    0.5: [["the red kite", "the red kite"], ["a b", "a b"]],
    1.5: [["one two", "three four"], ["x y z", "x y q"]],
}
ROWS = [
    {"temperature": t, "prompt": prompt, "draw": draw, "text": text, "nats": t + draw}
    for t, groups in TEXTS.items()
    for prompt, group in enumerate(groups)
    for draw, text in enumerate(group)
]


def judge(row):
    checks = {"hero": True, "thing": row["prompt"] == 0}
    return {**checks, "all": all(checks.values())}


def summary(rows=ROWS):
    return sweeps.summary(rows, setting="temperature", judge=judge)


def test_a_summary_has_every_measure_at_every_value():
    found = summary()
    assert list(found) == [0.5, 1.5]
    assert all(list(measures) == list(sweeps.MEASURES) for measures in found.values())


def test_the_measures_are_those_of_metrics():
    cool, hot = summary().values()
    assert cool["Jaccard"].value == 1
    assert hot["Jaccard"].value == pytest.approx((0 + 0.5) / 2)
    assert cool["distinct-2"].value == 0.5
    assert hot["distinct-2"].value == pytest.approx((1 + 3 / 4) / 2)
    assert hot["words"].value == 2.5 and hot["nats"].value == 2.0
    passes = hot["passes"]
    assert (passes.low, passes.high) == metrics.wilson_interval(2, 4)
    assert passes.value == 0.5


def test_copies_of_a_greedy_text_count_once():
    cool = summary()[0.5]
    assert cool["passes"].value == 0.5
    assert (cool["passes"].low, cool["passes"].high) == metrics.wilson_interval(1, 2)
    once = summary([row for row in ROWS if row["temperature"] == 0.5] * 10)[0.5]
    for name in ("passes", "repeats", "words"):
        assert once[name] == cool[name]


def test_draws_that_are_alike_by_chance_count_each():
    rows = [*ROWS[:2], *ROWS[6:]]  # a prompt whose draws agree, one whose draws differ
    rows = [row | {"temperature": 0.1} for row in rows]
    passes = summary(rows)[0.1]["passes"]
    assert (passes.low, passes.high) == metrics.wilson_interval(2, 4)


def test_a_checklist_counts_the_texts_that_keep_each_check():
    lines = sweeps.checklist(ROWS, setting="temperature", judge=judge).splitlines()
    assert [line.split() for line in lines] == [
        ["temperature", "texts", "hero", "thing", "all"],
        ["0.5", "2", "2", "1", "1"],
        ["1.5", "4", "4", "2", "2"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_intervals_hold_their_values():
    for measures in summary().values():
        for one in measures.values():
            assert one.low <= one.value <= one.high


def test_a_curve_is_what_plotting_takes():
    found = summary()
    x, y, low, high = sweeps.curve(found, "Jaccard")
    assert x == [0.5, 1.5] and y == [1.0, 0.25]
    _, flipped, flipped_low, flipped_high = sweeps.curve(found, "Jaccard", flip=True)
    assert flipped == [0.0, 0.75]
    assert flipped_low == [1 - h for h in high] and flipped_high == [1 - x for x in low]


def test_a_table_lines_up():
    lines = sweeps.table(summary(), setting="temperature").splitlines()
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    wide = sweeps.table(summary(), setting="repetition_penalty").splitlines()
    assert max(map(len, wide)) <= 79


def test_names_may_stand_for_values():
    named = dict(zip(["story", "translation"], summary().values()))
    lines = sweeps.table(named, setting="preset").splitlines()
    assert [line.split()[0] for line in lines] == ["preset", "story", "translation"]
    assert len({len(line) for line in lines}) == 1


def test_a_figure_shows_sense_and_variety():
    (axes,) = sweeps.figure(summary(), xlabel="temperature").axes
    assert axes.get_xlabel() == "temperature"
    sense, variety = axes.lines
    assert sense.get_ydata().tolist() == [0.5, 0.5]
    assert variety.get_ydata().tolist() == [0.0, 0.75]
    low, high = axes.get_ylim()
    assert low < 0 and high > 1


def test_a_figure_can_be_told():
    told = sweeps.describe(summary(), xlabel="heat")
    assert told.startswith("Over heat, from 0.5 to 1.5. Makes sense: 0.50 to 0.50. ")
    assert told.endswith("Draws differ (1 - Jaccard): 0.00 to 0.75.")


def test_bad_values_say_what_is_wrong():
    with pytest.raises(ValueError, match="no measure 'wit' at 0.5, expected passes"):
        sweeps.curve(summary(), "wit")
    with pytest.raises(ValueError, match="expected 2 or more"):
        summary(ROWS[::2])
    with pytest.raises(KeyError, match="heat"):
        sweeps.summary(ROWS, setting="heat", judge=judge)
    with pytest.raises(KeyError, match="heat"):
        sweeps.checklist(ROWS, setting="heat", judge=judge)
