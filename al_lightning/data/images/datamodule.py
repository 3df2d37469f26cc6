"""What all data modules share whose images stay in memory."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from al_lightning.data.datamodule import PoolDataModule
from al_lightning.data.images.resident import ResidentImages, ResidentLoader
from al_lightning.data.pool import Pool
from al_lightning.errors import UserError
from al_lightning.sources import EVALUATION, POOL, Source

# A CPU scores so many pixels at a time: glibc returns larger tensors to the system after each batch, and the next waits for fresh pages.
_PIXELS_AT_ONCE = 2**19


class ResidentDataModule(PoolDataModule):
    """A pool of images in memory, each with a class. A subclass fills the attributes in its ``setup``.

    Attributes:
        _train: the pool's images.
        _eval: the images for evaluation.
    """

    _train: ResidentImages
    _eval: ResidentImages
    _set_aside: ResidentImages | None = None  # the data's own evaluation images, if the run is evaluated on items of the pool instead

    def begin(self, pool: Pool, labels: Tensor | None = None, staying: Collection[int] = ()) -> None:
        """See :meth:`PoolDataModule.begin`.

        Raises:
            UserError: a label is no class, too.
        """
        own = self._train.labels[pool.unlabeled & pool.answerable]
        classes: Sequence[str] | None = getattr(self, "class_names", None)
        for numbers, lowest, whose in ((own, 0, "the pool"), (self._eval.labels, -1, "the evaluation set")):  # -1: not labeled yet
            if classes is not None and len(other := numbers[(numbers < lowest) | (numbers >= len(classes))]):
                raise UserError(
                    f"Expected labels of {whose} from 0 to {len(classes) - 1}, for the {len(classes)} class_names of "
                    f"{type(self).__name__}, got {int(other[0])} ({len(other)} such images)."
                )
        super().begin(pool, labels, staying)

    # Loaders

    def train_dataloader(self) -> ResidentLoader:
        """Batches of labeled items, in an order that depends on seed, cycle and epoch only.

        A last batch that is too small for the network to train on is left out; it has other items in each epoch.

        Raises:
            UserError: all batches are too small.
        """
        self._train.move_to(self.device)
        indices = self.pool.labeled_indices
        rank, world = self.rank_and_world
        sampler: DistributedSampler[int] = DistributedSampler(range(len(indices)), num_replicas=world, rank=rank, seed=self.shuffle_seed)  # type: ignore[arg-type]
        block = 1 if self.trainer is None else getattr(self.trainer.lightning_module, "block", 1)
        least = self.least_batch(len(sampler))
        return ResidentLoader(self._train, indices, sampler, self.batch_size, self.device, block, least)

    def example(self) -> Tensor:
        """See :meth:`PoolDataModule.example`."""
        return torch.zeros(1, *self._train.images.shape[1:])

    def val_dataloader(self) -> ResidentLoader:
        """Batches of the images for validation: those that are held out, or else those for evaluation."""
        return self._shared(self._train, self.validation, "the validation set") if len(self.validation) else self.test_dataloader()

    def test_dataloader(self) -> ResidentLoader:
        """Batches of evaluation images."""
        return self._shared(self._eval, torch.arange(len(self._eval)), "the evaluation set")

    def _shared(self, data: ResidentImages, indices: Tensor, whose: str) -> ResidentLoader:
        """Batches of images in their order; several processes share them, and none is repeated."""
        self.require_share(len(indices), whose)
        data.move_to(self.device)
        rank, world = self.rank_and_world
        its = indices[rank::world]
        return ResidentLoader(data, its, range(len(its)), self.eval_batch_size, self.device)

    def scoring_batches(self, indices: Tensor) -> list[Tensor]:
        """Cuts pool items into batches for scoring, in their order; of at most ``eval_batch_size`` items."""
        at_once = self.eval_batch_size
        if self.device.type == "cpu":
            at_once = min(at_once, max(1, _PIXELS_AT_ONCE // self._train.images[0].numel()))
        return list(indices.split(at_once)) if len(indices) else []

    def pool_batches(self, batches: Sequence[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        """See :meth:`PoolDataModule.pool_batches`."""
        self._train.move_to(self.device)
        return ((self._train.inputs(indices, self.device), indices) for indices in batches)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Returns the batch as it is: the loaders yield it on the device."""
        return batch

    # Identity

    def item(self, index: int) -> str:
        """The index as text: these images have no names."""
        return str(index)

    @property
    def evaluation_size(self) -> int:
        """Number of evaluation images."""
        return len(self._eval)

    def sources(self) -> list[Source]:
        """Images and labels, identified by hashes: these labels are all read at once, with their images."""
        return [
            Source(split, f"{split} {name}", hashlib.sha256(content.cpu().numpy().data).hexdigest())
            for split, data in ((POOL, self._train), (EVALUATION, self._eval if self._set_aside is None else self._set_aside))
            for name, content in (("images", data.images), ("labels", data.labels))
        ]

    def evaluate_items(self, indices: Sequence[int]) -> None:
        """See :meth:`PoolDataModule.evaluate_items`."""
        rows = torch.tensor(indices)
        self._set_aside = self._eval if self._set_aside is None else self._set_aside
        self._eval = ResidentImages(self._train.images[rows], self._train.labels[rows])

    # Labels and pictures

    def oracle_labels(self, indices: Tensor) -> Tensor:
        """See :meth:`PoolDataModule.oracle_labels`."""
        return self._train.labels[indices.to(self._train.labels.device)]

    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """See :meth:`PoolDataModule.picture`."""
        pixels: npt.NDArray[np.uint8] = self._train.images[index].cpu().numpy()
        return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
