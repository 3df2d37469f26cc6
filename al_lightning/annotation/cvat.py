"""CVAT's format "Segmentation mask 1.1": a coloured mask for each image, and a list of the class of each colour.

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
_BACKGROUND = "background"  # CVAT's name for pixels that nobody has drawn; they are black
_OBJECTS = "SegmentationObject"  # CVAT reads black as a class without this folder. With one object per class its masks equal the others.
_FRAMES = "ImageSets/Segmentation/default.txt"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed date, so that the same package has the same bytes


# What is written


def check(classes: Classes) -> None:
    """Makes sure that CVAT can represent the classes.

    Raises:
        UserError: whole images have classes instead of pixels, or CVAT's list of labels can't contain a name.
    """
    refuse_whole_images("cvat", classes)
    for place in classes.drawn:
        if set(name := classes.names[place]) & set(":\n\r") or name.strip() != name or name.startswith("#") or name.lower() == _BACKGROUND:
            raise UserError(
                "Expected names of classes that CVAT's list of labels can contain: without colon, line break, # in front, or spaces around "
                f"them, and not {_BACKGROUND}. Got {name!r}. Rename the class, or choose another tool."
            )


def entry(rank: int, of: int, item: Item, classes: Classes, model: str, root: Path) -> tuple[str, bytes | None]:
    """Returns the image's name and its mask as a PNG; None without a prediction. For the arguments see :func:`.label_studio.entry`."""
    if isinstance(item.predicted, str | None):
        return item.image.stem, None
    palette = np.zeros((256, 3), np.uint8)
    for place, color in _colors(classes).items():
        palette[place] = color
    file = io.BytesIO()
    Image.fromarray(palette[item.predicted]).save(file, "PNG")
    return item.image.stem, file.getvalue()


def files(entries: Sequence[tuple[str, bytes | None]], classes: Classes) -> dict[str, bytes]:
    """Returns the content of the package's files, by name."""
    colors = _colors(classes)
    lines = ["# label:color_rgb:parts:actions", f"{_BACKGROUND}:0,0,0::"]
    lines += [f"{classes.names[place]}:{','.join(map(str, color))}::" for place, color in colors.items()]
    content = {LABEL_MAP: "\n".join([*lines, ""]).encode()}
    content[_FRAMES] = "".join(f"{name}\n" for name, mask in entries if mask is not None).encode()
    content |= {f"{folder}/{name}.png": mask for folder in (MASKS, _OBJECTS) for name, mask in entries if mask is not None}
    labels = [{"name": classes.names[place], "color": f"#{bytes(color).hex()}", "attributes": []} for place, color in colors.items()]
    return {ARCHIVE: _zipped(content), LABELS: json.dumps(labels, indent=1).encode()}


def readme(folder: Path, root: Path) -> str:
    """Tells a person what to do with the package."""
    return f"""1. In CVAT create a task: paste {LABELS} as its labels (Raw), and add the images of {folder}.
2. Task > Actions > Upload annotations, format "Segmentation mask 1.1", {ARCHIVE}. These are the network's predictions, to be corrected.
   There is one mask for each class of an image. Pixels without a mask are black.
3. Task > Actions > Export task dataset, in the same format, without images.
"""


def _colors(classes: Classes) -> dict[int, Color]:
    """Returns the colour of each class that is drawn: the colours of Pascal VOC from number 1 on, as number 0 is black."""
    return {place: _voc_color(number) for number, place in enumerate(classes.drawn, 1)}


def _voc_color(number: int) -> Color:
    """Returns a colour of Pascal VOC: the bits of its number go to red, green and blue in turn, the lowest bits to the highest ones."""
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
    """Yields an answer for each image that has a mask.

    Args:
        folder: an unpacked export.
        classes: the classes that annotators could choose from.

    Raises:
        UserError: the folder is not an export of CVAT. A wrong mask raises only when its answer is read.
    """
    refuse_whole_images("cvat", classes)
    colors = read_label_map(folder / LABEL_MAP)
    masks = sorted((folder / MASKS).rglob("*.png"))
    if not masks:
        raise UserError(f"Expected masks in {folder / MASKS}, found none.")
    for path in masks:
        yield Answer(path.stem, lambda size, path=path: _read(path, size, colors, classes))  # type: ignore[misc]


def read_label_map(path: Path) -> dict[str, Color]:
    """Reads the colour of each label.

    Raises:
        UserError: the file is missing or damaged, or two labels have the same name or colour.
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
            raise UserError(f"Expected labels with different names and colours in {path}, but line {number} repeats one: {line[:60]!r}.")
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
        if names[code] == _BACKGROUND and classes.rest is not None:  # nobody has drawn it, whatever a class is called
            continue
        if names[code] in classes.names:
            regions.append(Region(classes.names.index(names[code]), codes == code))
        elif names[code] != _BACKGROUND:
            raise UserError(f"Expected one of the labels {', '.join(classes.names)}, got {names[code]}.")
    return painted(size, regions, classes.rest, "refuse")


def _codes(pixels: Pixels) -> npt.NDArray[np.int64]:
    """Turns each RGB colour ``(..., 3)`` into one number ``(...)``."""
    codes: npt.NDArray[np.int64] = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    return codes
