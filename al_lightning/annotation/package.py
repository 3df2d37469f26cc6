"""What a query hands to a person: the images, and what tools read of them."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

from PIL import Image

from al_lightning.annotation import coco, cvat, label_studio
from al_lightning.annotation.items import Classes, Item
from al_lightning.data.scenes.scene import decode_image
from al_lightning.files import write_atomically
from al_lightning.text import encoded

Tool = Literal["plain", "label_studio", "cvat", "coco"]
"""Who reads a package; plain is a person with the images and a README.txt, which every package has."""

_FORMATS: dict[str, ModuleType] = {"label_studio": label_studio, "cvat": cvat, "coco": coco}
_IN_BROWSERS = ("label_studio",)
PLAIN: Tool = "plain"
TOOLS: tuple[Tool, ...] = ("plain", "label_studio", "cvat", "coco")


def _shown(item: Item, folder: Path) -> Item:
    """The item, whose image gets a PNG beside it where browsers would not show it."""
    if item.image.suffix.lower() not in (".tif", ".tiff"):
        return item
    image, file = item.image.with_suffix(".png"), io.BytesIO()
    Image.fromarray(decode_image(folder / item.image.name)).save(file, "PNG")
    write_atomically(folder / image.name, file.getvalue())
    return item._replace(image=image)


def copied(image: Path, folder: Path, name: str | None = None) -> Path:
    """The copy of an image in a package: no link, as what a tool does to it must not reach the data."""
    return Path(shutil.copyfile(image, folder / (name or image.name)))


def refuse_tools(tools: Sequence[Tool], classes: Classes) -> None:
    """Makes sure that packages can be made, before anything is.

    Raises:
        UserError: a tool can't have such labels, or what it takes is not installed.
    """
    for tool in tools:
        if tool != PLAIN:
            _FORMATS[tool].check(classes)


def write_tools(
    folder: Path, items: Sequence[Item], classes: Classes, tools: Sequence[Tool], model: str, root: Path, place: Path, then: str | None
) -> None:
    """Writes what tools read, each into a folder of its own beside the images.

    Args:
        folder: to write into.
        items: whose images lie in the package, the most wanted first.
        classes: that they may have.
        tools: which.
        model: what has predicted, for people.
        root: the folder that Label Studio serves.
        place: where the package will be.
        then: the command that takes an export in, but for the export; None where none can.

    Raises:
        UserError: a tool can't have such labels.
    """
    for tool in tools:
        if tool == PLAIN:
            continue
        format = _FORMATS[tool]
        its = [_shown(item, folder) for item in items] if tool in _IN_BROWSERS else items
        entries = [format.entry(rank, len(its), item, classes, model, root) for rank, item in enumerate(its)]
        readme = format.readme(place.resolve(), root.resolve()) + (f"\nThen:\n\n    {then} {format.EXPORT}\n" if then else "")
        content = format.files(entries, classes) | {"README.txt": encoded(readme)}
        for name, each in content.items():
            write_atomically(folder / tool / name, each)
