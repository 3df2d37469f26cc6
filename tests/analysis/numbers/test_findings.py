import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from al_lightning.analysis.numbers import findings
from al_lightning.analysis.numbers.comparison import compare
from al_lightning.analysis.numbers.recorded import read_runs
from al_lightning.analysis.numbers.statistics import holm
from tests.analysis.recorded import record, strategy

CYCLES = {"Random": [5, 5, 4, 3, 5, 5], "Entropy": [4, 5, 5, 5, 5], "Margin": [5, 5, 4, 5, 5, 5]}  # of seeds 0, 1, ...


@pytest.fixture
def values(tmp_path):
    """A panel of unequal runs, and the same as a pandas table."""
    rng = np.random.default_rng(0)
    rows = []
    for number, (chosen, cycles) in enumerate(CYCLES.items()):
        for seed, count in enumerate(cycles):
            curve = [0.5 + 0.02 * seed + (0.03 + 0.01 * number) * cycle + 0.01 * float(rng.normal()) for cycle in range(count)]
            record(tmp_path / f"{chosen}-{99 - seed}", curve, chosen, seed, finished=count == 5)
            rows += [{"strategy": chosen, "seed": seed, "labeled": 20 + 10 * c, "value": v} for c, v in enumerate(curve)]
    (panel,) = compare(*read_runs([tmp_path]), "val/accuracy", full=0.9).panels
    return panel, pd.DataFrame(rows).sample(frac=1, random_state=0)


def by_label(panel, label):
    return next(series for series in panel.series if series.label == label)


def test_curves_against_pandas(values):
    panel, table = values
    for label in CYCLES:
        grouped = table[table.strategy == label].groupby("labeled").value
        for labeled, point in findings.curve(by_label(panel, label)):
            sample = grouped.get_group(labeled)
            assert (point.mean, point.count) == (pytest.approx(sample.mean()), len(sample))
            assert point.high - point.mean == pytest.approx(scipy.stats.t.ppf(0.975, len(sample) - 1) * sample.sem())


def test_areas_are_over_the_seeds_that_cover_the_common_range(values):
    panel, table = values
    assert panel.budgets == [20, 30, 40, 50, 60]
    wide = table[table.strategy == "Entropy"].pivot(index="seed", columns="labeled", values="value").dropna()
    assert list(wide.index) == [1, 2, 3, 4]
    areas = [100 * (curve.sum() - (curve[0] + curve[-1]) / 2) for curve in wide.to_numpy()]
    found = findings.area(panel, by_label(panel, "Entropy"))
    assert (found.alc.mean, found.alc.count) == (pytest.approx(np.mean(areas)), 4)
    assert found.final.mean == pytest.approx(wide[60].mean())
    scaled = (np.mean(areas) - 4 * 100 * panel.scale[0]) / (0.9 - panel.scale[0])  # the area is linear in the curve
    assert found.normalized.mean == pytest.approx(scaled)


def test_tests_are_paired_by_seed_and_one_family(values):
    panel, table = values
    expected = {}
    for label in ("Entropy", "Margin"):
        for labeled in (30, 40, 50, 60):
            at = table[table.labeled == labeled].pivot(index="seed", columns="strategy", values="value")[[label, "Random"]].dropna()
            expected[label, labeled] = (at[label] - at["Random"]).mean(), scipy.stats.ttest_rel(at[label], at["Random"]).pvalue
    found = findings.by_budget(panel)
    assert [(test.first, test.labeled) for test in found] == list(expected)
    assert [(test.difference.mean, test.difference.p) for test in found] == [pytest.approx(each, rel=1e-4) for each in expected.values()]
    assert [test.corrected for test in found] == pytest.approx(holm([p for _, p in expected.values()]), rel=1e-4)
    assert len({test.difference.seeds for test in found}) > 1  # not all seeds have all budgets


def test_the_mean_over_budgets_leaves_cycle_0_and_short_runs_out(values):
    panel, table = values
    late = table[table.labeled > 20].pivot(index=["strategy", "seed"], columns="labeled", values="value").dropna().mean(axis=1)
    pairs = {("Random", "Entropy"), ("Random", "Margin"), ("Entropy", "Margin")}
    for test in findings.pairwise(panel):
        pairs.remove((test.first, test.second))
        joined = pd.concat([late[test.first], late[test.second]], axis=1, join="inner")
        assert test.difference.seeds == tuple(joined.index)
        assert test.difference.mean == pytest.approx((joined[0] - joined[1]).mean())
        assert test.difference.p == pytest.approx(scipy.stats.ttest_rel(joined[0], joined[1]).pvalue, rel=1e-4)
    assert not pairs
    entropy, margin = findings.overall(panel)
    assert (entropy.first, entropy.second, margin.first) == ("Entropy", "Random", "Margin")
    assert [entropy.corrected, margin.corrected] == pytest.approx(holm([entropy.difference.p, margin.difference.p]))


def panel_of(folder, **curves):
    """A strategy each, a list of values for each seed."""
    for label, seeds in curves.items():
        for seed, curve in enumerate(seeds):
            record(folder / f"{label}{seed}", curve, label, seed)
    (panel,) = compare(*read_runs([folder]), "val/accuracy").panels
    return panel


