import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from matplotlib import image

from al_lightning.callbacks.configured import configured
from al_lightning.cli import main
from al_lightning.data import SyntheticScenesDataModule
from al_lightning.runs import RunDirectory
from tests.experiments import in_child, same_weights, take_back_a_cycle, weights, without_seconds

TINY = """
seed_everything: 3
model:
  class_path: ClassificationTask
  init_args:
    network: {class_path: al_lightning.models.MLP, init_args: {width: 7, dropout: 0.1}}
data:
  class_path: FashionMNISTSampleDataModule
  init_args: {initial_size: 70, pool_size: 600, eval_batch_size: 250}
active_learning: {strategy: Entropy, query_size: 50, cycles: 3}
trainer:
  accelerator: cpu
  max_epochs: 2
  logger: false
  enable_model_summary: false
"""


@pytest.fixture
def config(tmp_path, undrawn):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


@pytest.fixture(autouse=True)
def _argv(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["fit", *arguments])
    said = capsys.readouterr().err + str(ended.value)
    assert "Traceback" not in said
    return said


def test_fit_leaves_a_run_and_says_where_the_picture_is(capsys):
    Path("tiny.yaml").write_text(TINY)
    main(["fit", "--config", "tiny.yaml"])
    run = RunDirectory("runs/tiny-Entropy-seed3")
    out = capsys.readouterr().out
    assert f"Learning curve: {run.picture}" in out
    assert "cycle 0 of 0-2: 70 labeled, val/accuracy " in out and "left" in out
    assert image.imread(run.picture)[..., :3].std() > 0.05
    stored = yaml.safe_load(run.config.read_text())
    assert stored["active_learning"]["query_size"] == 50 and stored["trainer"]["max_epochs"] == 2
    assert len(run.read_cycles()) == 3
    assert run.read_environment()["seed"] == 3


def test_one_override_changes_one_thing(config):
    main(["fit", "--config", config, "--active_learning.strategy", "Margin", "--run_dir", "margin"])
    main(["fit", "--config", config, "--run_dir", "entropy"])
    margin, entropy = (yaml.safe_load(RunDirectory(name).config.read_text()) for name in ("margin", "entropy"))
    assert margin["active_learning"].pop("strategy")["class_path"] == "al_lightning.Margin"
    assert entropy["active_learning"].pop("strategy")["class_path"] == "al_lightning.Entropy"
    assert margin.pop("run_dir") != entropy.pop("run_dir")
    assert margin == entropy
    assert same_weights(weights(RunDirectory("margin"), 0), weights(RunDirectory("entropy"), 0))


def test_the_stored_configuration_repeats_the_run(config):
    main(["fit", "--config", config, "--run_dir", "first"])
    main(["fit", "--config", "first/config.yaml", "--run_dir", "second"])
    assert RunDirectory("first").queries.read_bytes() == RunDirectory("second").queries.read_bytes()


