"""Real sweeps: processes, logs, and what a user sees of them."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from al_lightning import cli, commands
from al_lightning.commands import arguments
from al_lightning.config_reader import ConfigReader
from al_lightning.runs import RunDirectory
from al_lightning.sweeps.plan import read_sweep
from tests.experiments import without_seconds

ROOT = Path(__file__).parents[2]
TINY = {
    "active_learning.cycles": 3,
    "active_learning.query_size": 20,
    "trainer.max_epochs": 2,
    "trainer.check_val_every_n_epoch": 2,
    "trainer.logger": False,
    "trainer.enable_progress_bar": False,
}


@pytest.fixture
def write(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def write(grid, **content):
        path = tmp_path / "trial.yaml"
        path.write_text(
            yaml.safe_dump({"base": str(ROOT / "configs" / "demo.yaml"), "set": TINY, "grid": grid, **content}, sort_keys=False)
        )
        return str(path)

    return write


def test_a_sweep_runs_goes_on_and_lists_what_failed(write, capsys):
    path = write({"active_learning.strategy": ["Random", "Margin"], "data.init_args.initial_size": [30, 5001], "seed_everything": [1]})
    with pytest.raises(SystemExit) as end:
        commands.main(["sweep", path, "--jobs", "2"])
    assert end.value.code == 1
    shown = capsys.readouterr().out
    assert "6 runs in runs/trial: 6 to start, 0 to go on with, 2 at a time." in shown
    assert "3 of 6 runs failed" in shown  # a shared cycle 0, and the two that need it
    assert "initial-initial_size=5001-seed1: exit status 1: al_lightning: error: Expected an initial_size from 1 to" in shown
    assert "Margin-initial_size=5001-seed1: not started, because initial-initial_size=5001-seed1 failed" in shown
    run = RunDirectory("runs/trial/Margin-initial_size=30-seed1")
    assert "cycle 2 of 0-2" in Path("runs/trial/logs/Margin-initial_size=30-seed1.txt").read_text()
    assert [row["train_steps"] for row in run.read_cycles()] == ["0", "4", "6"]  # cycle 0 is the shared one's

    # the same as the command alone, but for who trained cycle 0
    settings = [f"--{key}={str(value).lower()}" for key, value in TINY.items()]
    chosen = ["--active_learning.strategy=Margin", "--data.init_args.initial_size=30", "--seed_everything=1"]
    cli.main(["fit", "--config", str(ROOT / "configs" / "demo.yaml"), "--run_dir", "alone", *settings, *chosen])
    alone = RunDirectory("alone")
    assert run.queries.read_bytes() == alone.queries.read_bytes()
    assert without_seconds(run)[1:] == without_seconds(alone)[1:]

    # what was cut off goes on, what is finished stays as it is
    whole = run.queries.read_bytes()
    run.learning_curve.write_text("".join(run.learning_curve.read_text().splitlines(keepends=True)[:-1]))
    random = RunDirectory("runs/trial/Random-initial_size=30-seed1")
    before = random.learning_curve.stat().st_mtime_ns
    commands.main(["sweep", path, "--jobs", "2", "--only", "data.init_args.initial_size=initial_size=30"])
    assert "3 runs in runs/trial: 0 to start, 1 to go on with, 2 at a time." in capsys.readouterr().out
    assert run.queries.read_bytes() == whole and run.is_finished()
    assert random.learning_curve.stat().st_mtime_ns == before
    commands.main(["sweep", path, "--list"])
    assert "finished   runs/trial/Margin-initial_size=30-seed1\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        commands.main(["sweep", path, "--only", "data.init_args.initial_size=initial_size=5001"])
    shown = capsys.readouterr().out
    assert "3 of 3 runs failed" in shown and "Compare the runs" not in shown  # there is nothing to compare
    with pytest.raises(SystemExit, match=r"=30-seed1 to have the sweep's settings, but trainer.max_epochs was 2 and is 3"):
        commands.main(["sweep", path, "--set", "trainer.max_epochs=3"])


class MallocInfo(ctypes.Structure):
    """glibc's mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", *"hidden")]


