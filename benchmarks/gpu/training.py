"""Compares training by ``fit`` with a loop written by hand: images per second of DeepLabv3+, steps of the MLP."""

import io
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from functools import cache, partial
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger

from al_lightning.acquisition import Random
from al_lightning.callbacks import ActiveLearningCallback, CycleLogger
from al_lightning.models import MLP, DeepLabV3Plus
from al_lightning.tasks import SegmentationTask
from benchmarks.common import BATCH, Repeated, experiment, plain_epoch, ratio, seconds
from benchmarks.gpu.rows import Part, Row, at_least, at_most
from benchmarks.gpu.sizes import Scenes, Size, rounds_within
from benchmarks.loop import EpochClock
from benchmarks.segmentation import DEVICE, wait

EPOCHS = 4  # the first and the last are not timed
ACCELERATOR = "gpu" if DEVICE.type == "cuda" else "cpu"


class Compiled(Callback):
    """Compiles the network when training begins. Earlier, it would be compiled for the shapes that the setup tries."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Compiles in place, so that the weights keep their names."""
        module.network.compile(backend=self.backend)


class Busy(Callback):
    """Measures how busy the card is during a training: the share of time in which a kernel runs, by nvidia-smi."""

    across_cycles = True

    def __init__(self) -> None:
        self.said = "no card"
        self._process: subprocess.Popen[str] | None = None

    def on_train_start(self, *_: Any) -> None:
        """Starts nvidia-smi."""
        if DEVICE.type != "cuda":
            return
        card = f"GPU-{torch.cuda.get_device_properties(DEVICE).uuid}"
        command = ["nvidia-smi", "-i", card, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
        try:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except OSError as error:
            self.said = f"how busy the card was is not known: {error}"

    def on_train_end(self, *_: Any) -> None:
        """Stops nvidia-smi and takes the median."""
        if self._process is not None:
            self._process.terminate()
            answer = self._process.communicate()[0]
            shares = [int(word) for word in answer.split() if word.isdigit()]
            self.said = f"card busy {statistics.median(shares):.0f} %" if shares else f"nvidia-smi says {answer[:80]!r}"


class Mode:
    """A way to train.

    Args:
        size: the sizes of the measurement.
        precision: precision of Lightning's trainer.
        channels_last: whether channels are the last dimension in memory.
        compiled: whether torch.compile compiles the network.
    """

    def __init__(self, size: Size, precision: str, channels_last: bool = False, compiled: bool = False) -> None:
        self.size, self.precision, self.channels_last, self.compiled = size, precision, channels_last, compiled

    def task(self) -> SegmentationTask:
        """Makes a new task."""
        network = partial(DeepLabV3Plus, encoder=self.size.encoder, encoder_weights="none")
        return SegmentationTask(network, channels_last=self.channels_last)

    def autocast(self) -> Any:
        """Returns the context that Lightning's precision puts around a step."""
        return torch.autocast(DEVICE.type, torch.bfloat16) if self.precision == "bf16-mixed" else nullcontext()

    def fit(self, data: Scenes, busy: Busy) -> float:
        """Returns the seconds of an epoch of ``fit``, with a logger and without checkpoints."""
        data.trainer = None
        clock = EpochClock()
        callbacks = [ActiveLearningCallback(Random(), query_size=1, cycles=1), CycleLogger(), clock, busy]
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            Trainer(
                accelerator=ACCELERATOR,
                devices=1,
                precision=self.precision,  # type: ignore[arg-type]
                max_epochs=EPOCHS,
                limit_val_batches=0,
                default_root_dir=folder,
                logger=CSVLogger(folder),
                callbacks=[*callbacks, *([Compiled(self.size.compiler)] if self.compiled else [])],
                enable_model_summary=False,
                enable_progress_bar=False,
                enable_checkpointing=False,
            ).fit(self.task(), datamodule=data)
        return (clock.starts[-1] - clock.starts[1]) / (EPOCHS - 2)

    def plain(self, data: Scenes) -> Callable[[], float]:
        """Trains one epoch by hand on the same data, and returns a function that trains further epochs and returns the seconds of one."""
        data.trainer = None
        task = self.task().to(DEVICE)
        if self.compiled:
            task.network.compile(backend=self.size.compiler)
        optimizer = task.make_optimizer(task.parameters())
        loader = data.train_dataloader()

        def epoch() -> None:
            for inputs, targets, _ in loader:
                inputs, targets = inputs.to(DEVICE, non_blocking=True), targets.to(DEVICE, non_blocking=True)
                optimizer.zero_grad()
                with self.autocast():
                    loss = task.loss(inputs, targets)
                loss.backward()
                optimizer.step()
            loader.sampler.set_epoch(loader.sampler.epoch + 1)  # type: ignore[attr-defined]
            wait()

        epoch()
        return lambda: seconds(lambda: [epoch() for _ in range(EPOCHS - 2)]) / (EPOCHS - 2)


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    """The folder of the scenes, which are drawn once."""
    return tempfile.TemporaryDirectory()


def measured(mode: Mode, name: str) -> list[Row]:
    """Compares ``fit`` with the plain loop, by images per second."""
    size = mode.size
    data = Scenes(_folder().name, size)
    data.prepare_data()
    data.setup("fit")
    plain, busy = mode.plain(data), Busy()
    if mode.compiled:  # there is time for one round, and a process's first `fit` is slower than those after it
        Mode(size, mode.precision, mode.channels_last).fit(data, Busy())
    base, ours = rounds_within(size, plain, lambda: mode.fit(data, busy))
    images = size.batch * size.steps
    speed = [f"{images / statistics.median(times):.1f}" for times in (ours, base)]
    what = f"training, {name}: images a second, fit / plain loop"
    return [at_least(what, ratio(base, ours), 0.95, f"{speed[0]} / {speed[1]}, {len(base)} rounds; {busy.said}")]


def mlp(size: Size) -> list[Row]:
    """Compares a training step of the MLP, ordinary and in blocks of 50, with the plain loop."""
    items = size.mlp_steps * BATCH
    data = Repeated(pool=items + 300, initial_size=items)
    data.setup("fit")
    indices = data.pool.labeled_indices
    inputs, targets = data._train.inputs(indices, DEVICE), data._train.labels[indices].to(DEVICE)
    network = MLP(16).to(DEVICE)
    optimizer = torch.optim.Adam(network.parameters())

    def fit(block: int) -> float:
        data.trainer = None
        clock = EpochClock()
        with experiment(data, epochs=EPOCHS, block=block, callbacks=(clock,), accelerator=ACCELERATOR, devices=1) as run:
            run()
        return (clock.starts[-1] - clock.starts[1]) / (EPOCHS - 2)

    def plain() -> float:
        return seconds(lambda: (plain_epoch(network, optimizer, inputs, targets), wait()))

    plain()
    base, ordinary, blocks = rounds_within(size, plain, lambda: fit(1), lambda: fit(50))
    note = f"plain: {1e6 * statistics.median(base) / size.mlp_steps:.0f} us"
    return [
        Row("MLP-16, training step, ordinary mode / plain loop", ratio(ordinary, base), note=note),
        at_most("MLP-16, training step, blocks of 50 / plain loop", ratio(blocks, base), 1.0, note),
    ]


def training(size: Size) -> dict[str, Part]:
    """Returns the parts of the section: the MLP, and DeepLabv3+ in each precision, also with channels last."""
    modes = {
        "32": Mode(size, "32-true"),
        "bf16-mixed": Mode(size, "bf16-mixed"),
        "bf16-mixed, channels_last": Mode(size, "bf16-mixed", channels_last=True),
    }
    return {"MLP-16": partial(mlp, size)} | {f"training, {name}": partial(measured, mode, name) for name, mode in modes.items()}


def compiled(size: Size) -> dict[str, Part]:
    """Returns the parts with torch.compile. It is a section of its own, because compiling twice takes long."""
    name = "bf16-mixed, channels_last, compiled"
    return {f"training, {name}": partial(measured, Mode(size, "bf16-mixed", channels_last=True, compiled=True), name)}
