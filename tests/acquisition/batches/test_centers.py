from itertools import combinations

import pytest
import torch

from al_lightning.acquisition.batches import centers, k_center, scored_k_center


def plain(unlabeled, labeled, size):
    """Farthest first, as it is written down."""
    unlabeled, labeled = unlabeled.double(), labeled.double()
    chosen, scores = [], []
    while len(chosen) < size:
        known = torch.cat([labeled, unlabeled[chosen]])
        mean_distance = -(unlabeled - unlabeled.mean(0)).norm(dim=1)
        distance = torch.cdist(unlabeled, known).amin(1) if len(known) else mean_distance
        distance[chosen] = -torch.inf
        chosen.append(int(distance.argmax()))
        scores.append(abs(float(distance[chosen[-1]])))
    return chosen, scores


@pytest.mark.parametrize("labeled", [0, 1, 30])
@pytest.mark.parametrize("features", [1, 3, 16, 17, 60])
def test_equals_a_plain_implementation(labeled, features, monkeypatch):
    both = torch.randn(150 + labeled, features, generator=torch.Generator().manual_seed(features)) + 3
    expected, distances = plain(both[:150], both[150:], 60)
    for candidates, together in ((1024, 256), (5, 7), (1, 1)):
        monkeypatch.setattr(centers, "_CANDIDATES", candidates)
        monkeypatch.setattr(centers, "_TOGETHER", together)
        batch = scored_k_center(both[:150], both[150:], 60)
        assert batch.indices.tolist() == expected
        torch.testing.assert_close(batch.scores, torch.tensor(distances, dtype=torch.float64), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_radius_is_within_twice_the_optimum(seed):
    unlabeled = torch.randn(9, 2, generator=torch.Generator().manual_seed(seed))
    labeled = torch.randn(2, 2, generator=torch.Generator().manual_seed(seed + 100))

    def radius(chosen):
        return float(torch.cdist(unlabeled, torch.cat([labeled, unlabeled[list(chosen)]])).amin(1).max())

    optimum = min(radius(chosen) for chosen in combinations(range(9), 3))
    assert optimum <= radius(k_center(unlabeled, labeled, 3).tolist()) <= 2 * optimum


def test_by_hand():
    unlabeled = torch.tensor([[0.0], [1], [2], [3], [10]])
    batch = scored_k_center(unlabeled, unlabeled[:0], 5)  # the mean is 3.2
    assert batch.indices.tolist() == [3, 4, 0, 1, 2]
    torch.testing.assert_close(batch.scores, torch.tensor([0.2, 7, 3, 1, 1], dtype=torch.float64), rtol=0, atol=1e-6)
    assert k_center(unlabeled, torch.tensor([[9.0]]), 2).tolist() == [0, 3]  # then 2 and 3 draw at 6 / 2... 3 is at 3, of 0; 2 at 2


def test_a_grid_s_ties_fall_to_the_first_position(monkeypatch):
    grid = torch.cartesian_prod(torch.arange(6.0), torch.arange(5.0))
    expected, _ = plain(grid, grid[:1], 29)
    for candidates in (1024, 4):
        monkeypatch.setattr(centers, "_CANDIDATES", candidates)
        assert k_center(grid, grid[:1], 29).tolist() == expected


def test_a_pass_measures_many_centers_at_once(monkeypatch):
    passes = []
    measure = centers.Farthest._measure
    monkeypatch.setattr(centers.Farthest, "_measure", lambda self, *rest: passes.append(len(rest[0])) or measure(self, *rest))
    rows = torch.randn(3000, 64, generator=torch.Generator().manual_seed(0))
    k_center(rows, rows[:0], 200)
    assert len(passes) < 20 and sum(passes) < 200
