"""Writes packages: the images that a query hands to an annotator, and files for annotation tools."""

import io
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

from PIL import Image

from al_lightning.annotation import coco, cvat, label_studio
from al_lightning.annotation.items import Classes, Item
from al_lightning.data.scenes.scene import decode_image
from al_lightning.errors import UserError
from al_lightning.files import write_atomically
from al_lightning.text import encoded, is_unicode

Tool = Literal["plain", "label_studio", "cvat", "coco"]
"""What a package is for. Every package has the images and a README.txt; ``plain`` has nothing else."""

_FORMATS: dict[str, ModuleType] = {"label_studio": label_studio, "cvat": cvat, "coco": coco}
_IN_BROWSERS = ("label_studio",)
PLAIN: Tool = "plain"
TOOLS: tuple[Tool, ...] = ("plain", "label_studio", "cvat", "coco")


def _shown(item: Item, folder: Path) -> Item:
    """Returns the item. If browsers can't show its image, the item refers to a new PNG beside it."""
    if item.image.suffix.lower() not in (".tif", ".tiff"):
        return item
    image, file = item.image.with_suffix(".png"), io.BytesIO()
    Image.fromarray(decode_image(folder / item.image.name)).save(file, "PNG")
    write_atomically(folder / image.name, file.getvalue())
    return item._replace(image=image)


def copied(image: Path, folder: Path, name: str | None = None) -> Path:
    """Copies an image into a package. It is not a link, so that a tool can't change the data."""
    return Path(shutil.copyfile(image, folder / (name or image.name)))


def refuse_tools(tools: Sequence[Tool], classes: Classes, images: Iterable[Path]) -> None:
    """Makes sure that packages for these tools can be made, before any is written.

    Args:
        tools: the tools.
        classes: the classes that annotators can choose from.
        images: the images that may be in a package.

    Raises:
        UserError: a tool can't represent the classes or the name of an image, or a library that its format needs is not installed.
    """
    if {*tools} <= {PLAIN}:
        return
    for tool in tools:
        if tool != PLAIN:
            _FORMATS[tool].check(classes)
    if wrong := [image for image in images if not is_unicode(f"{image.parent.name}/{image.name}")]:
        raise UserError(
            f"Expected names of images in UTF-8, in which tools read a package, got {len(wrong)} others, as {wrong[0].name!r} in "
            f"{wrong[0].parent}. Rename them, or take the package plain."
        )


def write_tools(
    folder: Path, items: Sequence[Item], classes: Classes, tools: Sequence[Tool], model: str, root: Path, place: Path, then: str | None
) -> None:
    """Writes the files for each tool into its own folder beside the images.

    Args:
        folder: where the package is written.
        items: the items; their images are in the package, the first to label first.
        classes: the classes that annotators can choose from.
        tools: the tools.
        model: name of the model that predicted, for people.
        root: the folder that Label Studio serves.
        place: where the package will be when it is complete.
        then: the command that reads an export, without the path of the export; None if no command can.

    Raises:
        UserError: an image can't be read.
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
