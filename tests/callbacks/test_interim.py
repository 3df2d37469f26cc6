"""A death costs the epochs since the last checkpoint of the cycle's training; what comes of it is that of a run that never died."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    StochasticWeightAveraging,
)

from al_lightning import cli
from al_lightning.callbacks.plain_attributes import WatchedCallback
from al_lightning.callbacks.weights import best_weights
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask, SegmentationTask, Task, blocks
from tests.callbacks.test_restart import LR, WithNorm, plateau, sgd
from tests.experiments import in_child, make_data, run_experiment, same_weights, weights, without_seconds
from tests.tasks.test_segmentation import Tiny
from tests.tasks.test_segmentation import make_data as make_scenes

pytestmark = pytest.mark.usefixtures("undrawn")


class Logbook(Callback):
    """Notes each epoch that a process begins, in a file, and dies at the n-th call of a hook."""

    across_cycles = True

    def __init__(self, file: str | Path, hook: str = "on_train_batch_start", at: int = 0):
        self.file = file
        self.left = at or int(os.environ.get("DIES_AT", 0))
        setattr(self, hook, self.count)
        self.note("process")

    def on_train_epoch_start(self, trainer, module):
        if trainer.is_global_zero:
            self.note(f"{trainer.datamodule.pool.cycle}.{trainer.current_epoch}")

    def note(self, what):
        with Path(self.file).open("a") as file:
            file.write(f"{what} ")

    def count(self, *_):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def epochs(file: Path) -> list[list[str]]:
    """The epochs that each process began."""
    return [part.split() for part in file.read_text().split("process") if part.strip()]


class Halves(Callback):
    """Remembers in plain attributes when to change what of the training: no state_dict tells of it."""

    def on_train_start(self, trainer, module):
        self.epochs, self.seen = 0, {"losses": [torch.zeros(1)]}

    def on_train_epoch_end(self, trainer, module):
        self.epochs += 1
        self.seen["losses"].append(trainer.callback_metrics["val/loss"])
        if self.epochs == 1:
            trainer.should_stop = True  # when there were min_epochs
            module.network.backbone[-1].p = 0.6
            trainer.accumulate_grad_batches = 2
        if self.epochs == 3:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= 0.1 * float(sum(self.seen["losses"]))


class OwnItems(Callback):
    """Counts what this process trained on, and leaves it in a file."""

    def __init__(self, folder: Path):
        self.folder, self.items = folder, []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.items += batch[2].tolist()

    def on_train_end(self, trainer, module):
        (self.folder / f"items-{trainer.datamodule.pool.cycle}-{trainer.global_rank}").write_text(str(self.items))


class PolynomialTask(ClassificationTask):
    def configure_optimizers(self) -> Any:
        optimizer = sgd(self.parameters())
        scheduler = LR.PolynomialLR(optimizer, int(self.trainer.estimated_stepping_batches), 0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def by_epoch(optimizer: torch.optim.Optimizer) -> Any:
    return LR.StepLR(optimizer, 1, 0.7)


def best(**arguments: Any) -> ModelCheckpoint:
    return ModelCheckpoint(monitor="val/loss", **arguments)


@dataclass
class Case:
    """A kind of training, and the batch in which it dies: of its process, from 1; cycle 0 has 3 an epoch unless it says otherwise."""

    at: int
    task: Callable[[], Task] = lambda: ClassificationTask(WithNorm, optimizer=sgd)
    callbacks: Callable[[], Sequence[Callback]] = tuple
    trainer: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    data: Callable[[], PoolDataModule] = make_data

    def run(self, folder: Path, *more: Callback, trainer: Any = None, **settings: Any) -> RunDirectory:
        return run_experiment(
            folder,
            data=self.data(),
            task=self.task(),
            callbacks=(*self.callbacks(), *more),
            trainer={"max_epochs": 4, "check_val_every_n_epoch": 1, **self.trainer, **(trainer or {})},
            **{"cycles": 1, "checkpoint_minutes": 0, **self.arguments, **settings},
        )


CASES = {
    "early stopping, best of two, plateau": Case(
        at=8,
        task=lambda: ClassificationTask(WithNorm, optimizer=sgd, lr_scheduler=plateau),
        callbacks=lambda: [EarlyStopping("val/loss", patience=2), best(save_top_k=2, save_last=True)],
        arguments={"cycles": 2, "query_weights": "best"},
    ),
    "steps, accumulation, files written after the checkpoint": Case(
        at=9,
        task=lambda: PolynomialTask(WithNorm),
        callbacks=lambda: [best(save_top_k=-1)],
        trainer={"max_epochs": -1, "max_steps": 7, "accumulate_grad_batches": 2, "val_check_interval": 0.5},
        arguments={"query_weights": "best"},
    ),
    "validation every so many steps of all epochs": Case(
        at=11,
        callbacks=lambda: [best(save_top_k=-1)],
        trainer={"max_epochs": -1, "max_steps": 13, "check_val_every_n_epoch": None, "val_check_interval": 4},
        arguments={"cycles": 2, "query_weights": "best"},
    ),
    "stochastic weight averaging": Case(
        at=11,
        task=lambda: ClassificationTask(WithNorm, optimizer=sgd, lr_scheduler=by_epoch),
        callbacks=lambda: [StochasticWeightAveraging(0.05, swa_epoch_start=0.5, annealing_epochs=3)],
    ),
    "exponential averaging": Case(at=8, callbacks=lambda: [EMAWeightAveraging(decay=0.9), best()], arguments={"query_weights": "best"}),
    "finetuning": Case(at=11, callbacks=lambda: [BackboneFinetuning(2), GradientAccumulationScheduler({1: 2})]),
    "blocks, warm": Case(
        at=4 * 2 + 5,
        task=lambda: ClassificationTask(WithNorm, block=2, lr_scheduler=by_epoch),
        arguments={"cycles": 2, "retrain": "warm", "keep": "last"},
    ),
    "metrics of earlier epochs": Case(
        at=11,
        callbacks=lambda: [EarlyStopping("val/loss", patience=2, strict=False, check_on_train_epoch_end=True)],
        trainer={"check_val_every_n_epoch": 3, "max_epochs": 7},
    ),
    "a callback without a state_dict": Case(at=8, callbacks=lambda: [Halves()], trainer={"min_epochs": 5, "max_epochs": 8}),
    "scenes": Case(  # 2 batches an epoch
        at=6,
        task=lambda: SegmentationTask(Tiny),
        trainer={"max_epochs": -1, "max_steps": 9},
        arguments={"query_size": 3},
        data=lambda: make_scenes(cache="../scenes", num_workers=2),
    ),
}


def outcome(run: RunDirectory) -> tuple[Any, ...]:
    files = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    return files, run.queries.read_text(), without_seconds(run)


def assert_same(run: RunDirectory, whole: RunDirectory) -> None:
    assert outcome(run) == outcome(whole)
    assert run.checkpoints() == whole.checkpoints()
    assert all(same_weights(weights(run, cycle), weights(whole, cycle)) for cycle in run.checkpoints())


@pytest.mark.parametrize("name", CASES)
def test_a_training_goes_on_where_it_was_killed(tmp_path, monkeypatch, name):
    monkeypatch.setattr(blocks, "PAYS_AFTER", 2)  # by a trace, of which the process that goes on knows nothing
    case, log = CASES[name], tmp_path / "log"
    whole = case.run(tmp_path / "whole", Logbook(tmp_path / "undisturbed"))
    assert in_child(lambda: case.run(tmp_path / "run", Logbook(log, at=case.at))) == -signal.SIGKILL
    assert_same(case.run(tmp_path / "run", Logbook(log), resume=True), whole)
    (undisturbed,), (before, after) = epochs(tmp_path / "undisturbed"), epochs(log)
    assert before[-1] == after[0] and not after[0].endswith(".0")  # only the epoch in which it died is trained again
    assert before[:-1] + after == undisturbed


def test_what_is_trained_is_not_trained_again(tmp_path):
    """A death after the last epoch, and a second one in the next cycle."""
    settings = {"checkpoint_minutes": 0, "trainer": {"max_epochs": 3, "check_val_every_n_epoch": 3}}
    whole = run_experiment(tmp_path / "whole", **settings)
    log, folder = tmp_path / "log", tmp_path / "run"
    for dies in ({"hook": "on_scoring", "at": 1}, {"at": 10}):
        assert in_child(lambda dies=dies: run_experiment(folder, callbacks=(Logbook(log, **dies),), resume=log.exists(), **settings)) < 0
    assert_same(run_experiment(folder, callbacks=(Logbook(log),), resume=True, **settings), whole)
    assert epochs(log) == [["0.0", "0.1", "0.2"], ["1.0", "1.1", "1.2"], ["1.2", "2.0", "2.1", "2.2"]]


def test_two_processes_go_on(tmp_path):
    """Each with what it had itself: what callbacks and metrics say may differ between processes."""

    def run(folder: str, at: int = 0, **arguments: Any) -> int:
        (own := tmp_path / f"{folder}-own").mkdir(exist_ok=True)
        callbacks = (OwnItems(own), Logbook(tmp_path / f"{folder}-log", at=at))
        case, settings = CASES["early stopping, best of two, plateau"], {"cycles": 1, "trainer": {"devices": 2, "strategy": "ddp_fork"}}
        return in_child(lambda: case.run(tmp_path / folder, *callbacks, **settings, **arguments))

    assert run("whole") == 0
    assert run("run", at=6) != 0  # in the third epoch of 2 batches
    assert run("run", resume=True) == 0
    assert_same(RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "whole"))
    (undisturbed,), (before, *_, after) = epochs(tmp_path / "whole-log"), epochs(tmp_path / "run-log")
    assert before[-1] == after[0] == "0.2"
    assert before[:-1] + after == undisturbed
    own = [{path.name: path.read_text() for path in (tmp_path / name).iterdir()} for name in ("whole-own", "run-own")]
    assert own[0] == own[1] and own[0]["items-0-0"] != own[0]["items-0-1"]


def test_on_the_command_line(tmp_path, capsys):
    """From the configuration that it stored, and with the seconds of both processes."""
    train = "fit --data FashionMNISTSampleDataModule --data.initial_size 70 --data.pool_size 600 --data.eval_batch_size 250"
    train += " --model ClassificationTask --model.network al_lightning.models.MLP --model.network.width 7 --trainer.logger false"
    train += " --trainer.accelerator cpu --trainer.max_epochs 4"
    train += " --active_learning.strategy Entropy --active_learning.query_size 50 --active_learning.cycles 2"
    train += " --active_learning.checkpoint_minutes 0 --active_learning.query_weights best --trainer.callbacks+=ModelCheckpoint"
    train += " --trainer.callbacks.monitor val/loss --trainer.callbacks+=tests.callbacks.test_interim.Logbook --trainer.callbacks.file log"

    def dying() -> None:
        os.environ["DIES_AT"] = "17"  # of 4 epochs of 3 batches, and of 4 batches
        cli.main([*train.split(), "--run_dir", "run"])

    callbacks = (ModelCheckpoint(monitor="val/loss"), Logbook("whole.log"))
    trainer = {"max_epochs": 4, "check_val_every_n_epoch": 1}
    whole = run_experiment(tmp_path / "whole", callbacks=callbacks, trainer=trainer, cycles=2, query_weights="best")
    assert in_child(dying) == -signal.SIGKILL
    seconds = torch.load("run/cycles/001/training.ckpt", weights_only=True)["al_lightning interim"]["seconds"]
    capsys.readouterr()
    cli.main(["fit", "--resume", "--run_dir", "run"])
    assert "Cycle 1 continues after epoch 1 of its training" in capsys.readouterr().out
    run = RunDirectory("run")
    assert without_seconds(run) == without_seconds(whole)
    assert all(same_weights(weights(run, cycle), weights(whole, cycle)) for cycle in (0, 1))
    assert [part[0] for part in epochs(Path("log"))] == ["0.0", "1.1"]
    assert float(run.read_cycles()[1]["train_seconds"]) > seconds > 0


class Counts:
    """What a safe load does not know."""

    def __init__(self) -> None:
        self.epochs = 0


class Opaque(Callback):
    """Changes something of which no checkpoint can know how to bring it back."""

    def __init__(self) -> None:
        self.counts = Counts()

    def on_train_epoch_end(self, trainer, module):
        self.counts.epochs += 1
        if self.counts.epochs == 3:
            trainer.should_stop = True


class UnsafeState(Callback):
    def state_dict(self):
        return {"counts": Counts()}


class Renames(Callback):
    def on_train_start(self, trainer, module):
        torch.nn.utils.parametrizations.weight_norm(module.network.head)


@pytest.mark.parametrize(
    ("callback", "why"),
    [
        (Opaque, "Opaque changes counts while training, and has no state_dict"),
        (UnsafeState, r"its state can't be loaded safely .*Unsupported global: GLOBAL \S*Counts"),
        (Renames, "the names of the module's weights have changed"),
    ],
)
def test_what_no_checkpoint_can_carry_is_said_and_trained_anew(tmp_path, capsys, callback, why):
    def run(folder: str, at: int = 0, **arguments: Any) -> RunDirectory:
        logbook = Logbook(tmp_path / "log", at=at)
        task = ClassificationTask(WithNorm)
        settings = {"cycles": 1, "checkpoint_minutes": 0, "keep": "none", "trainer": {"max_epochs": 4}, **arguments}
        return run_experiment(tmp_path / folder, task=task, callbacks=(logbook, callback()), **settings)

    whole = run("whole")
    assert len(re.findall(why, capsys.readouterr().out)) == 1
    assert in_child(lambda: run("run", at=8)) == -signal.SIGKILL
    assert not list((tmp_path / "run").rglob("training.ckpt*"))
    assert_same(run("run", resume=True), whole)
    assert epochs(tmp_path / "log")[2][0] == "0.0"


# In cycle 1, which has 4 batches an epoch.
PLAIN = Case(at=3 * 3 + 6, callbacks=lambda: [best()], trainer={"max_epochs": 3}, arguments={"cycles": 2, "query_weights": "best"})


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that died in cycle 1, and one that did not."""
    folder = tmp_path_factory.mktemp("killed")
    run = lambda name, at: PLAIN.run(folder / name, Logbook(folder / "log", at=at))  # noqa: E731
    run("whole", 0)
    assert in_child(lambda: run("run", PLAIN.at)) == -signal.SIGKILL
    return folder


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def changed(path: Path, *keys: Any, value: Any) -> None:
    content = part = torch.load(path, weights_only=True)
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    torch.save(content, path)


