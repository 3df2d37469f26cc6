"""What the benchmarks share: a small experiment in a temporary directory, and the plain PyTorch loop it is held against."""

import io
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from al_lightning.acquisition import Random, Strategy
from al_lightning.callbacks import ActiveLearningCallback, CycleLogger, CycleProgressBar
from al_lightning.cli import hide_absent_gpus
from al_lightning.data import FashionMNISTSampleDataModule, PoolDataModule
from al_lightning.data.images.resident import ResidentImages
from al_lightning.models import MLP
from al_lightning.tasks import ClassificationTask

BATCH = 32


class _Terminal(io.StringIO):
    """Takes what the progress bar draws, as a terminal would."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def prepare() -> None:
    """Silences Lightning, which would talk between the timings, and looks for GPUs as the command line does."""
    hide_absent_gpus()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


class Repeated(FashionMNISTSampleDataModule):
    """The sample's images as often as needed for a pool of some size: speed does not depend on what the images show."""

    def __init__(self, pool: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.pool_target = pool

    def _read(self, folder: Path, split: str) -> ResidentImages:
        data = super()._read(folder, split)
        if split == "train":
            times = -(-self.pool_target // len(data))
            data = ResidentImages(data.images.repeat(times, 1, 1, 1)[: self.pool_target], data.labels.repeat(times)[: self.pool_target])
        return data


@contextmanager
def experiment(
    data: PoolDataModule,
    *,
    epochs: int,
    cycles: int = 1,
    query_size: int = 300,
    block: int = 1,
    width: int = 16,
    strategy: Strategy | None = None,
    callbacks: tuple[Any, ...] = (),
    logger: Callable[[str], Any] = CSVLogger,
    **arguments: Any,
) -> Iterator[Callable[[], None]]:
    """An experiment with everything on: logger, checkpoints, progress bar. Yields the function that runs it."""
    with tempfile.TemporaryDirectory() as folder:
        learning = ActiveLearningCallback(strategy or Random(), query_size=query_size, cycles=cycles)
        trainer = Trainer(
            max_epochs=epochs,
            **{"accelerator": "cpu", "check_val_every_n_epoch": epochs, **arguments},
            num_sanity_val_steps=0,
            enable_model_summary=False,
            default_root_dir=folder,
            logger=logger(folder),
            callbacks=[learning, CycleLogger(), CycleProgressBar(), *callbacks],
            enable_checkpointing=False,  # the experiment writes its own checkpoint each cycle
        )
        task = ClassificationTask(partial(MLP, width), block=block)

        def run() -> None:
            with redirect_stdout(_Terminal()), redirect_stderr(_Terminal()):
                trainer.fit(task, datamodule=data)

        yield run


def plain_epoch(network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor) -> None:
    """An epoch as one writes it by hand: tensors in memory, already float, a fresh permutation."""
    for indices in torch.randperm(len(inputs), device=inputs.device).split(BATCH):
        optimizer.zero_grad()
        cross_entropy(network(inputs[indices]), targets[indices]).backward()
        optimizer.step()


def plain_training(inputs: Tensor, targets: Tensor, epochs: int) -> nn.Module:
    """A whole training from scratch by :func:`plain_epoch`."""
    network = MLP(16)
    optimizer = torch.optim.Adam(network.parameters())
    for _ in range(epochs):
        plain_epoch(network, optimizer, inputs, targets)
    return network


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternating(rounds: int, *works: Callable[[], float]) -> list[list[float]]:
    """Each work's results over the rounds; in each round every work has its turn, so that a slow minute hits all."""
    results: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, result in zip(works, results, strict=True):
            result.append(work())
    return results


def ratio(ours: list[float], baseline: list[float]) -> float:
    """Median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(ours, baseline, strict=True))
