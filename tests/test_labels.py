import pytest
import torch

from al_lightning.errors import UserError
from al_lightning.labels import IGNORED, LABELS, class_map

# The order of the official evaluation.
OFFICIAL = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic_light",
    "traffic_sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
]
OFFICIAL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def test_the_19_classes_are_the_official_ones():
    classes = class_map()
    assert classes.names == [name.replace("_", " ") for name in OFFICIAL]
    assert [int(classes.table[id]) for id in OFFICIAL_IDS] == list(range(19))
    others = [id for id in range(256) if id not in OFFICIAL_IDS]
    assert (classes.table[others] == IGNORED).all()
    assert classes.palette.shape == (19, 3) and classes.palette[13].tolist() == [0, 0, 142]
    assert [label.id for label in LABELS] == list(range(34))


def test_two_classes():
    classes = class_map(["road", "parking", "rail track"])
    ids = torch.tensor([0, 3, 4, 7, 8, 9, 10, 26, 33, 200])
    assert classes.table[ids].tolist() == [255, 255, 0, 1, 0, 1, 1, 0, 0, 255]
    assert len(classes.names) == len(classes.palette) == 2


def test_unknown_classes_are_named():
    with pytest.raises(UserError, match="got rode"):
        class_map(["road", "rode"])
    with pytest.raises(UserError, match="got none"):
        class_map([])
