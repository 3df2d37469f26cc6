"""Loaders for tensors that stay in memory: a tiny model would otherwise wait for its loader."""

from collections.abc import Iterator, Sized

import torch
from torch import Tensor
from torch.utils.data import Sampler

from al_lightning.errors import UserError

Batch = tuple[Tensor, Tensor, Tensor]
"""Inputs in [0, 1], labels, dataset indices."""

# So many mini-batches are gathered at a time, by one index_select and one conversion.
_GATHERED_BATCHES = 16


class ResidentImages:
    """Images and their labels in memory.

    Args:
        images: uint8 ``(N, C, H, W)``.
        labels: whole numbers ``(N,)``.

    Raises:
        UserError: they are none.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim < 2:
            raise UserError(f"Expected images as a tensor of uint8 (N, C, H, W), which are divided by 255 later, got {_told(images)}.")
        numbers = isinstance(labels, Tensor) and not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        if not numbers or labels.shape != images.shape[:1]:
            raise UserError(f"Expected labels as a tensor of whole numbers, one for each of the {len(images)} images, got {_told(labels)}.")
        self.images = images
        self.labels = labels.long()

    def __len__(self) -> int:
        return len(self.images)

    def move_to(self, device: torch.device) -> None:
        """Moves the tensors to a device, to stay there. If they don't fit, they stay on the CPU, and each batch is moved."""
        try:
            self.images, self.labels = self.images.to(device), self.labels.to(device)
        except torch.OutOfMemoryError:
            self.images, self.labels = self.images.cpu(), self.labels.cpu()

    def inputs(self, indices: Tensor, device: torch.device) -> Tensor:
        """float32 ``(B, C, H, W)`` in [0, 1], on the device."""
        # By rows: indexing with a tensor would copy bytes one by one.
        return self.images.index_select(0, indices.to(self.images.device)).to(device).float().div_(255)

    def targets(self, indices: Tensor, device: torch.device) -> Tensor:
        """int64 ``(B,)``, on the device."""
        return self.labels[indices.to(self.labels.device)].to(device)


def _told(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


class ResidentLoader:
    """Batches of resident images, in a sampler's order.

    Args:
        data: the images.
        indices: dataset indices to load.
        sampler: yields positions in ``indices``. Lightning calls its ``set_epoch``.
        batch_size: number of items in a batch.
        device: the device that the batches go to.
        block: 1 yields batches; n > 1 yields lists of up to n consecutive batches.
        least: smallest number of items in a batch; a last batch with fewer is left out.
    """

    batch_sampler = None  # Lightning reads it from every loader with a sampler

    def __init__(
        self,
        data: ResidentImages,
        indices: Tensor,
        sampler: Sampler[int] | range,
        batch_size: int,
        device: torch.device,
        block: int = 1,
        least: int = 1,
    ) -> None:
        self.data = data
        self.indices = indices
        self.sampler = sampler
        self.batch_size = batch_size
        self.device = device
        self.block = block
        assert isinstance(sampler, Sized)
        rest = len(sampler) % batch_size
        self._used = len(sampler) - (rest if rest < least else 0)

    def __len__(self) -> int:
        return -(-self._used // (self.batch_size * self.block))

    def __iter__(self) -> Iterator[Batch] | Iterator[list[Batch]]:
        return self._batches() if self.block == 1 else self._blocks()

    def _blocks(self) -> Iterator[list[Batch]]:
        for indices in self._order().split(self.batch_size * self.block):
            yield list(self._gather(indices))

    def _batches(self) -> Iterator[Batch]:
        for indices in self._order().split(self.batch_size * _GATHERED_BATCHES):
            yield from self._gather(indices)

    def _order(self) -> Tensor:
        return self.indices[torch.tensor(list(self.sampler), dtype=torch.int64)[: self._used]]

    def _gather(self, indices: Tensor) -> Iterator[Batch]:
        inputs, targets = self.data.inputs(indices, self.device), self.data.targets(indices, self.device)
        return zip(inputs.split(self.batch_size), targets.split(self.batch_size), indices.split(self.batch_size), strict=True)
