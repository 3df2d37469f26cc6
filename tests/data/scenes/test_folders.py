import csv
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from al_lightning.cli import main
from al_lightning.commands import maps
from al_lightning.data import FolderSegmentationDataModule
from al_lightning.errors import UserError
from al_lightning.labels import distinct_colors, named_classes
from al_lightning.runs import RunDirectory

CLASSES = {"cell": 9, "ground": 4, "edge": 30}
KINDS = [("b", "jpg", "png"), ("a", "PNG", "tif"), ("d", "tiff", "png"), ("c", "jpeg", "TIFF"), ("e", "png", "png")]


def write(folder, name, image="png", mask="png", size=(40, 56)):
    rng = np.random.default_rng(list(name.encode()))
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    pixels, ids = rng.integers(0, 256, (*size, 3), dtype=np.uint8), rng.choice([*CLASSES.values()], size).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "images" / f"{name}.{image}")
    Image.fromarray(ids).save(folder / "masks" / f"{name}.{mask}")
    return pixels, ids


@pytest.fixture
def folders(tmp_path):
    for kind in KINDS:
        write(tmp_path / "pool", *kind)
    for number in range(2):
        write(tmp_path / "more", f"v{number}", size=(33, 40 + number))
    (tmp_path / "pool" / "images" / "._e.png").write_bytes(b"what another system leaves")
    (tmp_path / "pool" / "images" / "notes.txt").write_text("no image")
    return tmp_path


def ready(folders, **arguments):
    settings = {"root": str(folders / "pool"), "evaluation": str(folders / "more"), "classes": CLASSES, "initial_size": 2, "num_workers": 0}
    data = FolderSegmentationDataModule(**{**settings, "crop": 32, "batch_size": 2, **arguments})
    data.setup("fit")
    return data


def test_images_and_masks_of_any_kind_by_stem(folders):
    data = ready(folders, initial_size="all")
    assert [data.item(index) for index in range(5)] == ["a", "b", "c", "d", "e"] and data.evaluation_size == 2
    pixels, ids = write(folders / "pool", "e")
    assert np.array_equal(data.picture(4), pixels)
    assert np.array_equal(data.targets(4), np.vectorize({9: 0, 4: 1, 30: 2}.get)(ids))
    for index, (name, _, mask) in enumerate(sorted(KINDS)):
        stored = np.array(Image.open(folders / "pool" / "masks" / f"{name}.{mask}"))
        assert np.array_equal(data.targets(index), np.vectorize({9: 0, 4: 1, 30: 2}.get)(stored))
    assert data.classes.names == ["cell", "ground", "edge"]


@pytest.mark.parametrize(
    ("spoil", "arguments", "match"),
    [
        (lambda pool: (pool.parent / "more" / "masks" / "v1.png").unlink(), {}, r"a mask .*masks/v1.png .*1 of 2"),
        (lambda pool: write(pool, "b", image="png"), {}, r"one file of each name in .*images, got b.jpg and b.png"),
        (lambda pool: write(pool, "b", image="jpg", mask="tif"), {}, r"one file of each name in .*masks, got b.png and b.tif"),
        (lambda pool: Image.new("L", (3, 4)).save(pool / "masks" / "c.TIFF"), {"initial_size": "all"}, r"c.TIFF to be 56x40 .* got 3x4"),
        (lambda pool: (pool / "images" / "c.jpeg").write_bytes(b"no"), {}, r"an image in .*c.jpeg"),
        (None, {"root": "nowhere"}, r"in nowhere/images, found none. Set data.init_args.root"),
        (None, {"evaluation": "nowhere"}, r"in nowhere/images, found none. Set data.init_args.evaluation"),
        (None, {"classes": {"cell": 1}}, "at least 2 classes, each with an id of its own from 0 to 254, got cell: 1"),
        (None, {"classes": {"cell": 1, "ground": 1}}, "got cell: 1, ground: 1"),
        (None, {"classes": {"cell": 1, "ground": 255}}, "got cell: 1, ground: 255"),
        (None, {"classes": {"cell": 1, "ground": -1}}, "got cell: 1, ground: -1"),
        (None, {"classes": {"cell": 1, "item": 2}}, "names of classes other than item"),
    ],
)
def test_what_does_not_fit_is_named(folders, monkeypatch, spoil, arguments, match):
    monkeypatch.chdir(folders)
    if spoil is not None:
        spoil(folders / "pool")
    with pytest.raises(UserError, match=match):
        ready(folders, **arguments)


