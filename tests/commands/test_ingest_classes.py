"""A person says what images are: asked by a run, taken in by ``ingest``."""

import csv
import re
import shutil
import signal
from pathlib import Path

import pytest
import yaml
from PIL import Image

from al_lightning import files
from al_lightning.acquisition import Random
from al_lightning.cli import main as fit_command
from al_lightning.commands import ingest, main
from al_lightning.data import FolderClassificationDataModule
from al_lightning.errors import UserError
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask
from tests.callbacks.test_resume import dies_at
from tests.commands.test_ingest import command
from tests.data.images.test_class_folders import CLASSES, class_of, image, write_folders
from tests.experiments import in_child, run_experiment, same_weights, weights, without_seconds

pytestmark = pytest.mark.usefixtures("undrawn")

NAMES = [f"{number:02d}" for number in range(30)]
LAYOUTS = {"folders": None, "table": "labels.csv"}
CONFIG = {"seed_everything": 0, "active_learning": {"oracle": "human"}}


def write(layout):
    """30 images without a class, and nine for evaluation."""
    for root, names in (("photos", NAMES), ("evaluation", [str(number) for number in range(40, 49)])):
        if layout == "folders":
            write_folders(root, names, unlabeled=names if root == "photos" else ())
            continue
        Path(root, "images").mkdir(parents=True)
        for name in names:
            Image.fromarray(image(name)).save(Path(root, "images", f"{name}.png"))
        known = [] if root == "photos" else [f"{name},,{class_of(name)}" for name in names]
        Path(root, "labels.csv").write_bytes("\r\n".join(["\ufeffname,seen by,class", *known, ""]).encode())


def settings(layout):
    return {"root": "photos", "image_size": 8, "classes": CLASSES, "evaluation": "evaluation", "batch_size": 4, "labels": LAYOUTS[layout]}


def as_by_the_command_line(layout, run):
    """Writes what a run's directory has by the command line, which other commands read."""
    data = {"class_path": "FolderClassificationDataModule", "init_args": settings(layout) | {"initial_size": 6}}
    network = {"class_path": "al_lightning.models.MLP", "init_args": {"num_classes": 3, "input_shape": [3, 8, 8]}}
    model = {"class_path": "ClassificationTask", "init_args": {"network": network}}
    run.config.write_text(yaml.safe_dump(CONFIG | {"data": data, "model": model}))


def fit(layout, run="run", **arguments):
    """Begins a run, or goes on with it; whether it waits for labels."""
    data = FolderClassificationDataModule(**settings(layout), initial_size=6)
    task = ClassificationTask(lambda: MLP(width=4, num_classes=3, input_shape=(3, 8, 8)))
    run = RunDirectory(run)
    try:
        given = {"query_size": 3, "cycles": 3, "oracle": "human", "resume": True, **arguments}
        run_experiment(run.path, data=data, task=task, trainer={"max_epochs": 1, "check_val_every_n_epoch": 1}, **given)
    except SystemExit as end:
        assert end.code == 75
    as_by_the_command_line(layout, run)
    return bool(run.awaited())


def wanted():
    return [row.item for row in RunDirectory("run").awaited()]


def say(names, *others, path="said.csv"):
    rows = [["name", "class"], *([f"{Path(name).name}.png", class_of(Path(name).name)] for name in names), *others]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def sort_copies(names):
    shutil.rmtree("sorted", ignore_errors=True)
    for name in names:
        folder = Path("sorted", class_of(Path(name).name))
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(next(Path("photos").glob(f"*/{Path(name).name}.png")), folder / f"{Path(name).name}.png")
    return "sorted"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_person_says_what_the_data_set_knows(layout, capsys):
    write(layout)
    for asked, how in ((6, say), (3, sort_copies), (3, say)):
        assert fit(layout)
        names = wanted()
        assert len(names) == asked
        package = RunDirectory("run").package(RunDirectory("run").finished() - 1)
        assert {path.stem for path in package.glob("*.png")} == {Path(name).name for name in names}
        assert ": one of the classes cat, dog, emu for each" in (package / "README.txt").read_text()
        assert f"0 of {asked} labels" in command(capsys, "status", "run")[1]
        status, said = command(capsys, "ingest", "run", how(names))
        assert status == 0 and f"{asked} classes are taken, 0 were there already, 0 rows or files are refused." in said
        assert f"{asked} of {asked} labels" in said
    assert not fit(layout)
    run, table = RunDirectory("run"), Path("photos/labels.csv").read_bytes()
    assert len({*re.findall(rb"(?m)^(?:unlabeled/)?(\d\d),", table)}) == 12
    assert layout == "folders" or (table.startswith(b"\xef\xbb\xbfname,seen by,class\r\n") and table.count(b"\r\n") == 13)
    Path("photos/labels.csv").write_text("name,class\n" + "".join(f"{name},{class_of(name)}\n" for name in NAMES))
    fit(layout, "simulated", oracle="dataset", initial_strategy=Random())
    simulated = RunDirectory("simulated")
    assert run.queries.read_bytes() == simulated.queries.read_bytes() and without_seconds(run) == without_seconds(simulated)
    assert all(same_weights(weights(run, cycle), weights(simulated, cycle)) for cycle in range(3))


