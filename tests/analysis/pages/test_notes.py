import pytest

from al_lightning.analysis.numbers import findings
from al_lightning.analysis.numbers.comparison import compare
from al_lightning.analysis.numbers.findings import Contrast
from al_lightning.analysis.numbers.recorded import read_runs
from al_lightning.analysis.numbers.statistics import paired_difference
from al_lightning.analysis.pages import notes
from tests.analysis.recorded import record


def said(folder, **options):
    comparison = compare(*read_runs([folder]), "val/accuracy", **options)
    return " ".join([*notes.warnings(comparison), *(text for panel in comparison.panels for text in notes.panel_warnings(panel))])


def test_nothing_to_say_about_a_clean_comparison(tmp_path):
    for seed in (0, 1):
        for chosen in ("Random", "Entropy"):
            record(tmp_path / f"{chosen}{seed}", [0.1, 0.2], chosen, seed)
    assert said(tmp_path) == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"seed": 2}, "Entropy lacks seeds 0, 1"),
        ({"seed": 0}, "One seed: Entropy"),
        ({"seed": 0, "trainer__max_epochs": 3}, "differ in more than strategy and seed: trainer.max_epochs"),
        ({"seed": 0, "finished": False}, "1 run is not finished"),
        ({"seed": 0, "values": [0.1, float("nan"), 0.3]}, "no number for val/accuracy in 1 cycle, left out"),
        ({"seed": 0, "values": [0.1, 0.2, 0.3], "active_learning__target": {"val/accuracy": 0.3}}, "there are the slower seeds only"),
        ({"seed": 0, "values": [0.1, 0.2, 0.3]}, "end at 30 to 40 labeled items. Numbers of whole curves are over 20 to 30"),
        ({"seed": 0, "values": [0.1]}, "Entropy has finished one cycle only: it is drawn, but not compared"),
        ({"seed": 0, "values": [float("nan")] * 2}, "Entropy has no number for the metric in any cycle: it is not compared"),
        (
            {"seed": 0, "values": [0.1], "active_learning__cycles": 1, "trainer__max_epochs": 9},
            "1 run of cycle 0 alone has other settings than every learning curve (trainer.max_epochs): ",
        ),
        (
            {"seed": 0, "values": [0.9], "data__init_args__initial_size": "all", "trainer__max_epochs": 9},
            "1 run on the whole pool has other settings than every learning curve (trainer.max_epochs): ",
        ),
        ({"seed": 0, "environment": {"device": "H200"}}, "same device: cpu (x86_64) (2 runs), H200 (1 run)"),
        ({"seed": 0, "environment": {"versions": {"torch": "9"}}}, "same torch: 2.8.0 (2 runs), 9 (1 run)"),
        ({"seed": 0, "environment": {"git_commit": "def"}}, "same git_commit: abc (2 runs), def (1 run)"),
        (
            {"seed": 0, "chosen": "Random"},
            "1 run is left out, as another run with the same settings and seed has as many cycles, or more: ",
        ),
        ({"seed": 0, "values": []}, "is left out: no finished cycle yet."),
    ],
)
def test_what_is_not_as_it_should_be_is_said(tmp_path, arguments, expected):
    for seed in (0, 1):
        record(tmp_path / f"a{seed}", [0.1, 0.2], "Random", seed)
    assert expected not in said(tmp_path)
    record(tmp_path / "b", **{"values": [0.1, 0.2], "chosen": "Entropy"} | arguments)
    assert expected in said(tmp_path)


def test_a_shared_cycle_0_may_differ_in_what_comes_later(tmp_path):
    record(tmp_path / "initial-seed0", [0.1], active_learning__cycles=1, query_size=3, active_learning__retrain="warm")
    record(tmp_path / "a", [0.1, 0.2], "Random")
    assert "of cycle 0 alone" not in said(tmp_path)


