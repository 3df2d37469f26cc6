from dataclasses import replace

import numpy as np
import pytest

from al_lightning.analysis.numbers.comparison import compare
from al_lightning.analysis.numbers.findings import area, overall
from al_lightning.analysis.numbers.recorded import choose_metric, read_run, read_runs
from al_lightning.analysis.pages.notes import panel_warnings, warnings
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from al_lightning.settings import QUERY_SIZE
from al_lightning.sources import EVALUATION, POOL, ReadLabel, write_labels
from tests.analysis.recorded import ENVIRONMENT, record, strategy


def compared(folder, metric="val/accuracy", **options):
    return compare(*read_runs([folder]), metric, **options)


def test_runs_become_series_by_seed_and_panels_by_setting(tmp_path):
    width = "model__init_args__network__init_args__width"
    for seed in (10, 9, 2):
        record(tmp_path / f"a{seed}", [0.1, 0.2 + seed / 100], "Random", seed)
        record(tmp_path / f"b{seed}", [0.1, 0.3], "Entropy", seed, wrap=True, active_learning__cycles=7)  # as an older version wrote it
        record(tmp_path / f"deep/er/c{seed}", [0.5, 0.6], "Random", seed, **{width: 512})
    small, large = compared(tmp_path).panels
    assert (small.name, large.name) == ("width=16", "width=512")
    assert [series.label for series in small.series] == ["Random", "Entropy"]
    random = small.series[0]
    assert small.baseline is random and list(random.curves) == [2, 9, 10]
    assert random.at(30) == pytest.approx({2: 0.22, 9: 0.29, 10: 0.30})
    assert random.over([20, 30])[9] == pytest.approx([0.1, 0.29])
    assert small.budgets == [20, 30] and small.query_size == 10


def test_rows_in_any_order_and_a_half_written_last_one(tmp_path):
    run = record(tmp_path / "a", [0.1, 0.2, 0.3], finished=False)
    header, *rows = run.learning_curve.read_text().splitlines()
    run.learning_curve.write_text("\n".join([header, rows[2], rows[0], rows[1], "3,50,0."]))
    read = read_run(run)
    assert read.curve("val/accuracy") == {20: 0.1, 30: 0.2, 40: 0.3} and not read.finished
    assert read_run(record(tmp_path / "b", [0.1, 0.2])).finished


def test_broken_runs_are_left_out_with_the_reason(tmp_path):
    record(tmp_path / "good", [0.1, 0.2])
    record(tmp_path / "yaml", [0.1]).config.write_text("a: [")
    record(tmp_path / "words", [0.1]).config.write_text("just words")
    record(tmp_path / "lost", [0.1]).config.unlink()
    record(tmp_path / "started", [])
    record(tmp_path / "seedless", [0.1], seed=True)
    record(tmp_path / "sizeless", [0.1]).config.write_text("seed_everything: 0")
    record(tmp_path / "json", [0.1]).environment.write_text("{")
    record(tmp_path / "few", [0.1], initial=4).queries.write_text("cycle,rank,index,item,score\n0,0,0,item 0,\n")
    run = record(tmp_path / "text", [0.1])
    run.learning_curve.write_text(run.learning_curve.read_text().replace("0.1", "high"))
    runs, skipped = read_runs([tmp_path, tmp_path / "good"])
    assert [run.path.name for run in runs] == ["good"]
    parts = {
        "yaml": "Expected YAML",
        "words": "Expected a mapping",
        "lost": "missing",
        "started": "no finished cycle",
        "seedless": "seed_everything",
        "sizeless": "query_size",
        "text": "Expected a number or nothing for val/accuracy in row 1 of",
        "json": "Expected JSON",
        "few": "rows are missing",
    }
    reasons = {path.name: reason for path, reason in skipped.items()}
    assert reasons.keys() == parts.keys()
    assert all(part in reasons[name] for name, part in parts.items()), reasons


