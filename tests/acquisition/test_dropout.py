"""Dropout made live by hooks: right for everything that torch calls dropout, or refused."""

import pytest
import torch
from torch import nn

from al_lightning.acquisition import inference
from al_lightning.acquisition.dropout import LiveDropout
from al_lightning.acquisition.hashing import keep_mask
from al_lightning.acquisition.inference import Batch, dropout_passes
from al_lightning.errors import UserError


def passes_of(network, inputs, passes=4, drop=None, seed=11):
    with torch.no_grad(), dropout_passes(network.eval(), passes, drop, seed) as logits_of:
        return torch.cat(list(logits_of(Batch(network, inputs, 7 * torch.arange(len(inputs)) + 3))))


class Twice(nn.Module):
    """One dropout layer, run twice on the same features beside another layer that is run once."""

    def __init__(self, times=2):
        super().__init__()
        self.shared, self.other, self.times = nn.Dropout(0.5), nn.Dropout(0.25), times

    def forward(self, inputs):
        return torch.cat([self.shared(inputs) for _ in range(self.times)] + [self.other(inputs)], dim=1)


@pytest.mark.parametrize("elements", [10**9, 1])  # all passes at once, or one by one
def test_a_layer_that_is_run_twice_draws_twice(monkeypatch, elements):
    monkeypatch.setattr(inference, "_ELEMENTS_AT_ONCE", elements)
    inputs, numbers = torch.ones(5, 400), 7 * torch.arange(5) + 3
    first, second, other = passes_of(Twice(), inputs).split(400, dim=2)
    for found, seed, rate in ((first, 11, 0.5), (other, 12, 0.25)):  # what is run once has the masks that it always had
        assert torch.equal(found > 0, keep_mask(seed, numbers, torch.arange(4), 400, rate))
    assert float(((first > 0) & (second > 0)).double().mean()) == pytest.approx(0.25, abs=0.02)
    thrice = passes_of(Twice(3), inputs)
    assert torch.equal(thrice[:, :, :800], torch.cat([first, second], dim=2))  # further calls move none before them
    assert torch.equal(passes_of(Twice(), inputs[:1])[:, 0], torch.cat([first, second, other], dim=2)[:, 0])


class Sequence(nn.Module):
    """Dropout of a sequence's steps, in one of three layouts."""

    def __init__(self, layout):
        super().__init__()
        self.layout, self.drop, self.head = layout, nn.Dropout(0.5), nn.Linear(6, 3)

    def forward(self, inputs):  # (B, T, F)
        batch, steps, features = inputs.shape
        values = {"BTF": inputs, "TBF": inputs.transpose(0, 1), "(BT)F": inputs.flatten(0, 1)}[self.layout]
        dropped = self.drop(values)
        dropped = {"BTF": dropped, "TBF": dropped.transpose(0, 1), "(BT)F": dropped.reshape(batch, steps, features)}[self.layout]
        return self.head(dropped.mean(dim=1))


@pytest.mark.parametrize("steps", [5, 12])  # 12 = 4 passes x 3 items, where the shape alone can't tell
@pytest.mark.parametrize("layout", ["TBF", "(BT)F"])
def test_a_batch_that_is_not_the_first_axis_is_refused(layout, steps):
    with pytest.raises(UserError, match="first axis is the batch, but the layer drop gets"):
        passes_of(Sequence(layout), torch.rand(3, steps, 6))
    passes_of(Sequence("BTF"), torch.rand(3, steps, 6))


@pytest.mark.parametrize(
    ("layer", "shape", "whole_channels"),
    [
        (nn.Dropout(0.3), (3, 40, 5), False),
        (nn.Dropout1d(0.3), (3, 40, 5), True),
        (nn.Dropout2d(0.3), (3, 40, 5), True),
        (nn.Dropout2d(0.3), (3, 40, 5, 2), True),
        (nn.Dropout3d(0.3), (3, 40, 5, 2, 2), True),
        (nn.AlphaDropout(0.3), (3, 40, 5), False),
        (nn.FeatureAlphaDropout(0.3), (3, 40, 5), True),
    ],
    ids=str,
)
def test_each_kind_drops_as_torch_drops(layer, shape, whole_channels):
    """The same values for kept and dropped, whole channels or not, as often; torch's own training mode is the reference."""
    torch.manual_seed(0)
    reference = torch.stack([layer.train()(torch.ones(shape)) for _ in range(40)])
    found = passes_of(nn.Sequential(layer), torch.ones(shape), passes=40)
    torch.testing.assert_close(found.unique(), reference.unique())
    for values in (found, reference):
        dropped = (values == values.min()).flatten(3)
        assert float(dropped.double().mean()) == pytest.approx(0.3, abs=0.03)
        assert bool((dropped.all(-1) | ~dropped.any(-1)).all()) == whole_channels


