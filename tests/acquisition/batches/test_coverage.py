from itertools import combinations

import pytest
import torch

from al_lightning.acquisition import batches


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def objective(unlabeled, labeled, chosen, sigma, weights):
    known = torch.cat([labeled, unlabeled[chosen]]).double()
    if not len(known):
        return 0.0
    likeness = (-torch.cdist(unlabeled.double(), known).square() / sigma**2).exp().amax(1)
    return float((likeness * weights.double()).mean())


@pytest.mark.parametrize("labeled", [0, 6])
@pytest.mark.parametrize("features", [1, 4, 30])
@pytest.mark.parametrize("weighed", [False, True])
def test_herding_is_the_greedy_maximum_of_its_objective_which_never_falls(labeled, features, weighed):
    both = torch.randn(40 + labeled, features, generator=random(features)) + 2
    unlabeled, labeled = both[:40], both[40:]
    weights = torch.rand(40, generator=random()) if weighed else torch.ones(40)
    sigma = 0.8 * features**0.5
    if weighed:
        batch = batches.scored_uncertainty_herding(unlabeled, labeled, 12, weights, sigma)
    else:
        batch = batches.scored_max_herding(unlabeled, labeled, 12, sigma)
    before = objective(unlabeled, labeled, [], sigma, weights)
    for count, gain in enumerate(batch.scores.tolist()):
        chosen = batch.indices[:count].tolist()
        others = [objective(unlabeled, labeled, [*chosen, item], sigma, weights) for item in range(40)]
        after = objective(unlabeled, labeled, batch.indices[: count + 1].tolist(), sigma, weights)
        assert after >= before
        assert after == pytest.approx(max(others), abs=1e-6)
        assert gain == pytest.approx(after - before, abs=2e-6)
        before = after


def test_herding_reaches_what_a_greedy_maximum_must():
    unlabeled = torch.randn(10, 2, generator=random(3))
    chosen = batches.max_herding(unlabeled, unlabeled[:0], 3, 0.7).tolist()
    weights = torch.ones(10)
    optimum = max(objective(unlabeled, unlabeled[:0], list(some), 0.7, weights) for some in combinations(range(10), 3))
    assert (1 - 1 / torch.e) * optimum <= objective(unlabeled, unlabeled[:0], chosen, 0.7, weights) <= optimum + 1e-6


def test_herding_by_hand():
    unlabeled = torch.tensor([[0.0], [1.0], [9.0]])
    batch = batches.scored_max_herding(unlabeled, unlabeled[:0], 3, 1.0)
    e = torch.e**-1
    assert batch.indices.tolist() == [0, 2, 1]  # 0 and 1 draw
    torch.testing.assert_close(batch.scores, torch.tensor([1 + e, 1, 1 - e], dtype=torch.float64) / 3, rtol=1e-5, atol=0)
    uncertain = batches.scored_uncertainty_herding(unlabeled, unlabeled[:1], 2, torch.tensor([5.0, 1.0, 0.5]), 1.0)
    assert uncertain.indices.tolist() == [1, 2]
    torch.testing.assert_close(uncertain.scores, torch.tensor([1 - e, 0.5], dtype=torch.float64) / 3, rtol=0, atol=1e-5)


@pytest.mark.parametrize("features", [2, 30])
def test_a_width_may_be_any_number_above_0(features):
    unlabeled = torch.randn(12, features, generator=random())
    unlabeled[7] = unlabeled[3]
    for sigma in (1e-300, 1e-200, 1e-30):  # an item is similar only to its copy
        batch = batches.scored_max_herding(unlabeled, unlabeled[:2], 12, sigma)
        assert batch.indices[0] == 3 and {*batch.indices[-3:].tolist()} == {0, 1, 7}
        assert batch.scores.tolist() == pytest.approx([2 / 12, *[1 / 12] * 8, 0, 0, 0])
    for sigma in (1e30, 1e200, 1e308, torch.inf):  # each item is similar to all
        batch = batches.scored_max_herding(unlabeled, unlabeled[:0], 3, sigma)
        assert batch.indices[0] == 0 and batch.scores.tolist() == [1, 0, 0]