def test_cycles_of_an_area_are_mean_queries_where_sizes_differ(tmp_path):
    """Queries of 5, 10, 20 and 20 items: 55 labels, in cycles of 13.75, are 4 cycles."""
    record(tmp_path / "run", [0.1, 0.2, 0.4, 0.5, 0.6], initial=5, query_size=[5, 10, 20])
    (panel,) = compared(tmp_path).panels
    assert panel.budgets == [5, 10, 20, 40, 60] and panel.query_size == 13.75
    expected = (5 * 15 + 10 * 30 + 20 * 45 + 20 * 55) / 13.75
    assert area(panel, panel.series[0]).alc.mean == pytest.approx(expected)


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        read_runs([tmp_path])
    with pytest.raises(UserError, match="no such folder"):
        read_runs([tmp_path / "absent"])


def test_of_two_runs_with_one_seed_the_longer_counts_then_the_finished_then_the_first(tmp_path):
    record(tmp_path / "b", [0.3, 0.4], seed=1)
    record(tmp_path / "a", [0.1, 0.2], seed=1)
    found = compared(tmp_path)
    assert found.panels[0].series[0].at(30) == {1: 0.2}
    assert [run.path.name for run in found.duplicates] == ["b"]
    record(tmp_path / "c", [0.5, 0.6, 0.7], seed=1, finished=False)
    record(tmp_path / "d", [0.7, 0.8, 0.9], seed=1)
    found = compared(tmp_path)
    assert found.panels[0].series[0].at(30) == {1: 0.8} and [run.path.name for run in found.duplicates] == ["a", "b", "c"]


def test_a_shared_cycle_0_is_no_series(tmp_path):
    record(tmp_path / "initial-seed0", [0.3], seed=0, active_learning__cycles=1)
    (alone,) = (read_runs([tmp_path])[0],)
    assert [series.label for series in compare(alone, {}, "val/accuracy").panels[0].series] == ["Random"]
    record(tmp_path / "b", [0.3, 0.5, 0.6], "Entropy", seed=0)
    record(tmp_path / "c", [0.3], "Random", seed=1, finished=False)  # has only begun
    comparison = compare(read_runs([tmp_path])[0], {}, "val/accuracy")
    assert [(series.label, list(series.runs)) for series in comparison.panels[0].series] == [("Random", [1]), ("Entropy", [0])]
    assert [run.path.name for run in comparison.starts] == ["initial-seed0"] and not comparison.duplicates


def test_a_run_that_went_on_after_cycle_0_is_a_series_whatever_was_asked_for(tmp_path):
    record(tmp_path / "a", [0.3, 0.5, 0.6], active_learning__cycles=1)
    record(tmp_path / "b", [0.3, 0.5, 0.7], "Margin")
    found = compared(tmp_path)
    assert [series.label for series in found.panels[0].series] == ["Random", "Margin"] and not found.starts


def test_an_expert_of_each_seed_is_one_series(tmp_path):
    for seed in (0, 1):
        expert = strategy("Expert", checkpoint=f"runs/full-seed{seed}/last.ckpt", strategy=strategy("Entropy"))
        record(tmp_path / f"{seed}", [0.1, 0.2], expert, seed)
    (series,) = compared(tmp_path).panels[0].series
    assert series.label == "Expert(Entropy)" and list(series.curves) == [0, 1]


def test_a_path_that_all_seeds_share_is_the_same_for_all(tmp_path):
    """Though it holds a number that is the seed of one of them; and a path with each run's seed may be deep in a setting."""
    for seed in (0, 1):
        expert = strategy("Expert", checkpoint="runs/full-seed0/last.ckpt", strategy=strategy("Entropy"))
        saves = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": f"best/seed{seed}"}}
        more = {"trainer__callbacks": [saves], "model__init_args__network__init_args__encoder_weights": "mobileone_s0.pth"}
        record(tmp_path / f"{seed}", [0.1, 0.2], expert, seed, **more)
    (panel,) = compared(tmp_path).panels
    assert [list(series.curves) for series in panel.series] == [[0, 1]]


