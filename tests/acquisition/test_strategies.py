import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch

from al_lightning.acquisition import (
    BALD,
    CountAbove,
    Entropy,
    Expert,
    Inverse,
    LowestMiou,
    Margin,
    Max,
    MaxSoftmax,
    Mean,
    MostIncorrect,
    Odin,
    Order,
    Random,
    TopMean,
    VoteEntropy,
    selection,
)
from al_lightning.acquisition.strategies import joint_measurer, joint_scorer
from al_lightning.errors import UserError
from al_lightning.models import MLP

ALL = [Random(), Order(), Entropy(), MaxSoftmax(), Margin(), Odin(0.1, 0.0), Odin(1000.0, 0.0014), BALD(4, 0.5), VoteEntropy(4, 0.5)]


@pytest.fixture
def network():
    torch.manual_seed(1)
    return MLP(6, dropout=0.2, num_classes=4, input_shape=(5,)).eval()


@pytest.fixture
def batch():
    return torch.rand(9, 5, generator=torch.Generator().manual_seed(2)), torch.tensor([3, 1, 4, 15, 9, 2, 6, 5, 35])


def keys_of(strategy, network, batch, seed=0):
    with torch.no_grad(), joint_scorer([strategy], network, seed) as score:
        (keys,) = score(*batch)
    return keys