def test_a_run_with_its_pictures_and_maps(folders, monkeypatch, tmp_path):
    """Names and palette are the data's own, in all that looks at scenes."""
    monkeypatch.chdir(folders)
    (folders / "config.yaml").write_text(f"""
model:
  class_path: SegmentationTask
  init_args:
    network: {{class_path: tests.tasks.test_segmentation.Tiny, init_args: {{classes: 3}}}}
    classes: [cell, ground, edge]
data:
  class_path: FolderSegmentationDataModule
  init_args: {{root: pool, evaluation: more, classes: {CLASSES}, initial_size: 2, crop: 32, batch_size: 2, num_workers: 0}}
active_learning: {{strategy: Entropy, query_size: 2, cycles: 2}}
trainer: {{max_epochs: 1, accelerator: cpu, logger: false, enable_progress_bar: false}}
""")
    drawn = []
    whole = maps.draw_score_maps
    monkeypatch.setattr(maps, "draw_score_maps", lambda *arguments: drawn.append(arguments) or whole(*arguments))
    main(["fit", "--config", "config.yaml", "--run_dir", "run"])
    run = RunDirectory("run")
    assert {"val/iou/cell", "val/iou/ground", "val/iou/edge"} < set(run.read_cycles()[0])
    assert {path.name for path in run.cycle(0).glob("*.png")} == {"evaluation.png", "queried.png", "scores.png"}
    rows = list(csv.DictReader(run.queried(0).open()))
    assert [*rows[0]] == ["rank", "index", "item", "cell", "ground", "edge", "ignored"]
    data = ready(folders, initial_size="all")
    for row in rows:
        assert [int(row[name]) for name in CLASSES] == data.targets(int(row["index"])).flatten().bincount(minlength=3).tolist()
    assert run.read_queried_pixels(1) == 2 * 40 * 56
    maps.main(["maps", "--run", "run", "--strategy", "Entropy", "--data_root", str(folders / "pool")])
    row, _, names, palette, *_ = drawn[0]
    assert row.name == "v0" and names == [*CLASSES] and np.array_equal(palette, data.classes.palette)


def test_colors_are_distinct():
    for count in (2, 3, 40, 100):
        colors = distinct_colors(count)
        assert colors.shape == (count, 3) and colors.dtype == torch.uint8
        assert torch.cdist(colors.float(), colors.float()).add(1e9 * torch.eye(count)).min() > 20
    assert len(named_classes({str(number): number for number in range(254)}).palette) == 254


def test_images_that_are_on_both_sides_are_refused(folders):
    (folders / "links").symlink_to(folders / "pool")
    (folders / "copies" / "images").mkdir(parents=True)
    shutil.copytree(folders / "more" / "masks", folders / "copies" / "masks")
    for number in range(2):
        shutil.copy(folders / "more" / "images" / f"v{number}.png", folders / "copies" / "images")
    for root, evaluation, names in (("pool", "pool", "a, b, c, d, e"), ("pool", "links", "a, b, c, d, e"), ("more", "copies", "v0, v1")):
        with pytest.raises(UserError, match=f"no image both in the pool and for evaluation, got {names}"):
            ready(folders, root=str(folders / root), evaluation=str(folders / evaluation))
    for number in range(2):  # other images of the same names
        write(folders / "copies", f"v{number}", size=(33, 42))
    ready(folders, root=str(folders / "more"), evaluation=str(folders / "copies"))
    with pytest.raises(UserError, match=r"no group of images both .*, got v0, v1"):
        ready(folders, root=str(folders / "more"), evaluation=str(folders / "copies"), group=".+")
