"""Progress bars of a cycle: one for its training, one for scoring, and a line while a query is chosen."""

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from tqdm import tqdm

from al_lightning.numbers import NonNegativeInt, checked

_DELAY = 0.5  # seconds before a bar appears: short work needs none, and Weights & Biases takes half a millisecond for each line drawn


def _is_terminal() -> bool:
    return sys.stderr.isatty()


class CycleProgressBar(TQDMProgressBar):
    """Shows a bar for all training epochs of a cycle, a bar for scoring the pool, and a line while a query is chosen; in a terminal only.

    Args:
        refresh_rate: update a bar after this many batches, at most ten times a second; 0 shows nothing.
    """

    @checked
    def __init__(self, refresh_rate: NonNegativeInt = 20) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._bar: Any = None

    def init_train_tqdm(self) -> Any:
        """The bar of a cycle's training."""
        return Tqdm(desc="training", leave=False, dynamic_ncols=True, delay=_DELAY, disable=self.is_disabled or not _is_terminal())

    def init_sanity_tqdm(self) -> Any:
        """No bar: the training bar stands for the cycle."""
        return Tqdm(disable=True)

    def init_validation_tqdm(self) -> Any:
        """No bar: the training bar stands for the cycle."""
        return Tqdm(disable=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the cycle's bar."""
        super().on_train_start(trainer, pl_module)
        epochs, batches = trainer.max_epochs or 0, trainer.num_training_batches
        total = trainer.max_steps if trainer.max_steps > 0 else epochs * batches
        self.train_progress_bar.total = total if 0 < total < float("inf") else None

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Names cycle and epoch."""
        cycle = trainer.datamodule.pool.cycle  # type: ignore[attr-defined]
        self.train_progress_bar.set_description(f"cycle {cycle}, epoch {trainer.current_epoch + 1}", refresh=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Moves the bar on, at the refresh rate."""
        done = trainer.fit_loop.epoch_loop.batch_progress.total.completed + 1
        if not self.train_progress_bar.disable and done % self.refresh_rate == 0:
            self.train_progress_bar.update(done - self.train_progress_bar.n)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Does nothing: validation has no bar, and the training bar shows the metrics at the end of the epoch."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the metrics."""
        if not self.train_progress_bar.disable:
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module), refresh=False)

    def on_train_end(self, *_: Any) -> None:
        """Closes the cycle's bar."""
        self.train_progress_bar.close()

    def on_scoring(self, trainer: Trainer, done: int, total: int) -> None:
        """Opens, updates and closes the scoring bar."""
        if self._bar is None:
            disable = self.is_disabled or not _is_terminal()
            self._bar = tqdm(total=total, desc="scoring", leave=False, delay=_DELAY, disable=disable, unit=" items")
        self._bar.update(done - self._bar.n)
        if done == total:
            self._end_bar()

    def on_choosing(self, *_: Any) -> None:
        """Shows that all items are scored, and that a query is chosen now."""
        self._bar = tqdm(desc="choosing", leave=False, disable=self.is_disabled or not _is_terminal(), bar_format="{desc} ...")

    def on_query(self, *_: Any) -> None:
        """Removes the line."""
        self._end_bar()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None
