"""Measures the loop of an experiment, and prints the table that docs/benchmarks.md shows: python -m benchmarks.loop."""

import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from al_lightning.acquisition import BALD, Entropy, Strategy
from al_lightning.callbacks.scoring import PeakMemory, score_batches
from al_lightning.models import MLP
from benchmarks.common import Repeated, alternating, experiment, plain_epoch, prepare, ratio, seconds

ROUNDS = 7
STEPS = 200  # steps of an epoch in (a)


class EpochClock(Callback):
    """Notes when each training epoch begins."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        """Notes the time."""
        self.starts.append(time.perf_counter())


class BoundaryClock(Callback):
    """Measures the time from the last training step of a cycle to the first step of the next, without validation and scoring."""

    across_cycles = True

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self.last_step = self.query = 0.0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Ends the measurement at the first batch of a cycle."""
        if trainer.global_step == 0 and self.last_step:
            self.gaps.append(time.perf_counter() - self.last_step - self.query)

    def on_train_batch_end(self, *_: Any) -> None:
        """Starts the measurement at every batch, as it may be the last one of the cycle."""
        self.last_step = time.perf_counter()
        self.query = 0.0

    def on_cycle_end(self, trainer: Any, module: Any, finished: Any) -> None:
        """Notes the time of the query, which does not count."""
        self.query = finished.query.seconds if finished.query else 0.0


def training_step(width: int) -> list[tuple[str, str, str]]:
    """(a) Compares a training step, ordinary and in blocks, with the plain loop, which uses torch's Adam with default settings."""
    data = Repeated(pool=STEPS * 32 + 300, initial_size=STEPS * 32)
    data.setup("fit")
    indices = data.pool.labeled_indices
    inputs, targets = data._train.inputs(indices, torch.device("cpu")), data._train.labels[indices]
    network = MLP(width)
    optimizer = torch.optim.Adam(network.parameters())

    def fit(block: int) -> float:
        data.trainer = None
        clock = EpochClock()
        with experiment(data, epochs=5, block=block, width=width, callbacks=(clock,)) as run:
            run()
        return (clock.starts[4] - clock.starts[2]) / (2 * STEPS)  # the steps of a block are traced before these epochs

    def plain() -> float:
        return seconds(lambda: plain_epoch(network, optimizer, inputs, targets)) / STEPS

    ordinary, blocks, base = alternating(ROUNDS, lambda: fit(1), lambda: fit(50), plain)
    micro = 1e6 * statistics.median(base)
    return [
        (f"(a) training step, MLP-{width}, ordinary mode / plain loop", f"{ratio(ordinary, base):.2f}", f"2.3; plain: {micro:.0f} us"),
        (f"(a) training step, MLP-{width}, blocks of 50 / plain loop", f"{ratio(blocks, base):.2f}", "0.58"),
    ]


def scored_pool(size: int) -> tuple[Repeated, MLP, list[torch.Tensor]]:
    """Returns a pool of unlabeled images, a network that scores them, and their batches."""
    data = Repeated(pool=size + 300, initial_size=300)
    data.setup("fit")
    batches = data.scoring_batches(data.pool.unlabeled_indices)
    return data, MLP(16, dropout=0.1).eval(), batches


def scoring() -> list[tuple[str, str, str]]:
    """(b) Compares entropy with the forward passes alone, and (c) ten dropout passes with one pass."""
    data, network, batches = scored_pool(60_000)

    def score(strategy: Strategy) -> float:
        return seconds(lambda: score_batches([strategy], network, batches, data.pool_batches, 0, lambda items: None))

    def forward() -> float:
        with torch.inference_mode():
            return seconds(lambda: [network(inputs) for inputs, _ in data.pool_batches(batches)])

    entropy, bald, base = alternating(4 * ROUNDS, lambda: score(Entropy()), lambda: score(BALD(10, query_p=0.5)), forward)
    milli = 1e3 * statistics.median(base)
    return [
        ("(b) entropy of 60,000 images / forward passes alone", f"{ratio(entropy, base):.2f}", f"1.15; forward: {milli:.0f} ms"),
        ("(c) BALD with 10 passes / one forward pass", f"{ratio(bald, base):.2f}", "10 naive passes: 10"),
    ]


def boundary() -> list[tuple[str, str, str]]:
    """(d) Measures the time from the last step of a cycle to the first step of the next, with each logger.

    The result is also given in plain steps, as machines differ in speed.
    """
    data = Repeated(pool=60_000, initial_size=300)
    data.setup("fit")
    images = data._train
    inputs, targets = images.inputs(torch.arange(STEPS * 32), torch.device("cpu")), images.labels[: STEPS * 32]
    network = MLP(16)
    optimizer = torch.optim.Adam(network.parameters())

    def gap(logger: Callable[[str], Any]) -> float:
        clock, data = BoundaryClock(), Repeated(pool=60_000, initial_size=300)
        with experiment(data, epochs=1, cycles=30, callbacks=(clock,), logger=logger, limit_val_batches=0) as run:
            run()
        return statistics.median(clock.gaps)

    def plain() -> float:
        return seconds(lambda: plain_epoch(network, optimizer, inputs, targets)) / STEPS

    wandb = partial(WandbLogger, "bench", offline=True)
    with_csv, with_wandb, steps = alternating(3, lambda: gap(CSVLogger), lambda: gap(lambda folder: wandb(save_dir=folder)), plain)
    name = "(d) last step of a cycle to first of the next, scoring and validation aside, in plain steps"
    wanted = f"24; plain: {1e6 * statistics.median(steps):.0f} us"  # 12 ms, where a step takes 0.5 ms
    return [
        (f"{name}, {logger}: {1e3 * statistics.median(gaps):.1f} ms", f"{ratio(gaps, steps):.0f}", wanted)
        for logger, gaps in (("CSV", with_csv), ("Weights & Biases", with_wandb))
    ]


def memory() -> list[tuple[str, str, str]]:
    """(e) Measures by how much scoring raises the peak memory."""

    def peak(pool: int, passes: int) -> float:
        data, network, batches = scored_pool(pool)
        strategy = BALD(passes, query_p=0.5)
        score_batches([strategy], network, batches[:2], data.pool_batches, 0, lambda items: None)
        before = PeakMemory(torch.device("cpu")).bytes()
        record = PeakMemory(torch.device("cpu"))
        score_batches([strategy], network, batches, data.pool_batches, 0, lambda items: None)
        return (record.bytes() - before) / 2**20

    peak(10_000, 2)
    rows = []
    for pool, passes in ((10_000, 10), (60_000, 10), (60_000, 2), (60_000, 100)):
        rows.append((f"(e) scoring: memory over the start, pool {pool:,}, {passes} passes", f"{peak(pool, passes):.0f} MiB", "flat"))
    return rows


def main() -> None:
    """Measures everything, and prints the table."""
    prepare()
    parts = (partial(training_step, 16), partial(training_step, 512), scoring, boundary, memory)
    rows = [row for part in parts for row in part()]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}\n")
    print("| measured | value | wanted |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