class CountsMappings(Callback):
    """Of a large tensor, as glibc has got memory for it."""

    def on_fit_end(self, trainer, module):
        kept = torch.ones(2**24)
        ask = ctypes.CDLL(None).mallinfo2
        ask.restype = MallocInfo
        Path("mapped").write_text(f"{ask().hblks} {len(kept)}")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not glibc, or before 2.33")
def test_runs_keep_the_memory_of_large_tensors(write):
    settings = {**TINY, "active_learning.cycles": 1, "trainer.callbacks": ["tests.commands.test_sweep.CountsMappings"]}
    commands.main(["sweep", write({"seed_everything": [1]}, set=settings)])
    assert Path("mapped").read_text() == f"0 {2**24}"


class PressesCtrlC(Callback):
    """As at a terminal, which sends it to all processes, and only once: when both runs have a cycle before them."""

    def on_cycle_end(self, trainer, module, finished):
        if finished.cycle == 1 and not Path("pressed").exists():
            Path(f"there-{os.getpid()}").touch()
            while len([*Path().glob("there-*")]) < 2:
                time.sleep(0.01)
            with suppress(FileExistsError):
                Path("pressed").mkdir()
                os.killpg(0, signal.SIGINT)
            time.sleep(100)  # which it ends


def test_ctrl_c_leaves_what_the_same_command_goes_on_from(write, capsys):
    settings = {**TINY, "trainer.callbacks": ["tests.commands.test_sweep.PressesCtrlC"]}
    path = write({"active_learning.strategy": ["Random", "Margin"], "seed_everything": [1]}, set=settings)
    done = subprocess.run(
        [sys.executable, "-m", "al_lightning", "sweep", path, "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells make background jobs ignore it
    )
    assert done.returncode == 130 and "The same command goes on from here." in done.stdout and "Traceback" not in done.stdout
    assert "leaked" not in done.stdout  # what the runs are forked from ends after them, and says nothing
    runs = [RunDirectory(f"runs/trial/{name}-seed1") for name in ("Random", "Margin")]
    assert all(run.holds_run() and not run.is_finished() and not run.is_held() for run in runs)
    commands.main(["sweep", path, "--jobs", "2"])
    assert "0 to start, 2 to go on with, 2 at a time." in capsys.readouterr().out
    assert all([row["cycle"] for row in run.read_cycles()] == ["0", "1", "2"] for run in runs)


def test_jobs_of_a_cluster(write, capsys):
    pytest.importorskip("submitit", reason="submitit is not installed")
    path = write({"active_learning.strategy": ["Margin"]}, slurm={"timeout_min": 5})
    commands.main(["sweep", path, "--submit", "local"])
    assert "1 run in runs/trial: 1 to start, 0 to go on with, 1 at a time." in capsys.readouterr().out
    assert RunDirectory("runs/trial/Margin-seed0").is_finished()


def test_a_sweep_of_weights_and_biases(write, capsys):
    odin = {"class_path": "Odin", "init_args": {"temperature": 0.1}}
    path = write({"active_learning.strategy": ["Random", odin], "seed_everything": [4, 6]})
    commands.main(["sweep", path, "--wandb", "wandb.yaml"])
    definition = yaml.safe_load(Path("wandb.yaml").read_text())
    assert definition["parameters"] == {
        "active_learning.strategy": {"values": ["Random", "Odin-temperature=0.1"]},
        "seed_everything": {"values": ["4", "6"]},
    }
    # what an agent makes of the command for one of the combinations
    chosen = {"active_learning.strategy": {"value": "Odin-temperature=0.1"}, "seed_everything": {"value": "6"}}
    made = create_sweep_command_args({"args": chosen})
    words = [word for part in create_sweep_command(definition["command"]) for word in made.get(part.strip("${}"), [part])]
    assert words[:5] == ["${env}", "python", "-m", "al_lightning", "sweep"]
    capsys.readouterr()
    commands.main([*words[4:], "--list"])
    assert [line.split("/")[-1] for line in capsys.readouterr().out.splitlines()] == ["initial-seed6", "Odin-temperature=0.1-seed6"]
    setting = next(word for word in words if word.startswith("trainer.logger"))
    initial, _, run = (run for run in read_sweep(path, overrides=dict([arguments.setting(setting)])).runs() if "seed6" in run.name)
    logged = [ConfigReader().read(each.arguments()).get("trainer.logger.init_args.offline") for each in (initial, run)]
    assert logged == [None, False]  # the agent's run is one, and it is the experiment's


def test_agents_of_weights_and_biases_get_the_settings_and_the_folder(write):
    path = write({"seed_everything": [4, 6]})
    commands.main(["sweep", path, "--wandb", "wandb.yaml", "--set", "active_learning.query_size=7", "--out", "elsewhere"])
    command = yaml.safe_load(Path("wandb.yaml").read_text())["command"]
    assert command[-5:] == ["active_learning.query_size=7", "--out", "elsewhere", "--only", "${args_no_hyphens}"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--wandb", "x.yaml", "--jobs", "2", "--list"], r"Expected --wandb without --jobs, --list: agents take their runs from"),
        (["--only", "seed_everything=9"], r"Expected --only AXIS=LABEL from seed_everything=0, got 'seed_everything=9'"),
        (["--set", "x"], r"Expected --set KEY=VALUE, got 'x'"),
        (["--set", "x={a: 1, a: 2}"], r"Expected each key once in '{a: 1, a: 2}', got a twice"),
        (["--set", "x=[&a [*a]]"], r"Expected --set KEY=VALUE with a value in YAML, .* stands inside itself"),
        (["--jobs", "0"], r"argument --jobs: expected a number of at least 1 and at most 10,000, got 0"),
    ],
)
def test_wrong_arguments_are_one_error(write, arguments, why):
    path = write({"seed_everything": [0]})
    with pytest.raises(SystemExit, match=why):
        commands.main(["sweep", path, *arguments])


