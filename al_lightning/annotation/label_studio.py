"""Label Studio's formats: tasks with predictions, the labeling configuration, and the JSON export.

Checked against version 1.23.2. This version accepts a wrong ``from_name`` and scores above 1 without an error. Its "Uncertainty sampling"
shows the task with the lowest score first.

Source: https://labelstud.io/guide/task_format, https://labelstud.io/guide/export
"""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

from al_lightning.annotation import run_lengths
from al_lightning.annotation.items import Answer, Classes, Item, Rules
from al_lightning.data.scenes.regions import Inside, Region, painted, polygon, refuse_outside
from al_lightning.data.scenes.scene import Pixels, Size
from al_lightning.errors import UserError
from al_lightning.reading import field, fields

TASKS, CONFIG, EXPORT = "tasks.json", "labels.xml", "export.json"
_IMAGE, _BRUSH, _POLYGON, _CHOICE = "image", "brush", "polygon", "choice"  # names of the configuration's tags


# What is written


def check(classes: Classes) -> None:
    """Makes sure that Label Studio can represent the classes. It can represent all."""


def entry(rank: int, of: int, item: Item, classes: Classes, model: str, root: Path) -> dict[str, Any]:
    """Returns a task for an item, with the prediction.

    Args:
        rank: rank of the item, from 0; the item of rank 0 should be labeled first.
        of: the number of items.
        item: the item; its image must be inside of ``root``.
        classes: the classes that annotators can choose from.
        model: name of the model that predicted, for people.
        root: the folder that Label Studio serves as its LOCAL_FILES_DOCUMENT_ROOT.
    """
    confidence = rank / of  # Label Studio shows the lowest first
    data = {_IMAGE: f"/data/local-files/?d={quote(item.image.relative_to(root).as_posix())}", "item": item.name, "rank": rank}
    prediction = {"model_version": model, "score": confidence, "result": _result(item, classes)}
    return {"data": data | ({} if item.score is None else {"score": item.score}), "predictions": [prediction]}


def files(entries: Sequence[dict[str, Any]], classes: Classes) -> dict[str, bytes]:
    """Returns the content of the package's files, by name."""
    return {TASKS: json.dumps(entries, allow_nan=False, indent=1).encode(), CONFIG: labeling_config(classes).encode()}


def readme(folder: Path, root: Path) -> str:
    """Tells a person what to do with the package."""
    return f"""1. Start Label Studio so that it may serve the images:

    LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={shlex.quote(str(root))} label-studio start

2. Create a project (its title needs at least 3 characters). Settings > Labeling Interface > Code: paste the content of {CONFIG}.
3. Settings > Cloud Storage > Add Source Storage > Local files: {folder}. Save it, but don't sync.
4. Import {TASKS}. The image to label first is the first task, also with the order "Uncertainty sampling" (Settings > Annotation, where
   predictions can be shown).
5. Correct the predictions or draw, submit, and export as JSON. Regions of different labels must not overlap.
"""


