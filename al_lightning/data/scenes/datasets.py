"""Scenes as torch data sets, and their samplers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from al_lightning import seeds
from al_lightning.data.scenes.augmentation import Augmentation, Normalization
from al_lightning.data.scenes.decoding import SceneFiles
from al_lightning.data.scenes.scene import Pixels, Scene
from al_lightning.labels import ClassMap


class TrainingScenes(Dataset[tuple[Tensor, Tensor, int]]):
    """Augmented images and labels. Its keys are (epoch, index), from :class:`EpochSampler`.

    An item's augmentation depends on seed, epoch and index only.

    Args:
        scenes: the whole listing.
        files: reads images and labels.
        classes: the meaning of the label ids.
        augmentation: augments an image and its label at random.
        normalization: normalises the images.
        seed: seed of the augmentation; it should change with the cycle.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        files: SceneFiles,
        classes: ClassMap,
        augmentation: Augmentation,
        normalization: Normalization,
        seed: int,
    ) -> None:
        self.scenes, self.files, self.classes = scenes, files, classes
        self.augmentation, self.normalization = augmentation, normalization
        self.seed = seed

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: Any) -> tuple[Tensor, Tensor, int]:
        epoch, index = key
        scene = self.scenes[index]
        seed = seeds.derive(self.seed, "augment", epoch, index)
        image, ids = self.augmentation(self.files.image(scene), self.files.label(scene), seed)
        return self.normalization(image), self.classes.classes_of(ids, scene.label), index


class LabeledScenes(Dataset[tuple[Tensor, Tensor, int]]):
    """Whole items and labels, for evaluation. For its arguments see :class:`TrainingScenes`."""

    def __init__(self, scenes: Sequence[Scene], files: SceneFiles, classes: ClassMap, normalization: Normalization) -> None:
        self.scenes, self.files, self.classes, self.normalization = scenes, files, classes, normalization

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        scene = self.scenes[index]
        return self.normalization(self.files.image(scene)), self.classes.classes_of(self.files.label(scene), scene.label), index


class UnlabeledScenes(Dataset[tuple[Tensor, int]]):
    """Whole items without their labels, for scoring: it does not know the label files. For its arguments see :class:`TrainingScenes`."""

    def __init__(self, scenes: Sequence[Scene], files: SceneFiles, normalization: Normalization) -> None:
        self.images = [scene._replace(label=Path()) for scene in scenes]
        self.files, self.normalization = files, normalization

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.normalization(self.files.image(self.images[index])), index


@dataclass(frozen=True)
class Example:
    """An image to be shown to a person.

    Attributes:
        name: the name that a person knows it by.
        index: its position in its listing, of the pool or the evaluation set.
        picture: uint8 ``(H, W, 3)``, RGB.
        inputs: float32 ``(3, H, W)``, normalised.
        targets: int64 ``(H, W)``, classes; None if it is not labeled.
    """

    name: str
    index: int
    picture: Pixels
    inputs: Tensor
    targets: Tensor | None


class EpochSampler(DistributedSampler[Any]):
    """A seeded shuffle of given indices, shared among processes; yields (epoch, index) of its own epoch, then of all following epochs.

    An epoch has whole batches: the last incomplete batch is left out, with other items in each epoch. Only if a process's share is smaller
    than a batch, the whole share is a batch.

    Args:
        indices: dataset indices.
        rank: number of this process.
        world: number of processes.
        seed: seed of the shuffle, to which the epoch is added.
        batch_size: number of items in a batch.
    """

    def __init__(self, indices: Tensor, rank: int, world: int, seed: int, batch_size: int) -> None:
        super().__init__(range(len(indices)), num_replicas=world, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.indices = indices.tolist()
        self.batch_size = min(batch_size, self.num_samples)

    def __iter__(self) -> Iterator[Any]:
        shuffle: DistributedSampler[Any] = DistributedSampler(self.dataset, self.num_replicas, self.rank, seed=self.seed)
        for epoch in count(self.epoch):
            shuffle.set_epoch(epoch)
            yield from ((epoch, self.indices[position]) for position in islice(shuffle, len(self)))

    def __len__(self) -> int:
        return self.num_samples // self.batch_size * self.batch_size


class ShareSampler(DistributedSampler[Any]):
    """A process's share of an evaluation set: every world-th item. Unlike its base class, it repeats no item to make the shares equal.

    It is a DistributedSampler, so that Lightning does not replace it.

    Args:
        size: number of items in the evaluation set.
        rank: number of this process.
        world: number of processes.
    """

    def __init__(self, size: int, rank: int, world: int) -> None:
        super().__init__(range(size), num_replicas=world, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.share = range(rank, size, world)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.share)

    def __len__(self) -> int:
        return len(self.share)
