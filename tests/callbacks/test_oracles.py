"""A person answers: the run asks, waits, and goes on as if the data set had answered."""

import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_lightning import files
from al_lightning.acquisition import LowestMiou
from al_lightning.callbacks import oracles
from al_lightning.cli import main
from al_lightning.data import FolderSegmentationDataModule
from al_lightning.errors import UserError
from al_lightning.run_tables import Labeled
from al_lightning.runs import RunDirectory
from al_lightning.tasks import SegmentationTask
from tests.callbacks.test_resume import dies_at, dies_in_row
from tests.experiments import in_child, make_data, run_experiment, same_weights, weights, without_seconds
from tests.tasks.test_segmentation import Tiny

EVERY = [f"s{number:02d}" for number in range(18)]
LABELED = ("s01", "s05", "s09")
CONFIG = """
model:
  class_path: SegmentationTask
  init_args: {network: {class_path: tests.tasks.test_segmentation.Tiny, init_args: {classes: 2}}, classes: [ground, cell]}
data:
  class_path: FolderSegmentationDataModule
  init_args: {root: data, evaluation: evaluation, classes: {ground: 0, cell: 7}, crop: 16, batch_size: 2, num_workers: 0}
active_learning: {strategy: Entropy, query_size: 4, cycles: 3, oracle: human}
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  callbacks: [{class_path: ScenePictures, init_args: {evaluation: 0, queried: 0}}]
  enable_progress_bar: false
  enable_model_summary: false
"""


def draw(folder, name):
    rng = np.random.default_rng(list(name.encode()))
    for kind, pixels in (("images", rng.integers(0, 256, (24, 20, 3))), ("masks", rng.choice([0, 7, 255], (24, 20), p=[0.4, 0.4, 0.2]))):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{name}.png")


@pytest.fixture
def folder(tmp_path, monkeypatch, undrawn):
    begin(tmp_path, monkeypatch)
    return tmp_path


def begin(home, monkeypatch):
    """18 images, of which 3 have masks; the others are with the annotator."""
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    for name in EVERY:
        draw(Path("data"), name)
    for number in range(2):
        draw(Path("evaluation"), f"v{number}")
    Path("c.yaml").write_text(CONFIG)
    shutil.move("data/masks", "annotator")
    only(*LABELED)


def only(*names):
    shutil.rmtree("data/masks", ignore_errors=True)
    Path("data/masks").mkdir()
    label(*names)


def label(*names):
    for name in names:
        shutil.copyfile(f"annotator/{name}.png", f"data/masks/{name}.png")


def fit(run, oracle="human", first=None, **arguments):
    """Begins a run, or goes on with it."""
    settings = {"crop": 16, "batch_size": 2, "num_workers": 0, "initial_items": first}
    data = FolderSegmentationDataModule("data", {"ground": 0, "cell": 7}, "evaluation", **settings)
    settings = {"query_size": 4, "oracle": oracle, "trainer": {"max_epochs": 1, "check_val_every_n_epoch": 1}, "resume": True}
    return run_experiment(Path(run), data=data, task=SegmentationTask(lambda: Tiny(2)), **{**settings, **arguments})


def wanted(run):
    return [row.item for row in run.awaited()]


def to_its_end(run, cycles):
    for _ in range(cycles - 1):
        label(*wanted(fit(run, cycles=cycles)))
    return fit(run, cycles=cycles)


def assert_same(run, other):
    assert run.queries.read_bytes() == other.queries.read_bytes() and without_seconds(run) == without_seconds(other)
    assert all(same_weights(weights(run, cycle), weights(other, cycle)) for cycle in range(run.finished()))
    assert all(run.queried(cycle).read_bytes() == other.queried(cycle).read_bytes() for cycle in range(run.finished() - 1))
    assert run.labels.read_bytes() == other.labels.read_bytes()


