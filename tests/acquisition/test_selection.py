import pytest
import torch

from al_lightning.acquisition import selection


def test_rank_falls_by_key():
    indices = torch.tensor([4, 7, 9])
    assert selection.rank(torch.tensor([0.1, 0.9, 0.5]), indices, torch.arange(12)).tolist() == [7, 9, 4]


def test_ties_fall_by_priority_whatever_else_is_in_the_pool():
    priority = torch.tensor([3, 0, 4, 1, 2, 5])
    everything = selection.rank(torch.zeros(6), torch.arange(6), priority).tolist()
    assert everything == [1, 3, 4, 0, 2, 5]
    some = selection.rank(torch.zeros(3), torch.tensor([0, 2, 3]), priority).tolist()
    assert some == [i for i in everything if i in (0, 2, 3)]


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [
        (3, 1, [1, 2, 3]),
        (3, 2, [2, 4, 6]),
        (4, 3, [3, 6, 4, 5]),  # 3 and 6, then every third of 1 2 4 5 7, then of 1 2 5 7
        (5, 8, [1, 2, 3, 4, 5]),  # fewer than the stride: in order
        (99, 2, [2, 4, 6, 3, 7, 5, 1]),  # all, each once
        (0, 2, []),
    ],
)
def test_take_worked_by_hand(size, stride, expected):
    assert selection.take(torch.arange(1, 8), size, stride).tolist() == expected


@pytest.mark.parametrize("kinds", [1, 3, 40, 10_000])
@pytest.mark.parametrize(("size", "stride"), [(0, 1), (1, 1), (17, 1), (5, 7), (40, 8), (150, 1), (150, 2), (200, 3)])
def test_choosing_is_taking_from_the_whole_ranking(kinds, size, stride):
    generator = torch.Generator().manual_seed(kinds + size)
    indices = torch.randperm(400, generator=generator)[:150].sort().values
    priority = torch.randperm(400, generator=generator)
    keys = torch.randint(kinds, (150,), generator=generator).double()
    whole = selection.take(selection.rank(keys, indices, priority), size, stride)
    assert selection.choose(keys, indices, priority, size, stride).tolist() == whole.tolist()


def test_take_refuses_a_stride_below_one():
    with pytest.raises(ValueError, match="at least 1"):
        selection.take(torch.arange(3), 1, 0)


def test_tied_share():
    assert selection.tied_share(torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0])) == pytest.approx(0.6)
    assert selection.tied_share(torch.tensor([1.0, 2.0])) == 0
    assert selection.tied_share(torch.tensor([])) == 0


def test_drawn_items_are_at_any_place_and_ranked_ones_in_their_order():
    counts = torch.zeros(10)
    for seed in range(300):
        found = selection.mixed(torch.arange(7), torch.arange(7, 10), torch.Generator().manual_seed(seed))
        assert found[found < 7].tolist() == [*range(7)] and sorted(found.tolist()) == [*range(10)]
        counts += found >= 7
    assert counts.min() > 60 and counts.max() < 120  # 90 each, with a deviation of 8
