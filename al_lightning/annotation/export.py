"""Converts the export of a tool to what people give without a tool: a folder of masks, or a table of classes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from al_lightning.annotation import coco, cvat, label_studio
from al_lightning.annotation.archives import unpack
from al_lightning.annotation.items import Answer, Classes, Rules
from al_lightning.data.scenes.scene import Size
from al_lightning.errors import UserError
from al_lightning.files import as_csv
from al_lightning.labels import ClassMap
from al_lightning.reading import read_any_json
from al_lightning.text import encoded

_COCO = {"images", "annotations", "categories"}


class Asked(NamedTuple):
    """An image that somebody was asked to label.

    Attributes:
        label: the path of its mask in the data.
        size: height and width of the image.
    """

    label: Path
    size: Size


def is_export(path: Path) -> bool:
    """Whether a path is a tool's export: a JSON or ZIP file, or an unpacked export of CVAT."""
    return path.suffix.lower() in (".json", ".zip") or (path / cvat.LABEL_MAP).is_file()


def read_export(path: Path, classes: Classes, rules: Rules, scratch: Path) -> Iterator[Answer]:
    """Reads the answers in an export of Label Studio (JSON), CVAT (Segmentation mask 1.1) or in COCO's format.

    Args:
        path: the export.
        classes: the classes that annotators could choose from.
        rules: says what is refused.
        scratch: an empty folder, to unpack into.

    Raises:
        UserError: the export has none of these formats, or is damaged. Some damage raises only while the answers are iterated.
    """
    if path.is_file() and path.suffix.lower() == ".zip":
        unpack(path, scratch)
        found = sorted(scratch.glob("*.json"))
        if (scratch / cvat.LABEL_MAP).is_file():
            return cvat.answers(scratch, classes)
        if len(found) != 1:
            raise UserError(
                f"Expected {cvat.LABEL_MAP} of CVAT's Segmentation mask in {path}, or exactly one JSON file of annotations, got neither: "
                f"it has {len(found)} JSON files."
            )
        (path,) = found
    elif path.is_dir():
        return cvat.answers(path, classes)
    document = read_any_json(path)
    if isinstance(document, list):
        return label_studio.answers(document, path, classes, rules)
    if isinstance(document, dict) and set(document) >= _COCO:
        return coco.answers(document, path, classes, rules)
    raise UserError(f"Expected Label Studio's export (JSON) or COCO's {', '.join(sorted(_COCO))} in {path}, got something else.")


def draw(answers: Iterator[Answer], asked: Mapping[str, Asked], class_map: ClassMap, into: Path) -> tuple[int, dict[str, str]]:
    """Draws the masks of an export into a folder. Each has the name that it has in the data.

    Args:
        answers: the answers of an export.
        asked: the images that were asked for, by each name that an export may use for them.
        class_map: says which values the masks of the data have.
        into: folder of the masks.

    Returns:
        The number of masks, and for the name of each refused answer the reason.
    """

    def one(answer: Answer) -> bool:
        if (its := asked.get(answer.name)) is None:
            raise UserError("it was not asked for")
        if (classes := answer.read(its.size)) is None:
            return False
        if (path := into / its.label.name).exists():
            raise UserError("the export has this image twice, under two of its names")
        assert not isinstance(classes, str)
        Image.fromarray(class_map.drawn(classes)).save(path)
        return True

    return _taken(answers, one)


def tabulate(answers: Iterator[Answer], into: Path) -> tuple[int, dict[str, str]]:
    """Writes the classes of images into a table with the columns name and class.

    Args:
        answers: the answers of an export.
        into: path of the table.

    Returns:
        The number of rows, and for the name of each refused answer the reason.
    """
    rows: list[tuple[str, str]] = [("name", "class")]

    def one(answer: Answer) -> bool:
        if not isinstance(label := answer.read((0, 0)), str):
            return False
        rows.append((answer.name, label))
        return True

    found = _taken(answers, one)
    into.write_bytes(encoded(as_csv(rows)))
    return found


def _taken(answers: Iterator[Answer], take: Callable[[Answer], bool]) -> tuple[int, dict[str, str]]:
    """Takes each answer. Returns the number of taken answers, and for the name of each refused answer the reason."""
    count, refused = 0, dict[str, str]()
    for answer in answers:
        try:
            count += take(answer)
        except UserError as error:
            refused[answer.name] = str(error)
    return count, refused