def labeling_config(classes: Classes) -> str:
    """Returns the labeling configuration in XML: brush and polygons for each class that is drawn, or a choice of one class."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=_IMAGE, value=f"${_IMAGE}", zoom="true", zoomControl="true")
    if not classes.dense:
        choices = ElementTree.SubElement(view, "Choices", name=_CHOICE, toName=_IMAGE, choice="single", required="true")
        for name in classes.names:
            ElementTree.SubElement(choices, "Choice", value=name)
    else:
        for tag, its in (("BrushLabels", _BRUSH), ("PolygonLabels", _POLYGON)):
            labels = ElementTree.SubElement(view, tag, name=its, toName=_IMAGE)
            for place in classes.drawn:
                ElementTree.SubElement(labels, "Label", value=classes.names[place], background=f"#{bytes(classes.colors[place]).hex()}")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _result(item: Item, classes: Classes) -> list[dict[str, Any]]:
    if isinstance(item.predicted, str):
        named = {"from_name": _CHOICE, "to_name": _IMAGE, "type": "choices"}
        return [{"id": f"{item.name}-0", **named, "value": {"choices": [item.predicted]}}]
    return [] if item.predicted is None else [*_brushes(item, item.predicted, classes)]


def _brushes(item: Item, predicted: Pixels, classes: Classes) -> Iterator[dict[str, Any]]:
    height, width = item.size
    for place in classes.drawn:
        if (inside := predicted == place).any():
            yield {
                "id": f"{item.name}-{place}",
                "from_name": _BRUSH,
                "to_name": _IMAGE,
                "type": "brushlabels",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {"format": "rle", "rle": run_lengths.packed(inside), "brushlabels": [classes.names[place]]},
            }


# What is read


def answers(document: object, where: object, classes: Classes, rules: Rules) -> Iterator[Answer]:
    """Yields an answer for each image of an export.

    Args:
        document: the content of an export of the type JSON.
        where: the file, for error messages.
        classes: the classes that annotators could choose from.
        rules: says what is refused.

    Raises:
        UserError: the document is not such an export. A wrong annotation raises only when its answer is read.
    """
    by_item: dict[str, list[dict[str, Any]]] = {}
    for number, task in enumerate(fields({"tasks": document}, "tasks", dict, where)):
        its = f"task {number} of {where}"
        if "annotations" not in task:
            raise UserError(f"Expected annotations in {its}, got none. Is it Label Studio's export type JSON, and not JSON-MIN or another?")
        made = [each for each in fields(task, "annotations", dict, its) if each.get("was_cancelled") is not True]
        by_item.setdefault(_name(field(task, "data", dict, its), its), []).extend(made)
    for name, made in by_item.items():
        yield Answer(name, lambda size, made=made: _read(made, size, classes, rules))  # type: ignore[misc]


def _name(data: dict[str, Any], where: str) -> str:
    """Returns the item's name in the task if it is there, else the name of the image."""
    if isinstance(item := data.get("item"), str):
        return item
    path = urlsplit(field(data, _IMAGE, str, where))
    is_local = path.path.endswith("/local-files/") and path.query.startswith("d=")
    stem = PurePosixPath(unquote(path.query[2:] if is_local else path.path)).stem
    return re.sub("^[0-9a-f]{8}-", "", stem) if "/upload/" in path.path else stem  # Label Studio adds this prefix to uploaded files


def _read(made: Sequence[dict[str, Any]], size: Size, classes: Classes, rules: Rules) -> Pixels | str | None:
    if not made:
        return None
    if len(made) > 1 and rules.annotators == "refuse":
        raise UserError(f"Expected one annotation, got {len(made)}. Remove the others in Label Studio, or say --annotators latest.")
    latest = made[0] if len(made) == 1 else max(made, key=lambda each: field(each, "updated_at", str, "an annotation"))
    result = fields(latest, "result", dict, "the annotation")
    if not classes.dense:
        return _choice(result, classes)
    return painted(size, (_region(each, size, classes) for each in result), classes.rest, rules.overlaps)


def _choice(result: Sequence[dict[str, Any]], classes: Classes) -> str:
    made = [name for each in result for name in fields(field(each, "value", dict, "a choice"), "choices", str, "a choice")]
    if len(made) != 1 or made[0] not in classes.names:
        raise UserError(f"Expected one of the classes {', '.join(classes.names)}, got {', '.join(made) or 'none'}.")
    return made[0]


def _region(result: dict[str, Any], size: Size, classes: Classes) -> Region:
    kind = field(result, "type", str, "a region")
    if kind not in ("brushlabels", "polygonlabels"):
        raise UserError(f"Expected regions by brush or polygon (brushlabels, polygonlabels), got {kind}.")
    width, height = (field(result, f"original_{edge}", int, "a region") for edge in ("width", "height"))
    if (height, width) != size or result.get("image_rotation", 0) not in (0, 360):
        turned = f", turned by {result['image_rotation']} degrees" if result.get("image_rotation") else ""
        raise UserError(f"Expected regions of an image of {size[1]}x{size[0]} pixels, got {width}x{height} (original_width{turned}).")
    value = field(result, "value", dict, "a region")
    names = fields(value, kind, str, "a region")
    if len(names) != 1 or names[0] not in classes.names:
        raise UserError(f"Expected one of the labels {', '.join(classes.names)} for a region, got {', '.join(names) or 'none'}.")
    return Region(classes.names.index(names[0]), _inside(value, kind, size))


def _inside(value: dict[str, Any], kind: str, size: Size) -> Inside:
    if kind == "brushlabels":
        return run_lengths.unpacked(fields(value, "rle", int, "a region by brush"), size)
    corners = []
    for point in fields(value, "points", list, "a polygon"):
        numbers = fields({"point": point}, "point", float, "a polygon")
        if len(numbers) != 2:
            raise UserError(f"Expected x and y of a polygon's corner in percent, got {len(numbers)} numbers.")
        corners.append((numbers[0] / 100 * size[1], numbers[1] / 100 * size[0]))
    if len(corners) < 3:
        raise UserError(f"Expected at least 3 corners of a polygon, got {len(corners)}.")
    refuse_outside(size, corners)
    return polygon(size, corners)
