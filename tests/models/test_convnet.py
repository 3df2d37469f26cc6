import pytest
import torch

from al_lightning.errors import UserError
from al_lightning.models import ConvNet
from tests.models.networks import cached_equals_naive


def test_shapes_and_parameters():
    network = ConvNet(width=3, hidden=7, num_classes=5, input_shape=(2, 9, 14))
    assert network(torch.rand(4, 2, 9, 14)).shape == (4, 5)
    convolutions = (2 * 9 + 1) * 3 + (3 * 9 + 1) * 6
    assert sum(p.numel() for p in network.parameters()) == convolutions + (6 * 2 * 3 + 1) * 7 + (7 + 1) * 5


def test_forward_is_tail_of_prefix_and_dropout_is_live_in_training_only():
    network, x = ConvNet(4, dropout=0.5), torch.rand(3, 1, 28, 28)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x)) and torch.equal(network(x), network.tail(network.prefix(x)))


def test_dropout_passes_over_a_cached_prefix_equal_whole_ones():
    torch.manual_seed(0)
    cached_equals_naive(ConvNet(3, hidden=7, dropout=0.5, num_classes=5, input_shape=(2, 9, 14)).eval(), torch.rand(3, 2, 9, 14))


@pytest.mark.parametrize("shape", [(1, 3, 9), (28, 28)])
def test_shapes_that_are_too_small_are_refused(shape):
    with pytest.raises(UserError, match="channels, height and width, at least 4 pixels each"):
        ConvNet(input_shape=shape)