def test_runs_that_began_with_other_runs_are_told_apart(tmp_path):
    """A run that was moved is no other run; one that was trained once more on the same items is."""
    for seed in (0, 1):
        for kind, initial, first in (("a", 20, 0.1), ("b", 20, 0.2), ("c", 30, 0.1)):
            began = {"active_learning__initial_run": f"common/{kind}-seed{seed}"}
            record(tmp_path / f"{kind}{seed}", [first, 0.3], "Entropy", seed, initial=initial, **began)
    found = compared(tmp_path)
    assert [panel.name for panel in found.panels] == [f"initial_run=common/{kind}-seed*" for kind in "abc"] and not found.duplicates
    assert all(list(panel.series[0].curves) == [0, 1] for panel in found.panels)
    record(tmp_path / "moved", [0.1, 0.3], "Entropy", 0, active_learning__initial_run="elsewhere/a-seed0")
    runs, skipped = read_runs([tmp_path / name for name in ("a0", "a1", "moved")])
    (panel,) = (again := compare(runs, skipped, "val/accuracy")).panels
    assert panel.name == "" and [run.path.name for run in again.duplicates] == ["moved"]


def test_another_cycle_0_is_said(tmp_path):
    record(tmp_path / "random0", [0.1, 0.3], "Random", 0)
    record(tmp_path / "random1", [0.1, 0.3], "Random", 1)
    record(tmp_path / "entropy0", [0.1009, 0.4], "Entropy", 0)  # in last bits, on another machine
    record(tmp_path / "entropy1", [0.2, 0.4], "Entropy", 1, active_learning__initial_run="common/x")
    said = [warning for warning in panel_warnings(compared(tmp_path).panels[0]) if "the same cycle 0" in warning]
    assert len(said) == 1 and "for seed 1 (active_learning.initial_run" in said[0]
    record(tmp_path / "margin0", [0.1, 0.3], "Margin", 0, initial=20).queries.unlink()
    queries = RunDirectory(tmp_path / "entropy0").queries
    queries.write_text(queries.read_text().replace("0,3,3,item 3", "0,3,99,item 99"))
    (said,) = [warning for warning in panel_warnings(compared(tmp_path).panels[0]) if "the same cycle 0" in warning]
    assert "for seeds 0, 1 (" in said


def test_a_cycle_0_that_came_out_otherwise_is_said(tmp_path):
    for seed, first in ((0, 0.1), (1, 0.102)):
        record(tmp_path / f"random{seed}", [0.1, 0.3], "Random", seed)
        record(tmp_path / f"entropy{seed}", [first, 0.4], "Entropy", seed)
    (said,) = [warning for warning in panel_warnings(compared(tmp_path).panels[0]) if "the same cycle 0" in warning]
    assert "for seed 1 (" in said and "came out otherwise" in said


def test_labels_that_were_changed_between_runs_are_named(tmp_path):
    for chosen, content in (("Random", "a"), ("Entropy", "b")):
        run = record(tmp_path / chosen, [0.1, 0.2], chosen)
        read = [ReadLabel(cycle, POOL, f"mask{cycle}.png", content if cycle == 1 else "same") for cycle in range(3)]
        write_labels(run.labels, read)
    (said,) = [warning for warning in warnings(compared(tmp_path)) if "changed" in warning]
    assert said.startswith("1 label of the pool was changed between these runs: mask1.png.")
    RunDirectory(tmp_path / "Random").write_environment(ENVIRONMENT | {"data": {"items": 1000, "sha256": "of other images"}})
    assert not [warning for warning in warnings(compared(tmp_path)) if "changed" in warning]


