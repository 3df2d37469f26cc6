"""What a query hands to a person: the images, and what tools read of them."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from al_lightning.annotation import coco, cvat, label_studio
from al_lightning.annotation.items import Classes, Item
from al_lightning.files import write_atomically
from al_lightning.text import encoded

Tool = Literal["plain", "label_studio", "cvat", "coco"]
"""Who reads a package; plain is a person with the images and a README.txt, which every package has."""

_FORMATS: dict[str, ModuleType] = {"label_studio": label_studio, "cvat": cvat, "coco": coco}
PLAIN: Tool = "plain"
TOOLS: tuple[Tool, ...] = ("plain", "label_studio", "cvat", "coco")


def copied(image: Path, folder: Path, name: str | None = None) -> Path:
    """The copy of an image in a package: no link, as what a tool does to it must not reach the data."""
    return Path(shutil.copyfile(image, folder / (name or image.name)))


def write_tools(folder: Path, items: Iterable[Item], of: int, classes: Classes, tools: Sequence[Tool], model: str, root: Path, then: str) -> None:
    """Writes what tools read, each into a folder of its own beside the images.

    Args:
        folder: of the package.
        items: whose images lie there, the most wanted first.
        of: their number.
        classes: that they may have.
        tools: which.
        model: what has predicted, for people.
        root: the folder that Label Studio serves.
        then: the command that takes an export in, without the export.

    Raises:
        UserError: a tool can't have such labels.
    """
    formats = {tool: _FORMATS[tool] for tool in tools if tool != PLAIN}
    entries: dict[str, list[Any]] = {tool: [] for tool in formats}
    for rank, item in enumerate(items):
        for tool, format in formats.items():
            entries[tool].append(format.entry(rank, of, item, classes, model, root))
    for tool, format in formats.items():
        for name, content in format.files(entries[tool], classes).items():
            write_atomically(folder / tool / name, content)
        write_atomically(folder / tool / "README.txt", encoded(format.readme(folder.resolve(), root.resolve(), then)))