def simulate(cycles):
    """The same run, where the data set answers."""
    only(*EVERY)
    Path("first.txt").write_text("\n".join(LABELED))
    run = fit("simulated", "dataset", "first.txt", cycles=cycles)
    assert run.is_finished()
    only(*LABELED)
    return run


def test_a_person_labels_more_than_was_planned(folder):
    whole = to_its_end("whole", 3)
    only(*LABELED)
    assert to_its_end("run", 2).finished() == 2
    assert_same(to_its_end("run", 3), whole)


def test_a_person_answers_as_the_data_set_does(folder):
    simulated = simulate(cycles=3)
    for cycle in range(2):
        run = fit("run")
        asked = wanted(run)
        assert len(asked) == 4 and run.finished() == cycle + 1 and {row.cycle for row in run.read_queries()} == {*range(cycle + 1)}
        table = run.asked(cycle).read_text().splitlines()
        assert table[0] == "rank,index,item,score" and [line.split(",")[2] for line in table[1:]] == asked
        assert {path.name for path in run.package(cycle).iterdir()} == {"README.txt", *(f"{name}.png" for name in asked)}
        label(*asked[:3], next(name for name in EVERY if name not in asked))  # one that nobody asked for
        before = run.queries.read_bytes(), run.learning_curve.read_bytes()
        assert wanted(fit("run")) == asked and before == (run.queries.read_bytes(), run.learning_curve.read_bytes())
        label(asked[3])
    assert_same(fit("run"), simulated)
    Image.fromarray(np.full((24, 20), 7, np.uint8)).save(f"data/masks/{asked[0]}.png")
    with pytest.raises(UserError, match=f"labels that finished cycles of the run .* 1 changed: masks/{asked[0]}.png"):
        fit("run")
    only(*EVERY)  # then a person has answered before anybody asks
    assert_same(fit("answered", first="first.txt"), simulated)


# Appended are the initial set and the row of cycle 0; a later process writes the answers, and appends the row of cycle 1.
DEATHS = {
    "asked.csv written": lambda: dies_at(RunDirectory, "write_asked", 1, after=True),
    "a package not whole": lambda: dies_at(oracles.shutil, "copyfile", 3),
    "row of cycle 0 half written": lambda: dies_in_row(2),
}
DEATHS_OF_THE_NEXT = {
    "answers not renamed": lambda: dies_at(files.os, "replace", 2),  # environment.json comes first
    "answers written": lambda: dies_at(RunDirectory, "append_answers", 1, after=True),
    "row of cycle 1 not written": lambda: dies_at(RunDirectory, "_append", 1),
}


def killed(death, run):
    def work():
        death()
        fit(run, cycles=2)

    assert in_child(work) == -signal.SIGKILL


def test_sigkill_while_it_asks_and_while_it_takes_up_answers(folder):
    simulated = simulate(cycles=2)
    for name, death in DEATHS.items():
        only(*LABELED)
        killed(death, name)
        assert_same(to_its_end(name, cycles=2), simulated)
    for name, death in DEATHS_OF_THE_NEXT.items():
        only(*LABELED)
        label(*wanted(fit(f"next {name}", cycles=2)))
        killed(death, f"next {name}")
        assert_same(to_its_end(f"next {name}", cycles=2), simulated)


def test_enough_is_enough(folder):
    asked = wanted(fit("run", enough=0.7))
    label(*asked[1:3])
    assert wanted(fit("run", enough=0.7)) == asked
    label(asked[3])
    run = fit("run", enough=0.7)
    assert [(row.rank, row.item) for row in run.read_queries() if row.cycle == 1] == [*enumerate(asked[1:])]
    assert run.read_curve()[1].labeled == 6 and len(wanted(run)) == 4
    only(*LABELED, *asked[1:], *wanted(run))
    assert fit("run", enough=0.7).is_finished()


