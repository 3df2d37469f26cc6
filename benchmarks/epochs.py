"""How much time it saves to keep loading processes between epochs: python -m benchmarks.epochs."""

import io
import itertools
import platform
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader

from al_lightning.acquisition import Random
from al_lightning.callbacks import ActiveLearningCallback
from al_lightning.data import SyntheticScenesDataModule
from al_lightning.data.scenes.datasets import EpochSampler
from al_lightning.tasks import SegmentationTask
from benchmarks.common import alternating, prepare, ratio
from benchmarks.loop import EpochClock

STEPS, BATCH, EPOCHS, WORKERS, ROUNDS = 6, 4, 8, 2, 5


class OneEpoch(EpochSampler):
    """A sampler that ends with its epoch."""

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(super().__iter__(), len(self))


class StartedAnew(SyntheticScenesDataModule):
    """Starts new loading processes in every epoch, as DataLoader does by default."""

    def train_dataloader(self) -> DataLoader[Any]:
        """See the class."""
        ours = super().train_dataloader()
        sampler = OneEpoch(self.pool.labeled_indices, 0, 1, self.shuffle_seed, self.batch_size)
        return DataLoader(ours.dataset, batch_size=self.batch_size, sampler=sampler, num_workers=self.num_workers)


def epoch_seconds(data: SyntheticScenesDataModule) -> float:
    """Returns the wall-clock time of an epoch of a tiny network."""
    clock, network = EpochClock(), nn.Conv2d(3, len(data.class_names), 1)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        learning = ActiveLearningCallback(Random(), query_size=1, cycles=1)
        quiet = {name: False for name in ("logger", "enable_model_summary", "enable_progress_bar", "enable_checkpointing")}
        Trainer(
            accelerator="cpu", max_epochs=EPOCHS, limit_val_batches=0, default_root_dir=folder, callbacks=[learning, clock], **quiet
        ).fit(SegmentationTask(lambda: network), datamodule=data)
    return (clock.starts[-1] - clock.starts[1]) / (EPOCHS - 2)


def main() -> None:
    """Runs the variants alternately, and prints the table."""
    prepare()
    sizes: dict[str, Any] = {"height": 64, "width": 96, "crop": 32, "train_sequences": STEPS * BATCH + 1, "frames": 1, "val_sequences": 1}
    with tempfile.TemporaryDirectory() as folder:
        settings = {**sizes, "cache": folder, "initial_size": STEPS * BATCH, "batch_size": BATCH, "decoded_cache": "memory"}

        def run(kind: type[SyntheticScenesDataModule], num_workers: int) -> float:
            return epoch_seconds(kind(**settings, num_workers=num_workers))

        alone, anew, living = alternating(
            ROUNDS,
            lambda: run(SyntheticScenesDataModule, 0),
            lambda: run(StartedAnew, WORKERS),
            lambda: run(SyntheticScenesDataModule, WORKERS),
        )
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}\n")
    print(f"| an epoch of {STEPS} steps, a tiny network, {WORKERS} loading processes | milliseconds (median) | ratio to starting anew |")
    print("|---|---|---|")
    for name, times in (("processes started in each epoch", anew), ("processes of a cycle", living), ("no processes", alone)):
        print(f"| {name} | {1e3 * statistics.median(times):.0f} | {ratio(times, anew):.2f} |")


if __name__ == "__main__":
    main()