def test_optimizer_and_scheduler_from_the_command_line(config):
    options = ["--optimizer", "SGD", "--optimizer.lr", "0.1", "--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "1"]
    factories = ["--model.init_args.optimizer", "SGD", "--model.init_args.optimizer.lr", "0.1"]
    scheduler = ["--model.init_args.lr_scheduler", "StepLR", "--model.init_args.lr_scheduler.step_size", "1"]
    main(["fit", "--config", config, "--run_dir", "a", *options])
    main(["fit", "--config", config, "--run_dir", "b", *factories, *scheduler])
    for cycle in range(3):
        assert same_weights(weights(RunDirectory("a"), cycle), weights(RunDirectory("b"), cycle))


def test_resume_goes_on_and_refuses_another_configuration(config, capsys):
    main(["fit", "--config", config, "--run_dir", "whole"])
    main(["fit", "--config", config, "--run_dir", "cut"])
    cut = RunDirectory("cut")
    take_back_a_cycle(cut)
    said = fails(capsys, "--resume", "--run_dir", "cut", "--active_learning.query_size", "60", "--trainer.max_epochs=5")
    assert "active_learning.query_size was 50 and is 60" in said and "trainer.max_epochs was 2 and is 5" in said
    main(["fit", "--resume", "--run_dir", "cut"])
    assert cut.queries.read_bytes() == RunDirectory("whole").queries.read_bytes()
    assert without_seconds(cut) == without_seconds(RunDirectory("whole"))
    capsys.readouterr()
    main(["fit", "--resume", "--run_dir", "cut"])
    assert "is complete: all cycles are done" in capsys.readouterr().out


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


class Identified(CSVLogger):
    """Its runs have drawn ids, as those of Weights & Biases."""

    def __init__(self, save_dir: str = ".", version: str | None = None, id: str | None = None, offline: bool = True) -> None:
        super().__init__(save_dir, "logs", version)


def test_one_command_begins_and_goes_on(config, capsys):
    """As a cluster repeats it: with a configuration and what is added to it, a logger whose id is drawn, and no run_dir."""
    added = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/loss", "--trainer.callbacks.patience=50"]
    command = ["fit", "--config", config, "--resume", "--trainer.logger=tests.test_cli.Identified", *added]
    main(command)
    run = RunDirectory("runs/tiny-Entropy-seed3")
    assert f"There is no run in {run.path} to go on with: it begins now." in capsys.readouterr().out
    stored, whole = run.config.read_bytes(), without_seconds(run)
    assert yaml.safe_load(stored)["resume"] is False
    take_back_a_cycle(run)
    assert "query_size was 50 and is 60" in fails(capsys, *command[1:], "--active_learning.query_size=60")
    main(command)
    said = capsys.readouterr().out
    assert "begins now" not in said and "cycle 2 of 0-2" in said and "cycle 1 of 0-2" not in said
    assert without_seconds(run) == whole and run.config.read_bytes() == stored
    main(command)
    assert "is complete" in capsys.readouterr().out


def test_a_configuration_edited_by_hand_is_refused(config, capsys):
    main(["fit", "--config", config, "--run_dir", "r"])
    run = RunDirectory("r")
    take_back_a_cycle(run)
    whole = run.config.read_text()
    run.config.write_text(whole.replace("query_size: 50", "query_size: 60"))
    before = contents("r")
    for command in (["--run_dir", "r"], ["--run_dir", "r", "--active_learning.query_size=50"], ["--run_dir", "r", "--config", config]):
        said = fails(capsys, "--resume", *command)
        assert "Expected r/config.yaml as it was when the run began, but the file was changed after that" in said
        assert ("active_learning.query_size was 60 and is 50" in said) == (len(command) > 2)
    assert contents("r") == before
    run.config.unlink()
    assert "Expected r/config.yaml, the configuration of the run to resume, but it is missing" in fails(capsys, "--resume", *command)
    run.config.write_text(whole)
    main(["fit", "--resume", "--run_dir", "r"])
    assert len(run.read_cycles()) == 3


def test_a_started_run_is_refused_without_resume(config, capsys):
    main(["fit", "--config", config, "--run_dir", "run"])
    assert "run holds a run already. Continue it with `fit --resume --run_dir run`" in fails(capsys, "--config", config, "--run_dir", "run")
    RunDirectory("run").learning_curve.unlink()
    before = contents("run")
    assert "holds a run already" in fails(capsys, "--config", config, "--run_dir", "run")
    assert "rows were lost" in fails(capsys, "--resume", "--run_dir", "run")
    assert contents("run") == before


class Fails(Callback):
    """Does so, in some way, before cycle 0 is finished."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_epoch_end(self, trainer, module):
        if self.how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        raise {"RuntimeError": RuntimeError, "KeyboardInterrupt": KeyboardInterrupt, "MemoryError": MemoryError}[self.how]("for a test")


FAILURES = {  # by what config.yaml then has: how a start is made to fail
    "initial_size: 601": ["--data.init_args.initial_size=601"],
    "limit_train_batches: 2": ["--model.block=4", "--trainer.limit_train_batches=2"],
    "val_loss": ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val_loss"],
    **{
        how: ["--trainer.callbacks+=tests.test_cli.Fails", f"--trainer.callbacks.how={how}"]
        for how in ("RuntimeError", "KeyboardInterrupt", "SIGKILL")
    },
}


def test_a_start_that_failed_leaves_nothing_in_the_way_of_the_next(config):
    command = ["fit", "--config", config, "--active_learning.cycles=1", "--trainer.enable_progress_bar=false", "--run_dir=r"]
    run = RunDirectory("r")
    for mark, arguments in FAILURES.items():
        assert in_child(lambda arguments=arguments: main([*command, *arguments])) != 0
        assert mark in run.config.read_text() and not run.holds_run()
    main(command)
    settings = yaml.safe_load(run.config.read_text())
    assert settings["data"]["init_args"]["initial_size"] == 70 and not settings["trainer"]["callbacks"]
    assert [row["labeled"] for row in run.read_cycles()] == ["70"] and configured(run).items() <= run.read_environment().items()


def test_what_a_failed_start_had_wrong_is_mended_by_one_argument(config):
    monitor = "--trainer.callbacks.init_args.monitor=val"
    added = ["--trainer.callbacks+=EarlyStopping", f"{monitor}_loss"]
    assert in_child(lambda: main(["fit", "--config", config, "--active_learning.cycles=1", "--run_dir=r", *added])) != 0
    main(["fit", "--resume", "--run_dir=r", f"{monitor}/loss"])
    assert RunDirectory("r").finished() == 1


def test_a_start_that_died_goes_on_as_the_same_run_or_begins_another(config):
    command = ["fit", "--config", config, "--active_learning.cycles=1", "--run_dir", "r"]
    dies = ["--trainer.callbacks+=tests.test_cli.Fails", "--trainer.callbacks.how=SIGKILL"]
    ids = []
    for seed, argument in ((3, []), (3, ["--resume"]), (4, [])):
        assert in_child(lambda seed=seed, argument=argument: main([*command, *dies, f"--seed_everything={seed}", *argument])) == -9
        ids.append(RunDirectory("r").read_environment()["run"])
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("path", ["tiny.yaml", "tiny.yaml/run", "", " "])
def test_a_run_dir_that_can_be_none_is_refused(config, capsys, path):
    said = fails(capsys, "--config", config, "--run_dir", path)
    assert f"Expected {path} to be a run's directory, but there is a file in its place" in said or "got nothing" in said
    assert [each.name for each in Path().iterdir()] == ["tiny.yaml"]


def racing(config, directory, strategies, options=()):
    """Starts as many runs into one directory at one moment; returns their wait statuses."""
    barrier = multiprocessing.get_context("fork").Barrier(len(strategies))

    def start(strategy):
        hold = RunDirectory.hold
        RunDirectory.hold = lambda run: (barrier.wait(60), setattr(RunDirectory, "hold", hold), run.hold())
        main(["fit", "--config", config, "--run_dir", directory, "--active_learning.strategy", strategy, *options])

    processes = []
    for strategy in strategies:
        processes.append(os.fork())
        if processes[-1] == 0:
            try:
                start(strategy)
                os._exit(0)
            except BaseException:
                os._exit(1)
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_of_racing_starts_the_winners_configuration_stays(config, options, strategies=("Margin", "Random")):
    statuses = racing(config, "r", strategies, ["--active_learning.cycles=2", "--trainer.enable_progress_bar=false", *options])
    assert sorted(statuses) == [0] + [1] * (len(strategies) - 1)
    run = RunDirectory("r")
    winner = yaml.safe_load(run.config.read_text())["active_learning"]["strategy"]["class_path"].rsplit(".", 1)[-1]
    assert winner == strategies[statuses.index(0)]
    assert configured(run).items() <= run.read_environment().items() and not list(run.path.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_of_many_racing_starts_the_winners_configuration_stays(config, number):
    test_of_racing_starts_the_winners_configuration_stays(config, (), ("Margin", "Random", "Entropy"))
    main(["fit", "--resume", "--run_dir=r"])


class Requeued(Callback):
    """In a job's first start, the signals that SLURM sends when it is to be run once more."""

    def __init__(self, at: int) -> None:
        self.left = None if Path("asked").exists() else at

    across_cycles = True

    def on_train_batch_end(self, *_):
        if self.left is not None:
            self.left -= 1
            if self.left in (0, 1):
                os.kill(os.getpid(), [signal.SIGTERM, signal.SIGUSR1][self.left])


SLURM = {"JOB_ID": "77", "NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}


def test_a_job_that_slurm_requeues_goes_on(config, tmp_path, monkeypatch):
    command = ["fit", "--config", config, "--trainer.callbacks+=tests.test_cli.Requeued", "--trainer.callbacks.at=9", "--resume"]
    for name, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "$@" >> asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=os.pathsep)
    run = RunDirectory("runs/tiny-Entropy-seed3")
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 143 and Path("asked").read_text() == "requeue 77\n"
    assert len(run.read_cycles()) == 1 and not list(run.path.glob("hpc_ckpt*"))
    shutil.copy(run.checkpoint(0), run.path / "hpc_ckpt_1.ckpt")  # as Lightning, or an earlier version, may have left one
    main(command)
    main(["fit", "--config", config, "--run_dir", "whole"])
    assert without_seconds(run) == without_seconds(RunDirectory("whole"))
    assert run.queries.read_bytes() == RunDirectory("whole").queries.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--config", "nowhere.yaml"], ["File does not exist", "nowhere.yaml"]),
        (["--resume"], ["Expected --run_dir or --config with --resume"]),
        (["--resume", "--run_dir", "nowhere"], ["nowhere/config.yaml", "missing"]),
        (["--config", "{config}", "--active_learning.strategy", "Marginn"], ["Marginn", "Margin, MaxSoftmax, MostIncorrect, Odin"]),
        (["--config", "{config}", "--active_learning.querysize", "5"], ["unrecognized arguments", "querysize"]),
        (["--config", "{config}", "--seed_everything", "true"], ["seed_everything to be an integer"]),
        (["--config", "{config}", "--active_learning.query_size", "0"], ["query_size to be a number >0 or list, got 0"]),
        (["--config", "{config}", "--active_learning.strategy", "BALD", "--active_learning.strategy.query_p", "2"], ["query_p"]),
        (["--config", "{config}", "--data", "MNISTDataModule", "--data.init_args.root", "nowhere"], ["Expected MNIST", "nowhere"]),
        (["--config", "{config}", "--model.init_args.network", "Transformer9"], ["Transformer9"]),
    ],
)
def test_bad_input_is_one_error(config, capsys, monkeypatch, arguments, parts):
    monkeypatch.setattr("al_lightning.data.images.mnist.download_url", lambda *_: (_ for _ in ()).throw(OSError("no network")))
    said = fails(capsys, *[argument.format(config=config) for argument in arguments])
    assert all(part in said for part in parts), said


