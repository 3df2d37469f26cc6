import gc
import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from al_lightning.acquisition import Entropy, Margin, Odin, Order
from al_lightning.acquisition.strategies import joint_scorer
from al_lightning.callbacks import scoring
from al_lightning.callbacks.scoring import PeakMemory, score_batches, shares
from al_lightning.errors import UserError
from al_lightning.models import MLP


@pytest.mark.parametrize(("size", "batch_size", "world"), [(103, 10, 4), (103, 1000, 4), (7, 3, 2)])
def test_each_index_is_in_one_share(size, batch_size, world):
    indices = torch.arange(size) * 3
    parts = shares(indices.split(batch_size), world)
    assert len(parts) == world
    together = [int(i) for part in parts for batch in part for i in batch]
    assert sorted(together) == indices.tolist()


def test_batches_are_the_same_for_any_number_of_processes():
    indices = torch.arange(103)
    kinds = [{tuple(batch.tolist()) for part in shares(indices.split(10), world) for batch in part} for world in (1, 2, 3)]
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

    indices, keys = score_batches([strategy], network, [torch.tensor([3, 1]), torch.tensor([7])], load, 0, seen.append)
    assert indices.tolist() == [3, 1, 7] and keys.shape == (1, 3) and keys.dtype == torch.float64
    assert seen == [2, 1]
    assert bool(loaded) == (strategy.inference is not None)
    assert [part.training for part in network.modules()] == [True, True, False, True]
    network.eval()
    with torch.no_grad(), joint_scorer([strategy], network, 0) as score:
        torch.testing.assert_close(keys, torch.stack(score(images[indices], indices)).double())


class Small(nn.Module):
    """Runs out of memory for more than some items at a time."""

    def __init__(self, holds):
        super().__init__()
        self.linear, self.holds, self.tried = nn.Linear(5, 3), holds, []

    def forward(self, inputs):
        self.tried.append(len(inputs))
        if len(inputs) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return self.linear(inputs)


def test_a_batch_that_does_not_fit_is_scored_in_parts():
    torch.manual_seed(0)
    network, inputs = Small(holds=3), torch.rand(23, 5)
    batches = [torch.arange(0, 13), torch.arange(13, 23)]

    def load(batches):
        return ((inputs[batch], batch) for batch in batches)

    indices, keys = score_batches([Entropy(), Margin()], network, batches, load, 0, lambda items: None)
    assert network.tried[:4] == [13, 6, 3, 3] and max(network.tried[2:]) == 3  # what was too large is not tried again
    network.holds = 99
    whole = score_batches([Entropy(), Margin()], network, batches, load, 0, lambda items: None)
    assert torch.equal(indices, whole[0])
    torch.testing.assert_close(keys, whole[1])
    network.holds = 0
    with pytest.raises(UserError, match=r"one item of shape 5 .* memory: CUDA out of memory\."):
        score_batches([Entropy()], network, batches, load, 0, lambda items: None)


def test_modes_are_restored_after_an_exception():
    network = nn.Sequential(nn.Linear(2, 2)).train()

    def load(batches):
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        score_batches([Entropy()], network, [torch.tensor([0])], load, 0, lambda items: None)
    assert network.training and network[0].training


def test_peak_memory_is_in_bytes_where_its_record_can_not_be_reset(monkeypatch, tmp_path):
    peak = PeakMemory(torch.device("cpu")).bytes()
    monkeypatch.setattr(scoring, "_CLEAR", tmp_path / "no" / "such")
    assert peak / 2 < PeakMemory(torch.device("cpu")).bytes() < 100 * peak


def test_peak_memory_sees_what_was_taken_since():
    gc.collect()  # what other tests have left would go while this one measures
    with touched_memory(240_000_000):
        pass
    memory = PeakMemory(torch.device("cpu"))
    start = memory.bytes()
    with touched_memory(120_000_000):
        pass
    assert 60e6 < memory.bytes() - start < 200e6


@contextmanager
def touched_memory(size: int) -> Iterator[None]:
    """Memory of the system's own: malloc would give a tensor what an earlier test has left in the process."""
    with mmap.mmap(-1, size) as memory:
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
        yield