class Residual(nn.Dropout):
    def forward(self, inputs):
        return inputs + super().forward(inputs)


class Attention(nn.Module):
    def __init__(self, inside):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.5, batch_first=True)
        layer.self_attn.dropout = inside
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(6, 3)

    def forward(self, inputs):
        return self.head(self.body(inputs)[:, 0])


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.drop = nn.LSTM(6, 3, num_layers=2, dropout=0.5, batch_first=True), nn.Dropout(0.5)

    def forward(self, inputs):
        return self.drop(self.body(inputs)[0][:, -1])


@pytest.mark.parametrize(
    ("network", "shape", "said"),
    [
        (nn.Sequential(nn.Dropout1d(0.5)), (3, 6), "a batch as the first axis of what Dropout1d gets, but the layer 0 gets"),
        (nn.Sequential(nn.Dropout3d(0.5)), (3, 6, 2, 2), "a batch as the first axis of what Dropout3d gets"),
        (nn.Sequential(Residual(0.5)), (3, 6), "a dropout layer of torch"),
        (nn.Sequential(nn.Dropout(1.0)), (3, 6), "a rate below 1"),
        (Attention(0.1), (3, 4, 6), "self_attn, a MultiheadAttention, drops inside of itself"),
        (Recurrent(), (3, 4, 6), "body, a LSTM, drops inside of itself"),
    ],
)
def test_what_hooks_can_not_get_right_is_refused(network, shape, said):
    with pytest.raises(UserError, match=said):
        passes_of(network, torch.rand(shape))


class Fused(nn.Module):
    """Takes the rate of a layer, and does not run it."""

    def __init__(self):
        super().__init__()
        self.attn_drop, self.head = nn.Dropout(0.4), nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))

    def forward(self, inputs):
        rate = self.attn_drop.p if self.training else 0.0
        return self.head(nn.functional.scaled_dot_product_attention(inputs, inputs, inputs, dropout_p=rate)[:, 0])


def test_a_layer_that_no_pass_runs_is_warned_of(recwarn):
    with pytest.warns(UserWarning, match=r"^attn_drop: these dropout layers of Fused did not run in the passes"):
        passes_of(Fused(), torch.rand(3, 4, 6))
    passes_of(nn.Sequential(nn.Dropout(), nn.Linear(6, 3)), torch.rand(3, 6))
    assert not recwarn.list


def test_threads_do_not_fuse_for_each_other():
    """Several devices have a thread each: the last one to leave fuses again, and none before."""
    one, other = (LiveDropout({}, None, 0) for _ in range(2))
    first, second = (live.drawing(torch.arange(1), torch.arange(2)) for live in (one, other))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not torch.backends.mha.get_fastpath_enabled()
    second.__exit__(None, None, None)
    assert torch.backends.mha.get_fastpath_enabled()


def test_fused_transformer_layers_do_not_go_round_their_dropout():
    network, inputs = Attention(0.0), torch.rand(3, 4, 6)
    calls = []
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.register_forward_hook(lambda *_: calls.append(1))
    found = passes_of(network, inputs)
    assert len(calls) == 2 * 2 * 3  # passes all at once, and the look at other numbers of rows; layers; dropout in each
    assert (found[0] != found[1]).any(dim=1).all()
    assert torch.backends.mha.get_fastpath_enabled()


class OfLists(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout, self.head = nn.Dropout(), nn.Linear(5, 4)

    def prefix(self, inputs):
        return [inputs]

    def tail(self, features):
        return self.head(self.dropout(features[0]))

    def forward(self, inputs):
        return self.tail(self.prefix(inputs))


def test_a_prefix_without_a_tensor_is_refused():
    with pytest.raises(UserError, match="prefix of OfLists to return a tensor, or a tuple with tensors in it, got list"):
        passes_of(OfLists(), torch.rand(2, 5))
