"""Tiny experiments for all tests, on the sample that comes with the package."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from al_lightning.acquisition import Entropy, Strategy
from al_lightning.callbacks import ActiveLearningCallback
from al_lightning.data import FashionMNISTSampleDataModule
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask


class CountBatches(Callback):
    """How many batches each cycle trained on."""

    across_cycles = True

    def __init__(self) -> None:
        self.cycles: list[int] = []

    def on_train_start(self, *_: Any) -> None:
        self.cycles.append(0)

    def on_train_batch_end(self, *_: Any) -> None:
        self.cycles[-1] += 1


def make_data(**arguments: Any) -> FashionMNISTSampleDataModule:
    return FashionMNISTSampleDataModule(**{"initial_size": 70, "pool_size": 600, "eval_batch_size": 250, **arguments})


def run_experiment(
    folder: Path,
    strategy: Strategy | None = None,
    *,
    data: Any = None,
    task: Any = None,
    callbacks: tuple[Callback, ...] = (),
    trainer: dict[str, Any] | None = None,
    **arguments: Any,
) -> RunDirectory:
    """A whole experiment by the Python API: three cycles of two epochs unless said otherwise."""
    learning = ActiveLearningCallback(strategy or Entropy(), **{"query_size": 50, "cycles": 3, **arguments})
    settings = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any("Checkpoint" in type(callback).__name__ for callback in callbacks),
        "check_val_every_n_epoch": 2,
        **(trainer or {}),
    }
    run = Trainer(default_root_dir=folder, callbacks=[learning, *callbacks], **settings)
    run.fit(task or ClassificationTask(lambda: MLP(width=7)), datamodule=data or make_data())
    return RunDirectory(folder)


def weights(run: RunDirectory, cycle: int) -> dict[str, torch.Tensor]:
    return torch.load(run.checkpoint(cycle), weights_only=True)["state_dict"]


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without_seconds(run: RunDirectory) -> list[dict[str, str]]:
    """The learning curve's columns that a repetition must reproduce."""
    return [{k: v for k, v in row.items() if "seconds" not in k and k != "query_peak_bytes"} for row in run.read_cycles()]


def take_back_a_cycle(run: RunDirectory) -> None:
    """As if it had died before its last row was written."""
    lines = run.learning_curve.read_text().splitlines(keepends=True)
    run.learning_curve.write_text("".join(lines[:-1]))


def in_child(work: Callable[[], Any]) -> int:
    """Runs work in a forked process; returns its wait status as :mod:`subprocess` counts it (negative: the signal that ended it)."""
    process = os.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells make background jobs ignore it
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