def test_a_full_disk_is_one_error(config, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "learning_curve.csv")

    monkeypatch.setattr(RunDirectory, "append_cycle", full)
    said = fails(capsys, "--config", config, "--run_dir", "r")
    assert "the disk is full (learning_curve.csv)" in said and "--resume" in said
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    main(["fit", "--resume", "--run_dir", str(Path(config).parent / "r")])


def test_fast_dev_run_leaves_no_run(config, capsys):
    main(["fit", "--config", config, "--trainer.fast_dev_run", "true"])
    assert "cycle 1 of 0-2" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_one_batch_is_one_batch(config):
    main(["fit", "--config", config, "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1.0", "--active_learning.cycles=1"])
    run = RunDirectory("runs/tiny-Entropy-seed3")
    (row,) = run.read_curve()
    assert row.train_steps == row.epochs and run.read_config()["trainer"]["limit_val_batches"] == 1.0


def test_variables_in_files_that_a_setting_names_are_refused(config, capsys, monkeypatch):
    monkeypatch.setenv("PLACE", "here")
    Path("logger.yaml").write_text("class_path: CSVLogger\ninit_args: {save_dir: ., name: '${PLACE}'}\n")
    said = fails(capsys, "--config", config, "--trainer.logger", "logger.yaml")
    assert "Expected ${PLACE} in trainer.logger.init_args.name to be filled in, which is done in files of --config alone" in said
    assert not Path("runs").exists()


