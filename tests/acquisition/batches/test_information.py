import math
from itertools import product

import pytest
import torch

from al_lightning.acquisition import functional
from al_lightning.acquisition.batches import NotFinite, batch_bald, epig, information


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def joint(logits, items):
    """The mutual information of the items' labels and the pass, by all their combinations."""
    logs = logits.double().log_softmax(2)
    entropy = 0.0
    for labels in product(range(logits.shape[2]), repeat=len(items)):
        probability = float(sum(logs[:, item, label] for item, label in zip(items, labels, strict=True)).exp().mean())
        entropy -= probability * math.log(probability) if probability else 0.0
    given_pass = torch.special.entr(logs.exp()).sum(2).mean(0)
    return entropy - float(given_pass[items].sum())


@pytest.mark.parametrize(("passes", "n", "classes", "size"), [(5, 7, 3, 6), (2, 6, 4, 5), (9, 8, 2, 8), (1, 4, 3, 3)])
def test_batch_bald_is_the_greedy_maximum_by_enumeration(passes, n, classes, size):
    logits = 2 * torch.randn(passes, n, classes, generator=random(n))
    logits[0, 0, 0] = -torch.inf  # a class without probability
    indices, found = batch_bald(logits, size)
    for count in range(size):
        chosen = indices[:count].tolist()
        best = max(joint(logits, [*chosen, item]) for item in range(n) if item not in chosen)
        assert float(found[count]) == pytest.approx(best, abs=1e-8)
        assert float(found[count]) == pytest.approx(joint(logits, indices[: count + 1].tolist()), abs=1e-8)
    assert found.dtype == torch.float64 and bool((found.diff() >= 0).all())


def test_batch_bald_begins_with_bald():
    logits = torch.randn(6, 20, 5, generator=random())
    indices, found = batch_bald(logits, 1)
    bald = functional.bald(logits.double())
    assert int(indices) == int(bald.argmax()) and float(found) == pytest.approx(float(bald.max()))


@pytest.mark.parametrize("seed", range(3))
def test_drawn_configurations_come_near_enumerated_ones(seed, monkeypatch):
    logits = torch.randn(8, 12, 3, generator=random(seed))
    monkeypatch.setattr(information, "_ENUMERATED", 5)  # the first label alone
    indices, found = batch_bald(logits, 6, random(seed))
    assert float(found[-1]) == pytest.approx(joint(logits, indices.tolist()), rel=0.02)
    assert float(found[-1]) == pytest.approx(float(batch_bald(logits, 6)[1][-1]), rel=0.05)
    again = batch_bald(logits, 6, random(seed))
    assert torch.equal(again[0], indices) and torch.equal(again[1], found)


def test_once_all_is_known_the_rest_come_by_their_own_information():
    logits = 4 * torch.randn(3, 400, 10, generator=random())
    indices, found = batch_bald(logits, 60)
    assert float(found[-1]) == pytest.approx(math.log(3), rel=2e-3) and float(found.max()) <= math.log(3) + 1e-9
    assert bool((found.diff() >= 0).all())
    bald = functional.bald(logits.double())
    steady = indices[int((found == found[-1]).nonzero()[0]) + 1 :]
    assert len(steady) > 40
    assert bool((bald[steady].diff() <= 1e-12).all())
    assert float(bald[steady[-1]]) >= float(bald.index_fill(0, indices, -1.0).max())


def test_once_all_is_known_exactly_the_rest_come_by_their_own_information():
    """Item 0 tells the pass, and no configuration is drawn."""
    logits = torch.randn(2, 40, 2, generator=random(3))
    logits[:, 0] = torch.tensor([[60.0, -60.0], [-60.0, 60.0]])
    chosen, found = batch_bald(logits, 8)
    own = torch.tensor([joint(logits, [item]) for item in range(40)])
    assert chosen.tolist() == own.argsort(descending=True)[:8].tolist() and chosen[0] == 0
    assert found.tolist() == pytest.approx([math.log(2)] * 8)


def test_a_batch_does_not_ask_twice_for_the_same():
    logits = torch.tensor([[[4.0, -4], [4, -4], [1, 0]], [[-4, 4], [-4, 4], [0, 0]]])  # the first two say the same
    indices, found = batch_bald(logits, 3)
    assert indices.tolist()[0] == 0
    assert float(found[0]) == pytest.approx(joint(logits, [0]))


def test_one_class_tells_nothing():
    assert batch_bald(torch.randn(4, 5, 1, generator=random()), 5)[0].tolist() == [0, 1, 2, 3, 4]
    assert float(epig(torch.rand(4, 5, 1), torch.rand(4, 2, 1)).max()) == 0.0


@pytest.mark.parametrize(("passes", "n", "targets", "classes"), [(4, 6, 3, 5), (7, 3, 8, 2), (1, 2, 3, 4)])
def test_epig_by_enumeration(passes, n, targets, classes):
    pool, others = torch.randn(passes, n, classes, generator=random()), torch.randn(passes, targets, classes, generator=random(1))
    both = torch.cat([pool, others], dim=1).double()
    p = both.softmax(2)
    mutual = torch.zeros(n, targets, dtype=torch.float64)
    for item, target, y, z in product(range(n), range(targets), range(classes), range(classes)):
        together = (p[:, item, y] * p[:, n + target, z]).mean()
        mutual[item, target] += together * (together / (p[:, item, y].mean() * p[:, n + target, z].mean())).log()
    torch.testing.assert_close(epig(pool, others), mutual.mean(1), rtol=0, atol=1e-12)


def test_epig_by_hand():
    sure = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])  # two passes, two labels
    unsure = torch.zeros(2, 2)
    pool = torch.stack([sure, unsure], dim=1)
    torch.testing.assert_close(epig(pool, sure.unsqueeze(1)), torch.tensor([math.log(2), 0], dtype=torch.float64))


def test_blocks_do_not_change_epig(monkeypatch):
    pool, targets = torch.randn(3, 20, 4, generator=random()), torch.randn(3, 5, 4, generator=random(1))
    expected = epig(pool, targets)
    monkeypatch.setattr(information, "_ENTRIES", 7)
    torch.testing.assert_close(epig(pool, targets), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_pass_that_is_not_finite_names_its_item(value):
    pool, targets = torch.randn(3, 6, 2), torch.randn(3, 5, 2)
    targets[1, 4, 0] = value
    with pytest.raises(NotFinite, match="item 4 of the target"):
        epig(pool, targets)
    pool[2, 5, 1] = value
    with pytest.raises(NotFinite, match="item 5 of the unlabeled"):
        batch_bald(pool, 2)
