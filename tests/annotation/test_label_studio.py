import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from al_lightning.annotation import label_studio
from al_lightning.annotation.items import Item, Rules
from al_lightning.annotation.run_lengths import packed, unpacked
from al_lightning.data.scenes.regions import polygon
from al_lightning.errors import UserError
from tests.annotation.made import CLASSES, WHOLE, items

SIZE = (9, 14)
STRICT = Rules()
MASK = np.zeros(SIZE, bool)
MASK[2:5, 3:11] = True
CORNERS = [[100 * x / 14, 100 * y / 9] for x, y in ((3, 2), (11, 2), (11, 5), (3, 5))]


def files(its, classes):
    entries = [label_studio.entry(rank, len(its), item, classes, "m", Path("run")) for rank, item in enumerate(its)]
    return label_studio.files(entries, classes)


def region(label="edge", size=SIZE, **change):
    own = {"original_height": size[0], "original_width": size[1], "image_rotation": 0, "type": "brushlabels"}
    return {**own, "value": {"format": "rle", "rle": packed(MASK), "brushlabels": [label]}, **change}


def around(label="edge", points=CORNERS):
    return region(type="polygonlabels", value={"points": points, "polygonlabels": [label]})


def task(*results, name="s0", **more):
    made = [{"result": result, "updated_at": f"2026-01-0{day}T00:00:00Z"} for day, result in enumerate(results, 1)]
    return {"data": {"image": f"/data/local-files/?d=to_label/{name}.jpg", "item": name}, "annotations": made, **more}


def read(*tasks, classes=CLASSES, rules=STRICT):
    return {answer.name: answer.read(SIZE) for answer in label_studio.answers([*tasks], "export.json", classes, rules)}


def test_tasks_fit_the_configuration_and_the_most_wanted_is_first():
    written = files([*items()], CLASSES)
    view = ElementTree.fromstring(written["labels.xml"])
    tags = {tag.get("name"): tag for tag in view if tag.get("toName")}
    assert view.find("Image").get("name") == "image" and view.find("Image").get("value") == "$image"
    for rank, (each, item) in enumerate(zip(json.loads(written["tasks.json"]), items(), strict=True)):
        assert each["data"] == {
            "image": f"/data/local-files/?d=to_label/s{rank}.jpg",
            "item": f"s{rank}",
            "rank": rank,
            "score": item.score,
        }
        (prediction,) = each["predictions"]
        assert prediction["score"] == rank / 3
        assert len(prediction["result"]) == 2  # what is not drawn is in no region
        for its in prediction["result"]:
            tag = tags[its["from_name"]]
            assert its["to_name"] == tag.get("toName") == "image" and its["type"] == tag.tag.lower()
            (label,) = its["value"][its["type"]]
            assert label in [label.get("value") for label in tag] and (its["original_height"], its["original_width"]) == item.size
            assert np.array_equal(unpacked(its["value"]["rle"], item.size), item.predicted == CLASSES.names.index(label))
        back = {**each, "annotations": [{"result": prediction["result"]}]}
        (answer,) = label_studio.answers([back], "it", CLASSES, Rules())
        assert answer.name == item.name and np.array_equal(answer.read(item.size), item.predicted)


def test_images_are_classified_by_a_choice():
    written = files([Item("unlabeled/a b#", Path("run/to_label/a b#.jpg"), SIZE, None, "bee"), Item("c", Path("run/c.jpg"), SIZE)], WHOLE)
    first, second = json.loads(written["tasks.json"])
    assert first["data"] == {"image": "/data/local-files/?d=to_label/a%20b%23.jpg", "item": "unlabeled/a b#", "rank": 0}
    (choice,) = ElementTree.fromstring(written["labels.xml"]).findall("Choices")
    (result,) = first["predictions"][0]["result"]
    assert result["from_name"] == choice.get("name") and second["predictions"][0]["result"] == []
    assert [each.get("value") for each in choice] == WHOLE.names
    assert read({**first, "annotations": first["predictions"]}, classes=WHOLE) == {"unlabeled/a b#": "bee"}
    for result in ([], [{"value": {"choices": ["ant", "bee"]}}], [{"value": {"choices": ["wasp"]}}]):
        with pytest.raises(UserError, match="one of the classes ant, bee, got"):
            read(task(result), classes=WHOLE)


