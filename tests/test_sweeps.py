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


def summary():
    return sweeps.summary(
        ROWS, setting="temperature", passes=lambda row: row["prompt"] == 0
    )


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
    passes = cool["passes"]
    assert (passes.low, passes.high) == metrics.wilson_interval(2, 4)
    assert passes.value == 0.5


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
    assert axes.get_xlabel() == "temperature" and len(axes.lines) == 3
    assert axes.lines[0].get_ydata().tolist() == [0.5, 0.5]


def test_bad_values_say_what_is_wrong():
    with pytest.raises(ValueError, match="no measure 'wit' at 0.5, expected passes"):
        sweeps.curve(summary(), "wit")
    with pytest.raises(ValueError, match="expected 2 or more"):
        sweeps.summary(ROWS[::2], setting="temperature", passes=bool)
    with pytest.raises(KeyError, match="heat"):
        sweeps.summary(ROWS, setting="heat", passes=bool)
