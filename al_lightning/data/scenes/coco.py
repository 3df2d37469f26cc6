"""Annotations in COCO's format: regions of images by category, as polygons or run lengths.

Source: https://cocodataset.org/#format-data (Lin et al., 2014).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np

from al_lightning.data.scenes.regions import Inside, Region, painted, refuse_outside
from al_lightning.data.scenes.scene import Pixels, Size
from al_lightning.errors import UserError
from al_lightning.labels import IGNORED
from al_lightning.reading import field, fields, read_any_json

_LONGEST = 60  # bits in a run length


class Annotated(NamedTuple):
    """The annotations of an image.

    Attributes:
        size: height and width of the image, by the annotations' file.
        parts: the name of each region's category, and the region's ``segmentation`` as it is in the file.
    """

    size: Size
    parts: tuple[tuple[str, Any], ...]

    def mask(
        self, names: Sequence[str], unnamed: Literal["refuse", "ignore"], rest: int | None, overlaps: Literal["refuse", "smaller"]
    ) -> Pixels:
        """The class of each pixel, uint8 ``(H, W)``, 255 is ignored.

        Args:
            names: names of the classes.
            unnamed: whether a category that is no class is refused, or its regions are ignored.
            rest: see :func:`~al_lightning.data.scenes.regions.painted`.
            overlaps: likewise.

        Raises:
            UserError: a region is damaged, outside the image or of an unknown category; or see
                :func:`~al_lightning.data.scenes.regions.painted`.
        """
        return painted(self.size, self._regions(names, unnamed), rest, overlaps)

    def refuse_other_size(self, size: Size) -> None:
        """Makes sure that the image has the size that the annotations' file says.

        Args:
            size: height and width of the image.

        Raises:
            UserError: the sizes differ.
        """
        if self.size != size:
            raise UserError(
                f"Expected an image of {size[1]}x{size[0]} pixels, as it is shown, got {self.size[1]}x{self.size[0]} (width x height)."
            )

    def _regions(self, names: Sequence[str], unnamed: str) -> Iterator[Region]:
        for name, segmentation in self.parts:
            if name not in names and unnamed == "refuse":
                raise UserError(f"Expected the categories {', '.join(names)}, got {name}.")
            yield Region(names.index(name) if name in names else IGNORED, inside(segmentation, self.size))

    def sha256(self) -> str:
        """A hash of these annotations."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()


def read_coco(path: Path) -> dict[str, Annotated]:
    """The annotated images in a file, by the names of their files without folder and suffix.

    Regions are not checked before their mask is drawn. A crowd is a region of its category like any other.

    Raises:
        UserError: the file is not in COCO's format, two images have the same name, an annotation's image or category is not in the file,
            or pycocotools is not installed.
    """
    return annotated(read_any_json(path), path)


def annotated(document: object, where: object) -> dict[str, Annotated]:
    """Does the same for a file's content.

    Args:
        document: the content.
        where: what messages call the file.

    Raises:
        UserError: see :func:`read_coco`.
    """
    pycocotools()  # raises early: masks are drawn later, and need it
    categories = _by_id(document, "categories", where)
    images = _by_id(document, "images", where)
    parts: dict[int, list[tuple[str, Any]]] = {}
    for number, annotation in enumerate(fields(document, "annotations", dict, where)):
        its = f"annotations[{number}] of {where}"
        image, category = (_known(annotation, name, ids, its) for name, ids in (("image_id", images), ("category_id", categories)))
        parts.setdefault(image, []).append((field(categories[category], "name", str, its), annotation.get("segmentation")))
    found: dict[str, Annotated] = {}
    for image, regions in parts.items():
        its = f"the image {image} of {where}"
        name = PurePosixPath(field(images[image], "file_name", str, its).replace("\\", "/")).stem
        height, width = (field(images[image], edge, int, its) for edge in ("height", "width"))
        if name in found or not (0 < height < 2**20 and 0 < width < 2**20):
            why = f"two of the name {name}" if name in found else f"{width}x{height} pixels of {name}"
            raise UserError(f"Expected images with a name of their own, and with a size, in {where}, got {why}.")
        found[name] = Annotated((height, width), tuple(regions))
    return found


