"""Checks that results agree: with and without a process group, and on a card and on the CPU."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from al_lightning.acquisition import BALD, Entropy, Margin, Odin, Strategy, selection
from al_lightning.callbacks import ActiveLearningCallback
from al_lightning.callbacks.scoring import score_batches
from al_lightning.data import PoolDataModule
from al_lightning.models import MLP, DeepLabV3Plus
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask, SegmentationTask, Task
from benchmarks.common import Repeated, plain_training, seconds
from benchmarks.gpu.rows import Part, Row
from benchmarks.gpu.sizes import Scenes, Size
from benchmarks.gpu.training import ACCELERATOR
from benchmarks.segmentation import DEVICE

SHARE = 10  # one of so many items is chosen


def queries(data: PoolDataModule, task: Task, **trainer: Any) -> str:
    """Returns the table of queries of a run with BALD, two cycles and two epochs."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        Trainer(
            accelerator=ACCELERATOR,
            devices=1,
            max_epochs=2,
            default_root_dir=folder,
            callbacks=[ActiveLearningCallback(BALD(5, 0.5), query_size=4, cycles=2)],
            **{"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False, **trainer},
        ).fit(task, datamodule=data)
        return RunDirectory(Path(folder)).queries.read_text(encoding="utf-8")


def process_group(size: Size) -> dict[str, Part]:
    """Compares one process of DistributedDataParallel with a run without it. NCCL allows only one process on a card."""
    backend = "nccl" if DEVICE.type == "cuda" else "gloo"

    def images() -> list[Row]:
        def run(strategy: str) -> str:
            data = Repeated(pool=size.pool, initial_size=96)
            return queries(data, ClassificationTask(partial(MLP, 16, dropout=0.1)), strategy=strategy)

        same = run("ddp") == run("auto")
        return [Row(f"one DDP process over {backend}, MLP, BALD: queries as without it", float(same), "", "1", same)]

    def scenes() -> list[Row]:
        def run(strategy: str, folder: str) -> float:
            task = SegmentationTask(partial(DeepLabV3Plus, encoder=size.light, encoder_weights="none"))
            return seconds(lambda: queries(Scenes(folder, size), task, strategy=strategy))

        with tempfile.TemporaryDirectory() as folder:
            alone, group = run("auto", folder), run("ddp", folder)
        return [Row(f"one DDP process over {backend}, scenes: seconds of two cycles / without it", group / alone, note=f"{group:.1f} s")]

    return {"one DDP process, MLP": images, "one DDP process, scenes": scenes}


@contextmanager
def exact_floats(exact: bool) -> Iterator[None]:
    """If ``exact``, computes convolutions in full float32, not in TensorFloat-32, whose mantissa has only 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and not exact
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def chosen(network: nn.Module, inputs: Tensor, strategy: Strategy, device: torch.device) -> set[int]:
    """Returns the items that are chosen from a pool on a device."""
    load = lambda batches: ((inputs[batch].to(device), batch) for batch in batches)  # noqa: E731
    batches = list(torch.arange(len(inputs)).split(max(1, min(1000, len(inputs) // 4))))
    indices, (keys,) = score_batches([strategy], network.to(device).eval(), batches, load, 0, lambda items: None)
    return set(selection.choose(keys, indices, torch.arange(len(inputs)), len(inputs) // SHARE).tolist())


def compared(name: str, network: nn.Module, inputs: Tensor, strategies: dict[str, Strategy], exact: bool) -> list[Row]:
    """Measures the share of chosen items that card and CPU have in common."""
    rows = []
    for strategy_name, strategy in strategies.items():
        with exact_floats(exact):
            there, here = (chosen(network, inputs, strategy, device) for device in (DEVICE, torch.device("cpu")))
        common, what = len(there & here), f"selection on {DEVICE.type} and cpu, {name}, {strategy_name}"
        exactly = strategy.inference is not None and not strategy.inference.needs_grad  # a gradient near 0 may have either sign
        wanted, met = ("1", common == len(here)) if exactly else ("", None)
        rows.append(Row(f"{what}: share in common", common / len(here), "", wanted, met, f"{common} of {len(here)}"))
    return rows


def agreement(size: Size) -> dict[str, Part]:
    """Compares the items that are chosen on a card and on the CPU."""

    def images() -> list[Row]:
        data = Repeated(pool=size.pool, initial_size=100)
        data.setup("fit")
        inputs, labels = data._train.inputs(torch.arange(size.pool), torch.device("cpu")), data._train.labels
        network = plain_training(inputs[:100], labels[:100], 3)
        strategies = {"entropy": Entropy(), "margin": Margin(), "BALD": BALD(10, 0.5), "ODIN": Odin(1000.0, 0.0014)}
        return compared("MLP", network, inputs, strategies, exact=False)

    def scenes(exact: bool) -> list[Row]:
        torch.manual_seed(0)
        network = DeepLabV3Plus(encoder=size.light, encoder_weights="none")
        # Images of different contrast have scores that differ by more than rounding.
        inputs = torch.randn(4 * SHARE, 3, *(edge // 4 for edge in size.image)) * torch.linspace(0.2, 2, 4 * SHARE).view(-1, 1, 1, 1)
        name = "scenes, whole float32" if exact else "scenes"
        return compared(name, network, inputs, {"entropy": Entropy(), "BALD": BALD(10, 0.5)}, exact)

    return {
        "selection, MLP": images,
        "selection, scenes, whole float32": partial(scenes, True),
        "selection, scenes": partial(scenes, False),
    }
