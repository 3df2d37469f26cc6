"""When to stop: numbers by hand, against scipy, and through the commands."""

import csv
import math

import numpy as np
import pytest
import scipy.stats

from al_lightning.analysis.numbers import stopping
from al_lightning.run_tables import ERROR_COLUMNS, RANDOM_COLUMNS, CycleRow
from al_lightning.sources import EVALUATION, ReadLabel, write_labels
from tests.analysis.recorded import record
from tests.commands.test_ingest import command

SPENT = {"epochs": 1, "train_steps": 1, "train_seconds": 1, "query_seconds": 1, "query_peak_bytes": 1}


def test_an_exact_interval_is_scipys():
    for hits, images in ((0, 20), (20, 20), (13, 40), (1, 3)):
        exact = scipy.stats.binomtest(hits, images).proportion_ci(method="exact")
        assert stopping.exact_interval(hits, images) == (pytest.approx(exact.low), pytest.approx(exact.high))


def test_a_comparison_of_picks_is_welchs():
    rng = np.random.default_rng(0)
    chosen, drawn = rng.random(40), rng.random(12) / 2
    found = stopping.compared(chosen, drawn)
    welch = scipy.stats.ttest_ind(chosen, drawn, equal_var=False).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(welch.low), pytest.approx(welch.high)) and found.counts == (40, 12)
    assert stopping.compared(chosen, drawn[:9]) is None and np.isnan(stopping.compared(np.ones(10), np.zeros(10)).low)


def test_a_bootstrap_is_one_of_images():
    rng = np.random.default_rng(1)
    hits = rng.integers(1, 50, (30, 3))
    counts = np.stack([hits, hits + rng.integers(0, 50, (30, 3)), hits + rng.integers(0, 50, (30, 3))], axis=-1)
    counts[:, 2] = 0  # a class that neither occurs nor is predicted
    assert stopping.mean_iou(counts[:1].sum(axis=0)) == np.mean([h / (t + p - h) for h, t, p in counts[0, :2]])
    means = [stopping.mean_iou(counts[rng.integers(0, 30, 30)].sum(axis=0)) for _ in range(4000)]
    assert stopping.bootstrap_interval(counts) == (
        pytest.approx(np.quantile(means, 0.025), abs=0.01),
        pytest.approx(np.quantile(means, 0.975), abs=0.01),
    )


def test_gains_are_of_the_last_three_cycles():
    rows = [
        CycleRow(cycle=n, labeled=labels, metrics={"m": value}, **SPENT)
        for n, (labels, value) in enumerate([(5, 0), (10, 0.5), (20, 0.7), (25, 0.6), (26, 0.6)])
    ]
    assert stopping.gains(rows, "m") == [pytest.approx(0.02), pytest.approx(-0.02), 0]
    rows[-1].metrics["m"] = math.nan
    assert stopping.gains(rows, "m")[-2:] == [pytest.approx(0.02), pytest.approx(-0.02)]


def watched(folder, name, **arguments):
    """A run whose networks were wrong on 4 of 5 of the strategy's picks, and on 2 of 5 of those drawn at random."""
    run = record(folder / name, [0.5, 0.6, 0.7], query_size=20, active_learning__random_share=0.5, **arguments)
    write_labels(run.labels, [ReadLabel(0, EVALUATION, f"{number}.png", "0") for number in range(40)])
    for cycle in range(2):
        rows = [row for row in run.read_queries() if row.cycle == cycle + 1]
        cells = [
            [row.index, row.item, ("random", "strategy")[row.rank % 2], int((row.rank % 10 < 3) == (row.rank % 2 == 0))] for row in rows
        ]
        run.write_control(run.random(cycle), [*RANDOM_COLUMNS], [row[:2] for row in cells[::2]])
        run.write_control(run.errors(cycle), [*ERROR_COLUMNS], cells)
    return run


def test_status_and_report_say_it_and_name_what_is_damaged(tmp_path, capsys):
    good, bad = watched(tmp_path / "runs", "good"), watched(tmp_path / "runs", "bad", seed=1)
    record(tmp_path / "runs" / "plain", [0.1, 0.2], seed=2)
    low, high = stopping.exact_interval(28, 40)
    strategy, drawn = 0.8, 0.4
    status, said = command(capsys, "status", str(good.path))
    assert status == 0 and f"95 % interval {100 * low:.2f} to {100 * high:.2f} % (exact binomial over 40 evaluation images)" in said
    assert "points per label of the last cycles +0.5000, +0.5000, wrong on 80.0 % of what the strategy picked (20 labels)" in said
    assert "40.0 % of what was drawn at random (20)" in said and said.endswith(", finished\n")
    bad.errors(1).write_text("index,item,by,error\n3,a,random,many\n")
    status, said = command(capsys, "status", str(bad.path))
    assert status == 1 and "can't be read: Expected a number from 0 to 1 for error in row 1" in said
    assert command(capsys, "report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"))[1].startswith("Report of 2 runs, 1 left out")
    assert "When to stop" in (page := (tmp_path / "out" / "report.html").read_text()) and "errors.csv" in page
    with (tmp_path / "out" / "tables" / "when_to_stop.csv").open() as file:
        (row,) = csv.DictReader(file)
    wanted = {"run": "good", "labeled": 60, "value": 0.7, "value_low": low, "value_high": high, "gain_per_label": 0.005}
    wanted |= {"strategy_error": strategy, "random_error": drawn, "difference": strategy - drawn}
    assert {name: row[name] if name == "run" else float(row[name]) for name in wanted} == pytest.approx(wanted)


def test_who_decides_when_a_run_stops():
    assert not stopping.is_watched({"active_learning.oracle": "dataset", "active_learning.random_share": 0.0})
    assert all(stopping.is_watched(its) for its in ({"active_learning.oracle": "human"}, {"active_learning.random_share": 0.1}))


def test_errors_that_are_all_alike_have_no_interval(tmp_path, capsys):
    """Ten right answers of ten do not say that there is no wrong one."""
    run = watched(tmp_path, "run", trainer__limit_val_batches=1.0)
    for cycle in range(2):
        table = run.errors(cycle)
        table.write_text("".join(line if not n else f"{line.rpartition(',')[0]},0\n" for n, line in enumerate(table.open())))
    said = command(capsys, "status", str(run.path))[1]
    assert "95 % interval" in said and "drawn at random (20), finished" in said and "0.0 % of what was drawn" in said


@pytest.mark.parametrize("limit", [{"val": 2}, {"test": 1}, {"val": 0.5}])  # 1 is one batch, 1.0 all of them
def test_a_part_of_the_evaluation_set_gives_no_interval(tmp_path, capsys, limit):
    ((what, size),) = limit.items()
    run = watched(tmp_path, "part", **{f"trainer__limit_{what}_batches": size})
    said = command(capsys, "status", str(run.path))[1]
    assert "val/accuracy 70.00 %" in said and "interval" not in said
