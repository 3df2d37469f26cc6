"""What is measured and lost keeps its precision in a model of 16-bit floats."""

import math

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import HalfPrecision
from torch import nn
from torch.nn.functional import cross_entropy

from al_lightning.models import MLP
from al_lightning.tasks import ClassificationTask, SegmentationTask
from al_lightning.tasks.precise import MeanLoss
from tests.experiments import make_data

WEIGHTS = torch.tensor([1.3, 2.7, 0.1, 4.9])
QUIET = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "32-true", "64-true"])
def test_the_loss_does_not_depend_on_the_size_of_batches(precision):
    torch.manual_seed(0)
    task = ClassificationTask(lambda: MLP(width=7))
    found = [
        Trainer(**QUIET, precision=precision).validate(task, make_data(eval_batch_size=size), verbose=False)[0] for size in (1, 70, 1000)
    ]
    data = make_data()
    data.setup("validate")
    numbers = next(task.network.parameters()).dtype
    with torch.no_grad():
        expected = cross_entropy(task.network((data._eval.images / 255).to(numbers)).double(), data._eval.labels.long())
    for metrics in found:
        assert metrics["val/loss"] == pytest.approx(float(expected), rel=1e-5 if precision.startswith(("32", "64")) else 2e-4)


def test_a_batch_that_is_no_number_is_not_left_out():
    mean = MeanLoss()
    mean.update(torch.tensor(1.0), 3)
    mean.update(torch.tensor(5.0), weight=1)
    assert float(mean.compute()) == 2
    mean.update(torch.tensor([4.0, 4.0, 2.0, 2.0]))  # of items
    assert float(mean.compute()) == 2.5
    mean.update(torch.tensor(math.nan), 2)
    assert math.isnan(float(mean.compute()))


def test_losses_that_are_written_in_float32_work_in_a_model_of_float64():
    class Plain(nn.Module):
        def forward(self, logits, targets):
            return cross_entropy(logits, targets, WEIGHTS)

    task = SegmentationTask(lambda: nn.Conv2d(3, 4, 1), classes=list("abcd"), loss=Plain()).to(torch.float64)
    inputs, targets = torch.rand(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 4, (2, 4, 5))
    torch.testing.assert_close(task.loss(inputs, targets), cross_entropy(task(inputs).float(), targets, WEIGHTS))


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_a_loss_with_weights_of_classes_is_computed_with_these_weights(precision):
    loss = nn.CrossEntropyLoss(weight=WEIGHTS.clone(), ignore_index=255)
    scenes = SegmentationTask(lambda: nn.Conv2d(3, 4, 1), classes=list("abcd"), loss=loss)
    images = ClassificationTask(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(30, 4)), num_classes=4, loss=nn.CrossEntropyLoss(WEIGHTS.clone())
    )
    inputs = torch.rand(5, 3, 2, 5)
    for task, targets in ((scenes, torch.randint(0, 4, (5, 2, 5))), (images, torch.randint(0, 4, (5,)))):
        plugin = HalfPrecision(precision)
        plugin.convert_module(task)
        halves = plugin.convert_input(inputs)
        assert {parameter.dtype for parameter in task.network.parameters()} == {halves.dtype}
        expected = cross_entropy(task(halves).float(), targets, WEIGHTS)
        torch.testing.assert_close(task.loss(halves, targets), expected, rtol=1e-6, atol=0)


def test_a_loss_moves_with_the_model_and_becomes_finer_with_it():
    task = ClassificationTask(lambda: nn.Linear(3, 4), num_classes=4, loss=nn.CrossEntropyLoss(WEIGHTS.clone()))
    task.to(torch.float64)
    assert task.criterion.weight.dtype == torch.float64
    task.to("meta")
    assert task.criterion.weight.device.type == task.val_loss.total.device.type == "meta"
