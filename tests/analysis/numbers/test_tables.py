import math

import pytest

from al_lightning.analysis.numbers import findings, tables
from al_lightning.analysis.numbers.comparison import compare
from al_lightning.analysis.numbers.recorded import read_runs
from tests.analysis.recorded import ENVIRONMENT, record


def read(folder, **options):
    return compare(*read_runs([folder]), "val/accuracy", **options)


def test_cost_is_the_mean_over_runs(tmp_path):
    # Training takes 1.5 + cycle seconds, a query 0.25 (cycle + 1) seconds and as many MiB as its number.
    runs = [record(tmp_path / "a", [0.1, 0.2, 0.3], seed=0), record(tmp_path / "b", [0.1, 0.2], seed=1, finished=False)]
    for run, area in zip(runs, (2, 3), strict=True):
        run.write_crops([f"item {index}" for index in range(60)], [(0, 0, area, 5)] * 60)
    record(tmp_path / "e", [0.1, 0.2], "Entropy")
    random, entropy = tables.cost(read(tmp_path).panels[0])
    assert (random["runs"], random["cycles"], random["labeled"]) == (2, 2.5, 35)
    assert random["train_seconds"] == pytest.approx(((1.5 + 2.5 + 3.5) + (1.5 + 2.5)) / 2)
    assert random["query_seconds"] == pytest.approx((0.75 + 0.75) / 2)
    assert random["seconds_per_query"] == pytest.approx(1.5 / 4)
    assert random["peak_bytes"] == 2 * 2**20
    assert random["queried_pixels"] == (20 * 10 + 10 * 15) / 2  # of the items that the last training set has
    assert entropy["queried_pixels"] is None


def test_rows_of_a_panel(tmp_path):
    record(tmp_path / "r", [0.1, 0.3], "Random", 4)
    record(tmp_path / "e", [0.1, 0.5], "Entropy", 4)
    (panel,) = read(tmp_path, full=0.6).panels
    assert tables.curves_by_seed(panel)[3] == {"setting": "", "strategy": "Entropy", "seed": 4, "labeled": 30, "value": 0.5}
    point = tables.curves(panel)[1]
    assert (point["strategy"], point["labeled"], point["value"], point["seeds"]) == ("Random", 30, 0.3, 1) and math.isnan(
        point["value_low"]
    )
    random, entropy = tables.summary(panel)
    assert (entropy["alc"], entropy["normalized_alc"], entropy["break_even"]) == pytest.approx((30, 40, 20))
    assert math.isnan(random["break_even"])
    (row,) = tables.contrasts(panel, findings.by_budget(panel))
    assert (row["first"], row["second"], row["labeled"], row["seeds"]) == ("Entropy", "Random", 30, 1)
    assert row["difference"] == pytest.approx(0.2) and "one seed" in row["note"]
    assert "labeled" not in tables.contrasts(panel, findings.overall(panel))[0]
    (_, level) = tables.levels(panel, [0.3])
    assert (level["strategy"], level["labels"], level["saved"]) == ("Entropy", pytest.approx(25), pytest.approx(1 / 6))


def test_penalties_say_who_wins(tmp_path):
    for seed in range(4):
        record(tmp_path / f"r{seed}", [0.1, 0.3 + 0.01 * seed], "Random", seed)
        record(tmp_path / f"e{seed}", [0.1, 0.5 + 0.02 * seed], "Entropy", seed)
    (panel,) = read(tmp_path).panels
    assert tables.penalties(panel, findings.penalties(panel)) == [
        {"setting": "", "winner": "Random", "loser": "Entropy", "share": 0.0},
        {"setting": "", "winner": "Entropy", "loser": "Random", "share": 1.0},
    ]


def test_every_run_has_its_row(tmp_path):
    record(tmp_path / "a", [0.1, 0.2], finished=False)
    record(tmp_path / "b", [0.1, 0.2])
    record(tmp_path / "c", [0.1, 0.2], "Entropy", environment={"git_commit": None, "resumed": [{}, {}]})
    record(tmp_path / "d", [])
    record(tmp_path / "e", [0.9], data__init_args__initial_size="all")
    rows = {row["run"].rpartition("/")[2]: row for row in tables.runs(read(tmp_path))}
    assert len({tuple(row) for row in rows.values()}) == 1
    assert [row["strategy"] for row in rows.values()] == [
        "left out: its seed is there already",
        "Random",
        "Entropy",
        "whole pool",
        "not read",
    ]
    assert (rows["a"]["state"], rows["c"]["state"], rows["d"]["state"]) == ("unfinished", "finished, resumed 2x", "no finished cycle yet")
    assert rows["c"]["git_commit"] == "not recorded" and rows["a"]["torch"] == ENVIRONMENT["versions"]["torch"]


def test_settings_that_differ_have_a_column_a_panel(tmp_path):
    record(tmp_path / "a", [0.1, 0.2])
    record(tmp_path / "b", [0.1, 0.2], trainer__precision="bf16")
    found = read(tmp_path)
    assert tables.differing_settings(found) == [{"setting": "trainer.precision", "precision=none": "none", "precision=bf16": "bf16"}]
    assert tables.strategies(found) == [{"strategy": "Random", "settings": "stride=1, strategy=Random"}]
