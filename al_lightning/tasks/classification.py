"""Image classification."""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from al_lightning.models import MLP
from al_lightning.numbers import PositiveInt, checked
from al_lightning.tasks.base import Batch, Task
from al_lightning.tasks.fitting import agreed_classes
from al_lightning.tasks.precise import MeanLoss, at_least_single


class ClassificationTask(Task):
    """Classification; ``val/accuracy`` and ``val/loss`` (and ``test/...``) over a whole set of images, ``train/loss`` by epoch.

    Args:
        network: makes the network; called once for the module, and again for each draw of fresh weights.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped once per epoch; None for a constant rate.
        num_classes: number of classes; None for that of the data.
        loss: of logits ``(B, C)`` and classes ``(B,)``, in place of cross-entropy, for example ``torch.nn.CrossEntropyLoss`` with a
            ``label_smoothing``. ``val/loss`` uses it, too: the mean over images of the values of evaluation batches, which for a loss with
            weights of classes depends a little on their size.
        block: mini-batches in one ``training_step``; 1 is Lightning's ordinary mode, see :class:`~al_lightning.tasks.Task`.
    """

    @checked
    def __init__(
        self,
        network: Callable[[], nn.Module] = MLP,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        num_classes: PositiveInt | None = None,
        loss: nn.Module | None = None,
        block: PositiveInt = 1,
    ) -> None:
        super().__init__(network, optimizer, lr_scheduler, block, loss)
        self.num_classes = num_classes
        if num_classes is not None:
            self.make_metrics(None)

    def make_metrics(self, classes: Sequence[str] | None) -> None:
        """See :meth:`Task.make_metrics`."""
        names = agreed_classes(self.num_classes, classes, "num_classes")
        # The data module has checked the labels; torchmetrics would check the values of every batch again.
        self.val_accuracy = MulticlassAccuracy(len(names), average="micro", validate_args=False)
        self.val_loss = MeanLoss()

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs ``(B, *)`` to logits ``(B, C)``."""
        logits: Tensor = self.network(inputs)
        return logits

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of a mini-batch, or what another loss makes of it."""
        return self._loss_of(self(inputs), targets)

    def _loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = at_least_single(logits)
        return cross_entropy(logits, targets) if self.criterion is None else self.criterion(logits, targets)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to accuracy and loss."""
        inputs, targets, _ = batch
        logits = self(inputs)
        self.val_accuracy.update(logits, targets)
        self.val_loss.update(self._loss_of(logits, targets), len(targets))

    def on_validation_epoch_end(self) -> None:
        """Logs accuracy and loss of all processes' images together."""
        self.log_dict({f"{self.evaluated_on}/accuracy": self.val_accuracy, f"{self.evaluated_on}/loss": self.val_loss})
