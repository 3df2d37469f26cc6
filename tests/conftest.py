"""Tiny experiments for all tests, on the sample that comes with the package."""

import gc
import gzip
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("WANDB_SILENT", "true")
gc.disable()  # while this and the test modules are imported

import pytest
import torch
from lightning.fabric.utilities import registry
from lightning.pytorch import Callback, Trainer

from al_lightning import environment
from al_lightning.acquisition import Entropy, Strategy
from al_lightning.analysis.drawings import plots
from al_lightning.callbacks import ActiveLearningCallback
from al_lightning.data import FashionMNISTSampleDataModule
from al_lightning.data.images import idx
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask

PNG = b"\x89PNG\r\n\x1a\n"  # as a file of that kind begins
SAMPLE = Path(idx.__file__).parent / "sample"
torch.set_num_threads(1)  # bit-identity across processes, and tests that fork
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")


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


def pytest_collection_finish() -> None:
    """All is imported: the garbage collector need not walk through it in every test."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or libraries speak of leaks when the process ends


@pytest.fixture(autouse=True, scope="session")
def _asked_once() -> Iterator[None]:
    """What stays as it is while a process lives, and every run asks for: it would be a third of a tiny run's time."""
    opened, content = idx._unpacked, cache(lambda path: gzip.decompress(path.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "version", cache(environment.version))
        patch.setattr(environment, "_git_commit", cache(environment._git_commit))
        patch.setattr(registry, "entry_points", cache(registry.entry_points))
        patch.setattr(idx, "_unpacked", lambda path: BytesIO(content(path)) if path.parent == SAMPLE else opened(path))
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of runs are made, but not drawn, and scenes are not even arranged: either takes as long as a tiny run.

    What they show is tested where they are the subject.
    """
    monkeypatch.setattr(plots, "rendered", lambda *_: PNG)
    monkeypatch.setattr(plots, "draw_scenes", lambda *arguments: arguments[-1].write_bytes(PNG) and arguments[-1])


@pytest.fixture
def in_time() -> Iterator[None]:
    """A test that hangs fails."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test leaves in its working directory goes with it, and so does a W&B run, which the next logger would go on with."""
    monkeypatch.chdir(tmp_path)
    yield
    if (wandb := sys.modules.get("wandb")) is not None and wandb.run is not None:
        wandb.finish()
