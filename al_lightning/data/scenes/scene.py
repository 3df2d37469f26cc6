"""Scenes: an image, its label file, and the part of it that is an item."""

import os
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from al_lightning import seeds
from al_lightning.data.image_files import ids_of, opened, rgb_of, size_of_opened
from al_lightning.errors import UserError

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width."""

_PIXELS_AT_ONCE = {"cpu": 2**18, "cuda": 2**21}  # pixels in a batch for scoring; on a GPU as many as one image of 2048x1024 has


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, pixels: Pixels) -> Pixels:
        """This part of an image's pixels, as a view."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


class DrawnLabel(Protocol):
    """A label that is drawn, and not read from a label file of its own."""

    def ids(self) -> Pixels:
        """Label ids, uint8 ``(H, W)`` of the whole image.

        Raises:
            UserError: they can't be drawn.
        """

    def sha256(self) -> str:
        """A hash of the label's content."""


class Scene(NamedTuple):
    """An image, its label file, and the part of it that is an item.

    Attributes:
        name: the name that a person knows it by.
        image: the image's file.
        label: the label's file, or the file that it would be if there were one.
        size: height and width of the image's file, as viewers show it.
        box: the part of the image that is the item, in the size in which the image is read; None for the whole image.
        has_label: whether the image had a label when the run began.
        is_added: whether the image was added after the run had begun.
        scaled: the size to which the image is scaled when it is read; None for its own size.
        drawing: the label, if it is not in a file of its own; None otherwise.
    """

    name: str
    image: Path
    label: Path
    size: Size
    box: Box | None = None
    has_label: bool = True
    is_added: bool = False
    scaled: Size | None = None
    drawing: DrawnLabel | None = None

    @property
    def read_size(self) -> Size:
        """Size in which the whole image is read."""
        return self.scaled or self.size

    @property
    def item_size(self) -> Size:
        """Size of the part that is the item."""
        return self.read_size if self.box is None else (self.box.height, self.box.width)


def file_names(root: Path, pool: Sequence[Scene], evaluation: Sequence[Scene]) -> dict[Path, str]:
    """Names of all image and label files that stay the same wherever the data are: their paths inside the root.

    If the evaluation set is elsewhere, its files are named as if they were in the root's folder ``evaluation``.
    """
    files = [path for scene in (*pool, *evaluation) for path in (scene.image, scene.label)]
    elsewhere = [path.parent for path in files if not path.is_relative_to(root)]
    folder = Path(os.path.commonpath(elsewhere)) if elsewhere else root
    return {
        path: (path.relative_to(root) if path.is_relative_to(root) else "evaluation" / path.relative_to(folder)).as_posix()
        for path in files
    }


def check_labels(scenes: Sequence[Scene]) -> None:
    """Reads the headers of label files, so that bad files are found before the training starts.

    Raises:
        UserError: a file is not readable as an image, or has another size than its image.
    """
    for scene in scenes:
        if scene.drawing is None and (found := size_of(scene.label)) != scene.size:
            height, width = scene.size
            stored = " Was it drawn on the image as stored, without its EXIF orientation?" if found == (width, height) else ""
            raise UserError(
                f"Expected {scene.label} to be {width}x{height} like its image {scene.image}, got {found[1]}x{found[0]} (width x height)."
                + stored
            )


def cropped(scenes: Sequence[Scene], crop: int, seed: int) -> list[Scene]:
    """The same scenes, with one random square part of each image as the item; the rest of the image is not used.

    Args:
        scenes: scenes whose items are whole images.
        crop: edge of the part in pixels; if an image is smaller, its part is, too.
        seed: seed of all parts; a scene's part also depends on its position in the listing.
    """
    parts = []
    for index, scene in enumerate(scenes):
        draw = random.Random(seeds.derive(seed, "query crop", index))
        height, width = (min(crop, edge) for edge in scene.read_size)
        top, left = draw.randint(0, scene.read_size[0] - height), draw.randint(0, scene.read_size[1] - width)
        parts.append(scene._replace(box=Box(top, left, height, width)))
    return parts


def with_copies(scenes: Sequence[Scene], item: str, copies: int) -> list[Scene]:
    """The scenes, followed by copies of one of them, with a number added to their names.

    Args:
        scenes: the scenes.
        item: name of the scene to copy, or its index as text.
        copies: number of copies.

    Raises:
        UserError: there is no such scene.
    """
    by_name = {str(index): scene for index, scene in enumerate(scenes)} | {scene.name: scene for scene in scenes}
    if item not in by_name:
        raise UserError(
            f"Expected the item of pool_repeat to be the name of an image in the pool, like {scenes[0].name}, or an index from 0 to "
            f"{len(scenes) - 1}, got {item}."
        )
    return [*scenes, *(by_name[item]._replace(name=f"{by_name[item].name}#{number:04d}") for number in range(copies))]


def batches_of_one_size(indices: Iterable[int], size: Callable[[int], Size], most: Callable[[Size], int]) -> list[Tensor]:
    """Cuts items into batches of images of the same size, in their order.

    Args:
        indices: the items.
        size: gives an item's size.
        most: gives the largest number of items of a size in a batch.
    """
    batches: list[list[int]] = []
    last: Size | None = None
    for index in indices:
        found = size(index)
        if last != found or len(batches[-1]) >= most(found):
            batches.append([])
            last = found
        batches[-1].append(index)
    return [torch.tensor(batch) for batch in batches]


def scored_at_once(size: Size, device: torch.device) -> int:
    """Number of images of a size in a batch for scoring."""
    return max(1, _PIXELS_AT_ONCE.get(device.type, _PIXELS_AT_ONCE["cuda"]) // (size[0] * size[1]))


def decode_image(path: Path) -> Pixels:
    """Reads an image's pixels, uint8 ``(H, W, 3)``, RGB; see :func:`~al_lightning.data.image_files.rgb_of`.

    Raises:
        UserError: the file is missing, truncated, or no image that can be shown in 8 bits.
    """
    with opened(path) as image:
        return rgb_of(image, path)


def decode_label(path: Path) -> Pixels:
    """Reads a label file's ids, uint8 ``(H, W)``; see :func:`~al_lightning.data.image_files.ids_of`.

    Raises:
        UserError: the file is missing, truncated, or no image of 8-bit integers in one channel.
    """
    with opened(path) as image:
        return ids_of(image, path)


def resized(pixels: Pixels, size: Size, how: Image.Resampling) -> Pixels:
    """An image ``(H, W)`` or ``(H, W, 3)``, resized to another height and width."""
    return np.array(Image.fromarray(pixels).resize(size[::-1], how))


def size_of(path: Path) -> Size:
    """Height and width of an image as viewers show it, by the file's header.

    Raises:
        UserError: the file is missing or no image.
    """
    with opened(path) as image:
        return size_of_opened(image)
