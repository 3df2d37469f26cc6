"""Pictures of a segmentation experiment: predictions and score maps of images, and the pool's scores."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from tqdm import tqdm

from al_lightning import seeds
from al_lightning.acquisition import Strategy
from al_lightning.analysis.drawings import plots
from al_lightning.callbacks.active_learning import ActiveLearningCallback
from al_lightning.callbacks.cycle import FinishedCycle, Query
from al_lightning.callbacks.cycle_logger import X_AXIS
from al_lightning.callbacks.other_weights import other_weights
from al_lightning.callbacks.scoring import pixel_scores
from al_lightning.data import SceneDataModule
from al_lightning.data.scenes.datasets import Example
from al_lightning.errors import UserError
from al_lightning.numbers import NonNegativeInt, checked
from al_lightning.runs import RunDirectory
from al_lightning.tasks import Task
from al_lightning.text import printable


class ScenePictures(Callback):
    """Draws pictures of each cycle into the run directory, and logs them to Weights & Biases if that is one of the loggers.

    ``evaluation.png`` and ``queried.png`` show image, ground truth, prediction and the strategy's pixel scores, of a few fixed evaluation
    images and of the first queried ones. ``scores.png`` is a histogram of the pool's scores, ``iou_by_class.png`` the IoU of each class in
    all cycles so far. Pictures that a killed process did not draw are drawn when the run is resumed, with the cycle's checkpoint.

    Args:
        evaluation: number of evaluation images.
        queried: number of queried images.
    """

    across_cycles = True

    @checked
    def __init__(self, evaluation: NonNegativeInt = 3, queried: NonNegativeInt = 3) -> None:
        self.evaluation = evaluation
        self.queried = queried

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses data that are no scenes.

        Raises:
            UserError: the data module is no SceneDataModule.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, SceneDataModule):
            raise UserError(f"Expected segmented scenes for ScenePictures, got {type(data).__name__}. Remove the callback.")

    def on_query(self, trainer: Trainer, pl_module: LightningModule, query: Query) -> None:
        """Draws a histogram of the pool's scores, if the strategy scores single items."""
        if _draws(trainer) and query.pool_scores is not None:
            learning = _learning(trainer)
            path = RunDirectory(trainer.default_root_dir).cycle(learning.cycle) / "scores.png"
            title = _title(trainer, learning.cycle, learning.labeled)
            chosen = query.pool_scores[torch.searchsorted(query.pool_indices, query.indices)]
            plots.draw_histogram(query.pool_scores.numpy(), chosen.numpy(), title, path)

    def on_cycle_end(self, trainer: Trainer, pl_module: LightningModule, finished: FinishedCycle) -> None:
        """Draws a finished cycle."""
        if _draws(trainer):
            queried = [] if finished.query is None else finished.query.indices.tolist()
            self._draw(trainer, pl_module, finished.cycle, finished.labeled, queried)

    def on_resume(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the pictures that are missing, of cycles whose checkpoint was kept."""
        if not _draws(trainer):
            return
        run = RunDirectory(trainer.default_root_dir)
        rows, lost = run.read_queries(), []
        for row in run.read_curve():
            queried = [item.index for item in rows if item.cycle == row.cycle + 1]
            if all((run.cycle(row.cycle) / name).is_file() for name in self._wanted(queried)):
                continue
            if run.checkpoint(row.cycle).is_file():
                with other_weights(pl_module, _learning(trainer).record.weights(row.cycle)):
                    self._draw(trainer, pl_module, row.cycle, row.labeled, queried)
            else:
                lost.append(str(row.cycle))
        plots.draw_iou(run, _palette(trainer))  # it may be missing although all pictures of the cycles are there
        if lost:
            tqdm.write(
                f"Pictures of cycles {', '.join(lost)} are missing, and so are the checkpoints to draw them with (active_learning.keep)."
            )

    def _wanted(self, queried: Sequence[int]) -> list[str]:
        """File names of the pictures of a cycle that need its weights."""
        return ["evaluation.png"] * bool(self.evaluation) + ["queried.png"] * bool(self.queried and queried)

    def _draw(self, trainer: Trainer, module: LightningModule, cycle: int, labeled: int, queried: Sequence[int]) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        run, title = RunDirectory(trainer.default_root_dir), _title(trainer, cycle, labeled)
        media = {}
        if self.evaluation:
            positions = np.linspace(0, data.evaluation_size - 1, min(self.evaluation, data.evaluation_size)).round().astype(int)
            examples = [data.evaluation_example(position) for position in positions.tolist()]
            media["evaluation"] = _draw_scenes(trainer, module, cycle, examples, title, run.cycle(cycle) / "evaluation.png")
        examples = []
        with suppress(UserError):  # the next cycle refuses a bad label when it begins; the resumed run then draws the picture
            examples = [data.pool_example(index) for index in queried[: self.queried]]
        if examples:
            media["queried_scenes"] = _draw_scenes(trainer, module, cycle, examples, f"{title}: queried", run.cycle(cycle) / "queried.png")
        media["iou_by_class"] = plots.draw_iou(run, _palette(trainer))
        _log(trainer, labeled, media, run.read_queried(cycle))


def _draws(trainer: Trainer) -> bool:
    return trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]


def _learning(trainer: Trainer) -> ActiveLearningCallback:
    (learning,) = (callback for callback in trainer.callbacks if isinstance(callback, ActiveLearningCallback))  # type: ignore[attr-defined]
    return learning


def _title(trainer: Trainer, cycle: int, labeled: int) -> str:
    return f"{Path(trainer.default_root_dir).name}, cycle {cycle}, {labeled} labeled, {_learning(trainer).strategy}"


def _palette(trainer: Trainer) -> dict[str, list[int]]:
    """The colour of each class, by name, as red, green and blue from 0 to 255."""
    classes = trainer.datamodule.classes  # type: ignore[attr-defined]
    return dict(zip(classes.names, classes.palette.tolist(), strict=True))


def _draw_scenes(trainer: Trainer, module: LightningModule, cycle: int, examples: list[Example], title: str, path: Path) -> Path:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    learning = _learning(trainer)
    assert isinstance(module, Task)
    seed = seeds.derive(learning.seed, "scoring", cycle)
    with trainer.precision_plugin.forward_context():
        rows = [_row(example, module, learning.strategy, seed, data.device) for example in examples]
    return plots.draw_scenes(rows, data.classes.names, data.classes.palette.numpy(), title, path)


def _log(trainer: Trainer, labeled: int, media: dict[str, Path], content: list[dict[str, Any]]) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            values: dict[str, Any] = {f"active_learning/{name}": wandb.Image(str(path)) for name, path in media.items()}
            if content:
                values["active_learning/queried_content"] = wandb.Table(
                    [*content[0]], [[*map(_printable, row.values())] for row in content]
                )
            logger.log_metrics({X_AXIS: labeled, **values}, _learning(trainer).restart.logged_steps)


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