IDENTITY = ("al_lightning interim", "identity")
# What happened to the checkpoint, and what is said of it.
UNUSABLE = {
    "a flipped bit": (flipped, "is damaged in .*data/"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:5000]), r"can't be read \(BadZipFile\)"),
    "executes": (lambda path: torch.save({IDENTITY[0]: Counts()}, path), r"can't be read \(UnpicklingError\)"),
    "other versions": (lambda path: changed(path, *IDENTITY, "lightning", value="2.0"), "lightning was 2.0 and is 2"),
    "another cycle": (lambda path: changed(path, *IDENTITY, "cycle", value=0), "cycle was 0 and is 1"),
    "other optimizer": (lambda path: changed(path, "optimizer_states", value=[{"state": {}, "param_groups": []}]), "can't be brought back"),
    "other layers": (lambda path: changed(path, "state_dict", value={}), "can't be brought back"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_checkpoint_that_does_not_fit_is_said_and_trained_anew(tmp_path, capsys, killed, what):
    shutil.copytree(killed / "run", tmp_path / "run")
    happen, why = UNUSABLE[what]
    path = tmp_path / "run" / "cycles" / "001" / "training.ckpt"
    changed(path, *IDENTITY, "directory", value=str(tmp_path / "run"))  # as if it had been there always
    happen(path)
    run = PLAIN.run(tmp_path / "run", Logbook(tmp_path / "log"), resume=True)
    said = capsys.readouterr().out
    assert "Cycle 1 begins anew" in said and re.search(why, said), said
    assert epochs(tmp_path / "log") == [["1.0", "1.1", "1.2"]]
    assert_same(run, RunDirectory(killed / "whole"))


def test_short_trainings_write_nothing_and_leftovers_of_finished_ones_go(tmp_path, monkeypatch):
    monkeypatch.setattr("al_lightning.callbacks.interim._write", lambda *_: pytest.fail("wrote"))
    run_experiment(tmp_path, cycles=1)
    run_experiment(tmp_path / "never", cycles=1, checkpoint_minutes=None)
    left = RunDirectory(tmp_path).training(0)
    left.write_bytes(b"")  # as if the process had died just after it had finished the cycle
    run_experiment(tmp_path, cycles=1, resume=True)
    assert not left.exists()
    with pytest.raises(UserError, match=r"checkpoint_minutes of ActiveLearningCallback to be .*, got nan"):
        run_experiment(tmp_path / "never", checkpoint_minutes=float("nan"))


def test_another_run_in_the_same_place_begins_at_its_beginning(tmp_path):
    settings = {"cycles": 1, "checkpoint_minutes": 0, "trainer": {"max_epochs": 3}}
    assert in_child(lambda: run_experiment(tmp_path, callbacks=(Logbook(tmp_path / "log", at=8),), **settings)) == -signal.SIGKILL
    assert RunDirectory(tmp_path).training(0).is_file()
    RunDirectory(tmp_path).queries.unlink()
    run_experiment(tmp_path, callbacks=(Logbook(tmp_path / "log"),), seed=1, **settings)
    assert epochs(tmp_path / "log")[1] == ["0.0", "0.1", "0.2"]


def test_what_belongs_to_the_module_is_not_the_callbacks():
    module = ClassificationTask(WithNorm)
    callback = Callback()
    callback.state = {"count": 1, "mine": [torch.ones(2)], "rows": {("a", 2.5), None}}
    callback.head, callback.parameters = module.network.head, [*module.parameters()]
    callback.weights = module.state_dict()  # the module's own numbers under another object
    watched = WatchedCallback(callback, module, [])
    callback.state["mine"].append(torch.zeros(1))
    assert watched.attributes() == {"state": callback.state} and watched.problem() is None
    with torch.no_grad():
        module.network.head.weight += 1
    assert watched.attributes() == {} and "changes weights while" in watched.problem()


def test_a_best_checkpoint_that_is_gone_has_its_cycle_begin_anew(tmp_path):
    """A process that was killed has put a better one in its place, which the continued training does not reach."""
    best, forgotten = ModelCheckpoint(tmp_path, monitor="val/loss"), []
    best.best_model_path = str(tmp_path / "epoch=8.ckpt")
    trainer, record = SimpleNamespace(checkpoint_callbacks=[best]), SimpleNamespace(id="r", forget_training=forgotten.append)
    with pytest.raises(UserError, match=r"epoch=8.ckpt of cycle 3, but a process that was killed .* the cycle begins anew"):
        best_weights(trainer, record, 3, torch.nn.Linear(1, 1))
    assert forgotten == [3]
