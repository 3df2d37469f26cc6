"""The classes of Cityscapes, and maps from label ids to training classes.

Source: cityscapesScripts, ``helpers/labels.py`` (Cordts et al., 2016): 19 classes are trained and evaluated on, the others are ignored.
"""

import colorsys
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from al_lightning.errors import UserError
from al_lightning.text import listed

IGNORED = 255
_UNKNOWN = -1  # in place of a class
Color = tuple[int, int, int]
_TRAIN_IDS = 19  # number of the training classes of Cityscapes


class Label(NamedTuple):
    """A label id of the gtFine files.

    Attributes:
        id: the pixel's value.
        name: the class.
        train_id: its place among the training classes; 255 if it is ignored.
        color: RGB, for people.
    """

    id: int
    name: str
    train_id: int
    color: Color


LABELS = [
    Label(0, "unlabeled", 255, (0, 0, 0)),
    Label(1, "ego vehicle", 255, (0, 0, 0)),
    Label(2, "rectification border", 255, (0, 0, 0)),
    Label(3, "out of roi", 255, (0, 0, 0)),
    Label(4, "static", 255, (0, 0, 0)),
    Label(5, "dynamic", 255, (111, 74, 0)),
    Label(6, "ground", 255, (81, 0, 81)),
    Label(7, "road", 0, (128, 64, 128)),
    Label(8, "sidewalk", 1, (244, 35, 232)),
    Label(9, "parking", 255, (250, 170, 160)),
    Label(10, "rail track", 255, (230, 150, 140)),
    Label(11, "building", 2, (70, 70, 70)),
    Label(12, "wall", 3, (102, 102, 156)),
    Label(13, "fence", 4, (190, 153, 153)),
    Label(14, "guard rail", 255, (180, 165, 180)),
    Label(15, "bridge", 255, (150, 100, 100)),
    Label(16, "tunnel", 255, (150, 120, 90)),
    Label(17, "pole", 5, (153, 153, 153)),
    Label(18, "polegroup", 255, (153, 153, 153)),
    Label(19, "traffic light", 6, (250, 170, 30)),
    Label(20, "traffic sign", 7, (220, 220, 0)),
    Label(21, "vegetation", 8, (107, 142, 35)),
    Label(22, "terrain", 9, (152, 251, 152)),
    Label(23, "sky", 10, (70, 130, 180)),
    Label(24, "person", 11, (220, 20, 60)),
    Label(25, "rider", 12, (255, 0, 0)),
    Label(26, "car", 13, (0, 0, 142)),
    Label(27, "truck", 14, (0, 0, 70)),
    Label(28, "bus", 15, (0, 60, 100)),
    Label(29, "caravan", 255, (0, 0, 90)),
    Label(30, "trailer", 255, (0, 0, 110)),
    Label(31, "train", 16, (0, 80, 100)),
    Label(32, "motorcycle", 17, (0, 0, 230)),
    Label(33, "bicycle", 18, (119, 11, 32)),
]


