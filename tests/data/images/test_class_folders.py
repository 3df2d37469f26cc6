"""A person's own images with classes, through the command line."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from al_lightning.cli import main
from al_lightning.data import FolderClassificationDataModule
from al_lightning.data.images.class_tables import Spellings, read_classes, with_classes
from al_lightning.data.images.folders import list_photos
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from al_lightning.sources import read_labels
from tests.callbacks.test_resume import dies_at
from tests.experiments import in_child, without_seconds

pytestmark = pytest.mark.usefixtures("undrawn")

CLASSES = ["cat", "dog", "emu"]
NAMES = [f"{number:02d}" for number in range(30)]
UNLABELED = NAMES[::5]
OTHERS = [f"{number}" for number in range(100, 107)]


def class_of(name):
    return CLASSES[int(name) % 3]


def image(name, size=(9, 12)):
    return np.random.default_rng(int(name)).integers(0, 256, (*size, 3), dtype=np.uint8)


def write_folders(root="photos", names=NAMES, unlabeled=UNLABELED):
    for name in names:
        folder = Path(root, "unlabeled" if name in unlabeled else class_of(name))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(name, (9, 12 + int(name) % 2))).save(folder / f"{name}.png")


def write_table(unlabeled=UNLABELED, root="photos"):
    Path(root, "images").mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        Image.fromarray(image(name)).save(Path(root, "images", f"{name}.png"))
    rows = [
        f"{name}{'.png' * (int(name) % 2)},{'' if name == UNLABELED[0] else class_of(name)}" for name in NAMES if name not in unlabeled[1:]
    ]
    Path(root, "labels.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["name,class", *rows]).encode())  # as a spreadsheet saves it


def ready(**arguments):
    data = FolderClassificationDataModule(**{"root": "photos", "image_size": 8, **arguments})
    data.setup("fit")
    return data


def fit(*arguments, run="run", shape=(3, 8, 8), cycles=3, **data):
    network = {"class_path": "al_lightning.models.MLP", "init_args": {"width": 4, "num_classes": 3, "input_shape": list(shape)}}
    settings = {"root": "photos", "image_size": 8, "initial_size": 4, "batch_size": 4, **data}
    config = {
        "model": {"class_path": "ClassificationTask", "init_args": {"network": network}},
        "data": {"class_path": "FolderClassificationDataModule", "init_args": settings},
        "active_learning": {"strategy": "MostIncorrect", "query_size": 3, "cycles": cycles},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    main(["fit", "--config", "config.yaml", "--run_dir", run, *arguments])
    return RunDirectory(run)


def splits(run):
    rows = list(csv.DictReader(run.images.open()))
    return {split: [Path(row["file"]).stem for row in rows if row["split"] == split] for split in ("pool", "unlabeled", "evaluation")}


@pytest.mark.parametrize("layout", ["folders", "table"])
def test_a_run_asks_for_what_has_a_class(layout, caplog):
    if layout == "folders":
        write_folders()
    else:
        write_table()
    settings = {} if layout == "folders" else {"labels": "labels.csv", "channels": 1, "image_size": None, "shape": (1, 9, 12)}
    run = fit(**settings)
    found = splits(run)
    assert sorted(found["unlabeled"]) == UNLABELED and len(found["evaluation"]) == 5 and len(found["pool"]) == 19
    queried = [row.item for row in run.read_queries()]
    assert len(set(queried)) == 10 and {Path(item).name for item in queried} <= set(found["pool"])
    assert all(item == f"{class_of(item[-2:])}/{item[-2:]}" * (layout == "folders") or item in NAMES for item in queried)
    assert "6 images of the pool have no label" in caplog.text and "WARNING" not in caplog.text


@pytest.mark.parametrize(("option", "waits"), [("--data.init_args.evaluation=0.4", 2), ("--active_learning.evaluation_first=5", 3)])
def test_nothing_is_there_to_evaluate_on_before_a_person_is_asked(option, waits):
    write_folders(unlabeled=NAMES)
    Path("photos/labels.csv").write_text("name,class\n")
    human, run = [option, "--active_learning.oracle=human", "--active_learning.strategy=Margin"], RunDirectory("run")
    for _ in range(waits):
        with pytest.raises(SystemExit, match="75"):
            fit("--resume", *human, classes=CLASSES, cycles=2)
        with Path("photos/labels.csv").open("a") as table:
            table.writelines(f"{row.item},{class_of(row.item[-2:])}\n" for row in run.awaited())
    fit("--resume", *human, classes=CLASSES, cycles=2)
    held, labeled = ({row.item for row in rows} for rows in (run.read_evaluation(), run.read_queries()))
    assert run.is_finished() and held and not held & labeled


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_resized_and_keep_their_classes(channels):
    write_folders()
    data = ready(channels=channels, image_size=[6, 7], initial_size="all", evaluation=0.5)
    assert data.class_names == CLASSES and len(data.pool.labeled_indices) == 12 and len(data._eval) == 12
    assert data.example().shape == (1, channels, 6, 7)
    for index in range(len(data.pool.labeled)):
        folder, name = data.item(index).split("/")
        stored = Image.fromarray(image(name, (9, 12 + int(name) % 2))).convert("L" if channels == 1 else "RGB")
        assert np.array_equal(data.picture(index), np.array(stored.resize((7, 6), Image.Resampling.BILINEAR)))
        assert int(data._train.labels[index]) == (-1 if folder == "unlabeled" else CLASSES.index(class_of(name)))


def test_classes_that_arrive_change_nothing_and_those_that_were_read_must_stay(capsys):
    settings = {"labels": "labels.csv", "cycles": 2}
    write_table()
    whole = fit(run="whole", **settings)

    def die():
        dies_at(RunDirectory, "append_cycle", 2)
        fit(**settings)

    assert in_child(die) == -9
    write_table(unlabeled=UNLABELED[:1])
    run = fit("--resume", **settings)
    assert run.queries.read_bytes() == whole.queries.read_bytes() and without_seconds(run) == without_seconds(whole)
    item = run.read_queries()[0].item
    table = Path("photos/labels.csv")
    table.write_text(re.sub(rf"(?m)^({item}(\.png)?),.*$", rf"\1,{CLASSES[(int(item) + 1) % 3]}", table.read_text()))
    with pytest.raises(SystemExit) as ended:
        fit("--resume", **settings)
    assert f"1 changed: class of {item}" in capsys.readouterr().err + str(ended.value)


def test_a_changed_class_is_noticed_if_an_evaluation_image_has_the_name_too(capsys):
    settings = {"labels": "labels.csv", "evaluation": "held", "cycles": 2}
    for root in ("photos", "held"):
        write_table(UNLABELED[:1], root)
    for path in Path("held/images").iterdir():
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    held, table = Path("held/labels.csv"), Path("photos/labels.csv")
    held.write_text(held.read_text().replace(f"{UNLABELED[0]},", f"{UNLABELED[0]},cat"))
    run = fit(**settings)
    for cycle, item in ((2, run.read_queries()[0].item), (3, run.read_queries()[-1].item)):
        named = rf"(?m)^({item}(\.png)?),.*$"
        table.write_text(re.sub(named, rf"\1,{CLASSES[(int(item) + 1) % 3]}", table.read_text()))
        with pytest.raises(SystemExit) as ended:
            fit("--resume", **settings | {"cycles": cycle + 1})
        assert f"1 changed: class of {item}" in capsys.readouterr().err + str(ended.value)
        table.write_text(re.sub(named, rf"\1,{class_of(item)}", table.read_text()))
    assert {row.file for row in read_labels(run.labels) if row.split == "evaluation"} == {f"class of evaluation/{name}" for name in NAMES}


@pytest.mark.parametrize(
    ("spoil", "arguments", "match"),
    [
        (None, {"image_size": None}, r"images of one size, got 1[23]x9 in photos/.* and 1[23]x9 in photos/.*image_size"),
        (lambda: (write_folders("even", NAMES[::2], ()), write_folders("odd", NAMES[1::2], ())),
         {"root": "even", "evaluation": "odd", "image_size": None}, r"got 12x9 in even/.* and 13x9 in odd/.*image_size"),
        (None, {"root": "nowhere"}, r"in folders of nowhere, one for each class, found none"),
        (None, {"classes": ["cat", "dog"]}, r"the classes cat, dog, got emu for photos/emu/02.png"),
        (None, {"classes": ["cat"]}, "at least 2 classes"),
        (None, {"evaluation": "other"}, r"in folders of other, one for each class, found none. Set data.init_args.evaluation"),
        (lambda: write_folders("held", OTHERS, OTHERS[1:]), {"evaluation": "held"},
         "a class for each evaluation image in held.*none for unlabeled/101, .* and 1 more"),
        (lambda: write_folders("held", OTHERS, ()), {"evaluation": "held", "group": "[0-9]"}, "no group of images both .*got 1"),
        (lambda: Path("photos/cat/03.png").write_bytes(b"no"), {}, "an image in photos/cat/03.png"),
        (lambda: Image.new("RGB", (9, 9)).save("photos/cat/03.jpg"), {}, "one file of each name in photos/cat, got 03.jpg and 03.png"),
        ("name,klass\n", {}, "the columns name and class in the first row of photos/labels.csv, got 'name,klass'"),
        ("name,class\n01,cat\n99,dog\n", {}, "the names of images in photos/labels.csv, each once, but 99 in row 2 is no image"),
        ("name,class\n01,cat\n01.png,cat\n", {}, "each once, but 01.png in row 2 is named twice"),
        ("name,class\n", {}, "labels of some images, but none of 30 has one"),
        ("name,class\n01,cat\n02,cat\n", {}, "at least 2 classes in photos, each once, got cat"),
        ('name,class,note\n01,ant,"unclear\n04,bee,\n', {}, "CSV in photos/labels.csv, but it can't be read: unexpected end"),
        (f"name,class\n01,{'x' * 2**18}\n", {}, "CSV in photos/labels.csv, but it can't be read: field larger"),
    ],
)  # fmt: skip
def test_what_can_not_be_used_is_named(spoil, arguments, match):
    if isinstance(spoil, str):
        write_table()
        Path("photos/labels.csv").write_text(spoil)
        arguments = {"labels": "labels.csv", **arguments}
    else:
        write_folders()
        if spoil is not None:
            spoil()
    with pytest.raises(UserError, match=match):
        ready(**arguments)


@pytest.mark.parametrize(("name", "end"), [("a\u2028b", "\n"), ("a\vb", "\r\n"), ("a\nb", "\n"), ("ab", "\r")])
def test_a_table_is_read_and_extended_whatever_ends_its_rows_and_is_in_its_names(name, end):
    for image_name in (name, "c", "d"):
        path = Path("photos", "images", f"{image_name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image("01")).save(path)
    table = Path("photos/labels.csv")
    table.write_bytes(end.join(["name,class", "c,cat", f'"{name}",dog', ""]).encode())
    photos = {photo.name: photo for photo in list_photos(Path("photos"), "labels.csv", "images/*", "root")}
    assert {each: photo.label for each, photo in photos.items()} == {"c": "cat", name: "dog", "d": None}
    spellings = Spellings({each: photo.path for each, photo in photos.items()})
    table.write_bytes(with_classes(table.read_bytes().decode(), {"d": "cat", name: "cat"}, spellings).encode())
    assert read_classes(table, spellings) == {"c": "cat", name: "cat", "d": "cat"}


def test_a_table_with_quotes_and_spaces_in_names_and_without_a_last_line_end_is_extended():
    names = ['5"_nail', "photo", "photo ", " photo", "other"]
    for number, name in enumerate(names):
        path = Path("photos", "images", f"{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(number)).save(path)
    table = Path("photos/labels.csv")
    table.write_text('\ufeffseen by,name,class\n\nme, 5"_nail.png ,\n, other,"dog"')
    spellings = Spellings({photo.name: photo.path for photo in list_photos(Path("photos"), "labels.csv", "images/*", "root")})
    assert read_classes(table, spellings) == {'5"_nail': None, "other": "dog"}
    said = {"photo ": "cat", " photo": "dog", '5"_nail': "emu"}
    table.write_text(with_classes(table.read_text(), said, spellings))
    assert read_classes(table, spellings) == said | {"other": "dog"}
    lines = table.read_text().split("\n")
    assert lines[:2] == ["\ufeffseen by,name,class", ""] and lines[3:] == [', other,"dog"', ",photo ,cat", ", photo,dog", ""]


def test_a_spelling_that_two_images_share_means_both():
    files = {"a/x": Path("a/x.png"), "b/x": Path("b/x.jpg"), "c/x": Path("c/x.bmp")}
    spellings = Spellings(files, {"x.png": "a/x", "x.jpg": "b/x"})
    assert spellings.all_of("x.png") == {"a/x"} and spellings.all_of("x") == {"a/x", "b/x"}  # c/x was not given elsewhere
    assert spellings.all_of("c/x") == {"c/x"} and spellings.all_of("y") == set()


def test_a_class_without_labels_is_said(caplog):
    write_folders()
    ready(classes=[*CLASSES, "fox"], evaluation=0.05)
    assert re.search(
        r"WARNING: the pool has no labeled image of fox\. Labeled images by class: cat \d+, dog \d+, emu \d+, fox 0$", caplog.text, re.M
    )


def test_images_that_are_on_both_sides_are_refused():
    write_folders(unlabeled=[])
    with pytest.raises(UserError, match="no image both in the pool and for evaluation, got cat/00"):
        ready(evaluation="photos")


def test_classes_and_folders_may_have_stars_in_their_names():
    write_folders(unlabeled=[])
    Path("photos", "emu").rename(Path("photos", "e*u"))
    assert ready(evaluation=0.2).class_names == ["cat", "dog", "e*u"]
