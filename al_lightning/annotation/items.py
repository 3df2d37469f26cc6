"""What every format is made from: images to label, and the classes that they may have."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from al_lightning.data import PoolDataModule, SceneDataModule
from al_lightning.data.scenes.scene import Pixels, Size
from al_lightning.errors import UserError
from al_lightning.labels import distinct_colors


class Classes(NamedTuple):
    """What an image is labeled with.

    Attributes:
        names: in the order of the network's outputs.
        colors: RGB of each class.
        dense: whether pixels have classes, or whole images.
        rest: the class of pixels that nobody draws, by its place, or 255; None where all are to be drawn.
    """

    names: Sequence[str]
    colors: Sequence[tuple[int, int, int]]
    dense: bool
    rest: int | None = None

    @property
    def drawn(self) -> list[int]:
        """The places of the classes that somebody draws."""
        return [place for place in range(len(self.names)) if place != self.rest]


class Rules(NamedTuple):
    """How exports are read that say several things.

    Attributes:
        annotators: whether several annotations of one image are refused, or the ``latest`` one counts.
        overlaps: whether regions of several classes that overlap are refused, or the ``smaller`` one is on top.
    """

    annotators: Literal["refuse", "latest"] = "refuse"
    overlaps: Literal["refuse", "smaller"] = "refuse"


class Item(NamedTuple):
    """An image to label.

    Attributes:
        name: what a person knows it by.
        image: its file.
        size: as it is shown.
        score: of the strategy; None where there is none.
        predicted: class of each pixel, uint8 ``(H, W)``, or the image's; None where nothing is predicted.
    """

    name: str
    image: Path
    size: Size
    score: float | None = None
    predicted: Pixels | str | None = None


class Answer(NamedTuple):
    """What a tool's export says of an image.

    Attributes:
        name: of the image, as the export has it.
        read: the class of each pixel of an image of a size, or of the image; None where nobody has labeled it. Raises UserError.
    """

    name: str
    read: Callable[[Size], Pixels | str | None]


def classes_of(data: PoolDataModule) -> Classes:
    """The classes of some data, in the colours that its pictures have."""
    if isinstance(data, SceneDataModule):
        return Classes(data.classes.names, [*map(tuple, data.classes.palette.tolist())], True, data.classes.rest)
    return Classes(data.class_names, [*map(tuple, distinct_colors(len(data.class_names)).tolist())], False)


def refuse_whole_images(tool: str, classes: Classes) -> None:
    """Makes sure that pixels have classes.

    Raises:
        UserError: whole images have.
    """
    if not classes.dense:
        raise UserError(f"Expected data whose pixels have classes for the format of {tool}. Whole images are classified in label_studio.")
