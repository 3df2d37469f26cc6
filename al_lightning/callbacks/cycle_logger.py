"""Logs each finished cycle with the trainer's loggers."""

import base64
import html
import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from al_lightning.analysis.drawings import bin_edges
from al_lightning.analysis.numbers import alc
from al_lightning.callbacks.cycle import FinishedCycle, Query
from al_lightning.data import PoolDataModule
from al_lightning.numbers import NonNegativeInt, checked
from al_lightning.percent import is_loss
from al_lightning.runs import RunDirectory
from al_lightning.text import printable

_LARGEST = 512  # pixels along an edge of a logged image
X_AXIS = "active_learning/labeled"


class CycleLogger(Callback):
    """Logs metrics by number of labeled items; with Weights & Biases also score histograms and a table of the queried items.

    Args:
        images: number of queried items in that table, the first ones of the query.

    Attributes:
        hyperparameters: the run's settings by name, for every logger; the command line fills them in.
    """

    across_cycles = True

    @checked
    def __init__(self, images: NonNegativeInt = 8) -> None:
        self.images = images
        self.hyperparameters: dict[str, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the run's settings, and makes the number of labeled items the x-axis of the learning curve's panels."""
        for logger in trainer.loggers:
            if self.hyperparameters:
                logger.log_hyperparams(self.hyperparameters)
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                logger.experiment.define_metric(X_AXIS)
                logger.experiment.define_metric("active_learning/*", step_metric=X_AXIS)

    def on_resume(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives Weights & Biases the results of a run that is complete: the process that finished it may have died before it did."""
        run = RunDirectory(trainer.default_root_dir)
        for logger in trainer.loggers if trainer.is_global_zero and run.is_finished() else ():
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(_summary(run))

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
                # In one call, because values of one row in W&B's log share its x-axis.
                logger.log_metrics({**values, **self._media(trainer.datamodule, query)}, step)  # type: ignore[attr-defined]
            else:
                logger.log_metrics(values, step)
            if isinstance(logger, WandbLogger) and query is None and trainer.is_global_zero:
                logger.experiment.summary.update(_summary(RunDirectory(trainer.default_root_dir)))

    def _media(self, datamodule: PoolDataModule, query: Query) -> dict[str, Any]:
        import wandb

        # HTML, because W&B's own tables are artifacts of many files, which take ten times as long in each cycle.
        media = {"active_learning/queried": wandb.Html(self._table(datamodule, query))}
        if query.pool_scores is None:
            return media
        scores = query.pool_scores.numpy()
        return {"active_learning/scores": wandb.Histogram(np_histogram=np.histogram(scores, bins=bin_edges(scores, 64))), **media}

    def _table(self, datamodule: PoolDataModule, query: Query) -> str:
        """The first queried items as a table in HTML."""
        rows = ["<tr><th>rank</th><th>index</th><th>item</th><th>score</th><th></th></tr>"]
        for rank, index in enumerate(query.indices[: self.images].tolist()):
            item = html.escape(printable(datamodule.item(index)))
            picture = f'<img src="data:image/png;base64,{_png(datamodule.picture(index))}">'
            score = float(query.scores[rank])
            cells = (rank, index, item, "" if math.isnan(score) else f"{score:.6g}", picture)
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
        return f"<table>{''.join(rows)}</table>"


def _summary(run: RunDirectory) -> dict[str, float]:
    """A run's results: the number of queried labels, the last metrics, and the area under each one's learning curve, see :func:`alc`."""
    cycles = run.read_curve() if run.finished() else []
    if not cycles:  # a fast_dev_run writes no learning curve
        return {}
    labeled = [row.labeled for row in cycles]
    spent = labeled[-1] - labeled[0]
    summary: dict[str, float] = {"labels_spent": spent}
    for name in cycles[-1].metrics:
        curve = [row.metrics[name] for row in cycles]
        summary[f"final/{name}"] = curve[-1]
        if spent and not is_loss(name) and name.count("/") < 2 and np.isfinite(curve).all():
            summary[f"alc/{name}"] = alc(curve, labeled, spent / (len(cycles) - 1))
    return summary


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    """A picture as a PNG in base 64, made smaller if an edge has more than ``_LARGEST`` pixels."""
    picture, file = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    picture.thumbnail((_LARGEST, _LARGEST))
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
