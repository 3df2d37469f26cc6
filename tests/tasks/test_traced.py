import copy
import random
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from al_lightning.models import MLP
from al_lightning.tasks import ClassificationTask
from al_lightning.tasks.traced import TracedLoss, step


class Spread(MLP):
    """The gradient by the scale is one number, spread over a weight whose memory lies in another order."""

    def __init__(self):
        super().__init__(5)
        self.scale = nn.Parameter(torch.rand(3, 4).t())

    def forward(self, inputs):
        return super().forward(inputs) * self.scale.sum()


class Convolutional(nn.Module):
    """Batch norm has buffers, dropout draws, and the weight of the last layer is used twice."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 3, 5, stride=4), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.3), nn.Flatten())
        self.output = nn.Linear(108, 10)

    def forward(self, inputs):
        features = self.features(inputs)
        return self.output(features) + self.output(features.tanh())


class Decides(MLP):
    def forward(self, inputs):
        logits = super().forward(inputs)
        return logits if logits.sum() > 0 else 2 * logits


class DrawsByPython(MLP):
    def forward(self, inputs):
        return super().forward(inputs) * (1 + (random.random() < 0.5))


class DrawsByNumpy(MLP):
    def forward(self, inputs):
        return super().forward(inputs) * (1 + (np.random.random() < 0.5))


class LeavesOut(MLP):
    def __init__(self):
        super().__init__()
        self.never = nn.Linear(3, 2)


class DrawsAndDecides(DrawsByPython):
    def forward(self, inputs):
        logits = super().forward(inputs)
        return logits if logits.sum() > 0 else 2 * logits


class Counts(MLP):
    calls = 0

    def forward(self, inputs):
        self.calls += 1
        return super().forward(inputs)


class Keeps(MLP):
    """In a container of an object, as deep as one likes."""

    def __init__(self):
        super().__init__()
        self.kept = SimpleNamespace(seen=[{"logits": None}])

    def forward(self, inputs):
        self.kept.seen[0]["logits"] = logits = super().forward(inputs)
        return logits


class Averages(MLP):
    """By a buffer that is another tensor each time."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(10))

    def forward(self, inputs):
        logits = super().forward(inputs)
        self.mean = 0.9 * self.mean + 0.1 * logits.detach().mean(0)
        return logits - self.mean


class Foreign(MLP):
    def __init__(self):
        super().__init__()
        self.scale = torch.rand(10)

    def forward(self, inputs):
        return super().forward(inputs) * self.scale


class Warns(MLP):
    def forward(self, inputs):
        warnings.warn("look here", stacklevel=2)
        return super().forward(inputs)


def batches(count=7, size=5):
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(size, 1, 28, 28, generator=generator), torch.randint(10, (size,), generator=generator)) for _ in range(count)]


def task_of(make):
    return ClassificationTask(make, num_classes=10).train()


def trace(task, parameters=None):
    return TracedLoss(task, parameters or list(task.parameters()), *batches()[0])


OPTIMIZERS = {
    "fused Adam": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1, amsgrad=True, fused=True),
    "Adam": torch.optim.Adam,
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", [lambda: MLP(7, dropout=0.4), Convolutional, Spread])
def test_steps_are_bit_identical_to_autograd(make, optimizer):
    torch.manual_seed(0)
    ordinary = task_of(make)
    fast = copy.deepcopy(ordinary)
    theirs, ours = (OPTIMIZERS[optimizer](network.parameters()) for network in (ordinary, fast))
    torch.manual_seed(2)
    losses = []
    for inputs, targets in batches():
        theirs.zero_grad()
        losses.append(ordinary.loss(inputs, targets))
        losses[-1].backward()
        theirs.step()
    torch.manual_seed(2)
    traced = trace(fast)
    for (inputs, targets), expected in zip(batches(), losses, strict=True):
        loss, gradients = traced(inputs, targets)
        step(ours, list(fast.parameters()), gradients)
        assert torch.equal(loss, expected)
    for a, b in zip(ordinary.state_dict().values(), fast.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(theirs.state.values(), ours.state.values(), strict=True):
        assert a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a if a[k] is not None)


@pytest.mark.parametrize("make", [Convolutional, DrawsByPython, DrawsByNumpy, DrawsAndDecides, Counts])
def test_tracing_leaves_task_and_chance_as_they_were(make):
    task = task_of(make)
    before, chances = copy.deepcopy(task.state_dict()), chance()
    with nullcontext() if make is Convolutional else pytest.raises(RuntimeError):
        trace(task)
    assert chance() == chances and getattr(task.network, "calls", 0) == 0
    assert all(torch.equal(a, b) for a, b in zip(before.values(), task.state_dict().values(), strict=True))


def chance():
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("make", [Decides, LeavesOut, Keeps, Averages, Foreign, Warns])
def test_what_can_not_be_traced_is_refused(make):
    with pytest.raises((RuntimeError, UserWarning)):
        trace(task_of(make))
