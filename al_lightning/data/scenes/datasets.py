"""Scenes as torch data sets, and the samplers that go with them."""

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
    """Augmented images and labels. Its keys are (epoch, index), from :class:`EpochSampler`: an item's augmentation depends on nothing else.

    Args:
        scenes: the whole listing.
        files: reads them.
        classes: what the label ids mean.
        augmentation: random.
        normalization: of the images.
        seed: of the augmentation; should change with the cycle.
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
    """Whole items and labels, for evaluation. Arguments as of :class:`TrainingScenes`."""

    def __init__(self, scenes: Sequence[Scene], files: SceneFiles, classes: ClassMap, normalization: Normalization) -> None:
        self.scenes, self.files, self.classes, self.normalization = scenes, files, classes, normalization

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        scene = self.scenes[index]
        return self.normalization(self.files.image(scene)), self.classes.classes_of(self.files.label(scene), scene.label), index


class UnlabeledScenes(Dataset[tuple[Tensor, int]]):
    """Whole items, for scoring: it has no way to their labels. Arguments as of :class:`TrainingScenes`."""

    def __init__(self, scenes: Sequence[Scene], files: SceneFiles, normalization: Normalization) -> None:
        self.images = [scene._replace(label=Path()) for scene in scenes]
        self.files, self.normalization = files, normalization

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.normalization(self.files.image(self.images[index])), index


@dataclass(frozen=True)
class Example:
    """An image to look at.

    Attributes:
        name: what a person calls it.
        index: its place in its listing.
        picture: uint8 ``(H, W, 3)``.
        inputs: ``(3, H, W)``, normalised.
        targets: int64 ``(H, W)``; None if nobody has labeled it.
    """

    name: str
    index: int
    picture: Pixels
    inputs: Tensor
    targets: Tensor | None


class EpochSampler(DistributedSampler[Any]):
    """A seeded shuffle of given indices, shared among processes; yields (epoch, index), of its epoch and then of all that follow.

    An epoch is whole batches: what is left over is left out, another part in each. Only a share smaller than a batch is one by itself.

    Args:
        indices: dataset indices.
        rank: this process.
        world: number of processes.
        seed: of the shuffle; the epoch is added to it.
        batch_size: items in a batch.
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
    """A process's share of an evaluation set: every world-th item. Unlike its base it repeats none to make the shares equal.

    It is a DistributedSampler, so that Lightning leaves it as it is.
    """

    def __init__(self, size: int, rank: int, world: int) -> None:
        super().__init__(range(size), num_replicas=world, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.share = range(rank, size, world)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.share)

    def __len__(self) -> int:
        return len(self.share)
