"""Semantic segmentation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import PolynomialLR
from torchmetrics.classification import MulticlassConfusionMatrix

from al_lightning.errors import UserError
from al_lightning.labels import IGNORED
from al_lightning.models import DeepLabV3Plus
from al_lightning.numbers import PositiveFloat, checked
from al_lightning.tasks.base import Batch, Task
from al_lightning.tasks.fitting import agreed_classes
from al_lightning.tasks.parameters import has_trained_encoder, parameter_groups
from al_lightning.tasks.precise import as_for, at_least_single

_POLY_POWER = 0.9  # of the default decay of the learning rate


class SegmentationTask(Task):
    """Semantic segmentation; mean IoU, IoU by class and pixel accuracy from one confusion matrix over a whole set of images.

    A class that neither occurs nor is predicted has no IoU: it is NaN, and not part of the mean.

    Args:
        network: makes the network; called once for the module, and again for each draw of fresh weights.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped once per epoch; None for the decay of ``poly_power``.
        poly_power: the rate falls as (1 - step / all steps) ** poly_power, at every step, with any optimizer; None for a constant rate. An
            ``lr_scheduler`` takes its place.
        classes: names of the classes, for their metrics; None for those of the data.
        loss: of logits ``(B, C, H, W)`` and classes ``(B, H, W)``, in place of cross-entropy, for example of
            ``segmentation_models_pytorch.losses``: ``{class_path: segmentation_models_pytorch.losses.FocalLoss, init_args: {mode:
            multiclass, ignore_index: 255}}``. Pixels of class 255 are ignored.
        encoder_lr_factor: a factor of the learning rate for the network's ``encoder``: below 1 for a pretrained one.
        decay_norms_and_biases: whether norms and biases have weight decay, too.
        channels_last: keep weights and features in memory with the channels as the innermost axis; the numbers are the same.

    Raises:
        UserError: an ``encoder_lr_factor`` for a network without a trained encoder, or a ``poly_power`` beside an ``lr_scheduler``.
    """

    dense = True

    @checked
    def __init__(
        self,
        network: Callable[[], nn.Module] = DeepLabV3Plus,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.007, momentum=0.9, weight_decay=1e-4),
        lr_scheduler: LRSchedulerCallable | None = None,
        poly_power: PositiveFloat | None = _POLY_POWER,
        classes: Sequence[str] | None = None,
        loss: nn.Module | None = None,
        encoder_lr_factor: PositiveFloat = 1.0,
        decay_norms_and_biases: bool = True,
        channels_last: bool = False,
    ) -> None:
        super().__init__(network, optimizer, lr_scheduler, block=1, criterion=loss)
        if encoder_lr_factor != 1 and not has_trained_encoder(self.network):
            raise UserError(
                f"Expected an encoder_lr_factor other than 1 only for a network whose encoder is trained, got {encoder_lr_factor:g} for "
                f"{type(self.network).__name__}. Leave it at 1 where there is no encoder, or a frozen one."
            )
        self.encoder_lr_factor = encoder_lr_factor
        self.decay_norms_and_biases = decay_norms_and_biases
        if lr_scheduler is not None and poly_power not in (None, _POLY_POWER):
            raise UserError(f"Expected either lr_scheduler or poly_power, got poly_power {poly_power} beside a scheduler. Leave one out.")
        if channels_last:
            self.network.to(memory_format=torch.channels_last)  # features follow their weights, and so does a fresh draw, in place
        self.poly_power = poly_power
        self.stated_classes = classes
        if classes is not None:
            self.make_metrics(None)

    def make_metrics(self, classes: Sequence[str] | None) -> None:
        """See :meth:`Task.make_metrics`."""
        self.classes = agreed_classes(self.stated_classes, classes, "classes")
        # The data module has checked the classes; torchmetrics would check the values of every batch again.
        self.val_confusion = MulticlassConfusionMatrix(len(self.classes), ignore_index=IGNORED, validate_args=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` to logits ``(B, C, H, W)``."""
        logits: Tensor = self.network(inputs)
        return logits

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over the pixels that are not ignored, 0 if all are; or the value of another loss."""
        logits = self(inputs)
        if self.criterion is not None:
            value: Tensor = self.criterion(as_for(self.criterion, logits), targets)
            return value
        logits = at_least_single(logits)
        summed = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
        return summed / (targets != IGNORED).sum().clamp_min(1)

    def trained_parameters(self) -> list[nn.Parameter] | list[dict[str, Any]]:
        """What the optimizer gets: the parameters that require a gradient, in groups if not all are treated alike."""
        if self.encoder_lr_factor == 1 and self.decay_norms_and_biases:
            return super().trained_parameters()
        return parameter_groups(self.network, self.encoder_lr_factor, self.decay_norms_and_biases)

    def own_schedule(self, optimizer: Optimizer) -> OptimizerLRScheduler:
        """The optimizer with the polynomial decay of ``poly_power``."""
        if self.poly_power is None:
            return super().own_schedule(optimizer)
        if not math.isfinite(steps := self._steps_of_a_fit()):
            raise UserError(
                "Expected trainer.max_epochs or trainer.max_steps, over which the learning rate decays, got neither. Set one of them, or a "
                "model.init_args.lr_scheduler, or model.init_args.poly_power to null for a constant rate."
            )
        scheduler = PolynomialLR(optimizer, total_iters=int(steps), power=self.poly_power)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _steps_of_a_fit(self) -> float:
        """The number of optimizer steps. Lightning's estimate takes no notice of a GradientAccumulationScheduler."""
        trainer: Any = self.trainer
        steps: float = trainer.estimated_stepping_batches
        found = [callback for callback in trainer.callbacks if isinstance(callback, GradientAccumulationScheduler)]
        if not found or trainer.max_epochs == -1:
            return steps
        accumulated = map(found[0].get_accumulate_grad_batches, range(trainer.max_epochs))
        counted: int = sum(math.ceil(trainer.num_training_batches / batches) for batches in accumulated)
        return min(steps, counted)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the confusion matrix."""
        inputs, targets, _ = batch
        self.val_confusion.update(self(inputs).argmax(dim=1), targets)

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics of all processes' images together."""
        confusion = self.val_confusion.compute()
        self.val_confusion.reset()
        self.log_dict(iou_metrics(confusion, self.classes, self.evaluated_on))


def iou_metrics(confusion: Tensor, classes: Sequence[str], of: str = "val") -> dict[str, Any]:
    """Metrics of a confusion matrix.

    Args:
        confusion: ``(C, C)``, pixels by true class (rows) and predicted class (columns).
        classes: names of the C classes.
        of: prefix of the names, for the set of images: ``val`` or ``test``.

    Returns:
        ``<of>/miou`` over the classes that occur or are predicted, ``<of>/pixel_accuracy``, and ``<of>/iou/<class>``, all in [0, 1].
    """
    counts = confusion.double()
    hits = counts.diagonal()
    unions = counts.sum(0) + counts.sum(1) - hits
    ious = (hits / unions).float()  # 0 / 0 is NaN: no such class here
    by_class = {f"{of}/iou/{name}": iou for name, iou in zip(classes, ious, strict=True)}
    return {f"{of}/miou": ious.nanmean(), f"{of}/pixel_accuracy": (hits.sum() / counts.sum()).float(), **by_class}
