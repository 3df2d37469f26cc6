"""Shows what a segmentation experiment sees: predictions, score maps, and what the queried images hold."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from al_lightning import seeds
from al_lightning.acquisition import Strategy
from al_lightning.analysis import plots
from al_lightning.analysis.words import printable
from al_lightning.callbacks.active_learning import ActiveLearningCallback
from al_lightning.callbacks.cycle import FinishedCycle, Query
from al_lightning.callbacks.cycle_logger import X_AXIS
from al_lightning.callbacks.scoring import pixel_scores
from al_lightning.data import SceneDataModule
from al_lightning.data.scene_datasets import Example
from al_lightning.errors import UserError
from al_lightning.labels import IGNORED
from al_lightning.numbers import NonNegativeInt, checked
from al_lightning.runs import RunDirectory
from al_lightning.tasks import Task


class ScenePictures(Callback):
    """Draws each cycle into the run directory, and into Weights & Biases where it is a logger.

    ``evaluation.png`` and ``queried.png``: image, ground truth, prediction and the strategy's pixel scores, of a few fixed evaluation
    images and of the first queried ones; ``scores.png``: histogram of the pool's scores; ``queried.csv``: where all queried images come
    from, and their pixels of each class; ``iou_by_class.png``: the run's so far.

    Args:
        evaluation: number of evaluation images.
        queried: number of queried images.
    """

    across_cycles = True

    @checked
    def __init__(self, evaluation: NonNegativeInt = 3, queried: NonNegativeInt = 3) -> None:
        self.evaluation = evaluation
        self.queried = queried

    def on_cycle_end(self, trainer: Trainer, pl_module: LightningModule, finished: FinishedCycle) -> None:
        """Draws a finished cycle."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, SceneDataModule):
            raise UserError(f"Expected segmented scenes for ScenePictures, got {type(data).__name__}. Remove the callback.")
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, Task)
        (learning,) = (callback for callback in trainer.callbacks if isinstance(callback, ActiveLearningCallback))  # type: ignore[attr-defined]
        run = RunDirectory(trainer.default_root_dir)
        folder = run.cycle(finished.cycle)
        seed = seeds.derive(learning.seed, "scoring", finished.cycle)

        def rows(examples: list[Example]) -> list[plots.SceneRow]:
            with trainer.precision_plugin.forward_context():
                return [_row(example, pl_module, learning.strategy, seed, data.device) for example in examples]

        names, palette = data.classes.names, data.classes.palette.numpy()
        title = f"{run.path.name}, cycle {finished.cycle}, {finished.labeled} labeled, {learning.strategy}"
        media: dict[str, Any] = {}
        if self.evaluation:
            positions = np.linspace(0, data.evaluation_size - 1, min(self.evaluation, data.evaluation_size)).round().astype(int)
            examples = [data.evaluation_example(position) for position in positions.tolist()]
            media["evaluation"] = plots.draw_scenes(rows(examples), names, palette, title, folder / "evaluation.png")
        query, content = finished.query, []
        if query is not None:
            if self.queried:
                examples = [data.pool_example(index) for index in query.indices[: self.queried].tolist()]
                media["queried_scenes"] = plots.draw_scenes(rows(examples), names, palette, f"{title}: queried", folder / "queried.png")
            plots.draw_histogram(query.pool_scores.numpy(), query.scores.numpy(), title, folder / "scores.png")
            content = _content(data, query)
            run.write_queried(finished.cycle, content)
        media["iou_by_class"] = plots.draw_iou(run)
        self._log(trainer, finished, media, content)

    def _log(self, trainer: Trainer, finished: FinishedCycle, media: dict[str, Any], content: list[dict[str, Any]]) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                import wandb

                values: dict[str, Any] = {f"active_learning/{name}": wandb.Image(str(path)) for name, path in media.items()}
                if content:
                    values["active_learning/queried_content"] = wandb.Table(
                        [*content[0]], [[*map(_printable, row.values())] for row in content]
                    )
                logger.log_metrics({X_AXIS: finished.labeled, **values}, finished.logged_steps)


def _printable(value: str | int) -> str | int:
    return printable(value) if isinstance(value, str) else value


def _row(example: Example, task: Task, strategy: Strategy, seed: int, device: torch.device) -> plots.SceneRow:
    inputs = example.inputs.unsqueeze(0).to(device)
    logits, (scores,) = pixel_scores([strategy], task.network, inputs, torch.tensor([example.index], device=device), seed)
    return plots.SceneRow(
        example.name,
        example.picture,
        None if example.targets is None else example.targets.numpy(),
        logits[0].argmax(dim=0).cpu().numpy(),
        None if scores is None else scores[0].float().cpu().numpy(),
    )


def _content(data: SceneDataModule, query: Query) -> list[dict[str, Any]]:
    """What the queried images hold: pixels of each class, by the labels that they have got now."""
    names, rows = data.classes.names, []
    for rank, index in enumerate(query.indices.tolist()):
        targets = data.targets(index)
        counts = targets[targets != IGNORED].bincount(minlength=len(names)).tolist()
        ignored = int((targets == IGNORED).sum())
        identity = {"rank": rank, "index": index, "item": data.item(index), **data.origin(index)}
        rows.append({**identity, **dict(zip(names, counts, strict=True)), "ignored": ignored})
    return rows