def test_brush_and_polygon_are_the_same_mask():
    expected = np.where(MASK, 2, 0)
    for results in ([region()], [around()], [region(), around()]):
        assert np.array_equal(read(task(results))["s0"], expected)
    assert np.array_equal(read(task([]))["s0"], 0 * expected) and read(task())["s0"] is None
    skipped = {"was_cancelled": True, "result": [region("edge")]}
    assert read({**task(), "annotations": [skipped]})["s0"] is None


def test_an_item_has_a_name_by_what_was_sent_or_by_its_image():
    for image, name in (
        ("/data/upload/7/0a1b2c3d-ant%201.png", "ant 1"),
        ("/data/local-files/?d=photos/ant%201.png", "ant 1"),
        ("http://host/0a1b2c3d-x.png?y=1", "0a1b2c3d-x"),
    ):
        assert [*read({"data": {"image": image}, "annotations": []})] == [name]


def test_of_several_annotators_none_or_the_latest_counts():
    both = task([around("edge")], [around("cell & <co>")])
    with pytest.raises(UserError, match="Expected one annotation, got 2"):
        read(both)
    assert np.array_equal(read(both, rules=Rules("latest"))["s0"], np.where(MASK, 1, 0))
    with pytest.raises(UserError, match="Expected one annotation, got 2"):  # the same image twice
        read(task([around()]), task([around()]))


WRONG = [
    (task([region("wasp")]), "one of the labels ground, cell & <co>, edge for a region, got wasp"),
    (task([region(size=(14, 9))]), "image of 14x9 pixels, got 9x14"),
    (task([region(image_rotation=90)]), "turned by 90"),
    (task([region(type="rectanglelabels")]), "got rectanglelabels"),
    (task([region("edge"), around("cell & <co>")]), "share no pixels, but some share 24"),
    (task([around(points=[[0, 0], [130, 0], [0, 50]])]), r"inside of the image, which is 14x9 pixels large, got a corner at \(18.2, 0\)"),
    (task([around(points=[[0, 0], [10, 10]])]), "at least 3 corners"),
    (task([around(points=[[0, 0], [10, float("nan")], [3, 3]])]), "a finite number as point"),
    (task([region(value={"brushlabels": ["edge"], "rle": "text"})]), "a list as rle"),
    (task([region(value=3)]), "a mapping as value in a region, got '3'"),
    (task([3]), "a mapping as result"),
    ({"data": {}, "annotations": []}, "a text as image in task 0 of export.json, got none"),
    ({"image": "x.png", "brush": []}, "JSON-MIN"),
    (3, "a mapping as tasks"),
]


@pytest.mark.parametrize(("wrong", "why"), WRONG, ids=[why for _, why in WRONG])
def test_what_does_not_fit_is_refused(wrong, why):
    with pytest.raises(UserError, match=why):
        read(wrong)


def test_neighbours_share_no_pixel_and_leave_none_out():
    rng = np.random.default_rng(0)
    for _ in range(20):
        cut = [tuple(point) for point in rng.uniform((0, 0), (14, 9), (2, 2))]
        left, right = [(0, 0), *cut, (0, 9)], [(14, 0), (14, 9), (0, 9), *cut[::-1], (0, 0)]
        assert np.array_equal(polygon(SIZE, left) ^ polygon(SIZE, right), np.ones(SIZE, bool))


def test_a_polygon_has_the_pixels_whose_centres_it_contains():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    for _ in range(40):
        corners = rng.uniform((0, 0), (SIZE[1], SIZE[0]), (3, 2))
        inside = Polygon(corners, closed=False).contains_points(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(SIZE)
        assert np.array_equal(polygon(SIZE, [tuple(corner) for corner in corners]), inside)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("/data/local-files/?d=to_label/s%200.jpg", "s 0"),
        ("http://server/photos/12.png", "12"),
        ("http://server/photos/12.png?uid=3", "12"),
        ("http://server/photos/12.png?id=12&v=1", "12"),
        ("http://server/photos/12.png?d=3.png", "12"),
        ("/data/upload/1/0123abcd-12.png", "12"),
    ],
)
def test_an_image_is_called_by_its_file(image, name):
    (answer,) = label_studio.answers([{"data": {"image": image}, "annotations": []}], CLASSES, STRICT, "export.json")
    assert answer.name == name
