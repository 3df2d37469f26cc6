"""What is known of each item, by any network and in the pass that others share."""

import pytest
import torch
from torch import nn
from torchvision.models.convnext import LayerNorm2d

from al_lightning.acquisition import BADGE, BALD, EPIG, BatchBALD, CoreSet, Diverse, Entropy, Expert, Features, Margin, Odin, UHerding
from al_lightning.acquisition.hashing import keep_mask
from al_lightning.acquisition.inference import DropoutPasses, PlainPass
from al_lightning.acquisition.joint import joint_looker
from al_lightning.acquisition.representations import GradientEmbedding, PassProbabilities, PredictedShares, Represented
from al_lightning.errors import UserError
from al_lightning.models import MLP


def rows_of(represented, network, inputs, indices=None, seed=0, strategies=()):
    indices = torch.arange(len(inputs)) if indices is None else indices
    with torch.no_grad(), joint_looker(strategies, represented, network.eval(), seed) as look:
        return look(inputs, indices)[1]


def features_of(network, inputs, **arguments):
    (features,) = rows_of(Represented(PlainPass(), Features(**arguments)), network, inputs)
    return features


class Backwards(nn.Module):
    """Registers its layers in another order than it runs them in, gives the first by keyword, and ends without a layer."""

    def __init__(self):
        super().__init__()
        self.head, self.norm, self.body = nn.Linear(6, 4), nn.LayerNorm(6), nn.Linear(5, 6)

    def forward(self, inputs):
        return self.head(self.norm(self.body(input=inputs)).tanh()).log_softmax(1)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 4)

    def forward(self, inputs):  # (B, T, 5)
        return self.head(inputs).mean(1)


class Transposed(Tokens):
    def forward(self, inputs):
        return self.head(inputs.transpose(0, 1)).mean(0)


class Normed(Tokens):
    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(5), nn.Dropout()

    def forward(self, inputs):
        return self.head(self.drop(self.norm(inputs))).mean(1)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(5, 4)

    def forward(self, inputs):
        return inputs[:, :3]


def test_features_are_what_enters_the_last_layer_that_runs():
    torch.manual_seed(0)
    inputs = torch.rand(7, 5)
    mlp, backwards = MLP(6, 0.3, 4, (5,)), Backwards()
    with torch.no_grad():
        torch.testing.assert_close(features_of(mlp, inputs), mlp.hidden(inputs).relu())
        torch.testing.assert_close(features_of(mlp, inputs, layer="hidden"), inputs)
        torch.testing.assert_close(features_of(backwards, inputs), backwards.norm(backwards.body(inputs)).tanh())
        torch.testing.assert_close(features_of(backwards, inputs, layer="norm"), backwards.body(inputs))
    half = features_of(mlp, inputs, half=True)
    assert half.dtype == torch.float16 and features_of(mlp.double(), inputs).dtype == torch.float32
    assert not any(part._forward_pre_hooks for network in (mlp, backwards) for part in network.modules())


def test_pixels_and_tokens_are_pooled():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1))
    images, tokens = torch.rand(2, 3, 5, 8), torch.rand(2, 7, 5)
    with torch.no_grad():
        hidden = network[:2](images)
    torch.testing.assert_close(features_of(network, images), hidden.mean((2, 3)))
    torch.testing.assert_close(features_of(network, images, pool="mean_and_max"), torch.cat([hidden.mean((2, 3)), hidden.amax((2, 3))], 1))
    torch.testing.assert_close(features_of(Tokens(), tokens), tokens.mean(1))
    torch.testing.assert_close(features_of(Normed(), tokens, layer="norm"), tokens.mean(1))
    torch.testing.assert_close(features_of(nn.Sequential(nn.Conv1d(7, 2, 1)), tokens), tokens.mean(2))


def test_norms_of_images_have_features_second_and_those_of_tokens_last():
    torch.manual_seed(0)
    images, tokens = torch.rand(2, 3, 5, 8), torch.rand(2, 5, 8, 3)
    for norm, inputs, axes in (
        (LayerNorm2d(3), images, (2, 3)),
        (nn.LayerNorm([3, 5, 8]), images, (2, 3)),
        (nn.RMSNorm(3), tokens, (1, 2)),
    ):
        network = nn.Sequential(norm, nn.Flatten(), nn.Linear(120, 4))
        torch.testing.assert_close(features_of(network, inputs, layer="0"), inputs.mean(axes))


def test_a_layer_that_changes_its_input_is_looked_at_before():
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 4)), torch.rand(7, 5) - 0.5
    with torch.no_grad():
        torch.testing.assert_close(features_of(network, inputs, layer="1"), network[0](inputs))


