import math

import pytest

from al_lightning import commands
from al_lightning.analysis.numbers.comparison import compare
from al_lightning.analysis.numbers.recorded import read_runs
from al_lightning.analysis.numbers.trends import across_panels, within_panels
from al_lightning.analysis.pages.notes import other_labels
from tests.analysis.recorded import record, strategy

WIDTH = "model__init_args__network__init_args__width"


def read(folder):
    return compare(*read_runs([folder]), "val/accuracy")


def test_over_the_one_number_that_panels_differ_in(tmp_path):
    for width, gain in ((512, 0.1), (16, -0.1), (64, 0.05)):
        for seed in (0, 1):
            record(tmp_path / f"r{width}{seed}", [0.1, 0.2 + seed, 0.3], "Random", seed, **{WIDTH: width})
            record(tmp_path / f"e{width}{seed}", [0.1, 0.2 + seed + gain, 0.3 + gain], "Entropy", seed, **{WIDTH: width})
    record(tmp_path / "m", [0.1, 0.5, 0.6], "Margin", 0, **{WIDTH: 16})  # at one width only: no line
    (found,) = across_panels(read(tmp_path))
    assert (found.setting, found.baseline, list(found.lines)) == ("width", "Random", ["Entropy"])
    assert [(p.value, p.break_even, pytest.approx(p.difference.mean)) for p in found.lines["Entropy"]] == [
        (16, math.inf, -0.1),
        (64, 20, 0.05),
        (512, 20, 0.1),
    ]
    record(tmp_path / "other", [0.1, 0.2, 0.3], "Random", 0, **{WIDTH: 16, "trainer__max_epochs": 3})
    record(tmp_path / "others", [0.1, 0.2, 0.4], "Entropy", 0, **{WIDTH: 16, "trainer__max_epochs": 3})
    assert across_panels(read(tmp_path)) == []  # two numbers at once


def test_points_over_other_numbers_of_labels_are_said(tmp_path):
    for width, cycles in ((16, 5), (32, 3)):
        for chosen in ("Random", "Entropy"):
            record(tmp_path / f"{chosen}{width}", [0.1, 0.2, 0.3, 0.4, 0.5][:cycles], chosen, **{WIDTH: width})
    (found,) = across_panels(read(tmp_path))
    assert "(width=16: 30 to 60, width=32: 30 to 40)" in other_labels(found)
    for chosen in ("Random", "Entropy"):
        record(tmp_path / f"{chosen}more", [0.1, 0.2, 0.3, 0.4, 0.5], chosen, **{WIDTH: 32})
    record(tmp_path / "alone", [0.1, 0.2, 0.3], "Random", **{WIDTH: 64})
    record(tmp_path / "other", [0.1, 0.2, 0.3], "Margin", **{WIDTH: 64})  # is of no line
    (found,) = across_panels(read(tmp_path))
    assert other_labels(found) == "" and len(found.panels) == 2


def test_other_settings_that_are_no_numbers_have_trends_of_their_own(tmp_path):
    for retrain, widths in (("scratch", (8, 32)), ("warm", (32, 16, 8)), ("none", (8,))):
        for width in widths:
            settings = {WIDTH: width, "active_learning__retrain": retrain}
            record(tmp_path / f"r{retrain}{width}", [0.1, 0.2, 0.3], "Random", 0, **settings)
            record(tmp_path / f"e{retrain}{width}", [0.1, 0.2, 0.3 + width / 100], "Entropy", 0, **settings)
    found = {each.where: each for each in across_panels(read(tmp_path))}
    assert sorted(found) == ["retrain=scratch", "retrain=warm"]  # at one width there is no trend
    assert [point.value for point in found["retrain=warm"].lines["Entropy"]] == [8, 16, 32]
    assert {panel.name for panel in found["retrain=scratch"].panels} == {"retrain=scratch, width=8", "retrain=scratch, width=32"}


def test_without_common_seeds_there_is_no_trend_but_a_report(tmp_path):
    runs = [("Random", 0), ("Random", 1), *((strategy("Odin", temperature=t, epsilon=0.0), s) for t, s in ((0.1, 2), (10.0, 3)))]
    for number, (name, seed) in enumerate(runs):
        record(tmp_path / "runs" / f"{number}", [0.1, 0.2, 0.3], name, seed)
    assert within_panels(read(tmp_path / "runs")) == []
    commands.main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert "no common seed" in (tmp_path / "out" / "report.html").read_text()
    record(tmp_path / "runs" / "one", [0.1, 0.2, 0.3], strategy("Odin", temperature=1.0, epsilon=0.0), 0)
    assert within_panels(read(tmp_path / "runs")) == []  # a point is no trend


def test_over_the_one_number_that_a_class_differs_in(tmp_path):
    record(tmp_path / "r", [0.1, 0.2, 0.3])
    for temperature, gain in ((10.0, 0.2), (0.1, -0.1)):
        record(tmp_path / f"o{temperature}", [0.1, 0.2 + gain, 0.3 + gain], strategy("Odin", temperature=temperature, epsilon=0.0))
    record(tmp_path / "b", [0.1, 0.2, 0.3], strategy("BALD", passes=10, query_p=0.5))
    record(tmp_path / "b2", [0.1, 0.2, 0.3], strategy("BALD", passes=20, query_p=0.1))  # two numbers at once: no trend
    record(tmp_path / "e", [0.1, 0.2, 0.3], "Entropy")
    record(tmp_path / "e8", [0.1, 0.2, 0.3], "Entropy", active_learning__stride=[8, 1])  # a list is no number
    (found,) = within_panels(read(tmp_path))
    assert (found.setting, list(found.lines)) == ("temperature", ["Odin"])
    assert [(point.value, point.break_even) for point in found.lines["Odin"]] == [(0.1, math.inf), (10.0, 20)]
    assert across_panels(read(tmp_path)) == []
