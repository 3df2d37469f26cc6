"""Runs that had ended and go further, by command line."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Callback

from al_lightning import commands
from al_lightning.callbacks.configured import configured
from al_lightning.cli import main
from al_lightning.data import FashionMNISTSampleDataModule
from al_lightning.runs import RunDirectory
from al_lightning.sweeps import conduct
from tests.callbacks.test_configured import Forked
from tests.experiments import in_child, run_experiment, same_weights, weights, without_seconds

CONFIG = """
model:
  class_path: ClassificationTask
  init_args: {network: {class_path: al_lightning.models.MLP, init_args: {width: 7}}}
data: {class_path: FashionMNISTSampleDataModule, init_args: {initial_size: 60, pool_size: 600, eval_batch_size: 250}}
active_learning: {strategy: Margin, query_size: [50, 40], cycles: 2}
trainer:
  {max_epochs: 2, check_val_every_n_epoch: 2, accelerator: cpu, logger: false, enable_progress_bar: false, enable_model_summary: false}
"""


@pytest.fixture
def begin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG)

    def begin(name, *arguments):
        main(["fit", "--config", "config.yaml", "--run_dir", name, *(f"--active_learning.{each}" for each in arguments)])
        return RunDirectory(name)

    return begin


def further(run, *arguments):
    main(["fit", "--resume", "--run_dir", str(run.path), *(f"--active_learning.{each}" for each in arguments)])


@pytest.mark.parametrize("settings", [["cycles=2"], ["cycles=1"], ["retrain=warm"], ["keep=none"], ["initial_run=first"]])
def test_it_becomes_the_run_that_would_have_gone_so_far(begin, settings, capsys):
    if "initial_run=first" in settings:
        begin("first", "cycles=1")
    run, whole = begin("run", *settings), begin("whole", *settings, "cycles=4")
    last = run.finished() - 1
    capsys.readouterr()
    further(run, "cycles=4")
    assert f"The run in run goes further: cycle {last}, which made no query, is done again." in capsys.readouterr().out
    assert without_seconds(run) == without_seconds(whole) and run.queries.read_bytes() == whole.queries.read_bytes()
    assert run.labels.exists() == whole.labels.exists() and run.checkpoints() == whole.checkpoints()
    assert all(same_weights(weights(run, cycle), weights(whole, cycle)) for cycle in run.checkpoints())
    assert run.read_config()["active_learning"]["cycles"] == 4
    further(run)
    assert "is complete: all cycles are done" in capsys.readouterr().out


def test_a_budget_or_a_target_ends_it_later_or_not_at_all(begin):
    run = begin("run", "cycles=null", "label_budget=120")
    assert [row.labeled for row in run.read_curve()] == [60, 110, 120]
    further(run, "label_budget=200")
    assert [row.labeled for row in run.read_curve()] == [60, 110, 120, 160, 200]
    further(run, "label_budget=null", "cycles=6")
    assert [row.labeled for row in run.read_curve()] == [60, 110, 120, 160, 200, 240]
    reached = begin("reached", 'target={"val/accuracy": 0.01}')
    assert reached.finished() == 1
    further(reached, 'target={"val/accuracy": 0.99}')
    assert reached.finished() == 2 and reached.read_config()["active_learning"]["target"] == {"val/accuracy": 0.99}


def test_a_run_that_has_gone_far_enough_is_complete(begin, capsys):
    run = begin("run", "cycles=3")
    before = run.learning_curve.read_bytes()
    capsys.readouterr()
    further(run, "cycles=2")
    assert "is complete: all cycles are done" in capsys.readouterr().out and run.learning_curve.read_bytes() == before
    assert run.read_config()["active_learning"]["cycles"] == 3  # which it has
    # the whole pool is labeled, however many cycles there may be
    run = begin("all", "query_size=600", "cycles=5")
    further(run, "cycles=9")
    assert "is complete: the pool is used up" in capsys.readouterr().out and run.finished() == 2


def test_the_configuration_may_be_edited_so(begin):
    run, whole = begin("run"), begin("whole", "cycles=3")
    run.config.write_text(run.config.read_text().replace("  cycles: 2\n", "  cycles: 3\n"))
    further(run)
    assert without_seconds(run) == without_seconds(whole)


def test_warm_weights_that_were_not_kept_are_missed_before_anything_is_lost(begin, capsys):
    run = begin("run", "retrain=warm", "keep=last")
    before = run.config.read_bytes(), run.learning_curve.read_bytes(), run.checkpoint(1).read_bytes()
    with pytest.raises(SystemExit) as end:
        further(run, "cycles=3")
    said = capsys.readouterr().err + str(end.value)
    assert "Expected run/cycles/000/last.ckpt to go on with its weights (retrain=warm), but it is missing." in said
    assert (run.config.read_bytes(), run.learning_curve.read_bytes(), run.checkpoint(1).read_bytes()) == before
    further(run)
    assert "is complete: all cycles are done" in capsys.readouterr().out


def everything(run):
    return {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path != run.environment}


@pytest.mark.parametrize(
    ("settings", "more", "expected"),
    [
        (["cycles=1"], ["label_budget=10", "cycles=3"], "Expected active_learning.label_budget of at least the initial set's 60, got 10"),
        (["cycles=2"], ['target={"val/acuracy": 0.9}'], "Expected active_learning.target to name metrics from"),
        (["cycles=1", "strategy={class_path: CoreSet, init_args: {features: {layer: hiden}}}"], ["cycles=3"], "a layer of MLP"),
        (["cycles=1", "initial_run=first"], ["cycles=3"], "Expected the checkpoint first/cycles/000/last.ckpt"),
    ],
)
def test_what_can_not_go_further_is_left_as_it_was(begin, capsys, settings, more, expected):
    begin("first", "cycles=1")
    run = begin("run", *settings)
    if "initial_run=first" in settings:
        RunDirectory("first").checkpoint(0).rename("elsewhere.ckpt")
    before = everything(run)
    with pytest.raises(SystemExit) as end:
        further(run, *more)
    assert expected in capsys.readouterr().err + str(end.value)
    assert everything(run) == before
    further(run)
    assert "is complete: all cycles are done" in capsys.readouterr().out


def test_a_configuration_of_an_earlier_version_keeps_what_it_has(begin):
    """It lacks a setting that has a default, and so does its fingerprint."""
    run = begin("run")
    run.config.write_text(run.config.read_text().replace("  unanswered: pool\n", ""))
    assert "unanswered" not in run.read_config()["active_learning"]
    run.write_environment({**run.read_environment(), **configured(run)})
    further(run, "cycles=3")
    further(run)
    assert run.finished() == 3 and "unanswered" not in run.read_config()["active_learning"]


class Dies(Callback):
    """In the training of the last cycle that a run has had, once."""

    def on_train_epoch_end(self, trainer, module):
        if Path("dies").exists():
            Path("dies").unlink()
            os._exit(9)


@pytest.mark.parametrize("cycles", [1, 2])
def test_killed_while_it_does_the_cycle_again(begin, capsys, cycles):
    Path("config.yaml").write_text(CONFIG.replace("trainer:\n  {", "trainer:\n  {callbacks: [tests.callbacks.test_further.Dies], "))
    run, whole = begin("run", f"cycles={cycles}"), begin("whole", "cycles=3")
    known = run.read_environment()["run"]
    Path("dies").touch()
    assert in_child(lambda: further(run, "cycles=3")) == 9 and run.finished() == cycles - 1
    with pytest.raises(SystemExit) as end:
        begin("run", "cycles=3")  # without --resume
    assert "run holds a run already" in capsys.readouterr().err + str(end.value)
    further(run)
    assert run.read_environment()["run"] == known
    assert without_seconds(run) == without_seconds(whole) and run.queries.read_bytes() == whole.queries.read_bytes()


def test_what_is_killed_in_cycle_0_can_be_refused_without_a_change(begin, capsys):
    Path("config.yaml").write_text(CONFIG.replace("trainer:\n  {", "trainer:\n  {callbacks: [tests.callbacks.test_further.Dies], "))
    run = begin("run", "cycles=1")
    Path("dies").touch()
    assert in_child(lambda: further(run, "cycles=2")) == 9 and run.finished() == 0
    before = run.config.read_bytes()
    with pytest.raises(SystemExit):
        further(run, "label_budget=10")
    assert run.config.read_bytes() == before
    further(run)
    assert run.finished() == 2


def test_a_complete_run_follows_its_files_and_keeps_its_budget(begin):
    run = begin("run", "cycles=2")
    shutil.copytree(FashionMNISTSampleDataModule().root, "moved")
    main(["fit", "--resume", "--run_dir", "run", "--active_learning.cycles=1", "--data.init_args.root=moved"])
    stored = run.read_config()
    assert (stored["active_learning"]["cycles"], stored["data"]["init_args"]["root"]) == (2, "moved") and run.finished() == 2


def test_a_sweep_of_unfinished_runs_ends_them_earlier(begin, monkeypatch, capsys):
    """One of them is damaged, which stops no other."""
    monkeypatch.setattr(conduct, "LocalLauncher", Forked)
    grid = {"active_learning.strategy": ["Random", "Margin"], "seed_everything": [0]}
    Path("trial.yaml").write_text(
        yaml.safe_dump({"base": "config.yaml", "out": "runs", "grid": grid, "set": {"active_learning.cycles": 4}})
    )
    commands.main(["sweep", "trial.yaml"])
    random, margin = (RunDirectory(f"runs/{name}-seed0") for name in ("Random", "Margin"))
    random.remove_cycle(3)  # as if it had been stopped
    margin.learning_curve.write_text(margin.learning_curve.read_text().replace("\n3,", "\nx,"))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        commands.main(["sweep", "trial.yaml", "--set", "active_learning.cycles=2"])
    said = capsys.readouterr().out
    assert "Random-seed0: finished" in said and "Margin-seed0: FAILED" in said
    assert random.read_config()["active_learning"]["cycles"] == 2 and random.finished() == 4


@pytest.mark.parametrize("where", ["option", "base"])
def test_a_sweep_goes_further(begin, monkeypatch, capsys, where):
    monkeypatch.setattr(conduct, "LocalLauncher", Forked)
    whole = begin("whole", "cycles=3", "strategy=Random")
    grid = {"active_learning.strategy": ["Random", "Margin"], "seed_everything": [0]}
    Path("trial.yaml").write_text(yaml.safe_dump({"base": "config.yaml", "out": "runs", "grid": grid}))
    commands.main(["sweep", "trial.yaml"])
    further(RunDirectory("runs/Margin-seed0"), "cycles=3")
    capsys.readouterr()
    if where == "base":
        Path("config.yaml").write_text(CONFIG.replace("cycles: 2", "cycles: 3"))
    options = ["--set", "active_learning.cycles=3"] if where == "option" else []
    commands.main(["sweep", "trial.yaml", *options])
    assert "3 runs in runs: 0 to start, 1 to go on with" in capsys.readouterr().out
    run = RunDirectory("runs/Random-seed0")
    assert without_seconds(run)[1:] == without_seconds(whole)[1:] and run.queries.read_bytes() == whole.queries.read_bytes()
    commands.main(["sweep", "trial.yaml", *options])
    assert "3 runs in runs: all finished." in capsys.readouterr().out
    if where == "option":  # it is forgotten the next time
        commands.main(["sweep", "trial.yaml"])
        assert "3 runs in runs: all finished." in capsys.readouterr().out and run.read_config()["active_learning"]["cycles"] == 3


def test_a_script_goes_further(tmp_path):
    whole = run_experiment(tmp_path / "whole", cycles=3)
    run = run_experiment(tmp_path / "run", cycles=2)
    run_experiment(tmp_path / "run", cycles=3, resume=True)
    assert without_seconds(run) == without_seconds(whole) and run.read_config()["active_learning"]["cycles"] == 3
