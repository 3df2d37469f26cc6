"""What a tool exports, as what people give without one: a folder of masks, or a table of classes."""

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
        label: where its mask belongs.
        size: of the image.
    """

    label: Path
    size: Size


def is_export(path: Path) -> bool:
    """Whether this is a tool's export: a JSON or ZIP file, or a folder that CVAT has made."""
    return path.suffix.lower() in (".json", ".zip") or (path / cvat.LABEL_MAP).is_file()


def read_export(path: Path, classes: Classes, rules: Rules, scratch: Path) -> Iterator[Answer]:
    """What people say in an export of Label Studio (JSON), CVAT (Segmentation mask 1.1) or in COCO's format.

    Args:
        path: of the export.
        classes: that they could choose from.
        rules: of what is refused.
        scratch: an empty folder, to unpack into.

    Raises:
        UserError: it is none of them, or damaged.
    """
    if path.is_file() and path.suffix.lower() == ".zip":
        unpack(path, scratch)
        found = sorted(scratch.glob("*.json"))
        if (scratch / cvat.LABEL_MAP).is_file():
            return cvat.answers(scratch, classes)
        if len(found) != 1:
            raise UserError(f"Expected {cvat.LABEL_MAP} of CVAT's Segmentation mask in {path}, or one file of annotations, got neither.")
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
    """Draws masks, each called as it will be called.

    Args:
        answers: of an export.
        asked: by the names that an image may have.
        class_map: of the data, says what masks hold.
        into: folder of the masks.

    Returns:
        The number of masks, and by name why other answers are refused.
    """

    def one(answer: Answer) -> bool:
        if (its := asked.get(answer.name)) is None:
            raise UserError("it was not asked for")
        if (classes := answer.read(its.size)) is None:
            return False
        if (path := into / its.label.name).exists():
            raise UserError("the export has it twice, by two of its names")
        assert not isinstance(classes, str)
        Image.fromarray(class_map.drawn(classes)).save(path)
        return True

    return _taken(answers, one)


def tabulate(answers: Iterator[Answer], into: Path) -> tuple[int, dict[str, str]]:
    """Writes the classes of images into a table of the columns name and class; returns as :func:`draw`."""
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
    """Takes answers: how many there are, and by name why others are refused."""
    count, refused = 0, dict[str, str]()
    for answer in answers:
        try:
            count += take(answer)
        except UserError as error:
            refused[answer.name] = str(error)
    return count, refused
