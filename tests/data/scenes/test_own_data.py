"""A person's own images, of which some have masks, through the command line."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from al_lightning.cli import main
from al_lightning.commands.stored_run import load_cycle
from al_lightning.data import FolderClassificationDataModule, FolderSegmentationDataModule
from al_lightning.data.own_files import by_name, draw_evaluation, grouping
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from tests.callbacks.test_resume import dies_at
from tests.experiments import in_child, same_weights, weights, without_seconds

pytestmark = pytest.mark.usefixtures("undrawn")

CLASSES = {"ground": 4, "cell": 9}
VIDEOS = {"ant": 4, "bee": 3, "cow": 5, "dog": 2, "elk": 4, "fox": 2}
NO_PICTURES = {"class_path": "ScenePictures", "init_args": {"evaluation": 0, "queried": 0}}
NAMES = [f"{video}_{frame}" for video, frames in VIDEOS.items() for frame in range(frames)]
LABELED = [name for name in NAMES if name not in ("ant_1", "bee_0", "cow_4", "dog_1", "elk_2", "fox_0")]


def image(name, size=(24, 40)):
    return np.random.default_rng(list(name.encode())).integers(0, 256, (*size, 3), dtype=np.uint8)


def mask(name, size=(24, 40), values=(4, 9)):
    return np.random.default_rng([1, *name.encode()]).choice(values, size).astype(np.uint8)


def write(folder="photos", names=NAMES, labeled=LABELED):
    for kind in ("images", "masks"):
        Path(folder, kind).mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(image(name)).save(Path(folder, "images", f"{name}.png"))
    for name in labeled:
        Image.fromarray(mask(name)).save(Path(folder, "masks", f"{name}.png"))


def fit(*arguments, run="run", strategy="Entropy", query_size=2, cycles=3, **data):
    settings = {"root": "photos", "classes": CLASSES, "initial_size": 3, "crop": 16, "batch_size": 2, "num_workers": 0, **data}
    network = {"class_path": "tests.tasks.test_segmentation.Tiny", "init_args": {"classes": len(settings["classes"])}}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    config = {
        "model": {"class_path": "SegmentationTask", "init_args": {"network": network}},
        "data": {"class_path": "FolderSegmentationDataModule", "init_args": settings},
        "active_learning": {"strategy": strategy, "query_size": query_size, "cycles": cycles},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "callbacks": NO_PICTURES, **quiet},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    main(["fit", "--config", "config.yaml", "--run_dir", run, *arguments])
    return RunDirectory(run)


def refused(capsys, *arguments, **data):
    with pytest.raises(SystemExit) as ended:
        fit(*arguments, **data)
    said = capsys.readouterr().err + str(ended.value)
    assert "Traceback" not in said
    return re.search("al_lightning: error: .*|error: .*", said)[0]


def splits(run):
    rows = list(csv.DictReader(run.images.open()))
    return {split: [Path(row["file"]).stem for row in rows if row["split"] == split] for split in ("pool", "unlabeled", "evaluation")}


def ready(**arguments):
    settings = {"root": "photos", "classes": CLASSES, "crop": 16, "batch_size": 2, "num_workers": 0, **arguments}
    data = FolderSegmentationDataModule(**settings)
    data.setup("fit")
    return data


def test_what_has_no_mask_is_never_asked_for_and_no_video_straddles_the_split(caplog):
    write()
    run = fit(group="^[a-z]+", cycles=2)
    found = splits(run)
    assert set(found["pool"] + found["evaluation"]) == set(LABELED) and 1 < len(found["evaluation"]) < 7
    videos = {split: {name.split("_")[0] for name in names} for split, names in found.items()}
    assert not videos["evaluation"] & (videos["pool"] | videos["unlabeled"])
    assert set(found["unlabeled"]) == {name for name in set(NAMES) - set(LABELED) if name.split("_")[0] not in videos["evaluation"]}
    queried = [row.item for row in run.read_queries()]
    assert len(queried) == len(set(queried)) == 3 + 2 and set(queried) <= set(found["pool"])
    assert f"{len(found['unlabeled'])} images of the pool have no label" in caplog.text
    rows = list(csv.DictReader(run.queried(0).open()))
    for row in rows:
        assert [int(row[name]) for name in CLASSES] == [int((mask(row["item"]) == value).sum()) for value in CLASSES.values()]
    data = load_cycle(run).data
    shown = {data.item(index): data.pool_example(index).targets is not None for index in range(len(data.pool.labeled))}
    assert {name for name, labeled in shown.items() if labeled} <= set(queried) and set(found["unlabeled"]) < set(shown)


def test_masks_that_arrive_change_nothing_for_a_run_that_has_begun():
    """Which images it is evaluated on and may ask for was settled when it began; also for a strategy that reads all of their labels."""
    write()
    settings = {"strategy": "LowestMiou", "group": "^[a-z]+", "cycles": 2}
    whole = fit(run="whole", **settings)

    def die():
        dies_at(RunDirectory, "append_cycle", 2)
        fit(**settings)

    assert in_child(die) == -9
    write(names=[], labeled=sorted(set(NAMES) - set(LABELED)))
    run = fit("--resume", **settings)
    assert run.queries.read_bytes() == whole.queries.read_bytes() and without_seconds(run) == without_seconds(whole)
    assert same_weights(weights(run, 1), weights(whole, 1)) and splits(run) == splits(whole)
    stored = load_cycle(run)  # as for maps
    assert [stored.data.evaluation_item(place) for place in range(stored.data.evaluation_size)] == splits(run)["evaluation"]
    assert len(ready(group="^[a-z]+").pool.unlabeled_indices) == 0


def test_what_a_run_has_begun_with_must_stay(capsys):
    write()
    settings = {"cycles": 1, "query_size": 1}
    first = {split: names[0] for split, names in splits(fit(**settings)).items()}
    for path, said in [
        (f"photos/masks/{first['pool']}.png", f"the 14 labels that the run began with, but 1 are missing: {first['pool']}."),
        (f"photos/masks/{first['evaluation']}.png", f"the 14 labels that the run began with, but 1 are missing: {first['evaluation']}."),
        (f"photos/images/{first['unlabeled']}.png", f"not the same: 1 missing: images/{first['unlabeled']}.png"),
    ]:
        content = Path(path).read_bytes()
        Path(path).unlink()
        assert said in refused(capsys, "--resume", **settings)
        Path(path).write_bytes(content)


def test_copies_and_validation_stay_as_they_are_when_images_are_added():
    write()
    settings = {"pool_repeat": {"item": LABELED[-1], "copies": 3}, "validation_size": 3, "evaluation": 0.25}
    held = [row["file"] for row in csv.DictReader(fit(cycles=2, **settings).images.open()) if row["split"] == "validation"]
    Image.fromarray(image("a")).save("photos/images/a.png")  # first in a listing
    run = fit("--resume", **settings)
    assert run.finished() == 3 and [row["file"] for row in csv.DictReader(run.images.open()) if row["split"] == "validation"] == held


def test_all_that_has_a_mask_is_the_initial_set():
    write()
    data = ready()
    assert len(data.pool.labeled_indices) == 11 and data.evaluation_size == 3
    assert {data.item(index) for index in data.pool.labeled_indices.tolist()} < set(LABELED)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"initial_size": 12}, r"initial_size from 1 to the pool's 11 labels, or all, got 12"),
        ({"group": "^x"}, r"finds nothing in ant_0"),
        ({"group": "["}, r"a regular expression for data.init_args.group, got '\['"),
        ({"group": "^"}, r"labels of at least 2 images, or groups of images, .* got 1 \(\)"),
        ({"images": "images"}, r"one \* in its last part"),
        ({"images": "../photos/images/*"}, r"a pattern inside of photos"),
        ({"evaluation": 1.0}, "evaluation"),
        ({"evaluation": "other"}, r"in other/images, found none\. Set data.init_args.evaluation"),
        ({"evaluation": "photos"}, r"no image both in the pool and for evaluation, got .* and \d+ more"),
        ({"classes": {"ground": 4, "sky": 8}}, r"the label ids 4, 8, 255 in .*masks/\w+.png, got 9"),
        ({"classes": {"ground": "#040404", "sky": "#080808"}}, r"the colours #040404, #080808 in .*masks/\w+.png, got #090909"),
        ({"classes": {"ground": 4, "sky": "#080808"}}, "at least 2 classes, each with an id .* got ground: 4, sky: #080808"),
        ({"classes": {"ground": "grey", "sky": "#080808"}}, "at least 2 classes, each with an id .* got ground: grey"),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_said_before_training(arguments, match):
    write()
    with pytest.raises(UserError, match=match):
        ready(**arguments).train_dataloader()


def test_nothing_to_query_is_an_error_of_the_command(capsys):
    write()
    said = refused(capsys, initial_size="all")
    assert re.search(r"items to query, but all 11 that have a label .*for the other 6\. .*cycles=1", said)
    assert not RunDirectory("run").learning_curve.exists()
    shutil.rmtree("photos/masks")
    assert "labels of some images, but none of 20 has one" in refused(capsys)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda: Image.fromarray(mask("ant_0")).save("photos/masks/ant_1.jpg"), r"masks as .*got photos/masks/ant_1.jpg: JPEG changes"),
        (lambda: Image.fromarray(mask("ant_0")).save("photos/masks/ant_0.tif"), r"one file of each name .*ant_0.png and ant_0.tif"),
        (lambda: Image.fromarray(image("ant_0")).save("photos/images/ant_0.jpg"), r"one file of each name .*ant_0.jpg and ant_0.png"),
        (lambda: Path("photos/images/fox_0.png").write_bytes(b"\x89PNG"), "an image in photos/images/fox_0.png"),
        (lambda: [Path(f"photos/masks/{name}.png").write_bytes(b"no") for name in LABELED], r"an image in photos/masks/\w+.png"),
        (lambda: [Image.fromarray(mask(name).T).save(f"photos/masks/{name}.png") for name in LABELED],
         r"photos/masks/(\w+).png to be 40x24 like its image photos/images/\1.png, got 24x40 .* as stored"),
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_used_is_named(spoil, match):
    write()
    spoil()
    with pytest.raises(UserError, match=match):
        ready()


def test_a_class_that_nobody_has_labeled_and_a_mask_without_an_image_are_said(caplog):
    write()
    write(names=[], labeled=["gnu_0"])
    data = ready(classes={"ground": 4, "rare": 7, "cell": 9}, initial_size=5)
    for _ in range(2):  # cycles
        data.train_dataloader()
        data.pool.label(data.pool.candidates[:2])
    told = [line for line in caplog.messages if line.startswith("WARNING")]
    assert len(told) == 3 and "1 masks in photos/masks have no image of their name: gnu_0.png" in told[0]
    assert re.search(r"no pixel of rare in the evaluation set\. Pixels by class: ground [\d,]+, rare 0, cell [\d,]+$", told[1])
    assert "no pixel of rare in the labeled items" in told[2]
    for name in LABELED:  # black and white, which the classes do not say
        Image.fromarray(mask(name, values=(0, 255))).save(f"photos/masks/{name}.png")
    ready(classes={"ground": 0, "cell": 1}).train_dataloader()
    assert re.search(
        r"no pixel of cell in the labeled items\. Pixels by class: ground [\d,]+, cell 0; ignored [1-9][\d,]+$", caplog.messages[-1]
    )


def spoil(name, how):
    """Something wrong with the only 3 that are labeled, or with an image."""
    if how == "size":
        Image.fromarray(mask(name).T).save(f"photos/masks/{name}.png")
    elif how == "value":
        Image.fromarray(mask(name, values=(4, 5))).save(f"photos/masks/{name}.png")
    elif how == "stem":
        Image.fromarray(image(name)).save(f"photos/images/{name}.jpg")
    else:
        Path(f"photos/{how}/{name}.png").write_bytes(b"\x89PNG")


SPOILT = {
    "size": r"photos/masks/ant_0.png to be 40x24 like its image photos/images/ant_0.png, got 24x40",
    "value": r"the label ids 4, 9, 255 in photos/masks/ant_0.png, got 5",
    "stem": r"one file of each name in photos/images, got ant_0.jpg and ant_0.png",
    "images": r"an image in photos/images/ant_0.png, but it can't be read",
    "masks": r"an image in photos/masks/ant_0.png, but it can't be read",
}


def test_by_command_line_each_error_names_its_file_and_the_mended_command_goes_on(capsys):
    write(labeled=["ant_0", "bee_1", "cow_1"])
    write("others", ["x", "y"], ["x", "y"])
    kept = {path: path.read_bytes() for path in Path("photos").rglob("*.png")}
    settings = {"evaluation": "others", "initial_size": "all", "cycles": 1, "batch_size": 8}
    for how, match in SPOILT.items():
        spoil("ant_0", how)
        assert re.search(match, refused(capsys, "--resume", **settings))
        Path("photos/images/ant_0.jpg").unlink(missing_ok=True)
        for path, content in kept.items():
            path.write_bytes(content)
    run = fit("--resume", **settings)
    assert run.read_curve()[0].train_steps == 1  # a batch of the three that are labeled, though 8 would fit


def test_what_is_not_named_is_ignored_if_so_asked():
    write()
    data = ready(classes={"sky": 0, "cell": 9}, unnamed="ignore", initial_size="all")
    batches = list(data.train_dataloader())
    assert batches and set(torch.cat([targets for _, targets, _ in batches]).unique().tolist()) == {1, 255}
    index = int(data.pool.labeled_indices[0])
    assert np.array_equal(data.targets(index), np.where(mask(data.item(index)) == 9, 1, 255))
    assert data.content(index)["ignored"] == int((mask(data.item(index)) == 4).sum())


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_masks_of_colours_beside_their_images(cache):
    """Grey values above all: 0 and 255 are what many tools write."""
    Path("photos").mkdir()
    for name in NAMES:
        Image.fromarray(image(name)).save(f"photos/{name}.jpg")
        Image.fromarray(mask(name, values=(0, 255))).save(f"photos/{name}-mask.png")
    classes = {"thing": "#FFFFFF", "ground": [0, 0, 0]}
    data = ready(images="*.jpg", masks="*-mask.png", classes=classes, initial_size="all", decoded_cache=cache, evaluation=0.5)
    assert len(data.pool.labeled) == data.evaluation_size == 10
    for index in range(10):
        assert np.array_equal(data.targets(index), (mask(data.item(index), values=(0, 255)) == 0).astype(int))
    assert data.classes.palette.tolist() == [[255, 255, 255], [0, 0, 0]]
    Path("photos/x-mask.png").write_bytes(Path("photos/ant_0-mask.png").read_bytes())
    assert set(by_name(Path("photos"), "*-mask")) == {*NAMES, "x"}


def test_a_photograph_on_its_side_has_an_upright_mask():
    write(names=NAMES[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(image("ant_0"))).save("photos/images/ant_0.png", exif=exif)
    data = ready(initial_size="all", decoded_cache="memory")
    index = next(index for index in range(len(data.pool.labeled)) if data.item(index) == "ant_0")
    assert np.array_equal(data.picture(index), image("ant_0")) and np.array_equal(data.targets(index) == 1, mask("ant_0") == 9)


def test_groups_come_as_near_to_the_share_as_they_can():
    for sizes in ([4, 3, 5, 2, 4, 2], [1] * 20, [30, 1, 1, 1], [10, 10], [1, 99], [50, 40, 60]):
        names = [f"p{number}/{item}" for number, size in enumerate(sizes) for item in range(size)]
        group = grouping("^(p[0-9]+)/")
        seen = set()
        for seed in range(30):
            held = draw_evaluation(names, 0.2, group, seed)
            assert held == draw_evaluation(list(reversed(names)), 0.2, group, seed) and 0 < len(held) < len(sizes)
            count = sum(group(name) in held for name in names)
            assert abs(count - 0.2 * len(names)) <= max(min(sizes), 0.2 * len(names))
            seen.add(frozenset(held))
        assert len(seen) > 1 or 30 in sizes or min(sizes) > 0.2 * len(names) or sizes.count(min(sizes)) == 1
    assert len(draw_evaluation([str(number) for number in range(100)], 0.2, grouping(None), 0)) == 20
    with pytest.raises(UserError, match="at least 2 images"):
        draw_evaluation(["a"], 0.2, grouping(None), 0)


def test_the_documents_settings_are_settings():
    blocks = re.findall("```yaml\n(.*?)```", (Path(__file__).parents[3] / "docs" / "own-data.md").read_text(), re.S)
    for block, kind in zip(blocks, (FolderSegmentationDataModule, FolderClassificationDataModule), strict=True):
        data = yaml.safe_load(block)["data"]
        assert data["class_path"] == kind.__name__
        with pytest.raises(UserError, match=r"photos/images, found none|photos/labels.csv"):
            kind(**data["init_args"]).setup("fit")


def test_endings_are_matched_whatever_their_case():
    Path("photos/images").mkdir(parents=True)
    Path("photos/masks").mkdir()
    for name, ending in (("a", "jpg"), ("b", "JPG"), ("c", "Jpg")):
        Image.fromarray(image("ant_0")).save(f"photos/images/{name}.{ending}", "JPEG")
    for name in ("a_mask.png", "b_mask.PNG"):
        Image.fromarray(mask("ant_0")).save(f"photos/masks/{name}", "PNG")
    assert [*by_name(Path("photos"), "images/*.jpg")] == ["a", "b", "c"] == [*by_name(Path("photos"), "images/*.JPG")]
    assert {name: path.name for name, path in by_name(Path("photos"), "masks/*_mask.png").items()} == {"a": "a_mask.png", "b": "b_mask.PNG"}
    assert not by_name(Path("photos"), "masks/*_MASK.png")  # a name is as it is written


def test_which_images_are_labeled_can_be_asked_without_the_data():
    data = FolderSegmentationDataModule("nowhere", {"ground": 0, "cell": 7}, annotations="instances.json")
    assert data.labeled_images() == []