@pytest.mark.parametrize("recorded", [True, False])
def test_weights_of_an_encoder_are_compared_by_content(tmp_path, recorded):
    key = "model__init_args__network__init_args__encoder_weights"
    for chosen, place, content in (("Random", "a/w.pth", "1" * 64), ("Entropy", "b/w.pth", "1" * 64), ("Margin", "a/w.pth", "2" * 64)):
        known = {"encoder_weights_sha256": content} if recorded else {}
        record(tmp_path / chosen, [0.1, 0.2], chosen, environment=known, **{key: place})
    found = sorted(sorted(series.label for series in panel.series) for panel in compared(tmp_path).panels)
    assert found == ([["Entropy", "Random"], ["Margin"]] if recorded else [["Entropy"], ["Margin", "Random"]])


def test_weights_of_an_encoder_may_be_of_each_seed(tmp_path):
    key = "model__init_args__network__init_args__encoder_weights"
    for seed in (0, 1, 2):
        for chosen, folder in (("Random", "a"), ("Entropy", "moved")):
            known = {"encoder_weights_sha256": f"{seed}" * 64}
            record(tmp_path / f"{chosen}{seed}", [0.1, 0.2], chosen, seed, environment=known, **{key: f"{folder}/w-seed{seed}.pth"})
    (panel,) = compared(tmp_path).panels
    assert [list(series.runs) for series in panel.series] == [[0, 1, 2]] * 2
    record(tmp_path / "old", [0.1, 0.2], "Margin", 0, **{key: "a/w-seed0.pth"})  # nobody recorded its content
    (panel,) = compared(tmp_path).panels
    assert len(panel.series) == 3


def test_runs_that_recorded_no_content_are_compared_by_their_folders(tmp_path):
    for chosen, evaluation in (("Random", "a"), ("Entropy", "a"), ("Margin", "b")):
        record(tmp_path / chosen, [0.1, 0.2], chosen, environment={"data": {}}, data__init_args__evaluation=evaluation)
    assert sorted(len(panel.series) for panel in compared(tmp_path).panels) == [1, 2]


def test_the_mean_that_is_named_is_the_mean_by_default(tmp_path):
    for seed, arguments in enumerate(({}, {"aggregation": None}, {"aggregation": {"class_path": "al_lightning.acquisition.Mean"}})):
        record(tmp_path / f"{seed}", [0.1, 0.2], strategy("Entropy", **arguments), seed)
    of_mine = {"class_path": "mine.Mean"}
    record(tmp_path / "mine", [0.1, 0.2], strategy("Entropy", aggregation=of_mine), 0)
    own = {"class_path": "mine.Unlike", "init_args": {"aggregation": {"class_path": "al_lightning.acquisition.Mean"}}}
    record(tmp_path / "own", [0.1, 0.2], own, 0)
    record(tmp_path / "own by default", [0.1, 0.2], {"class_path": "mine.Unlike"}, 0)
    above = {"class_path": "al_lightning.acquisition.CountAbove", "init_args": {"threshold": 0.5}}
    record(tmp_path / "count", [0.1, 0.2], strategy("Entropy", aggregation=above), 0)
    (panel,) = compared(tmp_path).panels
    found = {series.label: len(series.runs) for series in panel.series}
    assert found == {"Entropy": 3, "Entropy(CountAbove(threshold=0.5))": 1, "Entropy(Mean)": 1, "Unlike": 1, "Unlike(Mean)": 1}


def test_a_seed_in_a_path_may_begin_with_zeros(tmp_path):
    for seed in (1, 2, 11):
        record(tmp_path / f"{seed}", [0.1, 0.2], "Random", seed, data__init_args__initial_items=f"items/seed_{seed:03}.txt")
    (panel,) = compared(tmp_path).panels
    assert list(panel.series[0].runs) == [1, 2, 11]


@pytest.mark.parametrize(("full", "scale"), [(0.9, (pytest.approx(0.2), 0.9)), (0.2, None), (0.1, None)])
def test_curves_are_normalised_by_a_whole_pool_that_is_better(tmp_path, full, scale):
    record(tmp_path / "random", [0.2, 0.4], "Random")
    (panel,) = compared(tmp_path, full=full).panels
    assert panel.scale == scale and panel.start == pytest.approx(0.2)


