"""CVAT's "Segmentation mask 1.1": a picture of colours for each image, and a list of what the colours mean.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-smask/
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt
from PIL import Image

from al_lightning.annotation.items import Answer, Classes, Item, refuse_whole_images
from al_lightning.data.image_files import opened, rgb_of
from al_lightning.data.scenes.regions import Region, painted
from al_lightning.data.scenes.scene import Pixels, Size
from al_lightning.errors import UserError
from al_lightning.labels import Color
from al_lightning.reading import read_text

ARCHIVE, LABELS, EXPORT = "masks.zip", "labels.json", "export.zip"
LABEL_MAP, MASKS = "labelmap.txt", "SegmentationClass"
_BACKGROUND = "background"  # as CVAT calls what nobody has drawn, which is black
_OBJECTS = "SegmentationObject"  # without which black is read as a class: one object a class, so the pictures are the same
_FRAMES = "ImageSets/Segmentation/default.txt"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same package twice is the same bytes


# What is written


def check(classes: Classes) -> None:
    """Makes sure that CVAT can have such labels.

    Raises:
        UserError: whole images have classes, or a name can't stand in its list of labels.
    """
    refuse_whole_images("cvat", classes)
    for place in classes.drawn:
        if set(name := classes.names[place]) & set(":\n\r") or name.strip() != name or name.startswith("#") or name.lower() == _BACKGROUND:
            raise UserError(f"Expected names of classes that CVAT's list of labels can have (no colon, and not background), got {name!r}.")


def entry(rank: int, of: int, item: Item, classes: Classes, model: str, root: Path) -> tuple[str, bytes | None]:
    """The image's name, and its mask as a file; arguments as for Label Studio."""
    if isinstance(item.predicted, str | None):
        return item.image.stem, None
    palette = np.zeros((256, 3), np.uint8)
    for place, color in _colors(classes).items():
        palette[place] = color
    file = io.BytesIO()
    Image.fromarray(palette[item.predicted]).save(file, "PNG")
    return item.image.stem, file.getvalue()


def files(entries: Sequence[tuple[str, bytes | None]], classes: Classes) -> dict[str, bytes]:
    """The package's files, by name."""
    colors = _colors(classes)
    lines = ["# label:color_rgb:parts:actions", f"{_BACKGROUND}:0,0,0::"]
    lines += [f"{classes.names[place]}:{','.join(map(str, color))}::" for place, color in colors.items()]
    content = {LABEL_MAP: "\n".join([*lines, ""]).encode()}
    content[_FRAMES] = "".join(f"{name}\n" for name, mask in entries if mask is not None).encode()
    content |= {f"{folder}/{name}.png": mask for folder in (MASKS, _OBJECTS) for name, mask in entries if mask is not None}
    labels = [{"name": classes.names[place], "color": f"#{bytes(color).hex()}", "attributes": []} for place, color in colors.items()]
    return {ARCHIVE: _zipped(content), LABELS: json.dumps(labels, indent=1).encode()}


def readme(folder: Path, root: Path) -> str:
    """What a person does with the package."""
    return f"""1. In CVAT make a task: its labels are those of {LABELS} (Raw), its images the ones of {folder}.
2. Task > Actions > Upload annotations, format "Segmentation mask 1.1", {ARCHIVE}: what the network predicts, to be corrected.
   It is made of one mask for each class of an image; what is in none is black.
3. Task > Actions > Export task dataset, the same format, without images.
"""


def _colors(classes: Classes) -> dict[int, Color]:
    """The colour of each class that is drawn: VOC's, from 1 on without gaps, as 0 is black."""
    return {place: _voc_color(number) for number, place in enumerate(classes.drawn, 1)}


def _voc_color(number: int) -> Color:
    """Of Pascal VOC: the bits of a number go to red, green and blue in turn, the lowest ones as the highest."""
    red, green, blue = (sum((number >> 3 * step + channel & 1) << 7 - step for step in range(3)) for channel in range(3))
    return red, green, blue


def _zipped(content: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for name, each in content.items():
            archive.writestr(ZipInfo(name, _EPOCH), each)
    return file.getvalue()


# What is read


def answers(folder: Path, classes: Classes) -> Iterator[Answer]:
    """What somebody has drawn, of the images that have a mask.

    Args:
        folder: an export, unpacked.
        classes: that they could choose from.

    Raises:
        UserError: it is no such export. What is wrong with a mask is raised where it is read.
    """
    check(classes)
    colors = read_label_map(folder / LABEL_MAP)
    masks = sorted((folder / MASKS).rglob("*.png"))
    if not masks:
        raise UserError(f"Expected masks in {folder / MASKS}, found none.")
    for path in masks:
        yield Answer(path.stem, lambda size, path=path: _read(path, size, colors, classes))  # type: ignore[misc]


def read_label_map(path: Path) -> dict[str, Color]:
    """The colour of each label.

    Raises:
        UserError: the file is missing or damaged, or two labels have one name or one colour.
    """
    found: dict[str, Color] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *rest = line.split(":")
        parts = rest[0].split(",") if len(rest) == 3 else []
        if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in parts):
            raise UserError(f"Expected a label as name:red,green,blue:: in line {number} of {path}, got {line[:60]!r}.")
        red, green, blue = map(int, parts)
        if name in found or (red, green, blue) in found.values():
            raise UserError(f"Expected labels with a name and a colour of their own in {path}, got {line[:60]!r} in line {number}.")
        found[name] = red, green, blue
    return found


def _read(path: Path, size: Size, colors: Mapping[str, Color], classes: Classes) -> Pixels:
    with opened(path) as image:
        pixels = rgb_of(image, path)
    if pixels.shape[:2] != size:
        height, width = pixels.shape[:2]
        raise UserError(f"Expected a mask of {size[1]}x{size[0]} pixels, like its image, got {width}x{height}.")
    codes = _codes(pixels)
    names = {int(_codes(np.array(color, np.uint8))): name for name, color in colors.items()}
    used = np.unique(codes).tolist()
    if unknown := [f"#{code:06x}" for code in used if code not in names]:
        raise UserError(f"Expected colours of {LABEL_MAP}, got {', '.join(unknown[:5])}.")
    regions = []
    for code in used:
        if names[code] in classes.names:
            regions.append(Region(classes.names.index(names[code]), codes == code))
        elif names[code] != _BACKGROUND:
            raise UserError(f"Expected one of the labels {', '.join(classes.names)}, got {names[code]}.")
    return painted(size, regions, classes.rest, "refuse")


def _codes(pixels: Pixels) -> npt.NDArray[np.int64]:
    """RGB ``(..., 3)`` as one number each."""
    codes: npt.NDArray[np.int64] = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    return codes
