import re

import numpy as np
import pytest
import torch

from al_lightning.errors import UserError
from al_lightning.labels import IGNORED, LABELS, ClassMap, class_map, named_classes

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


def test_ids_without_a_meaning_are_refused_with_their_source():
    classes = class_map()
    ids = np.array([[0, 7, 255], [33, 34, 254]], np.uint8)
    assert classes.classes_of(ids[:, :1], "a file").tolist() == [[255], [18]]
    with pytest.raises(UserError, match="label ids 0 to 33, 255 in a file, got 34, 254"):
        classes.classes_of(ids, "a file")
    own = ClassMap(["sky", "road"], torch.full((256,), IGNORED, dtype=torch.uint8), torch.zeros(2, 3, dtype=torch.uint8))
    own.table[3], own.table[200] = 1, 0
    assert own.classes_of(np.array([3, 200, 255], np.uint8), "").tolist() == [1, 0, 255]
    with pytest.raises(UserError, match=r"label ids 3, 200, 255 in m\.png, got 0, 1"):
        own.classes_of(np.array([3, 0, 1], np.uint8), "m.png")


@pytest.mark.parametrize(
    ("foreground", "ids", "alike"),
    [
        (None, {0, 1, 2, 8, 10, 13, 255}, True),  # road, sidewalk, building, vegetation, sky, car
        (None, {0, 2, 10}, True),
        (["road"], {0, 1, 2, 8, 10, 13}, True),
        (None, {0, 1, 2, 3, 7, 8, 11, 21, 23, 26}, False),
        (None, {0, 7, 8, 11}, False),
        (None, {0, 255}, False),
        (None, {1, 7, 11}, False),  # no road among training ids
        (["road", "parking"], {0, 7, 9}, False),
    ],
)
def test_ids_that_look_like_train_ids(foreground, ids, alike):
    assert class_map(foreground).look_like_train_ids(ids) == alike


def test_unknown_classes_are_named():
    with pytest.raises(UserError, match="got rode"):
        class_map(["road", "rode"])
    with pytest.raises(UserError, match="got none"):
        class_map([])


def test_what_a_person_is_told_to_draw():
    assert named_classes({"ground": 4, "cell": 0}).key() == "the ids 4 for ground, 0 for cell"
    assert named_classes({"ground": np.array([0, 0, 0]), "cell": [1, 2, 3]}).colors == ((0, 0, 0), (1, 2, 3))
    assert named_classes({"ground": "#00ff80", "cell": (1, 2, 3)}).key() == "the colours #00ff80 for ground, #010203 for cell"
    assert class_map(["road"]).key().startswith("the ids 4 or 5 or 6 or 8") and class_map(["road"]).key().endswith(", 7 for foreground")


def test_classes_are_drawn_as_masks_have_them():
    classes = np.array([[0, 1, 255]], np.uint8)
    assert named_classes({"ground": 4, "cell": 0}).drawn(classes).tolist() == [[4, 0, 255]]
    colors = {"ground": "#000000", "cell": (1, 2, 3)}
    assert named_classes(colors, "ignore").drawn(classes).tolist() == [[[0, 0, 0], [1, 2, 3], [0, 0, 255]]]
    assert named_classes(colors).drawn(classes[:, :2]).tolist() == [[[0, 0, 0], [1, 2, 3]]]
    with pytest.raises(UserError, match="a class for each pixel, as every colour has to be that of a class"):
        named_classes(colors).drawn(classes)
    assert class_map().drawn(np.array([[0, 18, 255]], np.uint8)).tolist() == [[7, 33, 255]]


def test_what_no_region_covers():
    assert named_classes({"a": 0, "Background": 1}).rest == 1 and named_classes({"a": 0, "b": 1}).rest is None
    assert named_classes({"a": 0, "b": 1}, rest="b").rest == 1 and named_classes({"a": 0, "background": 1}, rest="ignore").rest == 255
    assert named_classes({"ignore": 0, "b": 1}, rest="ignore").rest == 0
    with pytest.raises(UserError, match=r"one of the classes a, b for pixels that no region covers \(rest\), or ignore, got c"):
        named_classes({"a": 0, "b": 1}, rest="c")


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ({True: 1, False: 0}, "names of classes as text, got True, False. Put quotes around them"),
        ({7: 2, "a": 0}, "names of classes as text, got 7"),
        ({"a": None, "b": 1}, "an id or a colour for each class, got None for a"),
        ({"a": True, "b": 0}, "an id or a colour for each class, got True for a"),
    ],
)
def test_names_and_ids_that_yaml_reads_otherwise_are_refused(looks, said):
    with pytest.raises(UserError, match=re.escape(said)):
        named_classes(looks)
