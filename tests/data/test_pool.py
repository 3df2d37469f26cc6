import pytest
import torch

from al_lightning.data import Pool
from al_lightning.data.pool import draw_initial
from al_lightning.errors import UserError


def test_label_moves_items_and_counts_cycles():
    pool = Pool(7, members=torch.tensor([0, 2, 3, 5, 6]))
    pool.label(torch.tensor([5, 2]))
    pool.label(torch.tensor([0]))
    assert pool.labeled_indices.tolist() == [0, 2, 5]
    assert pool.unlabeled_indices.tolist() == [3, 6]
    assert pool.labeled_in.tolist() == [1, -1, 0, -1, -1, 0, -1]
    assert pool.cycle == 1


@pytest.mark.parametrize(
    ("indices", "match"),
    [([7], "from 0 to 6"), ([-1], "from 0 to 6"), ([3, 3], "twice"), ([3, 2], "item 2 is labeled already"), ([3, 1], "item 1 is not part")],
)
def test_a_refused_label_changes_nothing(indices, match):
    pool = Pool(7, members=torch.tensor([0, 2, 3, 5, 6]))
    pool.label(torch.tensor([2]))
    before = pool.state_dict()
    with pytest.raises(UserError, match=match):
        pool.label(torch.tensor(indices))
    after = pool.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in ("unlabeled", "labeled_in")) and after["cycle"] == before["cycle"] == 0


def test_state_round_trip():
    pool, other = Pool(5, members=torch.tensor([0, 1, 3, 4])), Pool(5)
    other.label(torch.tensor([2]))
    for index in (3, 0):
        pool.label(torch.tensor([index]))
    other.load_state_dict(pool.state_dict())
    assert other.labeled_indices.tolist() == [0, 3]
    assert other.unlabeled_indices.tolist() == [1, 4]
    assert other.labeled_in.tolist() == [1, -1, -1, 0, -1]
    assert other.cycle == 1
    with pytest.raises(UserError, match="pool of 6 items, got one of 5"):
        Pool(6).load_state_dict(pool.state_dict())


def test_a_state_is_small():
    """Two bits an item, and four bytes a labeled one."""
    pool = Pool(80_000)
    pool.label(torch.arange(50, 150))
    assert sum(value.nbytes for value in pool.state_dict().values() if isinstance(value, torch.Tensor)) == 2 * 10_000 + 4 * 100


def test_initial_draws():
    candidates, labels = torch.arange(3, 33), torch.arange(40) % 3
    uniform = draw_initial(candidates, 8, torch.Generator().manual_seed(0))
    assert len(set(uniform.tolist())) == 8 and set(uniform.tolist()) <= set(candidates.tolist())
    assert torch.equal(uniform, draw_initial(candidates, 8, torch.Generator().manual_seed(0)))
    balanced = draw_initial(candidates, 8, torch.Generator().manual_seed(0), labels)
    assert labels[balanced].bincount().tolist() == [3, 3, 2]


@pytest.mark.parametrize(("size", "match"), [(0, "from 1 to"), (31, "from 1 to the pool's 30"), (25, "13 items of class 0 .* has 2")])
def test_initial_draws_that_do_not_fit(size, match):
    labels = torch.ones(40, dtype=torch.int64)
    labels[[5, 9]] = 0
    with pytest.raises(UserError, match=match):
        draw_initial(torch.arange(3, 33), size, torch.Generator(), labels)
