"""COCO's format: writes a region for each predicted class of an image, and reads a file of annotations that a tool exports."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from al_lightning.annotation.items import Answer, Classes, Item, Rules, refuse_whole_images
from al_lightning.data.scenes import coco
from al_lightning.data.scenes.regions import Inside
from al_lightning.data.scenes.scene import Pixels, Size

ANNOTATIONS = EXPORT = "annotations.json"
Entry = tuple[dict[str, Any], list[dict[str, Any]]]
"""An image and its annotations, as in COCO's JSON."""


def check(classes: Classes) -> None:
    """Makes sure that annotations can be written and read.

    Raises:
        UserError: whole images have classes instead of pixels, or pycocotools is not installed.
    """
    refuse_whole_images("coco", classes)
    coco.pycocotools()


def entry(rank: int, of: int, item: Item, classes: Classes, model: str, root: Path) -> Entry:
    """Returns an image and its annotations, which have no ids yet. For the arguments see :func:`.label_studio.entry`."""
    height, width = item.size
    image = {"id": rank + 1, "file_name": item.image.name, "height": height, "width": width}
    return image, [*_annotations(rank + 1, item.predicted, classes)]


def files(entries: Sequence[Entry], classes: Classes) -> dict[str, bytes]:
    """Returns the content of the package's files, by name."""
    document = {
        "images": [image for image, _ in entries],
        "categories": [{"id": place + 1, "name": classes.names[place], "supercategory": ""} for place in classes.drawn],
        "annotations": [{"id": id, **its} for id, its in enumerate((each for _, its in entries for each in its), 1)],
    }
    return {ANNOTATIONS: json.dumps(document, allow_nan=False).encode()}


def _annotations(image: int, predicted: Pixels | str | None, classes: Classes) -> Iterator[dict[str, Any]]:
    for place in classes.drawn:
        if not isinstance(predicted, str | None) and (inside := predicted == place).any():
            region = {"segmentation": coco.encoded(inside), "area": int(inside.sum()), "bbox": _box(inside)}
            yield {"image_id": image, "category_id": place + 1, "iscrowd": 0, **region}


def _box(inside: Inside) -> list[int]:
    """Returns left, top, width and height of a region, in pixels."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return [int(number) for number in (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)]


def answers(document: object, where: object, classes: Classes, rules: Rules) -> Iterator[Answer]:
    """Yields an answer for each image that has annotations in a file.

    Args:
        document: the content of the file.
        where: the file, for error messages.
        classes: the classes that annotators could choose from.
        rules: says what is refused.

    Raises:
        UserError: the file is not in COCO's format. A wrong annotation raises only when its answer is read.
    """
    check(classes)
    for name, its in coco.annotated(document, where).items():
        yield Answer(name, lambda size, its=its: _read(its, size, classes, rules))  # type: ignore[misc]


def _read(annotated: coco.Annotated, size: Size, classes: Classes, rules: Rules) -> Pixels:
    annotated.refuse_other_size(size)
    return annotated.mask(classes.names, "refuse", classes.rest, rules.overlaps)


def readme(folder: Path, root: Path) -> str:
    """Tells a person what to do with the package."""
    return f"""{ANNOTATIONS} lists the images of {folder}, with the network's predictions as regions in the format of COCO's instances.
Import the images and this file into a tool that reads the format. Correct the regions: those of different classes must not overlap.
Then export in the same format.
"""
