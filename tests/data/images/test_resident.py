import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler

from al_lightning.data import Pool, ResidentDataModule
from al_lightning.data.images import resident
from al_lightning.data.images.resident import ResidentImages, ResidentLoader
from al_lightning.errors import UserError

CPU = torch.device("cpu")


def make_loader(block=1, batch_size=3, shuffle=False, least=1):
    data = ResidentImages(torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1) * 10, torch.arange(20))
    indices = torch.arange(0, 20, 2)
    sampler = DistributedSampler(range(10), 1, 0, shuffle=shuffle, seed=5)
    return ResidentLoader(data, indices, sampler, batch_size, CPU, block, least)


def test_batches_hold_scaled_inputs_labels_and_indices():
    batches = list(make_loader())
    assert len(batches) == len(make_loader()) == 4
    assert [len(labels) for _, labels, _ in batches] == [3, 3, 3, 1]
    inputs, labels, indices = batches[1]
    assert labels.tolist() == indices.tolist() == [6, 8, 10]
    torch.testing.assert_close(inputs.flatten(), torch.tensor([60, 80, 100]) / 255)


def test_blocks_hold_the_same_batches():
    batches, blocks = list(make_loader(shuffle=True)), list(make_loader(block=3, shuffle=True))
    assert [len(block) for block in blocks] == [3, 1]
    assert len(make_loader(block=3)) == 2
    flat = [batch for block in blocks for batch in block]
    assert all(torch.equal(a, b) for x, y in zip(batches, flat, strict=True) for a, b in zip(x, y, strict=True))


def test_gathering_ahead_does_not_show(monkeypatch):
    whole = [indices.tolist() for *_, indices in make_loader(shuffle=True)]
    monkeypatch.setattr(resident, "_GATHERED_BATCHES", 2)
    assert [indices.tolist() for *_, indices in make_loader(shuffle=True)] == whole


def test_the_epoch_changes_the_order_but_not_the_items():
    loader = make_loader(shuffle=True)
    orders = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        orders.append([i for *_, indices in loader for i in indices.tolist()])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == list(range(0, 20, 2))


def test_images_that_do_not_fit_stay_where_they_are(monkeypatch):
    data = ResidentImages(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))

    def full(self, device):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.Tensor, "to", full)
    data.move_to(torch.device("cuda"))
    assert data.images.device == CPU


@pytest.mark.parametrize("block", [1, 3])
def test_a_last_batch_that_is_too_small_is_left_out(block):
    """10 items: 3, 3, 3 and 1; 5, 5; 8 and 2."""
    for batch_size, least, expected in ((3, 2, [3, 3, 3]), (3, 1, [3, 3, 3, 1]), (5, 2, [5, 5]), (8, 2, [8, 2])):
        loader = make_loader(block=block, batch_size=batch_size, shuffle=True, least=least)
        batches = [batch for part in loader for batch in (part if block > 1 else [part])]
        assert [len(labels) for _, labels, _ in batches] == expected
        assert len(loader) == -(-len(expected) // block)
        whole = torch.cat([indices for *_, indices in make_loader(batch_size=batch_size, shuffle=True)])
        assert torch.equal(torch.cat([indices for *_, indices in batches]), whole[: sum(expected)])


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        (torch.rand(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64), r"tensor of uint8 .* got torch.float32 \(4, 1, 2, 2\)"),
        (np.zeros((4, 1, 2, 2), np.uint8), torch.zeros(4, dtype=torch.int64), "tensor of uint8 .* got ndarray"),
        (torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, 3), r"one for each of the 4 images, got torch.float32 \(4, 3\)"),
        (torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, 1, dtype=torch.int64), r"got torch.int64 \(4, 1\)"),
        (torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), r"got torch.int64 \(3,\)"),
        (torch.zeros(4, 1, 2, 2, dtype=torch.uint8), [0] * 4, "got list"),
    ],
)
def test_what_can_not_be_images_and_labels_is_refused(images, labels, match):
    with pytest.raises(UserError, match=match):
        ResidentImages(images, labels)


@pytest.mark.parametrize(("label", "at", "refused"), [(3, 2, True), (-1, 2, True), (3, -1, True), (2, 2, False)])
def test_labels_are_of_the_classes(label, at, refused):
    class Own(ResidentDataModule):
        def setup(self, stage):
            labels = torch.arange(6, dtype=torch.int32) % 3
            self.class_names, evaluation = ["a", "b", "c"], labels.clone()
            (labels if at >= 0 else evaluation)[at] = label
            images = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
            self._train, self._eval = ResidentImages(images, labels), ResidentImages(images, evaluation)
            self.initial_size = 2
            self.begin(Pool(6))

    data = Own(2, 2, 0)
    if refused:
        with pytest.raises(UserError, match=f"Expected labels of the .* from 0 to 2, for the 3 class_names of Own, got {label}"):
            data.setup("fit")
    else:
        data.setup("fit")
        assert data.oracle_labels(torch.tensor([1])).dtype == torch.int64
