"""Street scenes in Cityscapes' layout: the listing, the files, and what is made of them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from al_lightning import seeds
from al_lightning.errors import UserError
from al_lightning.labels import IGNORED

Pixels = npt.NDArray[np.uint8]

_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"


class Scene(NamedTuple):
    """An image and where its label lies.

    Attributes:
        name: ``<city>_<seq>_<frame>``.
        image: path.
        label: path.
    """

    name: str
    image: Path
    label: Path

    @property
    def city(self) -> str:
        """The folder that it lies in."""
        return self.image.parent.name


def list_scenes(root: Path, split: str) -> list[Scene]:
    """The scenes of a split, sorted by path.

    Raises:
        UserError: there are none, or a label file is missing. The message names it.
    """
    folder = root / "leftImg8bit" / split
    images = sorted(folder.glob(f"*/*{_IMAGE}"))
    if not images:
        raise UserError(f"Expected images {folder}/<city>/<city>_<seq>_<frame>{_IMAGE}, found none. Set data.init_args.root to their root.")
    scenes = []
    for image in images:
        name = image.name.removesuffix(_IMAGE)
        label = root / "gtFine" / split / image.parent.name / f"{name}{_LABEL}"
        if not label.exists():
            raise UserError(f"Expected the label {label} of the image {image}, but there is no such file.")
        scenes.append(Scene(name, image, label))
    return scenes


def check_headers(scenes: Sequence[Scene], with_labels: bool) -> None:
    """Reads the first bytes of files, so that bad ones are found before training starts.

    Args:
        scenes: to check.
        with_labels: whether their labels may be looked at.

    Raises:
        UserError: a file is not readable as an image, or a label's size is not its image's.
    """
    for scene in scenes:
        size = _open(scene.image).size
        if with_labels and (label_size := _open(scene.label).size) != size:
            raise UserError(
                f"Expected {scene.label} to be {size[0]}x{size[1]} like its image {scene.image}, got {label_size[0]}x{label_size[1]}."
            )


def read_image(scene: Scene) -> Pixels:
    """uint8 ``(H, W, 3)``, RGB.

    Raises:
        UserError: the file is missing, truncated or no image.
    """
    return _read(scene.image, "RGB")


def read_label(scene: Scene, table: Tensor) -> Pixels:
    """uint8 ``(H, W)``, training classes by a table of label ids; 255 is ignored.

    Raises:
        UserError: the file is missing, truncated or no image of one channel, or its size is not the image's.
    """
    ids = _read(scene.label, None)
    if ids.ndim != 2:
        raise UserError(f"Expected label ids in one channel in {scene.label}, got an image of shape {ids.shape}. Is it a colour map?")
    if ids.shape[::-1] != _open(scene.image).size:
        check_headers([scene], with_labels=True)
    classes: Pixels = table.numpy()[ids]
    return classes


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"Expected an image in {path}, but it can't be read: {error}") from error


def _read(path: Path, mode: str | None) -> Pixels:
    with _open(path) as image:
        try:
            return np.array(image.convert(mode) if mode else image)
        except (OSError, SyntaxError) as error:  # Pillow says that a broken PNG is bad syntax
            raise UserError(f"Expected a whole image in {path}, but it is truncated or corrupted: {error}. Fetch it again.") from error


class Augmentation:
    """Random scale, crop and flip, repeatable from a seed; what a small image lacks of the crop is ignored by the loss.

    Args:
        crop: edge of the square crop.
        scale: smallest and largest factor.
    """

    def __init__(self, crop: int, scale: tuple[float, float]) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks a server for its newest version otherwise
        import albumentations

        low, high = scale
        self.transform = albumentations.Compose(
            [
                albumentations.RandomScale(scale_limit=(low - 1, high - 1), p=1.0),
                albumentations.PadIfNeeded(crop, crop, border_mode=0, fill=0, fill_mask=IGNORED),
                albumentations.RandomCrop(crop, crop),
                albumentations.HorizontalFlip(p=0.5),
            ]
        )

    def __call__(self, image: Pixels, label: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        """The augmented pair, ``(crop, crop, 3)`` and ``(crop, crop)``."""
        self.transform.set_random_seed(seed % 2**32)
        done = self.transform(image=image, mask=label)
        return done["image"], done["mask"]


class Normalization(NamedTuple):
    """What an encoder expects of its inputs, in units of the full range."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Pixels) -> Tensor:
        """uint8 ``(H, W, 3)`` to float32 ``(3, H, W)``."""
        values = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div_(255)
        return values.sub_(torch.tensor(self.mean).view(3, 1, 1)).div_(torch.tensor(self.std).view(3, 1, 1))


class TrainingScenes(Dataset[tuple[Tensor, Tensor, int]]):
    """Augmented images and labels. Its keys are (epoch, index), from :class:`EpochSampler`: an item's augmentation depends on nothing else.

    Args:
        scenes: the whole listing.
        table: training class of each label id.
        augmentation: None for none.
        normalization: of the images.
        seed: of the augmentation; should change with the cycle.
    """

    def __init__(
        self, scenes: Sequence[Scene], table: Tensor, augmentation: Augmentation | None, normalization: Normalization, seed: int
    ) -> None:
        self.scenes, self.table = scenes, table
        self.augmentation, self.normalization = augmentation, normalization
        self.seed = seed

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: Any) -> tuple[Tensor, Tensor, int]:
        epoch, index = key
        scene = self.scenes[index]
        image, label = read_image(scene), read_label(scene, self.table)
        if self.augmentation is not None:
            image, label = self.augmentation(image, label, seeds.derive(self.seed, "augment", epoch, index))
        return self.normalization(image), torch.from_numpy(np.ascontiguousarray(label)).long(), index


class LabeledScenes(Dataset[tuple[Tensor, Tensor, int]]):
    """Whole images and labels, for evaluation. Arguments as of :class:`TrainingScenes`."""

    def __init__(self, scenes: Sequence[Scene], table: Tensor, normalization: Normalization) -> None:
        self.scenes, self.table, self.normalization = scenes, table, normalization

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        scene = self.scenes[index]
        return self.normalization(read_image(scene)), torch.from_numpy(read_label(scene, self.table)).long(), index


class UnlabeledScenes(Dataset[tuple[Tensor, int]]):
    """Whole images, for scoring: it has no way to their labels. Arguments as of :class:`TrainingScenes`."""

    def __init__(self, scenes: Sequence[Scene], normalization: Normalization) -> None:
        self.images = [scene._replace(label=Path()) for scene in scenes]
        self.normalization = normalization

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.normalization(read_image(self.images[index])), index


class EpochSampler(DistributedSampler[Any]):
    """A seeded shuffle of given indices, shared among processes; yields (epoch, index).

    Args:
        indices: dataset indices.
        rank: this process.
        world: number of processes.
        seed: of the shuffle; the epoch is added to it.
    """

    def __init__(self, indices: Tensor, rank: int, world: int, seed: int) -> None:
        super().__init__(range(len(indices)), num_replicas=world, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.indices = indices.tolist()

    def __iter__(self) -> Iterator[Any]:
        return iter([(self.epoch, self.indices[position]) for position in super().__iter__()])


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