@pytest.mark.parametrize("aggregate", [None, CountAbove(0.3), Max(), TopMean(0.2)], ids=lambda a: type(a).__name__)
def test_dense_scores_against_numpy(aggregate):
    """Images: the score of each pixel by numpy, then the aggregate."""
    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Dropout(0.5), torch.nn.Conv2d(6, 4, 1)).eval()
    images, indices = torch.rand(2, 3, 5, 7), torch.tensor([4, 1])
    with torch.no_grad():
        p = network(images).double().softmax(1)
    top = p.sort(1, descending=True).values
    for make, pixels in [
        (Entropy, torch.from_numpy(scipy.stats.entropy(p.numpy(), axis=1))),
        (MaxSoftmax, 1 - top[:, 0]),
        (Margin, 1 - top[:, 0] + top[:, 1]),
    ]:
        strategy = make(aggregate)
        keys = keys_of(strategy, network, (images, indices))
        assert keys.shape == (2,)
        torch.testing.assert_close(strategy.score(keys), (aggregate or Mean())(pixels), rtol=1e-4, atol=1e-6)
    for make in (BALD, VoteEntropy):
        keys = keys_of(make(5, None, aggregate), network, (images, indices))
        assert keys.shape == (2,) and keys.isfinite().all()
        alone = keys_of(make(5, None, aggregate), network, (images[1:], indices[1:]))
        torch.testing.assert_close(alone, keys[1:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: type(s).__name__)
def test_contract(strategy, network, batch):
    """One finite key an item, repeatable, the same in smaller batches, and turned round by Inverse."""
    keys = keys_of(strategy, network, batch)
    assert keys.shape == (9,)
    assert keys.isfinite().all()
    assert torch.equal(keys_of(strategy, network, batch), keys)
    parts = torch.cat([keys_of(strategy, network, (batch[0][part], batch[1][part])) for part in (slice(0, 4), slice(4, 9))])
    torch.testing.assert_close(parts, keys, rtol=1e-5, atol=1e-6)
    scores = strategy.score(keys)
    assert scores.dtype == torch.float64
    assert torch.equal(scores.argsort(stable=True), keys.double().argsort(stable=True))
    inverse = Inverse(strategy)
    assert torch.equal(keys_of(inverse, network, batch), -keys)
    torch.testing.assert_close(inverse.score(-keys), -scores)
    assert inverse.inference == strategy.inference


def test_strategies_that_share_passes_score_as_they_do_alone(network, batch):
    """Each prediction is made once: the prefix for all, the tail once for single passes and K times for dropout passes."""
    strategies = [*ALL, Inverse(Entropy()), Inverse(BALD(4, 0.5)), BALD(3, None)]
    alone = [keys_of(strategy, network, batch) for strategy in strategies]
    calls = {"prefix": 0, "tail": 0}

    def counting(name, method):
        def call(values):
            calls[name] += len(values)
            return method(values)

        return call

    network.prefix, network.tail = counting("prefix", network.prefix), counting("tail", network.tail)
    with torch.no_grad(), joint_scorer(strategies, network, 0) as score:
        together = score(*batch)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    odin = 2 * 9  # its perturbed pass, and the one that it takes the gradient of
    tempered = 9  # without a perturbation it shares the prefix
    looks = 2 * 2  # each of the two kinds of dropout passes begins with a look at two rows
    assert calls == {"prefix": 9 + odin, "tail": 9 + tempered + looks + 9 * (4 + 3) + odin}


def test_what_is_measured_is_what_a_person_reads(network, batch):
    strategies = [Random(), Entropy(), MaxSoftmax(), Inverse(MaxSoftmax())]
    with torch.no_grad(), joint_measurer(strategies, network, 0) as measure:
        nothing, *measured = measure(*batch)
        p = network(batch[0]).softmax(1)
    assert nothing is None
    shown = [strategy.readable(m) for strategy, m in zip(strategies[1:], measured, strict=True)]
    for found, expected in zip(shown, [torch.special.entr(p).sum(1), 1 - p.amax(1), p.amax(1) - 1], strict=True):
        torch.testing.assert_close(found, expected)


def test_another_aggregation_is_another_strategy():
    entropy = Entropy()
    counted = Inverse(entropy).aggregated_by(CountAbove(0.25))
    assert str(counted) == "Inverse(strategy=Entropy(aggregation=CountAbove(threshold=0.25)))"
    assert str(entropy) == "Entropy" and str(BALD(4, 0.5)) == "BALD(passes=4, query_p=0.5)"
    with pytest.raises(UserError, match="pixel scores"):
        Random().aggregated_by(Max())


def test_scores_against_numpy(network, batch):
    with torch.no_grad():
        p = network(batch[0]).double().softmax(1).numpy()
    top = np.sort(p, axis=1)
    for strategy, expected in [
        (Entropy(), scipy.stats.entropy(p, axis=1)),
        (MaxSoftmax(), 1 - p.max(1)),
        (Margin(), 1 - top[:, -1] + top[:, -2]),
    ]:
        np.testing.assert_allclose(strategy.score(keys_of(strategy, network, batch)), expected, rtol=1e-5)


@pytest.mark.parametrize("strategy", [Entropy(), MaxSoftmax(), BALD(4, 0.5), Odin(10.0, 0.01)], ids=lambda s: type(s).__name__)
def test_an_expert_scores_in_the_networks_place(network, batch, tmp_path, strategy):
    torch.manual_seed(7)
    other = MLP(6, dropout=0.2, num_classes=4, input_shape=(5,)).eval()
    torch.save({"state_dict": {f"network.{name}": value for name, value in other.state_dict().items()}}, tmp_path / "last.ckpt")
    expert = Expert(str(tmp_path / "last.ckpt"), strategy)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad(), joint_scorer([strategy, expert], network, 0) as score:
        own, its = score(*batch)
    assert torch.equal(own, keys_of(strategy, network, batch))
    assert torch.equal(its, keys_of(strategy, other, batch)) and not torch.equal(own, its)
    assert torch.equal(expert.score(its), strategy.score(its))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_expert_that_does_not_fit_is_refused(network, batch, tmp_path):
    with pytest.raises(UserError, match="but there is no such file"):
        keys_of(Expert(str(tmp_path / "nowhere.ckpt"), Entropy()), network, batch)
    torch.save({"state_dict": MLP(5).state_dict()}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="those of another network"):
        keys_of(Expert(str(tmp_path / "other.ckpt"), Entropy()), network, batch)
    with pytest.raises(UserError, match="looks at predictions"):
        Expert("some.ckpt", Random())


def test_most_incorrect_takes_the_wrong_ones_first(network, batch):
    with torch.no_grad():
        labels = torch.zeros(40, dtype=torch.int64).scatter(0, batch[1], network(batch[0]).argmax(1))
    labels[batch[1][[1, 4, 6]]] += 1
    oracle = MostIncorrect()
    oracle.prepare(40, str, lambda indices: labels[indices])
    keys = keys_of(oracle, network, batch)
    assert (keys >= 1).nonzero().flatten().tolist() == [1, 4, 6] and len(keys.unique()) == 9
    assert not torch.equal(keys_of(oracle, network, batch, seed=1), keys)
    with pytest.raises(UserError, match="use MostIncorrect"):
        keys_of(LowestMiou(), network, batch)


def test_lowest_miou_against_sklearn():
    torch.manual_seed(3)
    network, images = torch.nn.Conv2d(3, 4, 3, padding=1).eval(), torch.rand(3, 3, 5, 7)
    targets = torch.randint(0, 3, (9, 5, 7))
    targets[:, 0] = 255
    targets[6] = 255
    oracle = LowestMiou()
    oracle.prepare(9, str, lambda indices: targets[indices])
    indices = torch.tensor([8, 6, 2])
    keys = keys_of(oracle, network, (images, indices))
    with torch.no_grad():
        predictions = network(images).argmax(1)
    for position in (0, 2):
        kept = targets[indices[position]] != 255
        p, t = predictions[position][kept], targets[indices[position]][kept]
        expected = sklearn.metrics.jaccard_score(t, p, average="macro", labels=sorted({*p.tolist(), *t.tolist()}))
        assert float(keys[position]) == pytest.approx(1 - expected)
    assert float(keys[1]) == 0  # nothing in it counts, so nothing is wrong
    with pytest.raises(UserError, match="use LowestMiou"):
        keys_of(MostIncorrect(), network, (images, indices))


def test_random_depends_on_the_seed_and_order_on_the_listing(network, batch):
    assert not torch.equal(keys_of(Random(), network, batch, 0), keys_of(Random(), network, batch, 1))
    order = selection.rank(keys_of(Order(), network, batch), batch[1], torch.arange(40).flip(0))
    assert order.tolist() == sorted(batch[1].tolist())


def test_odin_at_temperature_one_without_perturbation_is_max_softmax(network, batch):
    assert torch.equal(keys_of(Odin(1.0, 0.0), network, batch), keys_of(MaxSoftmax(), network, batch))


def test_odin_at_low_temperature_still_ranks(network, batch):
    keys = keys_of(Odin(1e-4, 0.0), network, batch)
    assert (Odin(1e-4, 0.0).score(keys) == 0).sum() > 4  # 1 - max p has underflowed for most, even in float64
    assert selection.tied_share(keys) == 0
    with torch.no_grad():
        top = network(batch[0]).sort(1).values
    assert torch.equal(keys.argsort(), (top[:, -2] - top[:, -1]).argsort())


def test_odin_leaves_no_gradients(network, batch):
    keys_of(Odin(10.0, 0.1), network, batch)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_constant_scores_give_a_seeded_permutation(batch):
    with torch.no_grad():
        network = MLP(6, num_classes=4, input_shape=(5,)).eval()
        network.output.weight.zero_()
    indices = torch.arange(200)
    keys = keys_of(Entropy(), network, (torch.rand(200, 5), indices))
    orders = [selection.rank(keys, indices, torch.randperm(200, generator=torch.Generator().manual_seed(s))).tolist() for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == indices.tolist() != orders[0]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Odin(temperature=0), "temperature of Odin to be a number >0"),
        (lambda: Odin(epsilon=-1), "epsilon of Odin to be a number >=0"),
        (lambda: BALD(passes=1), "passes of BALD to be a number >=2"),
        (lambda: VoteEntropy(query_p=1.0), "query_p of VoteEntropy to be a number >0 and <1"),
    ],
)
def test_bad_arguments(make, match):
    with pytest.raises(UserError, match=match):
        make()
