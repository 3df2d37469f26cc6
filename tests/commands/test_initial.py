from pathlib import Path

import pandas
import pytest

from al_lightning import commands
from al_lightning.commands.initial import choose, metric_of, planned
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from tests.commands.test_sweep import ROOT, TINY
from tests.test_runs import cycle_row

pytestmark = pytest.mark.usefixtures("undrawn")

VALUES = {"a": 0.1, "b": 0.5, "c": 0.9, "d": 0.65}


@pytest.mark.parametrize(("take", "name"), [("nearest", "b"), ("lowest", "a"), ("highest", "c")])  # the mean is 0.5375
def test_which_run_is_taken(take, name):
    assert choose(VALUES, take) == name


def test_a_metric_must_be_a_number_to_choose_by():
    run = RunDirectory("run")
    run.append_cycle({**cycle_row(0, 30), "val/loss": float("nan"), "val/f1": 0.25})
    assert metric_of(run, "val/f1") == 0.25
    with pytest.raises(UserError, match="Expected val/loss of run to be a number to choose by, got nan"):
        metric_of(run, "val/loss")
    with pytest.raises(UserError, match=r"--metric from the columns of .*val/f1.*, got val/miou"):
        metric_of(run, "val/miou")


def test_every_training_has_its_own_seed():
    runs = planned(Path("c.yaml"), Path("out"), 3, 2, {"x": 1})
    assert [run.settings["seed_everything"] for run in runs] == [0, 1, 2, 3, 4, 5]
    assert [run.settings["data.init_args.initial_seed"] for run in runs] == [0, 0, 1, 1, 2, 2]
    assert all(run.settings["x"] == 1 and run.settings["active_learning.cycles"] == 1 for run in runs)


def test_the_run_nearest_the_mean_begins_others(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config = str(ROOT / "configs" / "demo.yaml")
    settings = [f"{key}={str(value).lower()}" for key, value in TINY.items() if "cycles" not in key]
    commands.main(["initial", "--config", config, "--out", "common", "--sets", "2", "--jobs", "2", "--set", *settings])
    assert "Begin runs with it: --active_learning.initial_run common/taken" in capsys.readouterr().out
    table = pandas.read_csv("common/initial.csv")
    assert len(table) == 4 and table["taken"].sum() == 1
    nearest = table["val/accuracy"].sub(table["val/accuracy"].mean()).abs().idxmin()
    assert table["run"][nearest] == table["run"][table["taken"] == 1].item() == Path("common/taken").resolve().name
    initial = RunDirectory("common/taken")
    begin = [f"--{setting}" for setting in settings] + ["--active_learning.cycles=2", "--active_learning.initial_run=common/taken"]
    commands.main(["fit", "--config", config, "--run_dir", "run", "--seed_everything=9", *begin])
    run = RunDirectory("run")
    assert run.read_cycles()[0]["val/accuracy"] == initial.read_cycles()[0]["val/accuracy"]
    assert [row for row in run.read_queries() if row.cycle == 0] == [row for row in initial.read_queries() if row.cycle == 0]
    # another model does not begin with it
    with pytest.raises(SystemExit, match=r"Expected the configuration of the initial run, .*width was 16 and is 8"):
        commands.main(["fit", "--config", config, "--run_dir", "other", *begin, "--model.init_args.network.init_args.width=8"])
    assert not Path("other").exists()


@pytest.mark.parametrize("setting", ["seed_everything=7", "data.init_args.initial_seed=3", "run_dir=elsewhere", "resume=true"])
def test_what_the_command_decides_is_no_setting(setting):
    with pytest.raises(SystemExit, match=f"Expected no {setting.partition('=')[0]} among the settings of --set"):
        commands.main(["initial", "--config", str(ROOT / "configs" / "demo.yaml"), "--out", "common", "--set", setting])
    assert not Path("common").exists() and not Path("elsewhere").exists()