def test_seeds_that_draw_their_evaluation_images_are_told_how_to_draw_the_same(tmp_path):
    for seed in (0, 1):
        content = {"data": {"items": 1000, "sha256": f"{seed}" * 16}}
        record(tmp_path / f"{seed}", [0.1, 0.2], "Random", seed, environment=content, data__init_args__evaluation=0.2)
    assert any("one data.init_args.pool_seed for all runs" in warning for warning in warnings(compared(tmp_path)))


def test_the_whole_pool_gives_the_upper_end_where_it_fits(tmp_path):
    record(tmp_path / "a", [0.1, 0.2])
    epochs = {"trainer__max_epochs": 7}
    record(tmp_path / "b", [0.1, 0.2], **epochs)
    for seed, value in enumerate((0.8, 0.9)):
        whole = {"data__init_args__initial_size": "all", "active_learning__query_size": 1}
        record(tmp_path / f"full{seed}", [value], "Random", seed, **whole)
    seven, twenty = compared(tmp_path).panels
    assert twenty.full == pytest.approx(0.85) and seven.full is None
    assert [panel.full for panel in compared(tmp_path, full=0.7).panels] == [0.7, 0.7]
    assert len(compared(tmp_path).full_runs) == 2


def test_only_the_whole_pool_is_nothing_to_compare(tmp_path):
    record(tmp_path, [0.8], data__init_args__initial_size="all")
    with pytest.raises(UserError, match="whole pool only"):
        compared(tmp_path)


def test_a_run_on_all_that_was_labeled_which_queries_more_is_a_curve(tmp_path):
    for name, values, finished in (("a", [0.1, 0.2], True), ("waits", [0.1], False)):
        record(tmp_path / name, values, "Random" if finished else "Entropy", finished=finished, data__init_args__initial_size="all")
    assert len(compared(tmp_path).panels[0].series) == 2 and not compared(tmp_path).full_runs


def test_the_metric(tmp_path):
    record(tmp_path / "a", [0.1], metric="val/miou")
    runs, _ = read_runs([tmp_path])
    assert choose_metric(runs) == "val/miou"
    with pytest.raises(UserError, match="better when it is higher"):
        choose_metric(runs, "val/loss")
    with pytest.raises(UserError, match="the metric val/iou/glossy in every run"):
        choose_metric(runs, "val/iou/glossy")
    with pytest.raises(UserError, match=r"Expected the metric val/f1 .* got val/miou in all"):
        choose_metric(runs, "val/f1")
    record(tmp_path / "b", [0.1], seed=1)
    with pytest.raises(UserError, match=r"got none that is better when it is higher in all of them. Report the runs apart"):
        choose_metric(read_runs([tmp_path])[0])


def test_the_baseline_by_class_and_by_label(tmp_path):
    for temperature in (0.1, 10.0):
        record(tmp_path / f"{temperature}", [0.1, 0.2], strategy("Odin", temperature=temperature))
    assert compared(tmp_path).panels[0].baseline is None and compared(tmp_path).panels[0].others == []
    assert compared(tmp_path, baseline="Odin").panels[0].baseline.label == "Odin(temperature=0.1)"
    panel = compared(tmp_path, baseline="Odin(temperature=10)").panels[0]
    assert [series.label for series in panel.series] == ["Odin(temperature=10)", "Odin(temperature=0.1)"]


def test_other_data_are_another_setting(tmp_path):
    record(tmp_path / "a", [0.1, 0.2])
    record(tmp_path / "b", [0.1, 0.2], "Entropy", environment={"data": {"items": 3, "sha256": "f" * 64}})
    assert [panel.name for panel in compared(tmp_path).panels] == ["data content=0123456789ab", "data content=ffffffffffff"]