class ClassMap(NamedTuple):
    """From label ids to training classes.

    Attributes:
        names: of the training classes.
        table: uint8 ``(256,)``, the training class of each label id; 255 is ignored.
        palette: uint8 ``(C, 3)``, a colour for each training class.
        ignored: ids that have a meaning, but no training class. An id that is neither here nor in the table is unknown.
        colors: RGB of each class, if label files hold colours: the id of a class is its place here. Empty if label files hold ids.
        rest: the class of pixels that no region covers, if a mask comes as regions: its place, or 255. None if nobody has said which.
    """

    names: list[str]
    table: Tensor
    palette: Tensor
    ignored: frozenset[int] = frozenset({IGNORED})
    colors: tuple[Color, ...] = ()
    rest: int | None = None

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Bool ``(256,)``: the ids that have a meaning."""
        known: npt.NDArray[np.bool_] = self.table.numpy() != IGNORED
        known[list(self.ignored)] = True
        return known

    def key(self) -> str:
        """What the ids or colours of a label file mean, for a person who draws one."""
        looks = [[f"#{bytes(color).hex()}"] for color in self.colors] or [
            [str(number) for number in (self.table == place).nonzero().flatten().tolist()] for place in range(len(self.names))
        ]
        meant = ", ".join(f"{' or '.join(look)} for {name}" for name, look in zip(self.names, looks, strict=True))
        return f"the {'colours' if self.colors else 'ids'} {meant}"

    def ids_of(self, classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """From training classes ``(H, W)``, 255 for ignored pixels, to label ids ``(H, W)``: the smallest id of each class."""
        ids = np.full(256, IGNORED, np.uint8)
        table = self.table.numpy()
        for place in range(len(self.names)):
            ids[place] = np.flatnonzero(table == place)[0]
        return ids[classes]

    def drawn(self, classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """From training classes ``(H, W)``, 255 for ignored pixels, to a label file's ids ``(H, W)`` or colours ``(H, W, 3)``.

        Raises:
            UserError: a pixel is ignored, but every colour has to be that of a class.
        """
        if not self.colors:
            return self.ids_of(classes)
        ignored = bool((classes == IGNORED).any())
        if ignored and not bool(self.known.all()):
            raise UserError("Expected a class for each pixel, as every colour has to be that of a class (data.init_args.unnamed: refuse).")
        other = next(color for color in itertools.product((0, 255, 128), repeat=3) if color not in self.colors) if ignored else (0, 0, 0)
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self.colors)], palette[IGNORED] = self.colors, other
        return palette[classes]

    def classes_of(self, ids: npt.NDArray[np.uint8], source: object) -> Tensor:
        """From label ids ``(H, W)`` to training classes, int64 ``(H, W)``; 255 is ignored.

        Args:
            ids: of the pixels.
            source: where they come from, for the error.

        Raises:
            UserError: an id has no meaning. The message names source and ids.
        """
        classes = np.where(self.known, self.table.numpy(), np.int16(_UNKNOWN))[ids]
        if bool((classes == _UNKNOWN).any()):
            self.refuse_unknown(np.unique(ids), source)
        return torch.from_numpy(classes).long()

    def refuse_unknown(self, ids: npt.NDArray[np.integer], source: object) -> None:
        """Refuses ids without a meaning.

        Raises:
            UserError: there is one. The message names source and ids.
        """
        unknown = ids[~self.known[ids]].tolist()
        if unknown:
            raise UserError(f"Expected the label ids {_ranges(np.flatnonzero(self.known).tolist())} in {source}, got {listed(unknown, 8)}.")

    def look_like_train_ids(self, ids: Collection[int]) -> bool:
        """Whether the ids of many label files look like Cityscapes' training ids (those of ``labelTrainIds`` files), not like label ids.

        None of the ids is above 18, where half of the classes have their label ids; there is 0, which is road; and some, read as label ids,
        mean pixels that nobody labels, such as the car of the camera.
        """
        if bool(self.known.all()):  # every id may occur: those without a name are ignored
            return False
        found = set(ids) - {IGNORED}
        return 0 in found and max(found) < _TRAIN_IDS and bool(found & self.ignored - {0})


def _ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers as a person writes them: ``0 to 33, 255``."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in ends)


def class_map(foreground: Sequence[str] | None = None) -> ClassMap:
    """The 19 training classes, or background and foreground.

    Args:
        foreground: names of classes that together are class 1. All other classes, among the 19 or not, are class 0; ids 0 to 3 (pixels that
            no annotator looked at) stay ignored. None for the 19 classes.

    Raises:
        UserError: there is no class of that name.
    """
    table = torch.full((256,), IGNORED, dtype=torch.uint8)
    if foreground is None:
        trained = sorted((label for label in LABELS if label.train_id != IGNORED), key=lambda label: label.train_id)
        for label in trained:
            table[label.id] = label.train_id
        colors = [label.color for label in trained]
        return ClassMap([label.name for label in trained], table, torch.tensor(colors, dtype=torch.uint8), _ignored_by(table))
    names = {label.name for label in LABELS if label.id > 3}
    unknown = [name for name in foreground if name not in names]
    if unknown or not foreground:
        raise UserError(f"Expected foreground classes from {', '.join(sorted(names))}, got {', '.join(unknown) or 'none'}.")
    for label in LABELS:
        if label.id > 3:
            table[label.id] = int(label.name in foreground)
    colors = [(64, 64, 64), next(label.color for label in LABELS if label.name == foreground[0])]
    return ClassMap(["background", "foreground"], table, torch.tensor(colors, dtype=torch.uint8), _ignored_by(table), rest=0)


def _ignored_by(table: Tensor) -> frozenset[int]:
    return frozenset({label.id for label in LABELS if table[label.id] == IGNORED} | {IGNORED})


def rest_of(names: Sequence[str], said: str | None) -> int | None:
    """The class of pixels that no region covers, in the form of :attr:`ClassMap.rest`.

    Args:
        names: of the classes.
        said: the name of a class, or ``ignore``; None for the class called background, if there is one.

    Raises:
        UserError: there is no such class.
    """
    if said is None:
        return next((place for place, name in enumerate(names) if name.lower() == "background"), None)
    if said not in names and said != "ignore":
        raise UserError(f"Expected one of the classes {', '.join(names)} for pixels that no region covers (rest), or ignore, got {said}.")
    return names.index(said) if said in names else IGNORED


def named_classes(
    looks: Mapping[str, int | str | Color], unnamed: Literal["refuse", "ignore"] = "refuse", rest: str | None = None
) -> ClassMap:
    """A map of classes that somebody has named, in their order.

    Args:
        looks: the id of each class in the masks, or its colour there (``#rrggbb``, or red, green and blue), by its name.
        unnamed: whether a mask with other ids or colours is refused, or those are ignored, as 255 always is.
        rest: see :func:`rest_of`.

    Raises:
        UserError: there are fewer than two classes, some have ids and some colours, two have the same, an id is not from 0 to 254 (255 is
            for ignored pixels), or ``rest`` is none of the classes.
    """
    if wrong := [name for name in looks if not isinstance(name, str)]:
        raise UserError(
            f"Expected names of classes as text, got {listed([repr(name) for name in wrong])}. Put quotes around them: YAML takes no, yes, "
            "on and off for false and true, and digits for numbers."
        )
    if wrong := [
        name for name, look in looks.items() if isinstance(look, bool) or not (isinstance(look, int | str) or hasattr(look, "__len__"))
    ]:
        raise UserError(f"Expected an id or a colour for each class, got {looks[wrong[0]]!r} for {wrong[0]}.")
    ids = [look for look in looks.values() if isinstance(look, int)]
    colors = tuple(color for look in looks.values() if not isinstance(look, int) and (color := _color(look)) is not None)
    different = len(set(ids)) or len(set(colors))
    if not 2 <= len(looks) <= IGNORED or different < len(looks) or not all(0 <= number < IGNORED for number in ids):
        shown = ", ".join(f"{name}: {look}" for name, look in looks.items())
        raise UserError(
            f"Expected at least 2 classes, each with an id of its own from 0 to {IGNORED - 1}, got {shown or 'none'}. Colours will do as "
            f"well, like '#ff0000', for all of them; in masks of grey values {IGNORED} is '#ffffff'."
        )
    table = torch.full((256,), IGNORED, dtype=torch.uint8)
    table[ids or [*range(len(colors))]] = torch.arange(len(looks), dtype=torch.uint8)
    ignored = {IGNORED} if unnamed == "refuse" else (table == IGNORED).nonzero().flatten().tolist()
    palette = torch.tensor(colors, dtype=torch.uint8) if colors else distinct_colors(len(looks))
    return ClassMap([*looks], table, palette, frozenset(ignored), colors, rest_of([*looks], rest))


def _color(look: str | Sequence[int]) -> Color | None:
    """RGB of a colour as a person writes it; None if it is no colour."""
    if isinstance(look, str):
        look = [*bytes.fromhex(look[1:])] if re.fullmatch("#[0-9a-fA-F]{6}", look) else []
    red_green_blue = tuple(look)
    return red_green_blue if len(red_green_blue) == 3 and all(0 <= part <= 255 for part in red_green_blue) else None


def distinct_colors(count: int) -> Tensor:
    """uint8 ``(count, 3)``: colours that differ in hue by the golden ratio, and in turn in lightness and saturation.

    The first is grey, as the first class is the background in most data sets.
    """
    colors = [(0.25, 0.25, 0.25)]
    for number in range(1, count):
        colors.append(colorsys.hls_to_rgb(number * 0.618034 % 1, (0.45, 0.6, 0.35)[number % 3], (0.85, 0.6)[number % 2]))
    return torch.tensor([[round(255 * part) for part in color] for color in colors], dtype=torch.uint8)