def test_break_even_and_savings_worked_by_hand(tmp_path):
    panel = panel_of(
        tmp_path,
        Random=[[0.1, 0.2, 0.3, 0.4, 0.5], [0.3, 0.4, 0.5, 0.6, 0.7]],
        Entropy=[[0.1, 0.15, 0.25, 0.45, 0.7], [0.3, 0.35, 0.45, 0.65, 0.9]],
        Margin=[[0.1, 0.2, 0.3, 0.4, 0.4], [0.3, 0.4, 0.5, 0.6, 0.6]],
    )
    random, entropy, margin = panel.series
    assert findings.break_even_point(panel, entropy) == pytest.approx(45)  # -0.05 at 40, +0.05 at 50
    assert findings.break_even_point(panel, margin) == math.inf
    assert math.isnan(findings.break_even_point(panel, random))
    (level,) = findings.levels_reached(panel, entropy, [0.6])
    assert level.labels == pytest.approx(50 + 10 * 0.05 / 0.25) and level.saved == pytest.approx(1 - 52 / 60)
    (level,) = findings.levels_reached(panel, margin, [0.6])
    assert level.labels == math.inf and math.isnan(level.saved)
    assert findings.default_levels(panel) == pytest.approx([0.4, 0.5, 0.58])


def test_savings_are_over_common_seeds(tmp_path):
    """The second seed of Random, which Entropy lacks, is far worse."""
    panel = panel_of(tmp_path, Random=[[0.5, 0.7, 0.8], [0.4, 0.5, 0.6]], Entropy=[[0.5, 0.6, 0.7]])
    random, entropy = panel.series
    (level,) = findings.levels_reached(panel, entropy, [0.7])
    assert level.labels == pytest.approx(40) and level.saved == pytest.approx(1 - 40 / 30)
    (level,) = findings.levels_reached(panel, random, [0.7])
    assert level.labels == pytest.approx(40) and level.saved == 0


def test_no_common_seed_and_no_baseline(tmp_path):
    record(tmp_path / "r", [0.1, 0.2], "Random", 0)
    record(tmp_path / "e", [0.1, 0.3], "Entropy", 1)
    (panel,) = compare(*read_runs([tmp_path]), "val/accuracy").panels
    assert math.isnan(findings.break_even_point(panel, panel.series[1]))
    assert findings.overall(panel)[0].difference.note == "no common seed"
    assert np.isnan(findings.penalties(panel)).all()
    (panel,) = compare(*read_runs([tmp_path]), "val/accuracy", baseline="BALD").panels
    assert findings.overall(panel) == findings.by_budget(panel) == findings.default_levels(panel) == []
    assert math.isnan(findings.levels_reached(panel, panel.series[0], [0.15])[0].saved)


def test_a_baseline_that_does_not_rise_has_no_levels(tmp_path):
    assert findings.default_levels(panel_of(tmp_path, Random=[[0.5, 0.4]], Entropy=[[0.5, 0.6]])) == []


def test_counting_against_the_mean_is_a_family_of_its_own(tmp_path):
    """Of each strategy, whether the configuration says that the mean is its aggregation or not; strides must be the same."""
    count = {"class_path": "al_lightning.acquisition.CountAbove", "init_args": {"threshold": 0.5}}
    mean = {"class_path": "al_lightning.acquisition.Mean"}
    rng = np.random.default_rng(0)
    values = {}
    for name, chosen, stride in (
        ("random", strategy("Random"), 1),
        ("entropy", strategy("Entropy"), 1),
        ("entropy count", strategy("Entropy", aggregation=count), 1),
        ("margin", strategy("Margin", aggregation=mean), 1),
        ("margin count", strategy("Margin", aggregation=count), 1),
        ("entropy count, every fourth", strategy("Entropy", aggregation=count), 4),
        ("bald", strategy("BALD", passes=3, aggregation=count), 1),
    ):
        values[name] = 0.3 + 0.1 * rng.random((5, 4))
        for seed, curve in enumerate(values[name]):
            record(tmp_path / f"{name}{seed}", curve.tolist(), chosen, seed, active_learning__stride=stride)
    (panel,) = compare(*read_runs([tmp_path]), "val/accuracy").panels
    found = findings.against_mean(panel)
    named = [(test.first.replace("(threshold=0.5)", ""), test.second) for test in found]
    assert named == [("Entropy(CountAbove)", "Entropy"), ("Margin(CountAbove)", "Margin")]
    p = []
    for test, name in zip(found, ("entropy", "margin"), strict=True):
        counted, plain = (values[which][:, 1:].mean(axis=1) for which in (f"{name} count", name))
        assert test.difference.mean == pytest.approx((counted - plain).mean(), abs=1e-8)
        p.append(scipy.stats.ttest_rel(counted, plain).pvalue)
        assert test.difference.p == pytest.approx(p[-1], abs=1e-6)
    assert [test.corrected for test in found] == pytest.approx(holm(p), abs=1e-6)