def test_a_setting_names_what_differs_and_the_hash_of_the_data_only_for_want_of_one(tmp_path):
    record(tmp_path / "a", [0.1, 0.2])
    copies = {"data__init_args__pool_repeat__copies": 9}
    record(tmp_path / "b", [0.1, 0.2], "Entropy", environment={"data": {"items": 3, "sha256": "f" * 64}}, **copies)
    assert {panel.name for panel in compared(tmp_path).panels} == {"pool_repeat.copies=none", "pool_repeat.copies=9"}


def test_another_evaluation_set_is_another_setting(tmp_path):
    """What was labeled to train on may differ from run to run; by what curves are measured may not."""
    for name, chosen, pool, evaluation in (("a", "Random", "1", "2"), ("b", "Entropy", "3", "2"), ("c", "Margin", "1", "4")):
        run = record(tmp_path / name, [0.1, 0.2], chosen)
        write_labels(run.labels, [ReadLabel(0, POOL, "x.png", pool * 64), ReadLabel(0, EVALUATION, "y.png", evaluation * 64)])
    assert sorted(len(panel.series) for panel in compared(tmp_path).panels) == [1, 2]


def test_common_range_and_start_of_unequal_runs(tmp_path):
    record(tmp_path / "r0", [0.2, 0.3, 0.4, 0.5], "Random", 0)
    record(tmp_path / "r1", [0.4, 0.5], "Random", 1, finished=False)
    record(tmp_path / "e0", [0.3, 0.5, 0.6], "Entropy", 0)
    record(tmp_path / "m0", [0.9], "Margin", 0, finished=False)  # has begun, and is no reason to compare nothing
    (panel,) = compared(tmp_path).panels
    assert panel.budgets == [20, 30] and panel.queried == [30]
    assert [series.label for series in panel.others] == ["Entropy"]
    assert panel.scale is None and replace(panel, full=0.9).scale == (pytest.approx(np.mean([(0.2 + 0.3) / 2, 0.4])), 0.9)


def test_the_budgets_are_those_of_most_seeds(tmp_path):
    """The first seed of Random stopped at 35 by its budget, one of Entropy's has not got far, and another only begun."""
    for chosen in ("Random", "Entropy"):
        for seed in range(5):
            sizes = [10, 5] if (chosen, seed) == ("Random", 0) else 10
            cycles = {("Entropy", 1): 2, ("Entropy", 2): 1}.get((chosen, seed), 3)
            record(tmp_path / f"{chosen}{seed}", [0.1, 0.2 + seed / 100, 0.3][:cycles], chosen, seed, query_size=sizes)
    runs = [replace(run, comparable={**run.comparable, QUERY_SIZE: 10}) for run in read_runs([tmp_path])[0]]
    (panel,) = compare(runs, {}, "val/accuracy").panels
    assert panel.budgets == [20, 30, 40]
    (test,) = overall(panel)
    assert test.difference.seeds == (3, 4)
    (warning,) = [text for text in panel_warnings(panel) if "whole curves" in text]
    assert "over 20 to 40, which most seeds of all strategies have; without 35, where some have no number; " in warning
    assert "without seed 0 of Random, seeds 1, 2 of Entropy, which lack some of these." in warning


def test_seeds_with_other_budgets_have_nothing_in_common(tmp_path):
    for chosen in ("Random", "Entropy"):
        for seed in range(3):
            record(tmp_path / f"{chosen}{seed}", [0.1, 0.2, 0.3], chosen, seed, query_size=10 + seed)
    runs = [replace(run, comparable={**run.comparable, QUERY_SIZE: 10}) for run in read_runs([tmp_path])[0]]
    (panel,) = compare(runs, {}, "val/accuracy").panels
    assert panel.budgets == [20] and overall(panel) == [] and area(panel, panel.series[0]) is None


