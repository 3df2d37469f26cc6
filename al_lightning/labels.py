"""The classes of Cityscapes, and maps from label ids to training classes.

Source: cityscapesScripts, ``helpers/labels.py`` (Cordts et al., 2016): 19 classes are trained and evaluated on, the others are ignored.
"""

import colorsys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from al_lightning.errors import UserError

IGNORED = 255


class Label(NamedTuple):
    """A label id of the gtFine files.

    Attributes:
        id: the pixel's value.
        name: the class.
        train_id: its place among the training classes; 255 where it is ignored.
        color: RGB, for people.
    """

    id: int
    name: str
    train_id: int
    color: tuple[int, int, int]


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
    """

    names: list[str]
    table: Tensor
    palette: Tensor


def class_map(foreground: Sequence[str] | None = None) -> ClassMap:
    """The 19 training classes, or background and foreground.

    Args:
        foreground: names of classes that together are class 1; every other class, trained on otherwise or not, is class 0, and ids 0 to 3
            (what no annotator looked at) stay ignored. None for the 19 classes.

    Raises:
        UserError: there is no class of that name.
    """
    table = torch.full((256,), IGNORED, dtype=torch.uint8)
    if foreground is None:
        trained = sorted((label for label in LABELS if label.train_id != IGNORED), key=lambda label: label.train_id)
        for label in trained:
            table[label.id] = label.train_id
        return ClassMap([label.name for label in trained], table, torch.tensor([label.color for label in trained], dtype=torch.uint8))
    names = {label.name for label in LABELS if label.id > 3}
    unknown = [name for name in foreground if name not in names]
    if unknown or not foreground:
        raise UserError(f"Expected foreground classes from {', '.join(sorted(names))}, got {', '.join(unknown) or 'none'}.")
    for label in LABELS:
        if label.id > 3:
            table[label.id] = int(label.name in foreground)
    colors = [(64, 64, 64), next(label.color for label in LABELS if label.name == foreground[0])]
    return ClassMap(["background", "foreground"], table, torch.tensor(colors, dtype=torch.uint8))


def named_classes(ids: Mapping[str, int]) -> ClassMap:
    """Classes that somebody has named, in their order; every other id is ignored.

    Args:
        ids: the id of each class, by its name.

    Raises:
        UserError: there are fewer than two, two share an id, an id is no 8-bit number, or it is 255, which is for what is ignored.
    """
    table = torch.full((256,), IGNORED, dtype=torch.uint8)
    if len(ids) < 2 or len(set(ids.values())) < len(ids) or not all(0 <= number < IGNORED for number in ids.values()):
        shown = ", ".join(f"{name}: {number}" for name, number in ids.items())
        raise UserError(f"Expected at least 2 classes, each with an id of its own from 0 to {IGNORED - 1}, got {shown or 'none'}.")
    table[[*ids.values()]] = torch.arange(len(ids), dtype=torch.uint8)
    return ClassMap([*ids], table, distinct_colors(len(ids)))


def distinct_colors(count: int) -> Tensor:
    """uint8 ``(count, 3)``: colours that differ in hue by the golden ratio, and in turn in lightness and saturation.

    The first is grey, as the first class mostly is the background.
    """
    colors = [(0.25, 0.25, 0.25)]
    for number in range(1, count):
        colors.append(colorsys.hls_to_rgb(number * 0.618034 % 1, (0.45, 0.6, 0.35)[number % 3], (0.85, 0.6)[number % 2]))
    return torch.tensor([[round(255 * part) for part in color] for color in colors], dtype=torch.uint8)
