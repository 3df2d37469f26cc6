"""Measures scoring, loading and training of scenes: python -m benchmarks.segmentation [a c e f data]."""

import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from al_lightning.acquisition import BALD, CountAbove, Entropy, Random, Strategy, VoteEntropy
from al_lightning.callbacks import ActiveLearningCallback, CycleLogger
from al_lightning.callbacks.scoring import PeakMemory, score_batches
from al_lightning.data import SyntheticScenesDataModule
from al_lightning.models import DeepLabV3Plus
from al_lightning.tasks import SegmentationTask
from benchmarks.common import alternating, prepare, ratio, seconds
from benchmarks.loop import EpochClock

Row = tuple[str, str, str]
DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
LARGE = (1024, 2048) if DEVICE.type == "cuda" else (512, 1024)
SMALL = (256, 512)


def network(encoder: str = "tu-resnet50c", channels_last: bool = True) -> DeepLabV3Plus:
    """Makes a network in evaluation mode on the device."""
    made = DeepLabV3Plus(encoder=encoder, encoder_weights="none").eval().to(DEVICE)
    return made.to(memory_format=torch.channels_last) if channels_last else made


def wait() -> None:
    """Waits until the GPU has done all its work."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def scorer(net: DeepLabV3Plus, images: torch.Tensor, strategy: Strategy, count: int = 1) -> float:
    """Returns the seconds for scoring these images ``count`` times."""
    batches = [torch.arange(len(images)) + number * len(images) for number in range(count)]

    def work() -> None:
        score_batches([strategy], net, batches, lambda wanted: ((images, batch) for batch in wanted), 0, lambda items: None)
        wait()

    return seconds(work)


def forward(net: DeepLabV3Plus, images: torch.Tensor) -> float:
    """Returns the seconds of a forward pass."""

    def work() -> None:
        with torch.inference_mode():
            net(images)
        wait()

    return seconds(work)


def scoring() -> list[Row]:
    """(a) Compares entropy, and (b) ten dropout passes, with a forward pass alone."""
    rows = []
    for size, rounds in ((SMALL, 9), (LARGE, 5)):
        net, images = network(), torch.randn(1, 3, *size, device=DEVICE)
        strategies = {
            "entropy, mean": Entropy(),
            "entropy, count": Entropy(CountAbove(0.6931)),
            "BALD, 10 passes": BALD(10, 0.5),
            "vote entropy, 10 passes": VoteEntropy(10, 0.5),
        }
        for strategy in strategies.values():
            scorer(net, images, strategy)
        base, *times = alternating(rounds, partial(forward, net, images), *(partial(scorer, net, images, s) for s in strategies.values()))
        shown = f"{size[0]}x{size[1]}; a forward pass: {1e3 * statistics.median(base):.0f} ms"
        for name, its in zip(strategies, times, strict=True):
            letter, wanted = ("a", "1.18") if name.startswith("entropy") else ("b", "1.8")
            rows.append((f"({letter}) {name} / forward pass, {shown}", f"{ratio(its, base):.2f}", wanted))
    return rows


def memory() -> list[Row]:
    """(c) Measures the peak memory while scoring, for several numbers of passes and sizes of the pool."""
    net, images = network("tu-resnet18"), torch.randn(1, 3, *SMALL, device=DEVICE)
    scorer(net, images, BALD(2, 0.5), 2)

    def peak(passes: int, pool: int) -> float:
        record = PeakMemory(DEVICE)
        scorer(net, images, BALD(passes, 0.5), pool)
        return record.bytes() / 2**20

    peak(20, 3)
    cases = {(passes, pool): peak(passes, pool) for passes, pool in ((2, 10), (20, 10), (2, 100), (20, 100))}
    least = min(cases.values())
    return [
        (f"(c) peak memory, {k} passes, pool {n}, {SMALL[0]}x{SMALL[1]}", f"{v:.0f} MiB ({v / least:.3f})", "1.05")
        for (k, n), v in cases.items()
    ]


@contextmanager
def scenes(height: int, width: int, **arguments: Any) -> Iterator[Callable[..., SyntheticScenesDataModule]]:
    """Draws scenes, and yields a function that makes data modules over them. It takes further arguments, and sets the modules up."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = {"cache": folder, "height": height, "width": width, "val_sequences": 1, "frames": 2, "num_workers": 0, **arguments}

        def make(**further: Any) -> SyntheticScenesDataModule:
            data = SyntheticScenesDataModule(**{**drawn, **further})
            data.prepare_data()
            data.setup("fit")
            return data

        yield make


