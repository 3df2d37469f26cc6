"""A user's schedulers and optimizers do in each cycle what they do in a fresh fit; for callbacks see test_lightning_callbacks.py."""

import csv
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    EMAWeightAveraging,
    LearningRateMonitor,
    StochasticWeightAveraging,
)
from lightning.pytorch.cli import ReduceLROnPlateau
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from torch import nn
from torch.utils.data import DataLoader

from al_lightning.callbacks.refused import refuse_callbacks
from al_lightning.data import FashionMNISTSampleDataModule
from al_lightning.errors import UserError
from al_lightning.models import MLP
from al_lightning.tasks import ClassificationTask
from tests.experiments import CountBatches, make_data, run_experiment, same_weights, weights

LR = torch.optim.lr_scheduler


class WithNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(784, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(6, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(inputs))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def plateau(optimizer: torch.optim.Optimizer) -> Any:
    return ReduceLROnPlateau(optimizer, monitor="val/loss", patience=0, factor=0.5)


class OneCycleTask(ClassificationTask):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = LR.OneCycleLR(optimizer, 0.5, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Counting(WithNorm):
    """Changes while it trains, by a number and by a buffer that no checkpoint has."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        self.seen += self.training
        self.backbone[-1].p = min(0.5, 0.01 * self.calls)
        return super().forward(inputs) * (1 + 0.01 * self.seen)


class Warming(nn.CrossEntropyLoss):
    """Likewise, by a buffer that checkpoints have."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.calls += torch.is_grad_enabled()
        self.label_smoothing += 0.01
        return super().forward(logits, targets) * (1 + 0.1 * self.calls)


def with_states(network: Any, **arguments: Any) -> ClassificationTask:
    return ClassificationTask(Counting, optimizer=sgd, loss=Warming(), **arguments)


CASES = {
    "states": (with_states, {}),
    "plain": (ClassificationTask, {}),
    "momentum": (ClassificationTask, {"optimizer": sgd}),
    "plateau": (ClassificationTask, {"optimizer": sgd, "lr_scheduler": plateau}),
    "one cycle": (OneCycleTask, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_second_cycle_equals_a_first_one_on_its_labels(tmp_path, name):
    """Weights, best score and steps of cycle 1 equal those of an experiment that begins with cycle 1's labels."""
    make_task, arguments = CASES[name]

    def run(folder, data, cycles):
        task = make_task(WithNorm, **arguments)
        settings = {"max_epochs": 4, "check_val_every_n_epoch": 1}
        return run_experiment(folder, data=data, task=task, trainer=settings, cycles=cycles, query_weights="last")

    both = run(tmp_path / "both", make_data(), 2)

    class BeginsWithCycle1(type(make_data())):
        def setup(self, stage):
            super().setup(stage)
            if self.pool.cycle == 0:
                self.pool.label(torch.tensor([row.index for row in both.read_queries() if row.cycle == 1]))

    alone = run(tmp_path / "alone", BeginsWithCycle1(initial_size=70, pool_size=600, eval_batch_size=250), 2)
    assert same_weights(weights(both, 1), weights(alone, 1))
    then, now = (list(csv.DictReader(run.learning_curve.read_text().splitlines()))[-1] for run in (both, alone))
    assert [then[key] for key in ("val/loss", "epochs", "train_steps")] == [now[key] for key in ("val/loss", "epochs", "train_steps")]
    names = [sorted(path.name for path in run.cycle(1).iterdir()) for run in (both, alone)]
    assert names[0] == names[1]


def test_one_optimizer_object_for_all_cycles_begins_anew(tmp_path):
    """A task may return the same objects from every configure_optimizers."""

    class Same(ClassificationTask):
        pair: Any = None

        def configure_optimizers(self):
            if self.pair is None:
                optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
                self.pair = ([optimizer], [LR.StepLR(optimizer, 1, 0.1)])
            return self.pair

    class New(ClassificationTask):
        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
            return [optimizer], [LR.StepLR(optimizer, 1, 0.1)]

    runs = [run_experiment(tmp_path / kind.__name__, task=kind(lambda: MLP(7))) for kind in (Same, New)]
    assert all(same_weights(weights(runs[0], cycle), weights(runs[1], cycle)) for cycle in range(3))


@pytest.mark.parametrize("average", [StochasticWeightAveraging(0.05, swa_epoch_start=0.5), EMAWeightAveraging(decay=0.9)])
def test_the_metrics_are_those_of_the_averaged_weights(tmp_path, average):
    task = ClassificationTask(lambda: MLP(7), optimizer=sgd)
    run = run_experiment(tmp_path, task=task, callbacks=(average,), cycles=1, trainer={"max_epochs": 4, "check_val_every_n_epoch": 1})
    task.load_state_dict(weights(run, 0))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    (metrics,) = Trainer(accelerator="cpu", **quiet).validate(task, datamodule=make_data(), verbose=False)
    assert {name: float(run.read_cycles()[0][name]) for name in metrics} == pytest.approx(metrics)


def test_loggers_see_one_axis(tmp_path):
    logger = CSVLogger(tmp_path / "logs")
    run_experiment(
        tmp_path / "run",
        trainer={"logger": logger, "log_every_n_steps": 1},
        callbacks=(LearningRateMonitor("step"),),
        task=ClassificationTask(lambda: MLP(7), lr_scheduler=lambda o: LR.StepLR(o, 1, 0.5)),
    )
    import pandas

    table = pandas.read_csv(logger.log_dir + "/metrics.csv")
    rates = table.dropna(subset=["lr-Adam"])
    assert rates["step"].tolist() == list(range(6 + 8 + 12))
    assert rates["lr-Adam"].iloc[[0, 3, 6, 10, 14]].tolist() == [1e-3, 5e-4, 1e-3, 5e-4, 1e-3]
    assert table["step"].is_monotonic_increasing


def test_hooks_are_called_as_in_a_fresh_fit(tmp_path):
    calls: list[str] = []

    class Spy(Callback):
        across_cycles = True

        def setup(self, trainer, pl_module, stage):
            calls.append(f"setup {stage.value}")

        def teardown(self, trainer, pl_module, stage):
            calls.append(f"teardown {stage.value}")

    for hook in ("on_fit_start", "on_train_start", "on_train_end", "on_fit_end"):
        setattr(Spy, hook, lambda self, trainer, module, hook=hook: calls.append(hook))
    run_experiment(tmp_path, callbacks=(Spy(),), cycles=2)
    once = ["setup fit", "on_fit_start", "on_train_start", "on_train_end", "on_fit_end", "teardown fit"]
    assert calls == once * 2


def test_callbacks_forget_and_those_that_say_so_remember(tmp_path):
    class Forgets(CountBatches):
        across_cycles = False

    forgets, remembers = Forgets(), CountBatches()
    run_experiment(tmp_path, callbacks=(forgets, remembers))
    assert forgets.cycles == [12]
    assert remembers.cycles == [6, 8, 12]


def test_the_trainer_has_its_own_stage_back_after_a_failure(tmp_path):
    class Fails(Callback):
        def on_train_epoch_start(self, trainer, module):
            self.trainer = trainer
            raise RuntimeError("stop")

    fails = Fails()
    with pytest.raises(RuntimeError, match="stop"):
        run_experiment(tmp_path, callbacks=(fails,))
    assert "_run_stage" not in vars(fails.trainer)


def test_memory_of_earlier_cycles_is_let_go(tmp_path):
    """Loops and optimizers of finished cycles are garbage, not leaks."""
    import gc

    from lightning.pytorch.loops.fit_loop import _FitLoop

    gc.collect()
    before = sum(isinstance(thing, _FitLoop) for thing in gc.get_objects())
    run_experiment(tmp_path, cycles=9, query_size=5)
    gc.collect()
    assert sum(isinstance(thing, _FitLoop) for thing in gc.get_objects()) - before <= 2


class ChangesSettings(Callback):
    """Changes how the trainer trains, once an epoch is done."""

    across_cycles = True

    def __init__(self):
        self.begun = []

    def on_fit_start(self, trainer, pl_module):
        self.begun.append((trainer.gradient_clip_val, trainer.check_val_every_n_epoch, pl_module.seen.tolist()))

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.gradient_clip_val, trainer.check_val_every_n_epoch = 0.01, 1


class Counts(ClassificationTask):
    """Keeps numbers that are no weights of the network."""

    def __init__(self, network):
        super().__init__(network)
        self.register_buffer("seen", torch.zeros(0))

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.seen = torch.cat([self.seen, torch.ones(1)])


def test_each_cycle_begins_with_the_buffers_and_trainer_settings_of_a_fresh_fit(tmp_path):
    changes = ChangesSettings()
    trainer = {"gradient_clip_val": 10.0, "check_val_every_n_epoch": 2}
    run_experiment(tmp_path, task=Counts(lambda: MLP(5)), callbacks=(changes,), cycles=3, trainer=trainer)
    assert changes.begun == [(10.0, 2, [])] * 3


class Hooks(Callback):
    """Damps gradients, and takes the hook away again or not."""

    def __init__(self, removes):
        self.removes = removes

    def on_fit_start(self, trainer, pl_module):
        self.handle = next(pl_module.network.parameters()).register_hook(lambda gradient: 0.1 * gradient)

    def on_fit_end(self, trainer, pl_module):
        if self.removes:
            self.handle.remove()


@pytest.mark.parametrize("removes", [True, False])
def test_hooks_that_become_more_are_said(tmp_path, caplog, removes):
    run_experiment(tmp_path, callbacks=(Hooks(removes),), cycles=3)
    said = [record.getMessage() for record in caplog.records if " hooks, " in record.getMessage()]
    assert len(said) == (0 if removes else 2) and all("in the cycle before" in text for text in said)


class HookOfItsOwn(ClassificationTask):
    def setup(self, stage):
        super().setup(stage)
        self.calls, self.counted = 0, []
        self.network.register_forward_pre_hook(self.count)

    def count(self, *_):
        self.calls += self.training

    def on_train_end(self):
        self.counted.append(self.calls)
        self.calls = 0


def test_hooks_of_the_task_stay(tmp_path):
    task = HookOfItsOwn(lambda: MLP(5))
    run_experiment(tmp_path, task=task, cycles=3)
    assert len(task.counted) == 3 and 0 < task.counted[0] < task.counted[1] < task.counted[2]


class Clamps(Callback):
    """Holds a layer of the network, whose weights it keeps small."""

    def __init__(self, layer):
        self.layer = layer
        self.note = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        with torch.no_grad():
            self.layer.weight.clamp_(-0.01, 0.01)


def test_a_callback_may_hold_a_part_of_the_network(tmp_path):
    task = ClassificationTask(WithNorm)
    run = run_experiment(tmp_path, task=task, callbacks=(Clamps(task.network.head),), cycles=3)
    assert [float(weights(run, cycle)["network.head.weight"].abs().max()) for cycle in range(3)] == [pytest.approx(0.01)] * 3


def test_validation_by_the_clock_works(tmp_path):
    trainer = {"val_check_interval": timedelta(seconds=0.001), "check_val_every_n_epoch": None}
    assert run_experiment(tmp_path, cycles=2, trainer=trainer).is_finished()


class OwnGenerator(FashionMNISTSampleDataModule):
    def train_dataloader(self):
        indices = self.pool.labeled_indices
        items = [(self._train.images[index] / 255, self._train.labels[index].long(), index) for index in indices]
        return DataLoader(items, 16, shuffle=True, generator=torch.Generator().manual_seed(7))


def test_a_loader_that_draws_by_a_generator_of_its_own_is_not_stored(tmp_path, capsys):
    data = OwnGenerator(initial_size=70, pool_size=600, eval_batch_size=250)
    run_experiment(tmp_path, data=data, cycles=2, checkpoint_minutes=0)
    said = "No checkpoint of this training can be kept, so it begins anew if the run is killed: RandomSampler of the training data draws by"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_frozen_and_freed_is_refused_with_several_processes(processes):
    task = ClassificationTask(WithNorm)
    task.trainer = SimpleNamespace(world_size=processes)
    with pytest.raises(UserError, match="one process with BackboneFinetuning, got 2") if processes > 1 else nullcontext():
        refuse_callbacks([BackboneFinetuning()], task)


def test_checkpoints_that_are_written_later_are_refused(tmp_path):
    with pytest.raises(UserError, match="without AsyncCheckpointIO"):
        run_experiment(tmp_path, trainer={"plugins": [AsyncCheckpointIO()]})
