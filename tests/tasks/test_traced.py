import copy
import random

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from al_lightning.models import MLP
from al_lightning.tasks.traced import TracedLoss, step


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


class LeavesOut(MLP):
    def __init__(self):
        super().__init__()
        self.never = nn.Linear(3, 2)


def batches(count=7, size=5):
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(size, 1, 28, 28, generator=generator), torch.randint(10, (size,), generator=generator)) for _ in range(count)]


def loss_of(network):
    return lambda inputs, targets: cross_entropy(network(inputs), targets)


def trace(network, parameters=None):
    return TracedLoss(loss_of(network), network, parameters or list(network.parameters()), *batches()[0])


OPTIMIZERS = {
    "fused Adam": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1, amsgrad=True, fused=True),
    "Adam": torch.optim.Adam,
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", [lambda: MLP(7), lambda: MLP(7, dropout=0.4), Convolutional])
def test_steps_are_bit_identical_to_autograd(make, optimizer):
    torch.manual_seed(0)
    ordinary = make().train()
    fast = copy.deepcopy(ordinary)
    theirs, ours = (OPTIMIZERS[optimizer](network.parameters()) for network in (ordinary, fast))
    torch.manual_seed(2)
    losses = []
    for inputs, targets in batches():
        theirs.zero_grad()
        losses.append(cross_entropy(ordinary(inputs), targets))
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


def test_tracing_leaves_network_and_chance_as_they_were():
    network = Convolutional().train()
    before, chance = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    trace(network)
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), network.state_dict().values(), strict=True))


@pytest.mark.parametrize("make", [Decides, DrawsByPython, LeavesOut])
def test_what_can_not_be_traced_is_refused(make):
    with pytest.raises(RuntimeError):
        trace(make())


def test_a_trace_knows_what_it_fits():
    network = MLP(7)
    parameters = list(network.parameters())
    traced, inputs = trace(network), batches()[0][0]
    assert traced.fits(parameters, inputs)
    assert not traced.fits(parameters, inputs[:3])
    assert not traced.fits(parameters[:2], inputs)
    assert not traced.fits(list(MLP(7).parameters()), inputs)
