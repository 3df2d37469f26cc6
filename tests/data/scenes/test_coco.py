"""COCO's annotations as masks, through the command line where a user would."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_lightning.data import FolderSegmentationDataModule
from al_lightning.data.scenes.coco import encoded, inside
from al_lightning.errors import UserError
from tests.data.scenes.test_own_data import fit, mask, write

pytestmark = pytest.mark.usefixtures("undrawn")

pytest.importorskip("pycocotools")

NAMES = [f"s{number}" for number in range(9)]
ANNOTATED = NAMES[:6]
CLASSES = {"ground": 4, "cell": 9}


def document(names=ANNOTATED, size=(24, 40), categories=("cell", "ground")):
    """In which a mask's two classes are a region each, and an image has no region."""
    listed = [*names, "s8"]
    annotations = []
    for number, name in enumerate(names):
        for id, value in ((7, 9), (3, 4)):
            region = {"segmentation": encoded(mask(name) == value), "iscrowd": number % 2}
            annotations.append({"id": len(annotations), "image_id": 10 + number, "category_id": id, **region})
    return {
        "images": [{"id": 10 + n, "file_name": f"train/{name}.jpg", "height": size[0], "width": size[1]} for n, name in enumerate(listed)],
        "categories": [{"id": id, "name": name} for id, name in zip((7, 3), categories, strict=True)],
        "annotations": annotations,
    }


def save(content, path="photos/coco.json"):
    Path(path).write_text(json.dumps(content))


def data(**arguments):
    settings = {"classes": CLASSES, "annotations": "coco.json", "crop": 16, "batch_size": 2, "num_workers": 0, **arguments}
    made = FolderSegmentationDataModule("photos", **settings)
    made.setup("fit")
    return made


def test_a_run_on_annotations_is_that_on_the_masks_that_they_are():
    write(names=NAMES, labeled=ANNOTATED)
    own = fit(cycles=2, evaluation=0.3)
    shutil.rmtree("photos/masks")
    save(document())
    its = fit(cycles=2, evaluation=0.3, annotations="coco.json", run="its")
    assert its.queries.read_text() == own.queries.read_text()
    assert [row.metrics for row in its.read_curve()] == [row.metrics for row in own.read_curve()]
    assert its.queried(0).read_text() == own.queried(0).read_text()
    for cache in ("memory", "disk"):
        made = data(decoded_cache=cache)
        labeled = made.pool.labeled_indices.tolist()
        assert len(labeled) > 1 and all(np.array_equal(made.targets(index), mask(made.item(index)) == 9) for index in labeled)
    assert {row.split(",")[0] for row in its.images.read_text().splitlines()[1:]} == {"pool", "unlabeled", "evaluation"}
    changed = document()
    size = {"size": [24, 40], "counts": [10, 950]}
    for annotation in changed["annotations"]:
        annotation["segmentation"] = size
    save(changed)
    with pytest.raises(SystemExit, match=r"labels that finished cycles of the run .* 6 changed: masks/s\d.png"):
        fit("--resume", cycles=2, evaluation=0.3, annotations="coco.json", run="its")


def test_annotations_name_files_whatever_the_pattern_of_images():
    write(names=NAMES, labeled=[])
    for path in Path("photos/images").iterdir():
        path.rename(path.with_stem(f"im_{path.stem}_rgb"))
    its = document()
    for each in its["images"]:
        each["file_name"] = each["file_name"].replace("train/", "train/im_").replace(".jpg", "_rgb.jpg")
    save(its)
    made = data(evaluation=0.3, images="images/im_*_rgb.png")
    assert len(made.pool.labeled_indices) + made.evaluation_size == len(ANNOTATED) and made.item(0).startswith("s")
    assert {path.stem for path in made.labeled_images()} == {f"im_{name}_rgb" for name in ANNOTATED}


def test_a_mask_comes_before_annotations_and_what_has_neither_is_unlabeled():
    write(names=NAMES, labeled=["s0", "s7"])
    Image.fromarray(np.full((24, 40), 4, np.uint8)).save("photos/masks/s0.png")
    save(document())
    made = data(evaluation=0.2)
    places = {made.item(index): index for index in range(len(made.pool.labeled))}
    assert len(places) + made.evaluation_size == 9 and made.evaluation_size == 1
    for name, index in places.items():
        if bool(made.pool.labeled[index]):
            expected = np.full((24, 40), 4) if name == "s0" else mask(name)
            assert np.array_equal(made.targets(index).numpy(), expected == 9)
    unlabeled = {name for name, index in places.items() if not bool(made.pool.labeled[index])}
    assert unlabeled == {"s6", "s8"} and made.image_and_label(places["s8"])[1] == Path("photos/masks/s8.png")
    assert {path.name for path in made.labeled_images()} == {f"{name}.png" for name in (*ANNOTATED, "s7")}


def regions(*shapes, **more):
    """Of one image, each a category and a segmentation."""
    content = document([])
    content["images"] = [{"id": 1, "file_name": f"{name}.png", "height": 24, "width": 40} for name in ("s0", "s1")]
    content["images"][1]["id"] = 2
    content["annotations"] = [
        {"id": n, "image_id": 1, "category_id": category, "segmentation": shape} for n, (category, shape) in enumerate(shapes)
    ]
    content["annotations"].append({"id": 99, "image_id": 2, "category_id": 3, "segmentation": {"size": [24, 40], "counts": [0, 960]}})
    save({**content, **more})


