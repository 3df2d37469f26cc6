import math

import pytest
import torch

from al_lightning.acquisition import Aggregation, CountAbove, Max, Mean, PatchMax, Sum, TopMean, aggregation
from al_lightning.errors import UserError


class Median(Aggregation):
    def __call__(self, scores):
        return scores.flatten(1).median(dim=1).values if scores.ndim > 1 else scores


ALL = [Mean(), Sum(), Max(), CountAbove(0.5), TopMean(0.5), PatchMax(2)]


def test_mean_and_count_of_a_hand_worked_image():
    scores = torch.tensor([[[0.0, 0.5, 1.0], [0.5, 0.7, 0.9]], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]])  # (2, 2, 3)
    torch.testing.assert_close(aggregation.mean(scores), torch.tensor([0.6, 0.5]))
    torch.testing.assert_close(aggregation.count_above(scores, 0.5), torch.tensor([0.5, 0.0]))  # strictly above


def test_classification_scores_pass_through():
    scores = torch.tensor([0.2, 0.9, 0.4])
    assert aggregation.mean(scores) is scores
    assert aggregation.count_above(scores, 0.3).tolist() == [0.0, 1.0, 1.0]


def test_every_aggregation_of_a_hand_worked_image():
    scores = torch.tensor([[[0.0, 0.5, 1.0], [0.5, 0.7, 0.9]], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]])
    expected = {
        Mean: [0.6, 0.5],
        Sum: [3.6, 3.0],
        Max: [1.0, 0.5],
        CountAbove: [0.5, 0.0],
        TopMean: [(1.0 + 0.9 + 0.7) / 3, 0.5],
        PatchMax: [(0.5 + 1.0 + 0.7 + 0.9) / 4, 0.5],
    }
    for aggregate in ALL:
        torch.testing.assert_close(aggregate(scores), torch.tensor(expected[type(aggregate)]))


@pytest.mark.parametrize("aggregate", ALL, ids=lambda a: type(a).__name__)
def test_aggregates_of_logarithms(aggregate):
    scores = torch.rand(4, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = aggregate.of_logarithms(scores.log())
    torch.testing.assert_close(found.exp() if aggregate.scales else found, aggregate(scores))
    if aggregate.scales:  # far below what a float can hold
        torch.testing.assert_close(aggregate.of_logarithms(scores.log() - 5000), found - 5000)
    single = torch.tensor([-2.0, -9000.0])
    assert torch.equal(aggregate.of_logarithms(single), single)


@pytest.mark.parametrize("aggregate", [*ALL, Median()], ids=lambda a: type(a).__name__)
def test_a_score_of_0_is_a_finite_key_below_all_others(aggregate):
    scores = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0)) / 2 + 0.5
    scores[1] = 0
    scores[2, :2] = 0  # of a part of the image
    keys = aggregate.of_logarithms(scores.log())
    assert keys.isfinite().all() and keys[1] < keys[0] and keys[1] <= keys[2]
    assert keys.double().exp()[1] < 1e-30 or not aggregate.scales
    alone = aggregate.of_logarithms(torch.tensor([-1.0, -torch.inf, torch.nan]))
    assert alone[1].isfinite() and alone[2].isnan()


def test_patches_cover_the_edges_and_small_images():
    image = torch.zeros(1, 5, 5)
    image[0, 4, 4] = 1.0
    assert float(PatchMax(4)(image)) > 0
    torch.testing.assert_close(PatchMax(64)(image), torch.tensor([1 / 25]))


@pytest.mark.parametrize(
    ("make", "match"),
    [(lambda: TopMean(0), "share"), (lambda: TopMean(1.5), "share"), (lambda: PatchMax(0), "size"), (lambda: CountAbove(-1), "threshold")],
)
def test_bad_arguments(make, match):
    with pytest.raises(UserError, match=match):
        make()


def test_thresholds_are_in_the_scores_own_units():
    # Max-softmax is ranked by its logarithm, but its threshold is one of 1 - max p.
    logs = torch.tensor([[0.6, 0.4, 0.51]]).log()
    torch.testing.assert_close(CountAbove(0.5).of_logarithms(logs), torch.tensor([2 / 3]))
    assert math.isclose(float(CountAbove(math.log(2))(torch.tensor([[0.69, 0.70]]))), 0.5)
