"""What all formats of annotation tools have in common: images to label, their classes, and the answers of annotators."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from al_lightning.data import PoolDataModule, SceneDataModule
from al_lightning.data.scenes.scene import Pixels, Size
from al_lightning.errors import UserError
from al_lightning.labels import distinct_colors


class Classes(NamedTuple):
    """The classes that images or pixels are labeled with.

    Attributes:
        names: names of the classes, in the order of the network's outputs.
        colors: RGB of each class.
        dense: True if each pixel has a class, False if each whole image has one.
        rest: the class of pixels that nobody draws, as an index into ``names``, or 255 for ignored; None if all pixels must be drawn.
    """

    names: Sequence[str]
    colors: Sequence[tuple[int, int, int]]
    dense: bool
    rest: int | None = None

    @property
    def drawn(self) -> list[int]:
        """The indices of the classes that annotators draw."""
        return [place for place in range(len(self.names)) if place != self.rest]


class Rules(NamedTuple):
    """How ambiguous exports are read.

    Attributes:
        annotators: whether an image with several annotations is refused, or the ``latest`` annotation counts.
        overlaps: whether overlapping regions of different classes are refused, or the ``smaller`` region is on top.
    """

    annotators: Literal["refuse", "latest"] = "refuse"
    overlaps: Literal["refuse", "smaller"] = "refuse"


class Item(NamedTuple):
    """An image to label.

    Attributes:
        name: the name that a person knows it by.
        image: its file.
        size: height and width of the image as it is shown.
        score: score by the strategy; None if there is none.
        predicted: the predicted class of each pixel, uint8 ``(H, W)``, or the name of the image's class; None without a prediction.
    """

    name: str
    image: Path
    size: Size
    score: float | None = None
    predicted: Pixels | str | None = None


class Answer(NamedTuple):
    """What a tool's export says about an image.

    Attributes:
        name: name of the image in the export.
        read: takes the image's height and width; returns the class of each pixel, uint8 ``(H, W)``, or the name of the image's class.
            Returns None if nobody has labeled the image. Raises UserError if the annotation is refused.
    """

    name: str
    read: Callable[[Size], Pixels | str | None]


def classes_of(data: PoolDataModule) -> Classes:
    """Returns the classes of a data module, in the colours of its pictures."""
    if isinstance(data, SceneDataModule):
        return Classes(data.classes.names, [*map(tuple, data.classes.palette.tolist())], True, data.classes.rest)
    return Classes(data.class_names, [*map(tuple, distinct_colors(len(data.class_names)).tolist())], False)


def refuse_whole_images(tool: str, classes: Classes) -> None:
    """Makes sure that pixels have classes.

    Raises:
        UserError: whole images have classes instead.
    """
    if not classes.dense:
        raise UserError(f"Expected data whose pixels have classes for the format of {tool}. For classes of whole images take label_studio.")