def test_without_a_number_for_cycle_0_no_query_is_left_out(tmp_path):
    for seed in (0, 1):
        record(tmp_path / f"r{seed}", [0.1, 0.2 + seed / 8, 0.5], "Random", seed)
        record(tmp_path / f"e{seed}", [float("nan"), 0.4, 0.625], "Entropy", seed)
    (panel,) = compared(tmp_path, full=0.9).panels
    assert panel.budgets == panel.queried == [30, 40] and panel.scale == (pytest.approx(0.1), 0.9)
    (test,) = overall(panel)
    assert test.difference.mean == pytest.approx((0.4 - 0.2625 + 0.125) / 2)
    assert any("means over the budgets after cycle 0 begin with 30 labeled items" in text for text in panel_warnings(panel))
    for run in tmp_path.glob("r*"):
        path = run / "learning_curve.csv"
        path.write_text(path.read_text().replace("0.1,", "nan,", 1))
    (panel,) = compared(tmp_path, full=0.9).panels
    assert panel.scale is None and area(panel, panel.series[0]).normalized is None


def test_a_budget_without_numbers_is_named_and_counts_as_a_cycle(tmp_path):
    record(tmp_path / "r", [0.1, 0.2, 0.4, 0.5], "Random", query_size=[10, 20, 40])
    record(tmp_path / "e", [0.1, 0.2, float("nan"), 0.5], "Entropy", query_size=[10, 20, 40])
    (panel,) = compared(tmp_path).panels
    assert panel.budgets == [20, 30, 90] and panel.query_size == pytest.approx(70 / 3)
    assert any("without 50, where some have no number" in text for text in panel_warnings(panel))


def test_runs_that_did_not_record_their_data_are_told_apart_by_its_place(tmp_path):
    for chosen, root in (("Random", "camvid"), ("Entropy", "other/cityscapes")):
        record(tmp_path / chosen, [0.1, 0.2], chosen, data__init_args__root=root).environment.unlink()
    assert [panel.name for panel in compared(tmp_path).panels] == ["data content=in camvid", "data content=in other/cityscapes"]


def test_nan_is_left_out(tmp_path):
    run = read_run(record(tmp_path, [0.1, float("nan"), 0.3]))
    assert run.curve("val/accuracy") == {20: 0.1, 40: 0.3}


def test_a_strategy_with_an_initial_set_of_its_own_is_compared_with_the_others(tmp_path):
    own = {"active_learning__initial_strategy": strategy("Order")}
    for seed in (0, 1):
        record(tmp_path / f"random{seed}", [0.1, 0.3 + seed / 100], "Random", seed)
        record(tmp_path / f"order{seed}", [0.2, 0.2], "Order", seed, **own)
        record(tmp_path / f"all{seed}", [0.9], "Random", seed, data__init_args__initial_size="all", **own)
    (panel,) = compared(tmp_path).panels
    assert [series.label for series in panel.series] == ["Random", "Order, initial set by Order"] and panel.full == 0.9
    assert overall(panel)[0].difference.mean == pytest.approx(-0.105)
    assert sum("the same initial set" in warning for warning in panel_warnings(panel)) == 1
    same = compare([run for run in read_runs([tmp_path])[0] if run.path.name.startswith("order")], {}, "val/accuracy").panels[0]
    assert [series.label for series in same.series] == ["Order"]
    assert not any("the same initial set" in warning for warning in panel_warnings(same))


def test_a_list_of_initial_items_is_not_the_whole_pool_and_has_the_same_full_pool(tmp_path):
    listed = {"data__init_args__initial_items": "labeled.txt"}
    record(tmp_path / "listed", [0.3, 0.4], data__init_args__initial_size="all", **listed)  # the folder's default; the list wins
    record(tmp_path / "start", [0.3], "Entropy", active_learning__cycles=1, data__init_args__initial_size="all", **listed)
    record(tmp_path / "all", [0.8], data__init_args__initial_size="all")
    found = compared(tmp_path)
    assert [run.path.name for run in found.full_runs] == ["all"] and found.panels[0].full == 0.8
    assert [run.path.name for run in found.starts] == ["start"]