def test_loggers_and_checkpoints_live_in_the_run(config):
    logger = ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "."]
    callbacks = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=val/accuracy", "--trainer.callbacks.mode=max"]
    main(["fit", "--config", config, "--run_dir", "r", *logger, *callbacks])
    log = Path("r/lightning_logs/version_0")
    assert "active_learning/val/accuracy" in (log / "metrics.csv").read_text().splitlines()[0]
    assert yaml.safe_load((log / "hparams.yaml").read_text())["query_size"] == 50
    assert len(list(Path("r/cycles/001").glob("epoch=*.ckpt"))) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["r", "tiny.yaml"]


def test_a_resumed_run_logs_where_it_lies(config):
    """Also where it was moved to in between; relative paths are not put into each other."""
    logger = ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs"]
    main(["fit", "--config", config, "--run_dir", "r", *logger])
    main(["fit", "--resume", "--run_dir", "r"])
    Path("r").rename("moved")
    main(["fit", "--resume", "--run_dir", "moved"])
    assert {path.parent.relative_to("moved").as_posix() for path in Path("moved").rglob("metrics.csv")} == {"logs/lightning_logs/version_0"}
    assert not Path("r").exists() and not list(Path("moved").rglob("r"))


def test_epochs_that_end_before_the_steps_are_said(config, capsys):
    main(["fit", "--config", config, "--run_dir", "r", "--trainer.max_steps", "50"])
    assert capsys.readouterr().out.count("ended with trainer.max_epochs=2, after 6 steps, and not with trainer.max_steps=50.") == 1
    main(["fit", "--config", config, "--run_dir", "s", "--trainer.max_steps", "6", "--trainer.max_epochs=-1"])
    main(["fit", "--config", config, "--run_dir", "t", "--trainer.max_steps", "6"])
    assert "ended with" not in capsys.readouterr().out


