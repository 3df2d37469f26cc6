"""What the benchmarks share: a small experiment in a temporary directory, and the plain PyTorch loop that it is compared with."""

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
    """Swallows output, but claims to be a terminal, so that the progress bar is drawn."""

    def isatty(self) -> bool:
        """Always True."""
        return True


def prepare() -> None:
    """Silences Lightning, whose messages would disturb the timings, and looks for GPUs as the command line does."""
    hide_absent_gpus()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


class Repeated(FashionMNISTSampleDataModule):
    """Repeats the images of the sample to fill a pool of a given size. Speed does not depend on what images show."""

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
    """Makes an experiment with logger, checkpoints and progress bar, and yields the function that runs it."""
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
    """Trains an epoch as one writes it by hand: with float tensors in memory and a new permutation."""
    for indices in torch.randperm(len(inputs), device=inputs.device).split(BATCH):
        optimizer.zero_grad()
        cross_entropy(network(inputs[indices]), targets[indices]).backward()
        optimizer.step()


def plain_training(inputs: Tensor, targets: Tensor, epochs: int) -> nn.Module:
    """Trains a network from scratch by :func:`plain_epoch`."""
    network = MLP(16)
    optimizer = torch.optim.Adam(network.parameters())
    for _ in range(epochs):
        plain_epoch(network, optimizer, inputs, targets)
    return network


def seconds(work: Callable[[], Any]) -> float:
    """Returns the wall-clock time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternating(rounds: int, *works: Callable[[], float]) -> list[list[float]]:
    """Returns the results of each work. Each round runs every work once, so that a slow minute affects all of them."""
    results: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, result in zip(works, results, strict=True):
            result.append(work())
    return results


def ratio(ours: list[float], baseline: list[float]) -> float:
    """Returns the median over rounds of the ratio of both results."""
    return statistics.median(a / b for a, b in zip(ours, baseline, strict=True))