def test_a_run_that_recorded_no_environment(tmp_path):
    record(tmp_path / "a", [0.1, 0.2]).environment.unlink()
    assert "1 run did not record what it ran on" in said(tmp_path)


def test_seeds_that_stop_early_are_named(tmp_path):
    record(tmp_path / "a", [0.1, 0.2, 0.3], "Random", 0)
    record(tmp_path / "b", [0.1, 0.2, 0.3], "Random", 1)
    record(tmp_path / "c", [0.1, 0.2], "Random", 2, finished=False)
    assert "without seed 2 of Random, which lack some of these" in said(tmp_path)


def test_of_many_unfinished_runs_some_are_named(tmp_path):
    for seed in range(7):
        record(tmp_path / f"run{seed}", [0.1, 0.2], seed=seed, finished=False)
    text = said(tmp_path)
    assert "7 runs are not finished" in text and "run4 and 2 more. Their finished" in text and "run5" not in text


def test_without_a_baseline(tmp_path):
    record(tmp_path / "a", [0.1, 0.2], "Entropy")
    assert "baseline is not among these runs" in said(tmp_path)
    record(tmp_path / "b", [0.1], "Random")
    assert "baseline Random has finished one cycle only" in said(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "corrected", "expected"),
    [
        ({0: 0.5, 1: 0.62, 2: 0.7}, {0: 0.4, 1: 0.5, 2: 0.6}, 0.01, "A is 10.67 points above B (95 % interval of the difference 7.80 to"),
        ({0: 0.4, 1: 0.5}, {0: 0.5, 1: 0.62}, 0.0001, "A is 11.00 points below B"),
        ({0: 0.4, 1: 0.5}, {0: 0.5, 1: 0.62}, 0.0001, "corrected p < 0.001, 2 seeds)."),
        ({0: 0.5, 1: 0.62}, {0: 0.4, 1: 0.5}, 0.3, "can't be told apart from B: it is 11.00 points above B"),
        ({0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.5}, float("nan"), "A is 10.00 points above B, with no test: the difference is the same"),
        ({0: 0.5}, {0: 0.4}, float("nan"), "with no test: one seed"),
        ({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6}, float("nan"), "A is level with B, with no test: the difference is the same"),
        ({0: 0.5, 1: 0.6}, {0: 0.6, 1: 0.5}, 1.0, "A can't be told apart from B: it is level with B (95 % interval"),
        ({0: 0.50004, 1: 0.60002}, {0: 0.5, 1: 0.6}, 0.01, "A is 0.00 points above B (95 % interval"),
        (
            {0: 0.5, 1: 0.62},
            {0: 0.4, 1: 0.5},
            0.0497,
            "A is 11.00 points above B (95 % interval of the difference -1.71 to 23.71, corrected p = 0.0497, ",
        ),
        ({0: 0.5, 1: 0.62}, {0: 0.4, 1: 0.5}, 0.049999, "corrected p = 0.0499, "),
        (
            {0: 0.5, 1: 0.62},
            {0: 0.4, 1: 0.5},
            0.05,
            "can't be told apart from B: it is 11.00 points above B (95 % interval of the difference -1.71 to 23.71, corrected p = 0.050, ",
        ),
        ({0: 0.5}, {1: 0.4}, float("nan"), "A can't be compared with B: no common seed."),
    ],
)
def test_verdicts(first, second, corrected, expected):
    assert expected in notes.verdict(Contrast("A", "B", None, paired_difference(first, second), corrected))


def test_verdict_of_a_constant_difference_from_runs(tmp_path):
    for seed in (0, 1):
        record(tmp_path / f"r{seed}", [0.1, 0.25, 0.5], "Random", seed)
        record(tmp_path / f"e{seed}", [0.1, 0.5, 0.75], "Entropy", seed)
    (panel,) = compare(*read_runs([tmp_path]), "val/accuracy").panels
    assert "25.00 points above Random, with no test: the difference is the same for every seed" in notes.verdict(findings.overall(panel)[0])
