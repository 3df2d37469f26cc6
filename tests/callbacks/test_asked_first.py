"""Nothing is labeled, or what to evaluate on is drawn first: the run asks before cycle 0, and goes on as if the data set had answered."""

import csv
import itertools
import os
import signal
from pathlib import Path

import pytest
from torch.multiprocessing import ProcessExitedException

from al_lightning import files
from al_lightning.acquisition import Random
from al_lightning.callbacks import ActiveLearningCallback, oracles
from al_lightning.data import FolderSegmentationDataModule
from al_lightning.runs import RunDirectory
from al_lightning.tasks import SegmentationTask
from tests.callbacks.test_oracles import EVERY, assert_same, draw, folder, label, only  # noqa: F401
from tests.callbacks.test_resume import dies_at, dies_in_row
from tests.experiments import in_child, run_experiment
from tests.tasks.test_segmentation import Tiny

FIRST = {"evaluation_first": 5, "evaluation": 0.4}


def fit(run, oracle="human", evaluation="evaluation", group=None, size=6, **arguments):
    """Begins a run, or goes on with it."""
    settings = {"crop": 16, "batch_size": 2, "num_workers": 0, "initial_size": size}
    data = FolderSegmentationDataModule("data", {"ground": 0, "cell": 7}, evaluation, group, **settings)
    settings = {"query_size": 4, "cycles": 3, "trainer": {"max_epochs": 1, "check_val_every_n_epoch": 1}, "resume": True}
    try:
        run_experiment(Path(run), data=data, task=SegmentationTask(lambda: Tiny(2)), oracle=oracle, **{**settings, **arguments})
    except SystemExit as end:
        assert end.code == 75
    return RunDirectory(run)


def wanted(run):
    return [row.item for row in run.awaited()]


def to_its_end(run, **arguments):
    """Labels what is asked for, until the run is finished; gives what it has waited for each time."""
    waits = []
    while asked := wanted(fit(run, **arguments)):
        waits.append(asked)
        label(*asked)
    assert RunDirectory(run).is_finished()
    return waits


def simulate(**arguments):
    only(*EVERY)
    run = fit("simulated", "dataset", initial_strategy=Random(), **arguments)
    only()
    return run


@pytest.mark.parametrize("first", [{}, FIRST], ids=["initial set", "evaluation set and initial set"])
def test_a_person_who_is_asked_first_answers_as_the_data_set_does(folder, first):  # noqa: F811
    simulated = simulate(**first)
    waits, run = to_its_end("run", **first), RunDirectory("run")
    assert [len(asked) for asked in waits] == ([5, 6, 4, 3] if first else [6, 4, 4])
    assert_same(run, simulated)
    evaluated = [row.item for row in run.read_evaluation()]
    assert evaluated == [row.item for row in simulated.read_evaluation()] == (waits[0] if first else [])
    asked = [*itertools.chain(*waits)]
    assert len({*asked}) == len(asked) and [row.item for row in run.read_asked()] == asked
    with run.asked(-1).open() as file:
        assert [row["item"] for row in csv.DictReader(file)] == waits[len(evaluated) > 0]
    assert run.asked(-1) == Path("run/cycles/initial/asked.csv") and run.package(-2) == Path("run/cycles/evaluation/to_label")


def test_an_evaluation_set_is_whole_before_a_run_goes_on(folder):  # noqa: F811
    settings = {**FIRST, "enough": 0.5}
    only()
    evaluated = wanted(fit("run", **settings))
    label(*evaluated[:4])
    assert wanted(fit("run", **settings)) == evaluated
    label(evaluated[4])
    first = wanted(fit("run", **settings))
    assert len(first) == 6 and [row.item for row in RunDirectory("run").read_evaluation()] == evaluated
    label(*first[:3])  # of all else half will do
    assert len(wanted(fit("run", **settings))) == 4


def test_what_is_held_out_for_evaluation_is_not_asked_for_again(folder):  # noqa: F811
    only()
    settings = {"evaluation": 0.4, "unanswered": "asked", "enough": 0.5}
    asked = wanted(fit("run", **settings))
    label(*asked)
    again = wanted(fit("run", **settings))
    held = {row.item for row in RunDirectory("run").read_evaluation()}
    assert held and not held & {*again} and len(again) == 4
    for _ in range(4):
        label(*wanted(fit("run", **settings)))
    assert RunDirectory("run").is_finished()


# Written are environment.json, images.csv, README.txt and asked.csv of what is evaluated on; then, in processes of their own,
# evaluation.csv and the same of the initial set; queries.csv.
DEATHS = [
    lambda: dies_at(RunDirectory, "write_environment", 1),
    lambda: dies_at(files.os, "replace", 2),
    lambda: dies_at(oracles.shutil, "copyfile", 3),
    lambda: dies_at(RunDirectory, "write_asked", 1, after=True),
    lambda: dies_at(RunDirectory, "write_evaluation", 1),
    lambda: dies_at(RunDirectory, "write_evaluation", 1, after=True),
    lambda: dies_at(oracles.shutil, "copyfile", 2),
    lambda: dies_at(RunDirectory, "append_answers", 1),
    lambda: dies_at(RunDirectory, "append_answers", 1, after=True),
    lambda: dies_in_row(1),  # of cycle 0, by now
]


