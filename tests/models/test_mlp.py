import math

import torch

from al_lightning.models import MLP


def test_shapes_parameters_and_initial_weights():
    torch.manual_seed(0)
    network = MLP(width=32, num_classes=6, input_shape=(1, 4, 5))
    assert network(torch.rand(3, 1, 4, 5)).shape == (3, 6)
    assert sum(p.numel() for p in network.parameters()) == 20 * 32 + 32 + 32 * 6 + 6
    bound = math.sqrt(6 / (20 + 32))  # Glorot-uniform
    assert bound * 0.95 < network.hidden.weight.abs().max() <= bound
    assert not network.hidden.bias.any() and not network.output.bias.any()


def test_forward_is_tail_of_prefix():
    network, x = MLP(5, dropout=0.5).eval(), torch.rand(3, 1, 28, 28)
    assert torch.equal(network(x), network.tail(network.prefix(x)))


def test_dropout_is_live_in_training_only():
    network, x = MLP(50, dropout=0.5), torch.rand(3, 1, 28, 28)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