def test_what_does_not_fit_is_named_and_nothing_is_taken_up(folder):
    run = fit("run")
    asked = wanted(run)
    label(*asked)
    before = run.queries.read_bytes()
    for spoil, match in (
        (lambda path: Image.new("L", (20, 23)).save(path), rf"{asked[2]}.png to be 20x24 .* got 20x23"),
        (lambda path: Image.new("L", (20, 24), 3).save(path), rf"label ids 0, 7, 255 in .*{asked[2]}.png, got 3"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), f"{asked[2]}.png"),
    ):
        spoil(Path(f"data/masks/{asked[2]}.png"))
        with pytest.raises(UserError, match=match):
            fit("run")
        label(asked[2])
        assert run.queries.read_bytes() == before and wanted(run) == asked
    table = run.asked(0).read_text()
    run.asked(0).write_text(table.replace(asked[0], "other"))
    with pytest.raises(UserError, match=r"Expected items of these data in asked.csv, but 'other' is not"):
        fit("run")
    run.asked(0).write_text(table)
    for path in Path("annotator").iterdir():
        if path.stem not in (*LABELED, *asked):
            Image.new("L", (20, 24), 3).save(f"data/masks/{path.name}")
    assert len(wanted(fit("run"))) == 4 and run.finished() == 2  # its training is not lost
    with pytest.raises(UserError, match=r"label ids 0, 7, 255 in .* got 3"):
        fit("run")
    with pytest.raises(UserError, match="data to which a person can add labels"):
        run_experiment(folder / "mnist", data=make_data(), oracle="human")
    only(*LABELED)
    with pytest.raises(UserError, match="strategies that read no labels"):
        fit("cheats", strategy=LowestMiou())


def test_the_command_says_what_to_do_and_ends_with_75(folder, capsys):
    for arguments, there in (["--config=c.yaml"], 0), (["--resume"], 3):
        with pytest.raises(SystemExit) as end:
            main(["fit", *arguments, "--run_dir=run"])
        assert end.value.code == 75
        assert (
            f"{there} of 4 labels are there: put masks of the images in run/cycles/000/to_label into data/masks, then"
            in capsys.readouterr().out
        )
        label(*wanted(RunDirectory("run"))[:3])
    assert "the ids 0 for ground, 7 for cell" in (RunDirectory("run").package(0) / "README.txt").read_text()


def test_names_that_tools_can_not_read_are_refused_before_a_training(folder, capsys):
    shutil.copyfile("data/images/s02.png", b"data/images/s\xff.png")
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config=c.yaml", "--run_dir=run", "--active_learning.package=[label_studio]"])
    assert "names of images in UTF-8, in which tools read a package, got 1 others, as" in capsys.readouterr().err + str(end.value)
    assert not RunDirectory("run").holds_run()
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config=c.yaml", "--run_dir=run", "--active_learning.query_size=15"])
    assert end.value.code == 75 and Path("run/cycles/000/to_label/s\udcff.png").is_file()


@pytest.mark.parametrize(
    ("paths", "cycles", "expected"),
    [
        (["a/x.png", "b/y.png"], [1, 1], ["x.png", "y.png"]),
        (["a/x.png", "b/x.png"], [1, 1], ["a-x.png", "b-x.png"]),
        (["a/x.tif", "b/x.png"], [1, 1], ["a-x.tif", "b-x.png"]),  # browsers get a PNG of the first
        (["a/x.png", "b/x.png", "b/a-x.png"], [1, 1, 1], ["a-x.png", "b-x.png", "b-a-x.png"]),
        (["a/x.png", "b/x.png", "c/y.png"], [1, 2, 2], ["x.png", "b-x.png", "y.png"]),  # of two packages
    ],
)
def test_each_image_of_all_packages_has_a_name_of_its_own(paths, cycles, expected):
    class Data:
        def image_and_label(self, index):
            return Path(paths[index]), Path()

    rows = [Labeled(cycle, rank, rank, path) for rank, (path, cycle) in enumerate(zip(paths, cycles, strict=True))]
    asked_again = replace(rows[0], cycle=3)
    assert oracles.package_names(Data(), [*rows, asked_again]) == dict(enumerate(expected))