def square(left, top, edge):
    return [[left, top, left + edge, top, left + edge, top + edge, left, top + edge]]


def target(**arguments):
    made = data(evaluation=0.5, initial_seed=next(seed for seed in range(9) if draws_s1(seed, arguments)), **arguments)
    return made.oracle_labels(np.array([0]))[0].numpy()


def draws_s1(seed, arguments):
    return data(evaluation=0.5, initial_seed=seed, **arguments).evaluation_item(0) == "s1"


def test_what_regions_are_together():
    write(names=["s0", "s1"], labeled=[])
    small, large = square(10, 8, 4), square(8, 4, 12)
    polygon = inside(small, (24, 40))
    assert polygon.sum() == 16 and polygon[8:12, 10:14].all()
    for order in ([(7, small), (3, large)], [(3, large), (7, small)]):
        regions(*order)
        found = target(rest="ignore")
        assert (found == 255).sum() == 960 - 144 and (found == 0).sum() == 144 - 16 and (found[8:12, 10:14] == 1).all()
    assert np.array_equal(target(rest="ground") == 1, polygon)
    named = {"background": 4, "cell": 9}
    with pytest.raises(UserError, match=r"In photos/coco.json, image s0: Expected the categories background, cell, got ground"):
        target(classes=named)
    found = target(classes=named, unnamed="ignore")
    assert (found == 255).sum() == 144 - 16 and (found == 1).sum() == 16 and (found == 0).sum() == 960 - 144
    with pytest.raises(UserError, match="a region over each pixel, but none covers 816 of 960"):
        target()
    with pytest.raises(UserError, match=r"one of the classes ground, cell for pixels .* or ignore, got sky"):
        data(rest="sky")


WRONG = {
    "not run lengths": ([(7, {"size": [24, 40], "counts": [1, 2]})], "960 pixels, got those of 3"),
    "of another size": ([(7, {"size": [40, 24], "counts": [960]})], r"image's size \[24, 40\].* got \[40, 24\]"),
    "text that ends early": ([(7, {"size": [24, 40], "counts": "PP1"})], "run lengths of 960 pixels"),
    "no text of theirs": ([(7, {"size": [24, 40], "counts": "o" * 99})], "run lengths of 960 pixels"),
    "negative": ([(7, {"size": [24, 40], "counts": [-1, 961]})], "run lengths of 960 pixels"),
    "two corners": ([(7, [[1, 2, 3, 4]])], "at least 3 corners in a polygon, got 4 numbers"),
    "half a corner": ([(7, [[1, 2, 3, 4, 5, 6, 7]])], "got 7 numbers"),
    "nothing": ([(7, [])], "got an empty list"),
    "null": ([(7, None)], "a list as size in a segmentation"),
    "no numbers": ([(7, [["a"] * 6])], "a finite number as polygon"),
    "not finite": ([(7, [[1, 2, 3, float("nan"), 5, 6]])], "a finite number as polygon"),
    "outside": ([(7, square(30, 8, 20))], r"inside of the image, which is 40x24 pixels large, got a corner at \(50, 8\)"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_region_that_is_none_is_named(what):
    write(names=["s0", "s1"], labeled=[])
    shapes, why = WRONG[what]
    regions(*shapes)
    with pytest.raises(UserError, match=f"In photos/coco.json, image s0: .*{why}"):
        target(rest="ground")


def test_files_that_are_none_are_one_error():
    write(names=["s0", "s1"], labeled=[])
    whole = document(["s0"])
    for content, why in (
        ("no json", "Expected JSON in photos/coco.json"),
        ("[" * 100_000, "Expected JSON in photos/coco.json"),
        ([], "a list as categories in photos/coco.json, got none"),
        ({**whole, "categories": 3}, "a list as categories in photos/coco.json, got '3'"),
        ({**whole, "images": [3]}, "a mapping as images"),
        ({**whole, "images": [*whole["images"], whole["images"][0] | {"width": 3}]}, "images with an id of their own"),
        ({**whole, "categories": []}, r"category_id of something that the file has, in annotations\[0\] of photos/coco.json, got 7"),
        ({**whole, "images": []}, "image_id of something that the file has"),
        ({**whole, "images": [{"id": 10}]}, "a text as file_name in the image 10"),
        (document(["s0"], size=(40, 24)), "image s0: Expected an image of 40x24 pixels, as it is shown, got 24x40"),
        (document(["s0"], size=(-1, True)), "a whole number as width"),
        (document(["s0", "s0"]), "two of the name s0"),
        (document(["s0"], categories=("cell", None)), "a text as name"),
    ):
        Path("photos/coco.json").write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(UserError, match=why):
            data()
    Path("photos/coco.json").unlink()
    with pytest.raises(UserError, match=r"Expected the file photos/coco.json, but it is missing"):
        data()


def test_run_lengths_are_theirs():
    theirs = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for size in ((1, 1), (5, 3), (70, 90)):
        for share in (0, 0.3, 1):
            pixels = rng.random(size) < share
            assert np.array_equal(inside(encoded(pixels), size), pixels)
            counts = theirs.decode({"size": [*size], "counts": encoded(pixels)["counts"].encode()})
            assert np.array_equal(counts, pixels)


def test_without_pycocotools_it_says_what_to_install(monkeypatch):
    write(names=["s0", "s1"], labeled=[])
    save(document(["s0", "s1"]))
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r"Install it: pip install 'al_lightning\[coco\]'"):
        data()
