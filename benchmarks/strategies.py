"""Compares a whole query of each strategy with one of Entropy: python -m benchmarks.strategies [FOLDER_OF_FASHION_MNIST]."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch import nn

from al_lightning.acquisition import (
    BADGE,
    BALD,
    EPIG,
    Apart,
    BatchBALD,
    ClassAwareRandom,
    ClassStratified,
    ClusterMargin,
    CoreSet,
    Diverse,
    Entropy,
    MaxHerding,
    Power,
    ProbCover,
    Strategy,
    TypiClust,
    UHerding,
)
from al_lightning.callbacks.querying import Wanted, query_pool
from al_lightning.callbacks.scoring import PeakMemory
from al_lightning.data import FashionMNISTDataModule, PoolDataModule
from al_lightning.data.images.resident import ResidentImages
from al_lightning.models import MLP, ConvNet
from benchmarks.batches import processor_seconds
from benchmarks.common import Repeated, alternating, plain_epoch, prepare, ratio

_POOL, _LABELED, _SIZE = 60_000, 1000, 300
_CLOSE, _ROUNDS = 2, 7  # a strategy that takes less than 2 times as long as Entropy is measured in 7 rounds, others once
_MIB = 2**20
STRATEGIES = [
    ClassAwareRandom(),
    Power(Entropy()),
    ClassStratified(Entropy()),
    Apart(Entropy(), 1),
    CoreSet(),
    Diverse(Entropy()),
    ClusterMargin(),
    BADGE(),
    TypiClust(),
    ProbCover(),
    MaxHerding(),
    UHerding(),
    BALD(10, 0.5),
    BatchBALD(10, 0.5),
    EPIG(100, 10, 0.5),
]


class Noisy(Repeated):
    """Repeats the images of the sample, and adds noise to each, so that no two images are equal."""

    def _read(self, folder: Path, split: str) -> ResidentImages:
        data = super()._read(folder, split)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randint(0, 32, data.images.shape, generator=generator, dtype=torch.uint8)
        return ResidentImages(data.images.clamp_max(255 - 32) + noise, data.labels)


def pool_of(folder: str | None) -> PoolDataModule:
    """Makes a pool of 60,000 images, 1,000 of them labeled."""
    data = Noisy(_POOL, initial_size=_LABELED) if folder is None else FashionMNISTDataModule(folder, initial_size=_LABELED)
    data.prepare_data()
    data.setup("fit")
    return data


def trained(network_class: Callable[[], nn.Module], data: PoolDataModule) -> nn.Module:
    """Trains a network on the labeled images, so that it is certain about some of the other images."""
    torch.manual_seed(0)
    network = network_class()
    ((inputs, _),) = data.pool_batches([data.pool.labeled_indices])
    optimizer, targets = torch.optim.Adam(network.parameters()), data.oracle_labels(data.pool.labeled_indices)
    for _ in range(5):
        plain_epoch(network, optimizer, inputs, targets)
    return network


def query(trainer: Trainer, data: PoolDataModule, network: nn.Module, strategy: Strategy) -> None:
    """Makes a query as an experiment does."""
    query_pool(trainer, data, network, [strategy], Wanted(_SIZE), 0, lambda done, total: None, lambda: None)


def main() -> None:
    """Measures, and prints a table for each network."""
    prepare()
    torch.set_num_threads(1)
    data = pool_of(sys.argv[1] if len(sys.argv) > 1 else None)
    measure(data, "MLP-512 with dropout", trained(lambda: MLP(512, 0.2), data), STRATEGIES)
    close = [strategy for strategy in STRATEGIES if isinstance(strategy, Power | ClassStratified)]
    measure(data, "ConvNet", trained(ConvNet, data), close)


def measure(data: PoolDataModule, name: str, network: nn.Module, strategies: Sequence[Strategy]) -> None:
    """Prints a network's table."""
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)

    def seconds(strategy: Strategy) -> float:
        return processor_seconds(lambda: query(trainer, data, network, strategy))

    least = min(seconds(Entropy()) for _ in range(2))
    print(f"| a query of {_SIZE} of {_POOL - _LABELED:,} images, {name} | seconds of a processor | in Entropy's | memory over the start |")
    print("|---|---|---|---|")
    for strategy in strategies:
        strategy.prepare(_POOL, str, data.oracle_labels)
        before, record = PeakMemory(torch.device("cpu")).bytes(), PeakMemory(torch.device("cpu"))
        first = seconds(strategy)
        grown = record.bytes() - before
        ours, theirs = [first], [least]
        if first < _CLOSE * least:
            ours, theirs = alternating(_ROUNDS, lambda strategy=strategy: seconds(strategy), lambda: seconds(Entropy()))
        print(f"| `{strategy}` | {min(ours):.3g} | {ratio(ours, theirs):.2f} | {grown / _MIB:.0f} MiB |", flush=True)
    print()


if __name__ == "__main__":
    main()