def _by_id(document: object, kind: str, where: object) -> Mapping[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for number, each in enumerate(fields(document, kind, dict, where)):
        id = field(each, "id", int, f"{kind}[{number}] of {where}")
        if found.setdefault(id, each) is not each:
            raise UserError(f"Expected {kind} with an id of their own in {where}, got two with {id}.")
    return found


def _known(annotation: dict[str, Any], name: str, ids: Mapping[int, object], where: str) -> int:
    if (id := field(annotation, name, int, where)) not in ids:
        raise UserError(f"Expected the {name} of something that the file has, in {where}, got {id}.")
    return id


# Segmentations


def inside(segmentation: object, size: Size) -> Inside:
    """The pixels of a segmentation, bool ``(H, W)``.

    Args:
        segmentation: polygons ``[[x, y, x, y, ...], ...]`` in pixels, or run lengths ``{size, counts}`` column by column, as numbers or
            as COCO's text.
        size: height and width of the image.

    Raises:
        UserError: the segmentation is damaged or outside the image, or pycocotools is not installed.
    """
    tool = pycocotools()
    try:
        encoded = _polygons(segmentation, size, tool) if isinstance(segmentation, list) else _runs(segmentation, size, tool)
        found: Inside = tool.decode(encoded).astype(bool)
    except (ValueError, TypeError, OverflowError) as error:  # raised by pycocotools
        raise UserError(f"Expected a segmentation that pycocotools can read, but: {error}.") from error
    return found


def encoded(mask: Inside) -> dict[str, Any]:
    """The segmentation ``{size, counts}`` of a region, with ``counts`` as COCO's text.

    Args:
        mask: bool ``(H, W)``, the region's pixels.

    Raises:
        UserError: pycocotools is not installed.
    """
    found = pycocotools().encode(np.asfortranarray(mask, np.uint8))
    return {"size": [*mask.shape], "counts": found["counts"].decode("ascii")}


def pycocotools() -> ModuleType:
    """The module ``pycocotools.mask``.

    Raises:
        UserError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError(f"Expected pycocotools for COCO's format, but: {error}. Install it: pip install 'al_lightning[coco]'.") from error
    module: ModuleType = mask
    return module


def _polygons(polygons: list[Any], size: Size, tool: ModuleType) -> Any:
    if not polygons:
        raise UserError("Expected polygons or run lengths as segmentation, got an empty list.")
    for number in range(len(polygons)):
        numbers = fields({"polygon": polygons[number]}, "polygon", float, "a segmentation")
        if len(numbers) < 6 or len(numbers) % 2:
            raise UserError(f"Expected x and y of at least 3 corners in a polygon, got {len(numbers)} numbers.")
        refuse_outside(size, [*zip(numbers[::2], numbers[1::2], strict=True)])
    return tool.merge(tool.frPyObjects(polygons, *size))


def _runs(segmentation: object, size: Size, tool: ModuleType) -> Any:
    where = "a segmentation"
    if (own := fields(segmentation, "size", int, where)) != [*size]:
        raise UserError(f"Expected run lengths of the image's size [{size[0]}, {size[1]}] (height, width), got {own}.")
    counts = field(segmentation, "counts", _counts_kind(segmentation), where)
    numbers = fields(segmentation, "counts", int, where) if isinstance(counts, list) else _numbers(counts)
    if min(numbers, default=0) < 0 or sum(numbers) != size[0] * size[1]:  # pycocotools would read beyond its memory
        raise UserError(f"Expected run lengths of {size[0] * size[1]:,} pixels, got those of {sum(numbers):,}: the annotation is damaged.")
    return tool.frPyObjects({"size": own, "counts": numbers}, *size)


def _counts_kind(segmentation: object) -> type[Any]:
    return str if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), str) else list


def _numbers(text: str) -> list[int]:
    """The run lengths in COCO's text. A character has 5 bits of a number; a sixth bit says that the number continues in the next one.

    From the fourth number on, the text has the difference to the number two places before.

    Source: ``rleFrString`` in https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c.
    """
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if shift > _LONGEST:
            break
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
            value = shift = 0
    return numbers