def training() -> list[Row]:
    """(e) Compares ``fit`` with a plain loop over the same data set and augmentation, by images per second."""
    with scenes(192, 320, train_sequences=8, initial_size=15, crop=128, batch_size=4) as make:
        data = make()
        steps = len(data.train_dataloader())

        def fit() -> float:
            data.trainer = None
            clock = EpochClock()
            with tempfile.TemporaryDirectory() as folder:
                learning = ActiveLearningCallback(Random(), query_size=1, cycles=1)
                quiet = {"enable_model_summary": False, "enable_progress_bar": False, "enable_checkpointing": False}
                trainer = Trainer(
                    max_epochs=5,
                    limit_val_batches=0,
                    default_root_dir=folder,
                    logger=CSVLogger(folder),
                    callbacks=[learning, CycleLogger(), clock],
                    **quiet,
                )
                trainer.fit(SegmentationTask(partial(DeepLabV3Plus, encoder="tu-resnet18", encoder_weights="none")), datamodule=data)
            return (clock.starts[4] - clock.starts[1]) / (3 * steps)

        task = SegmentationTask(partial(DeepLabV3Plus, encoder="tu-resnet18", encoder_weights="none")).to(DEVICE)
        optimizer = task.make_optimizer(task.parameters())
        data.trainer = None
        loader = data.train_dataloader()

        def plain() -> float:
            def work() -> None:
                for inputs, targets, _ in loader:
                    optimizer.zero_grad()
                    task.loss(inputs.to(DEVICE), targets.to(DEVICE)).backward()
                    optimizer.step()
                wait()

            return seconds(lambda: [work() for _ in range(3)]) / (3 * steps)

        ours, base = alternating(5, fit, plain)
    speed = statistics.median(4 / value for value in base)
    return [("(e) training images a second, fit / plain loop", f"{1 / ratio(ours, base):.2f}", f"0.95; plain: {speed:.1f} a second")]


def _share(rank: int, world: int) -> float:
    """Scores a process's share of 12 images; returns the seconds."""
    torch.set_num_threads(1)
    net, images = network("tu-resnet18"), torch.randn(1, 3, *SMALL)
    scorer(net, images, Entropy(), 1)
    return scorer(net, images, Entropy(), 12 // world)


def processes() -> list[Row]:
    """(f) Compares scoring by two processes of one thread each with scoring the same images by one process."""
    context = get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(_share, (0, 1), (2, 2)))

        def on(world: int) -> float:
            return max(pool.map(_share, range(world), [world] * world))

        one, two = alternating(5, lambda: on(1), lambda: on(2))
    return [("(f) scoring, 1 process / 2 processes", f"{ratio(one, two):.2f}", "1.7 on 2 free cores")]


def loading() -> list[Row]:
    """Measures how much time the caches of decoded images save, on images of Cityscapes' size."""
    rows = []
    kinds = ("none", "memory", "disk")
    with scenes(1024, 2048, train_sequences=4, initial_size=8, batch_size=1) as make, tempfile.TemporaryDirectory() as cache:
        each = {kind: make(decoded_cache=kind, cache_folder=cache) for kind in kinds}

        def crops(kind: str) -> float:
            return seconds(lambda: list(each[kind].train_dataloader())) / 8

        def whole(kind: str) -> float:
            return seconds(lambda: list(each[kind].pool_batches([torch.tensor([index]) for index in range(8)]))) / 8

        for name, work in (("a 512x512 training crop", crops), ("a whole image to score", whole)):
            for kind in kinds:
                work(kind)
            base, *others = alternating(5, *(partial(work, kind) for kind in kinds))
            rows.append((f"{name} of 2048x1024, decoded each time", f"{1e3 * statistics.median(base):.1f} ms", ""))
            for kind, its in zip(kinds[1:], others, strict=True):
                rows.append((f"{name}, decoded_cache={kind} / none", f"{ratio(its, base):.2f}", ""))
    return rows


def main() -> None:
    """Measures the parts that are asked for, and prints the table."""
    prepare()
    parts = {"a": scoring, "c": memory, "e": training, "f": processes, "data": loading}
    asked = sys.argv[1:] or [*parts]
    if unknown := {*asked} - {*parts}:
        sys.exit(f"Expected any of {', '.join(parts)}, got {', '.join(sorted(unknown))}. The part a includes (b).")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, {DEVICE.type}\n")
    print("| measured | value | wanted |\n|---|---|---|")
    for part in asked:
        started = time.perf_counter()
        for row in parts[part]():
            print("| " + " | ".join(row) + " |", flush=True)
        print(f"({part}: {time.perf_counter() - started:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