@pytest.mark.parametrize("features", [2, 30])
@pytest.mark.parametrize("scale", [1e-20, 1e-19, 1e15])
def test_units_of_the_features_do_not_matter(features, scale):
    both = torch.randn(44, features, generator=random())
    weights = torch.rand(40, generator=random())
    for choose in (batches.max_herding, lambda *arguments: batches.uncertainty_herding(*arguments, weights), batches.prob_cover):
        expected = choose(both[:40], both[40:], 8)
        assert torch.equal(choose(scale * both[:40], scale * both[40:], 8), expected)


@pytest.mark.parametrize("features", [2, 30])
@pytest.mark.parametrize("scale", [1e-22, 1e-25, 1e-44])
def test_features_whose_squares_are_0_are_alike(features, scale):
    unlabeled = scale * torch.randn(6, features, generator=random())
    for choose in (batches.max_herding, batches.prob_cover):
        assert sorted(choose(unlabeled, unlabeled[:2], 6).tolist()) == list(range(6))


def test_certain_items_are_not_herded_to_but_come_farthest_first():
    unlabeled = torch.tensor([[0.0], [4.0], [5.0], [9.0]])
    weights = torch.tensor([0.0, 0, 1, 0])
    assert batches.uncertainty_herding(unlabeled, unlabeled[:0], 4, weights, 0.1).tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize("labeled", [0, 5])
@pytest.mark.parametrize("features", [1, 2, 25])
def test_prob_cover_is_a_greedy_cover(labeled, features):
    both = torch.randn(60 + labeled, features, generator=random(features))
    unlabeled, labeled = both[:60], both[60:]
    delta = 0.6 * features**0.5
    near = torch.cdist(unlabeled.double(), unlabeled.double()) <= delta
    covered = (torch.cdist(unlabeled.double(), labeled.double()) <= delta).any(1)
    batch = batches.scored_prob_cover(unlabeled, labeled, 20, delta)
    for item, count in zip(batch.indices.tolist(), batch.scores.tolist(), strict=True):
        counts = (near & ~covered).sum(1)
        assert count == counts.max() == counts[item]
        if count:
            assert item == int(counts.argmax())  # the first of those that draw
        covered |= near[item]


def test_prob_cover_by_hand():
    unlabeled = torch.tensor([[0.0], [1], [2], [3], [7], [8], [20]])
    batch = batches.scored_prob_cover(unlabeled, torch.tensor([[8.0]]), 5, 1.0)
    assert batch.indices.tolist() == [1, 2, 6, 0, 3]  # 1 covers 0, 1, 2; then 2 is the first that covers 3; then farthest first: 0, 3 draw
    assert batch.scores.tolist() == [3, 1, 1, 0, 0]


def test_the_radius_is_that_of_a_ball_with_its_share_of_the_items():
    unlabeled = torch.arange(100.0).unsqueeze(1)
    # 101 items for 20 balls are 5 each: itself and two on either side, but at the ends.
    assert batches.coverage_radius(unlabeled, torch.tensor([[50.5]]), 19) == 2.0
    assert batches.coverage_radius(unlabeled, unlabeled[:0], 100) == 0.0


def test_widths_follow_the_features():
    unlabeled = torch.randn(500, 30, generator=random())
    assert batches.kernel_width(unlabeled) == pytest.approx(float(unlabeled.var(0, correction=0).sum().sqrt()), rel=1e-5)
    assert batches.kernel_width(7 * unlabeled + 100) == pytest.approx(7 * batches.kernel_width(unlabeled), rel=1e-4)
    assert batches.kernel_width(torch.ones(4, 2)) == 1.0
    labeled = torch.tensor([[0.0, 0], [0, 0], [3, 4], [3, 5.5]])
    assert batches.uncertainty_width(100 * unlabeled[:, :2], labeled) == 1.5
    assert batches.uncertainty_width(unlabeled, unlabeled[:1]) == batches.kernel_width(unlabeled)


def test_a_negative_uncertainty_is_refused():
    with pytest.raises(ValueError, match="at least 0, got -1"):
        batches.uncertainty_herding(torch.rand(3, 2), torch.rand(0, 2), 1, torch.tensor([0.0, -1, 0]))
