"""Cityscapes, and folders in its layout."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from al_lightning import seeds
from al_lightning.data.datamodule import PoolDataModule
from al_lightning.data.pool import Pool, draw_initial
from al_lightning.data.scenes import (
    Augmentation,
    EpochSampler,
    LabeledScenes,
    Normalization,
    ShareSampler,
    TrainingScenes,
    UnlabeledScenes,
    check_headers,
    list_scenes,
)
from al_lightning.errors import UserError
from al_lightning.labels import class_map

log = logging.getLogger(__name__)


class CityscapesDataModule(PoolDataModule):
    """Images ``leftImg8bit/{train,val}/<city>/<name>_leftImg8bit.png`` with labels ``gtFine/.../<name>_gtFine_labelIds.png``.

    The training images are the pool; a pool item's label file is not opened before the item is labeled. Evaluation and scoring are on
    whole images of any size.

    Args:
        root: folder of leftImg8bit and gtFine.
        initial_size: images labeled before cycle 0.
        foreground: names of classes to tell from all others, for a two-class problem; None for the 19 classes.
        crop: edge of the random training crop, in pixels.
        scale: smallest and largest factor of the random scale before the crop.
        mean: of the inputs that the encoder was trained on, by channel.
        std: likewise.
        batch_size: crops in a training batch, on each device.
        eval_batch_size: images in a batch of evaluation and of scoring; more than 1 needs images of one size.
        num_workers: processes that load, for each loader.
        seed: of initial set, batch order and augmentation. The command line links it to ``seed_everything``.

    Raises:
        UserError: a file is missing or bad, or a size does not fit.
    """

    def __init__(
        self,
        root: str = "data/cityscapes",
        initial_size: int = 50,
        foreground: list[str] | None = None,
        crop: int = 512,
        scale: tuple[float, float] = (0.5, 2.0),
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        batch_size: int = 8,
        eval_batch_size: int = 1,
        num_workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed)
        if crop < 1 or not 0 < scale[0] <= scale[1]:
            raise UserError(f"Expected a crop of at least 1 pixel and 0 < scale[0] <= scale[1], got crop={crop}, scale={scale}.")
        self.root = Path(root).expanduser()
        self.initial_size = initial_size
        self.classes = class_map(foreground)
        self.crop = crop
        self.scale = scale
        self.normalization = Normalization(mean, std)
        self.num_workers = num_workers

    def setup(self, stage: str) -> None:
        """Lists the files, checks what headers tell, builds the pool and labels the initial set; once."""
        if hasattr(self, "pool"):
            return
        self._train, self._eval = (list_scenes(self.root, split) for split in ("train", "val"))
        pool = Pool(len(self._train))
        pool.label(draw_initial(pool.unlabeled_indices, self.initial_size, seeds.generator(self.seed, "initial")))
        check_headers(self._eval, with_labels=True)
        check_headers(self._train, with_labels=False)
        check_headers([self._train[index] for index in pool.labeled_indices.tolist()], with_labels=True)
        self.pool = pool
        log.info("%s: %d images in the pool, %d for evaluation", self.root, len(self._train), len(self._eval))

    # Loaders

    def _loader(self, dataset: Any, **arguments: Any) -> DataLoader[Any]:
        return DataLoader(dataset, num_workers=self.num_workers, pin_memory=self.device.type == "cuda", **arguments)

    def train_dataloader(self) -> DataLoader[Any]:
        """Augmented crops of labeled images; the last incomplete batch of an epoch is left out, unless it is the only one."""
        rank, world = self.rank_and_world
        indices = self.pool.labeled_indices
        dataset = TrainingScenes(
            self._train, self.classes.table, Augmentation(self.crop, self.scale), self.normalization, self.shuffle_seed
        )
        sampler = EpochSampler(indices, rank, world, self.shuffle_seed)
        return self._loader(dataset, batch_size=self.batch_size, sampler=sampler, drop_last=len(sampler) >= self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole evaluation images; several processes share them without repeating any."""
        rank, world = self.rank_and_world
        dataset = LabeledScenes(self._eval, self.classes.table, self.normalization)
        return self._loader(dataset, batch_size=self.eval_batch_size, sampler=ShareSampler(len(dataset), rank, world))

    def pool_batches(self, batches: Sequence[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        """See :meth:`PoolDataModule.pool_batches`."""
        wanted = [batch.tolist() for batch in batches]
        loader = self._loader(UnlabeledScenes(self._train, self.normalization), batch_sampler=wanted)
        return ((images.to(self.device, non_blocking=True), indices) for images, indices in loader)

    # Identity

    def item(self, index: int) -> str:
        """``<city>_<seq>_<frame>``."""
        return self._train[index].name

    def fingerprint(self) -> dict[str, int | str]:
        """The number of images, and a hash of all names and file sizes in their order."""
        digest = hashlib.sha256()
        for scene in [*self._train, *self._eval]:
            sizes = [path.stat().st_size for path in (scene.image, scene.label)]
            digest.update(repr((scene.name, *sizes)).encode())
        return {"items": len(self._train), "sha256": digest.hexdigest()}