def test_tensorboard_works(config):
    main(["fit", "--config", config, "--run_dir", "r", "--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "."])
    log = Path("r/lightning_logs/version_0")
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(str(log)).Reload()
    accuracies = [event.value for event in events.Scalars("active_learning/val/accuracy")]
    assert accuracies == pytest.approx([row.metrics["val/accuracy"] for row in RunDirectory("r").read_curve()])
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert yaml.safe_load((log / "hparams.yaml").read_text())["strategy"] == "Entropy"


COMMAND = [sys.executable, "-m", "al_lightning", "fit"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # as in this process: the last bit of a matrix product depends on it


def test_a_killed_process_is_resumed_by_another(config):
    """The real command, SIGKILL at a moment of chance in the second cycle or later."""
    longer = ["--config", config, "--active_learning.cycles=5", "--trainer.max_epochs=10", "--trainer.check_val_every_n_epoch=10"]
    process = subprocess.Popen(
        [*COMMAND, *longer, "--run_dir", "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ONE_THREAD
    )
    killed = RunDirectory("killed")
    deadline = time.monotonic() + 120
    while not killed.learning_curve.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 1 <= len(killed.read_cycles()) < 5
    main(["fit", "--resume", "--run_dir", "killed"])
    main(["fit", *longer, "--run_dir", "whole"])
    assert killed.queries.read_bytes() == RunDirectory("whole").queries.read_bytes()
    assert without_seconds(killed) == without_seconds(RunDirectory("whole"))


def test_ddp_through_the_command(config, capsys):
    ddp = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    done = subprocess.run([*COMMAND, "--config", config, "--run_dir", "r", *ddp], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    run = RunDirectory("r")
    assert [row["labeled"] for row in run.read_cycles()] == ["70", "120", "170"]
    assert len({row.index for row in run.read_queries()}) == 170
    assert run.read_environment()["processes"] == 2
    assert "holds a run already" in fails(capsys, "--config", config, "--run_dir", "r", *ddp)  # before a second process is started


def test_processes_that_the_command_forks_write_into_the_run_that_it_holds(config):
    ddp = ["--trainer.devices=2", "--trainer.strategy=ddp_fork", "--active_learning.cycles=1"]
    assert in_child(lambda: main(["fit", "--config", config, "--run_dir", "r", *ddp])) == 0
    assert RunDirectory("r").read_environment()["processes"] == 2 and RunDirectory("r").finished() == 1


def test_what_a_constructor_refuses_is_one_line(capsys):
    """The parser wraps it in what it tried; the user reads what the network said."""
    config = Path(__file__).parents[1] / "configs" / "synthetic_scenes" / "entropy.yaml"
    said = fails(capsys, "--config", str(config), "--model.init_args.network.init_args.encoder_weights", "nowhere.pth")
    assert said.strip().splitlines()[-1].startswith("al_lightning: error: Expected encoder weights (a .safetensors or .pth file")
    assert "Union" not in said


def test_a_bad_image_is_one_line_also_from_a_loading_process(tmp_path, capsys):
    data = SyntheticScenesDataModule(cache=str(tmp_path), train_sequences=2, val_sequences=1, frames=2, height=32, width=40)
    data.prepare_data()
    image = sorted(data.root.glob("leftImg8bit/val/*/*.png"))[-1]
    image.write_bytes(image.read_bytes()[:-500])
    config = Path(__file__).parents[1] / "configs" / "cityscapes" / "entropy.yaml"
    network = ["encoder=tu-resnet18", "encoder_weights=none"]
    said = fails(
        capsys,
        *["--config", str(config), "--run_dir", "r", f"--data.init_args.root={data.root}", "--data.init_args.initial_size=2"],
        *["--data.init_args.num_workers=1", "--data.init_args.crop=32", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"],
        *[f"--model.init_args.network.init_args.{argument}" for argument in network],
        *["--trainer.logger=false", "--trainer.num_sanity_val_steps=0", "--trainer.check_val_every_n_epoch=1"],
    )
    assert re.search(rf"^al_lightning: error: Expected a whole image in .*{image.name}, but it is truncated", said, re.MULTILINE)
    assert "Traceback" not in said


def test_a_run_that_is_being_written_keeps_its_configuration(config, capsys):
    run = RunDirectory("run")
    run.hold()
    Path("run/config.yaml").write_text("its own")

    def another():
        assert "Another process is writing into the run run" in fails(capsys, "--config", config, "--run_dir", "run")

    assert in_child(another) == 0
    assert Path("run/config.yaml").read_text() == "its own"


def test_help_begins_with_the_experiment_and_ends_with_the_rest_of_lightnings_trainer(capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", "--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    titles = [line for line in said.splitlines() if re.fullmatch(r"[A-Z].*:", line)]
    assert titles[0] == "The experiment:" and titles[-2:] == ["Lightning's trainer:", "Lightning's trainer, all else:"]
    wanted = ["usage", "--active_learning.strategy", "--run_dir", "--data ", "--model ", "--optimizer ", "--trainer.callbacks"]
    places = [said.index(each) for each in [*wanted, "--trainer.barebones"]]
    assert places == sorted(places)
    assert not re.search(r"-->|_integer_seed|Linked|Base class|<class 'torch", said)
    options = re.findall(r"^  (--[\w.]+)", said, re.MULTILINE)
    assert len(options) == len(set(options)) > 70  # each once