def test_what_is_wrong_is_named_and_nothing_is_overwritten(capsys):
    write("folders")
    fit("folders")
    names, table = wanted(), Path("photos/labels.csv")
    other = next(f"unlabeled/{name}" for name in NAMES if f"unlabeled/{name}" not in names)
    status, said = command(capsys, "ingest", "run", say([*names[:2], other], [names[2], "fox"], [names[3], ""], ["x", "cat"]))
    assert status == 1 and "2 classes are taken" in said
    for line in (f"{other[-2:]}.png in row 3: it was not asked for", "got fox", "got none", "x in row 6: it was not asked for"):
        assert line in said
    own = table.read_bytes()
    first = class_of(names[0][-2:])
    different = next(name for name in CLASSES if name != first)
    status, said = command(capsys, "ingest", "run", say([], [names[0], different]))
    assert status == 1 and f"it has the class {first} in photos/labels.csv" in said and table.read_bytes() == own
    for _ in range(2):
        assert command(capsys, "ingest", "run", say([], [names[0], different]), "--replace")[0] == 0
        assert f"{names[0]},{different}" in table.read_text() and [old.read_bytes() for old in Path("photos").glob("*.old")] == [own]
    assert command(capsys, "ingest", "run", say(names), "--replace")[0] == 0 and fit("folders")
    status, said = command(capsys, "ingest", "run", say([], [names[0], different]), "--replace")
    assert status == 1 and f"it has the class {first}, which a finished cycle has used" in said
    assert "Expected the file nowhere" in command(capsys, "ingest", "run", "nowhere")[0]
    Path("empty").mkdir()
    assert "a folder of images for each class, got none in empty" in command(capsys, "ingest", "run", "empty")[0]
    asked = wanted()
    table.write_text(table.read_text() + "".join(f"{name},{kind}\n" for name, kind in zip(asked, ("fox", "cat", "dog"), strict=True)))
    with pytest.raises(UserError, match=f"the classes cat, dog, emu, got fox for photos/{asked[0]}.png"):
        fit("folders")


def test_a_class_that_comes_while_images_are_read_is_not_overwritten(capsys, monkeypatch):
    write("table")
    fit("table")
    names, table, load = wanted(), Path("photos/labels.csv"), ingest.load_data

    def slow(run):
        data = load(run)
        with table.open("a") as file:
            file.write(f"{names[0]},,cat\r\n{names[1]},,{class_of(names[1])}\r\n")
        return data

    monkeypatch.setattr(ingest, "load_data", slow)
    other = next(name for name in CLASSES if name != "cat")
    status, said = command(capsys, "ingest", "run", say(names[1:3], [names[0], other]))
    assert status == 1 and "1 classes are taken, 1 were there already, 1 rows or files are refused" in said
    assert "it has the class cat in photos/labels.csv. To replace it" in said
    rows = {row["name"]: row["class"] for row in csv.DictReader(table.read_text("utf-8-sig").splitlines())}
    assert rows[names[0]] == "cat" and rows[names[2]] == class_of(names[2])


def test_two_classes_of_an_image_are_refused_in_either_order(capsys):
    write("folders")
    fit("folders")
    name = wanted()[0]
    first, second = class_of(name[-2:]), next(other for other in CLASSES if other != class_of(name[-2:]))
    assert command(capsys, "ingest", "run", say([], [name, first]))[0] == 0
    status, said = command(capsys, "ingest", "run", say([], [name, first], [name, second]), "--replace")
    assert (
        status == 1 and f"the source gives it the class {first}, too" in said and f"{name},{first}" in Path("photos/labels.csv").read_text()
    )
    status, said = command(capsys, "ingest", "run", say([], [name, second], [name, first]), "--replace")
    assert status == 1 and f"the source gives it the class {second}, too" in said
    name = wanted()[1]
    status, said = command(capsys, "ingest", "run", say([], [name, first], [name, second]))
    assert status == 1 and said.count("the source gives it the class") == 2 and name not in Path("photos/labels.csv").read_text()


DEATHS = {
    "table not renamed": lambda: dies_at(files.os, "replace", 1),
    "table renamed": lambda: dies_at(files.os, "replace", 1, after=True),
}


def test_killed_while_it_takes_classes_it_goes_on(capsys):
    write("folders")
    fit("folders")
    names = wanted()
    for name, death in DEATHS.items():

        def work(death=death):
            death()
            main(["ingest", "run", say(names)])

        assert in_child(work) == -signal.SIGKILL
        there = "renamed" in name and "not" not in name
        assert Path("photos/labels.csv").exists() == there
    status, said = command(capsys, "ingest", "run", say(names))
    assert status == 0 and "0 classes are taken, 6 were there already" in said and not [*Path("photos").glob("*.tmp")]


def test_by_command_line(capsys):
    write("folders")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "max_epochs": 1}
    network = {"class_path": "al_lightning.models.MLP", "init_args": {"num_classes": 3, "input_shape": [3, 8, 8]}}
    config = {
        "model": {"class_path": "ClassificationTask", "init_args": {"network": network}},
        "data": {"class_path": "FolderClassificationDataModule", "init_args": settings("folders")},
        "active_learning": {"strategy": "Margin", "query_size": 4, "oracle": "human"},
        "trainer": quiet,
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))

    def said(*arguments):
        with pytest.raises(SystemExit) as end:
            fit_command(["fit", "--config=config.yaml", "--run_dir=run", *arguments])
        return end.value.code, capsys.readouterr().out

    status, words = said()
    assert (
        status == 75 and "0 of 4 labels to begin with are there: put the class of each image in run/cycles/initial/to_label into" in words
    )
    assert "holds a run already" in str(said()[0]) and "query_size was 4 and is 5" in str(
        said("--resume", "--active_learning.query_size=5")[0]
    )
    assert "but none of 30 has one, and in a simulation" in str(said("--run_dir=other", "--active_learning.oracle=dataset")[0])
    assert not RunDirectory("other").holds_run() and command(capsys, "status", "run")[1].startswith("run: no cycle is finished, waits for")