@pytest.mark.parametrize("first", [FIRST, {"evaluation": 0.4}], ids=["drawn first", "a share of what is labeled first"])
def test_sigkill_before_cycle_0(folder, first):  # noqa: F811
    """Each process of a run is killed at its own place; what was asked once is not asked anew."""
    only()
    whole = to_its_end("whole", cycles=2, **first)
    only()
    deaths, waits = [*DEATHS], []

    def killed(death):
        death()
        fit("run", cycles=2, **first)

    while deaths or not RunDirectory("run").is_finished():
        while deaths and in_child(lambda: killed(deaths[0])) == -signal.SIGKILL:
            deaths.pop(0)
        if deaths and not RunDirectory("run").awaited():
            deaths.pop(0)  # it is of what this run has not
            continue
        asked = wanted(fit("run", cycles=2, **first))
        waits += [asked] * (asked != [] and asked not in waits)
        label(*asked)
    assert waits == whole
    assert_same(RunDirectory("run"), RunDirectory("whole"))
    assert RunDirectory("run").read_evaluation() == RunDirectory("whole").read_evaluation() != []


def test_a_share_of_what_is_labeled_first_is_for_evaluation_by_groups(folder):  # noqa: F811
    only()
    label(*wanted(fit("run", evaluation=0.3, group="^s."))[:6])
    run = fit("run", evaluation=0.3, group="^s.")
    held, initial = ({row.item for row in rows} for rows in (run.read_evaluation(), run.read_queries()))
    assert held and initial and held | initial == {row.item for row in run.read_asked_by(-1)}
    assert not {name[:2] for name in held} & {name[:2] for name in (*initial, *wanted(run))}


def test_an_evaluation_set_is_asked_for_where_some_images_have_labels(folder, capsys):  # noqa: F811
    """What is labeled already is not asked for again; the rest begins the run."""
    only(*EVERY[::2])
    settings = {"evaluation_first": 5, "evaluation": 0.4, "size": "all", "cycles": 2}
    run = fit("run", **settings)
    asked = wanted(run)
    there = {*asked} & {*EVERY[::2]}
    assert len(asked) == 5 and 0 < len(there) < 5 and not run.finished()
    assert f"{len(there)} of 5 labels of images drawn for evaluation are there" in capsys.readouterr().out
    named = {line.split()[0] for line in (run.package(-2) / "README.txt").read_text().splitlines() if "->" in line}
    assert named == {path.name for path in run.package(-2).glob("*.png")} == {f"{name}.png" for name in {*asked} - there}
    assert wanted(fit("run", **settings)) == asked and not run.finished()
    label(*asked)
    run = fit("run", **settings)
    assert [row.item for row in run.read_evaluation()] == asked and run.read_curve()[0].labeled == 9 - len(there)
    label(*wanted(run))
    assert fit("run", **settings).is_finished()


def test_all_that_is_asked_for_is_labeled_already(folder):  # noqa: F811
    only(*EVERY)
    run = fit("run", evaluation_first=5, evaluation=0.4, cycles=1, size="all")
    assert run.is_finished() and len(run.read_evaluation()) == 5
    assert (run.package(-2) / "README.txt").read_text() == "All images that the run asks for have a label already.\n"


def test_a_start_that_failed_leaves_no_image_to_label(folder):  # noqa: F811
    only()
    left = RunDirectory("run").package(-1) / "s99.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"cut short")
    run = fit("run", evaluation=0.4)
    assert {path.stem for path in left.parent.glob("*.png")} == {*wanted(run)}


def test_labels_that_nobody_has_asked_for_are_mentioned(folder, caplog):  # noqa: F811
    only()
    asked = wanted(fit("run", evaluation=0.4))
    label(*asked)
    asked += wanted(fit("run", evaluation=0.4))
    other = min({*EVERY} - {*asked})
    label(other)
    with caplog.at_level("INFO"):
        fit("run", evaluation=0.4)
    (said,) = [record.getMessage() for record in caplog.records if "has not asked for" in record.getMessage()]
    assert said.startswith(f"1 images of the pool have a label that this run has not asked for, {other} among them")


def test_two_processes_wait(folder, monkeypatch):  # noqa: F811
    """The second one ends with status 0: Lightning kills the first if another one fails, before it has closed its loggers."""
    only()
    first = {"devices": 2, "strategy": "ddp_fork", "max_epochs": 1, "check_val_every_n_epoch": 1}

    setup = ActiveLearningCallback.setup

    def noting(self, trainer, module, stage):
        try:
            setup(self, trainer, module, stage)
        except SystemExit as end:
            Path(f"end-{trainer.global_rank}").write_text(str(end.code))
            raise

    monkeypatch.setattr(ActiveLearningCallback, "setup", noting)

    def waits():
        try:
            fit("run", evaluation=0.4, trainer=first)
        except ProcessExitedException as error:
            os._exit(error.exit_code)

    assert in_child(waits) == 75
    ends = {path.name: path.read_text() for path in Path().glob("end-*")}
    assert ends == {"end-0": "75", "end-1": "0"} and len(RunDirectory("run").awaited()) == 6