@pytest.mark.parametrize(
    ("network", "arguments", "match"),
    [
        (MLP(6, 0.3, 4, (7, 5)), {"layer": "hiden"}, "a layer of MLP, like hidden, .*got hiden"),
        (Functional(), {}, "runs a layer with weights .* but it never did"),
        (Functional(), {"layer": "unused"}, "runs its layer unused"),
        (Normed(), {"layer": "drop"}, r"which says which axis of \(2, 7, 5\) are features, got a Dropout"),
        (Transposed(), {}, r"items along the first axis of what enters head, but that is \(7, 2, 5\) for 2 items"),
    ],
)
def test_what_has_no_features_is_refused(network, arguments, match):
    with pytest.raises(UserError, match=match):
        features_of(network, torch.rand(2, 7, 5), **arguments)


@pytest.mark.parametrize("network", [Functional(), Transposed()], ids=lambda network: type(network).__name__)
def test_what_to_do_names_the_option_that_is_in_use(network):
    for strategy, option in ((CoreSet(), "features.layer"), (UHerding(), "features.layer"), (BADGE(), "layer")):
        with pytest.raises(UserError, match=rf"Name another (one|layer) as {option}\."):
            rows_of(strategy.represented, network, torch.rand(2, 7, 5))


class Halved(nn.Module):
    """Ends with a layer that gives more numbers than there are classes."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 8)

    def forward(self, inputs):
        return self.head(inputs)[:, :4]


class Stateful(Tokens):
    def __init__(self):
        super().__init__()
        self.pair = nn.LSTMCell(5, 5)

    def forward(self, inputs):
        return self.head(self.pair(inputs)[0])


@pytest.mark.parametrize(
    ("network", "layer", "match"),
    [
        (MLP(6, 0.3, 4, (5,)), "hidden", "hidden, whose output has 6 channels"),
        (Backwards(), "norm", "norm, whose output has 6 channels"),
        (Stateful(), "pair", "pair, whose output has 0 channels"),
        (Halved(), None, "Linear, whose output has 8 channels"),
    ],
)
def test_a_gradient_of_a_layer_that_makes_no_logits_is_refused(network, layer, match):
    with pytest.raises(UserError, match=rf"the last layer, which makes the 4 logits of an item .*got {match}\. Name .* as layer;"):
        rows_of(BADGE(layer).represented, network, torch.rand(3, 5))


def test_a_layer_that_makes_logits_is_taken_by_its_name():
    torch.manual_seed(0)
    inputs, tokens = torch.rand(3, 5), torch.rand(3, 7, 5)
    convolutional = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    named = ((MLP(6, 0.3, 4, (5,)), "output", inputs), (Tokens(), "head", tokens), (convolutional, "1", torch.rand(3, 3, 5, 5)))
    for network, layer, its in named:
        for found, expected in zip(
            rows_of(BADGE(layer).represented, network, its), rows_of(BADGE().represented, network, its), strict=True
        ):
            assert torch.equal(found, expected)


def test_the_factors_of_a_gradient_are_those_of_autograd():
    torch.manual_seed(0)
    network, inputs = MLP(6, num_classes=4, input_shape=(5,)), torch.rand(3, 5)
    probabilities, features = rows_of(BADGE().represented, network, inputs)
    assert probabilities.shape == (3, 4) and features.shape == (3, 6)
    for row, item in enumerate(inputs):
        network.zero_grad()
        logits = network(item[None])
        nn.functional.cross_entropy(logits, logits.argmax(1)).backward()
        errors = probabilities[row] - nn.functional.one_hot(probabilities[row].argmax(), 4)
        torch.testing.assert_close(torch.outer(errors, features[row]), network.output.weight.grad)


def test_all_items_have_the_same_masks_in_a_pass():
    torch.manual_seed(0)
    network, inputs, indices = MLP(6, 0.3, 4, (5,)), torch.rand(3, 5), torch.tensor([9, 2, 30])
    for strategy in (BatchBALD(4, 0.5), EPIG(passes=4, query_p=0.5)):
        (logs_NKC,) = rows_of(strategy.represented, network, inputs, indices, seed=3)
        masks = keep_mask(3, torch.zeros(1, dtype=torch.int64), torch.arange(4), 6, 0.5)
        with torch.no_grad():
            expected = torch.stack([network.output(network.hidden(inputs).relu() * mask / 0.5).log_softmax(1) for mask in masks], 1)
        torch.testing.assert_close(logs_NKC, expected)


def test_passes_are_joined_where_they_come_in_parts(monkeypatch):
    network, inputs = MLP(6, 0.3, 4, (5,)), torch.rand(3, 5)
    represented = Represented(DropoutPasses(5, 0.5), PassProbabilities())
    (whole,) = rows_of(represented, network, inputs)
    monkeypatch.setattr("al_lightning.acquisition.inference._ELEMENTS_AT_ONCE", 36)
    (parts,) = rows_of(represented, network, inputs)
    assert whole.shape == (3, 5, 4)
    torch.testing.assert_close(parts, whole)


def test_shares_of_the_predicted_classes():
    logits = torch.randn(1, 3, 4, 5, 7)
    (shares,) = PredictedShares().of(logits, None)
    expected = torch.stack([torch.bincount(image.flatten(), minlength=4) / 35 for image in logits[0].argmax(1)])
    torch.testing.assert_close(shares, expected)
    (shares,) = PredictedShares().of(torch.tensor([[[0.0, 2.0, 1.0], [3.0, float("nan"), 0.0]]]), None)
    assert shares[0].tolist() == [0, 1, 0] and shares[1].isnan().any()


def test_impossible_classes_are_numbers_and_what_is_none_stays_so():
    (logs,) = PassProbabilities().of(torch.tensor([[[0.0, -torch.inf], [torch.nan, 0.0], [torch.inf, 0.0]]]), None)
    assert logs[0].exp().tolist() == [[1.0, 0.0]] and not logs[1:].flatten(1).isfinite().all(1).any()


@pytest.mark.parametrize(("strategy", "why"), [(BADGE(), "no two factors"), (BatchBALD(), "can't be enumerated"), (EPIG(), "enumerated")])
def test_scenes_are_refused_with_the_reason(strategy, why):
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Dropout(0.5), nn.Conv2d(6, 4, 1))
    with pytest.raises(UserError, match=f"a classification for this strategy, got scenes.*{why}"):
        rows_of(strategy.represented, network, torch.rand(2, 3, 5, 8))


def test_one_pass_is_shared():
    network, inputs, passed = MLP(6, 0.3, 4, (5,)), torch.rand(7, 5), []
    network.output.register_forward_hook(lambda layer, args, output: passed.append(len(output)))
    for strategies in ([CoreSet(), Entropy()], [Diverse(Margin()), Entropy()], [UHerding(), Margin()]):
        passed.clear()
        rows_of(strategies[0].represented, network, inputs, strategies=strategies)
        assert passed == [7]


def test_an_expert_s_features_are_its_own_network_s(tmp_path):
    torch.manual_seed(0)
    network, other, inputs = MLP(6, 0.3, 4, (5,)), MLP(6, 0.3, 4, (5,)), torch.rand(7, 5)
    torch.save({"state_dict": {f"network.{name}": value for name, value in other.state_dict().items()}}, tmp_path / "last.ckpt")
    (found,) = rows_of(Expert(str(tmp_path / "last.ckpt"), CoreSet()).represented, network, inputs)
    torch.testing.assert_close(found, features_of(other, inputs))
    assert not torch.equal(found, features_of(network, inputs))


def test_what_is_represented_is_of_its_own_pass_whatever_else_is_recorded(tmp_path):
    """Also in a layer of the part that dropout passes have computed already."""
    torch.manual_seed(0)
    network, other, inputs = MLP(6, 0.3, 4, (5,)), MLP(6, 0.3, 4, (5,)), torch.rand(7, 5)
    torch.save({"state_dict": {f"network.{name}": value for name, value in other.state_dict().items()}}, tmp_path / "last.ckpt")
    recorded = [BALD(3, 0.5), Expert(str(tmp_path / "last.ckpt"), Entropy()), Odin(10.0, 0.1)]
    for layer in ("hidden", "output"):
        wanted = Represented(PlainPass(), Features(layer=layer))
        (alone,), (beside,) = (rows_of(wanted, network, inputs, strategies=strategies) for strategies in ([], recorded))
        assert torch.equal(alone, beside)


def test_a_layer_whose_weights_are_computed_has_weights():
    last = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4))
    network = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(), last).eval()
    inputs = torch.rand(3, 5)
    torch.testing.assert_close(features_of(network, inputs), network[:3](inputs))
    assert features_of(nn.Sequential(nn.Linear(5, 6), nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))), inputs).shape == (3, 6)


def test_equal_representations_are_one():
    assert Features() == Features() != Features(pool="mean_and_max") and GradientEmbedding() == GradientEmbedding()
    assert str(CoreSet(Features(half=True))) == "CoreSet(features=Features(half=True))" and str(CoreSet()) == "CoreSet"
