import copy

import pytest
import torch
from torch import nn

from al_lightning.acquisition import Odin
from al_lightning.callbacks.scoring import pixel_scores
from al_lightning.models import FCN, DeepLabV3Plus, SegNet
from al_lightning.tasks import SegmentationTask
from tests.experiments import run_experiment, weights
from tests.tasks.test_segmentation import make_data


def drawn(network, **arguments):
    with pytest.warns(UserWarning, match="freezes random weights"):
        return network(num_classes=5, encoder_weights=None, freeze_encoder=True, **arguments)


NETWORKS = {
    "DeepLabV3Plus": lambda: drawn(DeepLabV3Plus, encoder="tu-resnet18"),
    "FCN": lambda: drawn(FCN),
    "SegNet": lambda: drawn(SegNet),
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_a_step_leaves_a_frozen_encoder_alone_and_needs_no_graph_of_it(make):
    """The step equals one in which the encoder's parameters do want a gradient, but the optimizer has only the others."""
    torch.manual_seed(0)
    network = make()
    reference = copy.deepcopy(network)
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    grads_wanted = []
    for layer in network.encoder.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda m, args, output: grads_wanted.append((torch.is_grad_enabled(), output.requires_grad)))
    task = SegmentationTask(lambda: network, classes=list("abcde"))
    optimizer = torch.optim.SGD(task.trained_parameters(), lr=0.5)
    images, targets = torch.rand(2, 3, 32, 32), torch.randint(0, 5, (2, 32, 32))
    for mode in (False, True):
        task.train(mode)
        assert not any(part.training for part in network.encoder.modules()) and network.training is mode
    torch.manual_seed(1)
    task.loss(images, targets).backward()
    optimizer.step()
    assert grads_wanted and not any(any(each) for each in grads_wanted)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.encoder.state_dict().items())

    reference.encoder.requires_grad_(True)
    reference.encoder_is_frozen = False
    reference.train()
    for layer in reference.encoder.modules():  # written out: batch norm by its statistics, which stay
        layer.training = False
    torch.manual_seed(1)
    nn.functional.cross_entropy(reference(images), targets).backward()
    others = {name: parameter for name, parameter in reference.named_parameters() if not name.startswith("encoder.")}
    assert len(others) == len(task.trained_parameters())
    moved = dict(network.named_parameters())
    for name, parameter in others.items():
        torch.testing.assert_close(moved[name], parameter - 0.5 * parameter.grad)
    assert any(not torch.equal(moved[name], parameter) for name, parameter in others.items())


def test_a_gradient_of_the_inputs_goes_through_a_frozen_encoder():
    network = drawn(DeepLabV3Plus, encoder="tu-resnet18")
    images = torch.rand(1, 3, 32, 32)
    _, (plain, moved) = pixel_scores([Odin(10.0, 0.0), Odin(10.0, 0.1)], network, images, torch.tensor([0]), 0)
    assert not torch.equal(plain, moved)


def test_the_encoder_is_the_same_in_every_cycle(tmp_path):
    """Whatever Lightning and the restarts of training do with modes, gradients and weights."""
    torch.manual_seed(0)
    DeepLabV3Plus(encoder="tu-resnet18", encoder_weights=None)
    torch.save(DeepLabV3Plus(encoder="tu-resnet18", encoder_weights=None).encoder.model.state_dict(), tmp_path / "encoder.pth")
    task = SegmentationTask(
        lambda: DeepLabV3Plus(encoder="tu-resnet18", encoder_weights=str(tmp_path / "encoder.pth"), freeze_encoder=True),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1),
    )
    run = run_experiment(
        tmp_path / "run", data=make_data(cache=str(tmp_path / "scenes")), task=task, query_size=2, cycles=2, trainer={"max_epochs": 1}
    )
    given = torch.load(tmp_path / "encoder.pth")
    for cycle in (0, 1):
        after = weights(run, cycle)
        encoder = {name: value for name, value in after.items() if name.startswith("network.encoder.")}
        assert len(encoder) == len(given) > 100
        assert all(torch.equal(value, given[name.removeprefix("network.encoder.model.")]) for name, value in encoder.items())
    assert not torch.equal(weights(run, 0)["network.head.weight"], weights(run, 1)["network.head.weight"])
