"""Puts each finished cycle into the trainer's loggers."""

from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from al_lightning.analysis.plots import bin_edges
from al_lightning.analysis.words import printable
from al_lightning.callbacks.cycle import FinishedCycle, Query
from al_lightning.data import PoolDataModule
from al_lightning.numbers import NonNegativeInt, checked

_LARGEST = 512  # pixels along an edge of a logged image
X_AXIS = "active_learning/labeled"


class CycleLogger(Callback):
    """Metrics by number of labeled items for every logger; for Weights & Biases also score histograms and the queried images.

    Args:
        images: how many of the first queried items to show.
    """

    across_cycles = True

    @checked
    def __init__(self, images: NonNegativeInt = 8) -> None:
        self.images = images

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the number of labeled items the x-axis of the learning curve's panels."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                logger.experiment.define_metric(X_AXIS)
                logger.experiment.define_metric("active_learning/*", step_metric=X_AXIS)

    def on_cycle_end(self, trainer: Trainer, pl_module: LightningModule, finished: FinishedCycle) -> None:
        """Logs a finished cycle."""
        values = {
            X_AXIS: finished.labeled,
            "active_learning/cycle": finished.cycle,
            "active_learning/train_seconds": finished.train_seconds,
        }
        values |= {f"active_learning/{name}": value for name, value in finished.metrics.items()}
        query = finished.query
        if query is not None:
            values |= {
                "active_learning/query_seconds": query.seconds,
                "active_learning/query_peak_bytes": query.peak_bytes,
                "active_learning/tied_share": query.tied_share,
            }
        step = finished.logged_steps
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and query is not None and trainer.is_global_zero:
                # One row of W&B's log: what shares a row shares its x-axis.
                logger.log_metrics({**values, **self._media(trainer.datamodule, finished, query)}, step)  # type: ignore[attr-defined]
            else:
                logger.log_metrics(values, step)

    def _media(self, datamodule: PoolDataModule, finished: FinishedCycle, query: Query) -> dict[str, Any]:
        import wandb

        shown = query.indices[: self.images]
        table = wandb.Table(columns=["cycle", "rank", "index", "item", "score", "image"])
        for rank, index in enumerate(shown.tolist()):
            picture = Image.fromarray(np.ascontiguousarray(datamodule.picture(index)))
            picture.thumbnail((_LARGEST, _LARGEST))
            image = wandb.Image(picture)
            table.add_data(finished.cycle + 1, rank, index, printable(datamodule.item(index)), float(query.scores[rank]), image)
        scores = query.pool_scores.numpy()
        histogram = wandb.Histogram(np_histogram=np.histogram(scores, bins=bin_edges(scores, 64)))
        return {"active_learning/scores": histogram, "active_learning/queried": table}
