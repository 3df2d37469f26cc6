import itertools

import pytest
import torch
from torch import nn

from al_lightning.errors import UserError
from al_lightning.tasks import SegmentationTask
from al_lightning.tasks.parameters import parameter_groups
from tests.experiments import run_experiment, weights
from tests.tasks.test_segmentation import make_data


class Network(nn.Module):
    """An encoder, and what comes after it."""

    def __init__(self, frozen: bool = False):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 7, 1), nn.BatchNorm2d(7))
        self.rest = nn.Sequential(nn.Conv2d(7, 6, 1), nn.BatchNorm2d(6))
        self.head = nn.Conv2d(6, 19, 1, bias=False)
        self.encoder.requires_grad_(not frozen)

    def forward(self, images):
        return self.head(self.rest(self.encoder(images)))


@pytest.mark.parametrize("decayed", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_each_parameter_that_is_trained_is_in_one_group(decayed, frozen):
    network = Network(frozen)
    groups = parameter_groups(network, 0.25, decayed)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = {names[id(parameter)]: group for group in groups for parameter in group["params"]}
    assert sorted(found) == sorted(name for name in names.values() if not (frozen and name.startswith("encoder.")))
    assert sum(len(group["params"]) for group in groups) == len(found) and all(group["params"] for group in groups)
    for name, group in found.items():
        assert group["lr_factor"] == (0.25 if name.startswith("encoder.") else 1)
        one_dimensional = name.endswith(".bias") or name in {"encoder.1.weight", "rest.1.weight"}
        assert group.get("weight_decay") == (0 if one_dimensional and not decayed else None)


def test_a_step_with_groups_written_out_by_hand(tmp_path):
    """Plain gradient descent: rate x factor x (gradient + decay x weight); the rate falls polynomially in every group."""
    task = SegmentationTask(
        Network,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1, weight_decay=0.5),
        encoder_lr_factor=0.25,
        decay_norms_and_biases=False,
    )
    steps = []

    def before_step(optimizer):
        steps.append({n: (p.detach().clone(), p.grad.clone()) for n, p in task.network.named_parameters()})

    task.on_before_optimizer_step = before_step
    run = run_experiment(tmp_path / "run", data=make_data(cache=str(tmp_path / "scenes")), task=task, cycles=1, trainer={"max_epochs": 1})
    steps.append({name.removeprefix("network."): (value, None) for name, value in weights(run, 0).items()})
    assert len(steps) == 3
    for number, (now, after) in enumerate(itertools.pairwise(steps)):
        for name, (weight, gradient) in now.items():
            rate = 0.1 * (1 - number / 2) ** 0.9 * (0.25 if name.startswith("encoder.") else 1)
            decay = 0.5 if weight.ndim > 1 else 0
            torch.testing.assert_close(after[name][0], weight - rate * (gradient + decay * weight))


@pytest.mark.parametrize(
    ("network", "factor"), [(lambda: Network(frozen=True), 0.1), (lambda: nn.Conv2d(3, 19, 1), 0.1), (Network, 0.0), (Network, -1.0)]
)
def test_a_factor_that_would_do_nothing_is_refused(network, factor):
    with pytest.raises(UserError, match=f"encoder_lr_factor .*got {factor:g}"):
        SegmentationTask(network, encoder_lr_factor=factor)