def test_a_mistake_is_found_before_anything_starts(write, capsys):
    path = write({"active_learning.strategy": ["Random", "Margn"]})
    with pytest.raises(SystemExit):
        commands.main(["sweep", path])
    assert "Expected strategy to be one of BALD, Entropy" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_mistake_in_the_last_of_several_files_is_found_before_anything_starts(write, capsys):
    path = write({"active_learning.strategy": ["Random"]})
    second = Path(path).with_name("second.yaml")
    second.write_text(Path(path).read_text().replace("Random", "Margn"))
    with pytest.raises(SystemExit):
        commands.main(["sweep", path, str(second)])
    assert "got Margn" in capsys.readouterr().err and not Path("runs").exists()


def test_a_callback_that_wants_a_logger_is_no_hindrance(write, capsys):
    its = {
        "trainer.callbacks": [{"class_path": "LearningRateMonitor"}],
        "trainer.logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "."}},
    }
    path = write({"active_learning.strategy": ["Random", "Margin"], "seed_everything": [1]}, set=TINY | {"active_learning.cycles": 1} | its)
    commands.main(["sweep", path])
    assert "[3/3]" in capsys.readouterr().out


def test_options_that_are_given_again_add_up(write, capsys):
    path = write({"active_learning.strategy": ["Random", "Entropy"], "seed_everything": [1, 2]})
    commands.main(["sweep", path, "--list", "--only", "active_learning.strategy=Random", "--only", "seed_everything=1"])
    assert [line.split("/")[-1] for line in capsys.readouterr().out.splitlines()] == ["initial-seed1", "Random-seed1"]
    with pytest.raises(SystemExit, match="Expected --set KEY=VALUE, got 'bogus'"):
        commands.main(["sweep", path, "--list", "--set", "bogus", "--set", "trainer.max_epochs=1"])


def test_no_other_file_is_overwritten(write):
    path = write({"seed_everything": [1]})
    before = Path(path).read_bytes()
    with pytest.raises(SystemExit, match=r"Expected no other file at .*trial.yaml, but there is one"):
        commands.main(["sweep", path, "--wandb", path])
    for _ in range(2):
        commands.main(["sweep", path, "--wandb", "wandb.yaml"])
    assert Path(path).read_bytes() == before and "method: grid" in Path("wandb.yaml").read_text()


def test_a_grid_of_one_run_is_run(write, capsys):
    commands.main(["sweep", write({}), "--list"])
    assert capsys.readouterr().out.split()[0] == "new"
