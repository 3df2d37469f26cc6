import pytest
import torch
from torch import nn

from al_lightning.acquisition import Entropy, Odin, Order
from al_lightning.callbacks.scoring import PeakMemory, score_batches, shares
from al_lightning.models import MLP


@pytest.mark.parametrize(("size", "batch_size", "world"), [(103, 10, 4), (103, 1000, 4), (7, 3, 2), (0, 5, 3)])
def test_each_index_is_in_one_share(size, batch_size, world):
    indices = torch.arange(size) * 3
    parts = shares(indices, batch_size, world)
    assert len(parts) == world
    together = [int(i) for part in parts for batch in part for i in batch]
    assert sorted(together) == indices.tolist()


def test_batches_are_the_same_for_any_number_of_processes():
    indices = torch.arange(103)
    kinds = [{tuple(batch.tolist()) for part in shares(indices, 10, world) for batch in part} for world in (1, 2, 3)]
    assert kinds[0] == kinds[1] == kinds[2]


@pytest.mark.parametrize("strategy", [Entropy(), Order(), Odin(10.0, 0.01)], ids=lambda s: type(s).__name__)
def test_keys_and_modes(strategy):
    images = torch.rand(10, 1, 4, 5)
    network = MLP(6, 0.5, 3, (1, 4, 5)).train()
    network.dropout.eval()
    loaded, seen = [], []

    def load(batches):
        loaded.extend(batches)
        return ((images[batch], batch) for batch in batches)

    indices, keys = score_batches(strategy, network, [torch.tensor([3, 1]), torch.tensor([7])], load, 0, seen.append)
    assert indices.tolist() == [3, 1, 7] and keys.dtype == torch.float64
    assert seen == [2, 1]
    assert bool(loaded) == strategy.needs_inputs
    assert [part.training for part in network.modules()] == [True, True, False, True]
    network.eval()
    with torch.no_grad(), strategy.scorer(network, 0) as score:
        torch.testing.assert_close(keys, score(images[indices], indices).double())


def test_modes_are_restored_after_an_exception():
    network = nn.Sequential(nn.Linear(2, 2)).train()

    def load(batches):
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        score_batches(Entropy(), network, [torch.tensor([0])], load, 0, lambda items: None)
    assert network.training and network[0].training


def test_peak_memory_sees_what_was_allocated_since():
    tensor = torch.ones(60_000_000)
    del tensor
    memory = PeakMemory(torch.device("cpu"))
    start = memory.bytes()
    tensor = torch.ones(30_000_000)
    assert memory.bytes() - start > 60e6
    del tensor
