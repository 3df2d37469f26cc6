"""Needs a graphics card, as there is nothing to record elsewhere; what every machine does is tested with the blocks."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from al_lightning.models import MLP
from al_lightning.tasks import ClassificationTask
from al_lightning.tasks.blocks import PAYS_AFTER, BlockSteps
from al_lightning.tasks.recorded import Recorder, _Recording

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card, or hidden: make test-gpu")
BLOCK = 40


def normalised() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 5, stride=3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))


OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": partial(torch.optim.SGD, lr=0.01)}
NETWORKS = {"mlp": partial(MLP, 16), "dropout": partial(MLP, 12, dropout=0.3), "batch norm": normalised}


def by_autograd(task, optimizer, blocks):
    for block in blocks:
        for inputs, targets, _ in block:
            optimizer.zero_grad()
            loss = task.loss(inputs, targets)
            loss.backward()
            optimizer.step()
            yield loss.detach()


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_recorded_steps_are_autograds_to_the_last_bit(monkeypatch, make, optimizer):
    played = []
    play = _Recording.__call__
    monkeypatch.setattr(_Recording, "__call__", lambda *arguments: played.append(1) or play(*arguments))
    torch.manual_seed(0)
    number = -(-PAYS_AFTER // BLOCK) + 4
    inputs = torch.randn(number, BLOCK, 7, 1, 28, 28, device="cuda")
    targets = torch.randint(10, (number, BLOCK, 7), device="cuda")
    blocks = [[(x, y, None) for x, y in zip(xs, ys, strict=True)] for xs, ys in zip(inputs, targets, strict=True)]
    task = ClassificationTask(make).cuda().train()
    task.loss(inputs[0, 0], targets[0, 0])  # lazy layers look at a mini-batch
    other = copy.deepcopy(task)
    fused = {} if isinstance(optimizer, partial) else {"fused": True}
    ours, theirs = optimizer(task.parameters(), **fused), optimizer(other.parameters(), **fused)

    losses = []
    for run_task, run_optimizer, steps in ((task, ours, BlockSteps()), (other, theirs, None)):
        torch.manual_seed(1)
        made = []
        for position, block in enumerate(blocks):
            if position == number - 1:  # a recording of the settings before it must not be played on
                run_optimizer.param_groups[0]["lr"] *= 0.5
            made += steps.take(run_task, run_optimizer, block) if steps else by_autograd(run_task, run_optimizer, [block])
        losses.append(torch.stack([loss.clone() for loss in made]))
    assert torch.equal(*losses)
    for one, another in zip(task.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, another)
    for one, another in zip(task.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.grad, another.grad)
    assert bool(played) == bool(fused) and len(played) in (0, 3 * (BLOCK - 1))


def test_what_can_not_be_recorded_is_made_step_by_step(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("al_lightning.tasks.recorded._Recording", refuse)
    task = ClassificationTask(partial(MLP, 4)).cuda()
    optimizer = torch.optim.Adam(task.parameters(), fused=True)
    inputs, targets = torch.randn(3, 1, 28, 28, device="cuda"), torch.tensor([0, 1, 2], device="cuda")
    list(by_autograd(task, optimizer, [[(inputs, targets, None)]]))

    class Trace:
        constants: list[torch.Tensor] = []

        def __call__(self, inputs, targets):
            return torch.ones(()), [torch.zeros_like(parameter) for parameter in task.parameters()]

    recorder = Recorder()
    for _ in range(2):
        step = recorder.step_of(Trace(), optimizer, list(task.parameters()), inputs, targets)
        assert float(step(inputs, targets)) == 1
