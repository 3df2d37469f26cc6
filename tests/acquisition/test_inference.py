import pytest
import torch
from torch import nn

from al_lightning.acquisition.hashing import keep_mask
from al_lightning.acquisition.inference import Batch, dropout_passes, perturbed_logits, staged
from al_lightning.errors import UserError
from al_lightning.models import MLP


def make_mlp(width=6, dropout=0.0):
    torch.manual_seed(0)
    return MLP(width, dropout, num_classes=4, input_shape=(3, 2)).eval()


class Deep(nn.Module):
    """Two kinds of dropout, a batch norm, and no prefix."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.Dropout2d(0.3), nn.Flatten(), nn.Dropout(0.4), nn.Linear(5 * 6, 3)
        )

    def forward(self, inputs):
        return self.body(inputs)


def test_odin_without_perturbation_is_tempered_softmax():
    network, x = make_mlp(), torch.rand(5, 3, 2)
    with torch.no_grad():
        assert torch.equal(perturbed_logits(Batch(network, x, torch.arange(5)), 1.0, 0.0), network(x))
        assert torch.equal(perturbed_logits(Batch(network, x, torch.arange(5)), 10.0, 0.0), network(x) / 10)


def test_odin_gradient_against_finite_differences():
    network, x, temperature, epsilon = make_mlp().double(), torch.rand(4, 3, 2, dtype=torch.float64), 2.0, 1e-3

    def log_p(inputs):
        return (network(inputs) / temperature).log_softmax(1).amax(1)

    with torch.no_grad():
        gradient = torch.zeros_like(x)
        for at in range(6):
            step = torch.zeros(6, dtype=torch.float64)
            step[at] = 1e-6
            step = step.view(3, 2)
            gradient[:, at // 2, at % 2] = (log_p(x + step) - log_p(x - step)) / 2e-6
        expected = network(x - epsilon * torch.sign(-gradient)) / temperature

    def float_of(inputs):  # the function works in float32 or better, whatever comes
        return network(inputs.double())

    class Wrapped(nn.Module):
        def forward(self, inputs):
            return float_of(inputs)

    with torch.no_grad():
        found = perturbed_logits(Batch(Wrapped(), x, torch.arange(4)), temperature, epsilon)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, check_dtype=False)
    assert all(parameter.grad is None for parameter in network.parameters())


def naive_passes(network, x, indices, passes, drop, seed):
    """K whole forward passes of the MLP with the masks multiplied in by hand."""
    masks = keep_mask(seed, indices, torch.arange(passes), network.hidden.out_features, drop)
    hidden = network.hidden(x.flatten(1)).relu()
    return torch.stack([network.output(hidden * mask / (1 - drop)) for mask in masks])


class Normalised(MLP):
    """Changes what a network does, but not its parts."""

    def forward(self, inputs):
        return super().forward((inputs - 0.3) / 0.5)


class Wider(MLP):
    """Changes a part, and so what the network does."""

    def prefix(self, inputs):
        return 2 * super().prefix(inputs)


class Three(nn.Module):
    """Calls two of its three parts so for another reason."""

    def __init__(self):
        super().__init__()
        self.prefix, self.body, self.tail = nn.Flatten(), nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)), nn.Linear(6, 4)

    def forward(self, inputs):
        return self.tail(self.body(self.prefix(inputs)))


@pytest.mark.parametrize(("make", "is_staged"), [(MLP, True), (Normalised, False), (Wider, True), (Three, False)])
def test_items_are_scored_by_what_the_network_does(make, is_staged):
    torch.manual_seed(0)
    network = (Three() if make is Three else make(6, 0.5, num_classes=4, input_shape=(3, 2))).eval()
    x = torch.rand(5, 3, 2)
    assert (staged(network) is not None) == is_staged
    torch.testing.assert_close(Batch(network, x, torch.arange(5)).logits(), network(x))
    network.forward = lambda inputs: torch.zeros(len(inputs), 4)
    assert not Batch(network, x, torch.arange(5)).logits().any()


@pytest.mark.parametrize("at_once", [10**9, 1])
def test_cached_prefix_equals_naive_passes_with_the_same_masks(monkeypatch, at_once):
    monkeypatch.setattr("al_lightning.acquisition.inference._ELEMENTS_AT_ONCE", at_once)
    network, x, indices = make_mlp(), torch.rand(5, 3, 2), torch.tensor([9, 2, 30, 4, 1])
    with torch.no_grad(), dropout_passes(network, 7, 0.5, seed=11) as logits_of:
        chunks = list(logits_of(Batch(network, x, indices)))
    assert len(chunks) == (1 if at_once > 1 else 7)
    torch.testing.assert_close(torch.cat(chunks), naive_passes(network, x, indices, 7, 0.5, 11))


def test_an_item_has_the_same_masks_in_any_batch():
    network, x, indices = Deep().eval(), torch.rand(5, 1, 5, 4), torch.arange(5)
    with torch.no_grad(), dropout_passes(network, 3, None, seed=1) as logits_of:
        (whole,) = logits_of(Batch(network, x, indices))
        (part,) = logits_of(Batch(network, x[3:], indices[3:]))
    torch.testing.assert_close(part, whole[:, 3:])


def test_dropout2d_drops_whole_channels():
    seen = []
    network = nn.Sequential(nn.Dropout2d(0.5)).eval()
    with dropout_passes(network, 4, None, seed=0) as logits_of:
        seen = torch.cat(list(logits_of(Batch(network, torch.ones(3, 8, 2, 5), torch.arange(3)))))
    channels = seen.flatten(3)
    assert ((channels == 0).all(-1) | (channels == 2).all(-1)).all()
    assert (channels == 0).any() and (channels == 2).any()


def test_modes_and_hooks_are_as_before_also_after_an_exception():
    network = Deep().train()
    network.body[1].eval()
    before = [part.training for part in network.modules()]
    with pytest.raises(RuntimeError, match="stop"), dropout_passes(network, 2, None, seed=0):
        raise RuntimeError("stop")
    assert [part.training for part in network.modules()] == before
    assert not any(part._forward_hooks for part in network.modules())


def test_batch_norm_does_not_move():
    network = Deep().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad(), dropout_passes(network, 3, None, seed=0) as logits_of:
        list(logits_of(Batch(network, torch.rand(5, 1, 5, 4), torch.arange(5))))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("network", [nn.Linear(3, 2), nn.Sequential(nn.Dropout(0.0), nn.Linear(3, 2))])
def test_no_live_dropout_is_an_error(network):
    with pytest.raises(UserError, match="no dropout layer"), dropout_passes(network, 5, None, seed=0):
        pass


def test_passes_that_coincide_are_an_error():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.dropout = nn.Linear(3, 2), nn.Dropout(0.5)

        def forward(self, inputs):
            return self.linear(inputs)

    network = Unused().eval()
    with pytest.raises(UserError, match="all passes agree"), dropout_passes(network, 5, None, seed=0) as logits_of:
        list(logits_of(Batch(network, torch.rand(4, 3), torch.arange(4))))


def test_passes_that_agree_by_chance_are_no_fault():
    """Few units and masks that all items share: now and then all passes keep everything. Pass by pass, too."""
    network, inputs, indices = MLP(width=3).eval(), torch.rand(5, 1, 28, 28), torch.arange(5)
    passes, shared = torch.arange(4), torch.zeros(1, dtype=torch.int64)
    seed = next(seed for seed in range(1000) if bool(keep_mask(seed, shared, passes, 3, 0.1).all()))
    other = next(seed for seed in range(1000) if not bool(keep_mask(seed, shared, passes, 3, 0.1).all()))
    for each, same in ((seed, True), (other, False)):
        with dropout_passes(network, 4, 0.1, each, shared_masks=True) as logits_of, torch.no_grad():
            logits = torch.cat([*logits_of(Batch(network, inputs, indices))])
        assert torch.allclose(logits, logits[:1].expand_as(logits)) == same
    with pytest.raises(UserError, match="all passes agree"), dropout_passes(network, 1, 0.1, seed, shared_masks=True) as logits_of:
        [*logits_of(Batch(network, inputs, indices))]
