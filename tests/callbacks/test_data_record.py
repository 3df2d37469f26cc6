"""What changed since a run began is named file by file; what no finished cycle has read may be mended; no table or picture is lost."""

import csv
import hashlib
import pickle
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from al_lightning import sources
from al_lightning.acquisition import LowestMiou
from al_lightning.analysis.drawings import plots
from al_lightning.callbacks import ScenePictures, restart
from al_lightning.callbacks.data_record import DataRecord
from al_lightning.cli import main
from al_lightning.commands.report import main as report
from al_lightning.data import CityscapesDataModule
from al_lightning.errors import UserError
from al_lightning.files import write_atomically
from al_lightning.runs import RunDirectory
from al_lightning.tasks import SegmentationTask
from tests.callbacks.test_resume import dies_at
from tests.data.scenes.test_cityscapes import write_scene
from tests.experiments import in_child, run_experiment, same_weights, weights, without_seconds
from tests.tasks.test_segmentation import Tiny

IMAGE, LABEL = "leftImg8bit/{}_leftImg8bit.png", "gtFine/{}_gtFine_labelIds.png"
CONFIG = """
model: {class_path: SegmentationTask, init_args: {network: tests.tasks.test_segmentation.Tiny}}
data: {class_path: CityscapesDataModule, init_args: {initial_size: 2, crop: 16, batch_size: 2, num_workers: 0}}
active_learning: {strategy: Entropy, query_size: 2, cycles: 3}
trainer:
  accelerator: cpu
  max_epochs: 1
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks: [{class_path: ScenePictures, init_args: {evaluation: 1, queried: 1}}]
"""


def draw_data(root):
    """Twelve scenes in the pool, three for evaluation; the same ones whenever it is called."""
    shutil.rmtree(root, ignore_errors=True)
    for number in range(12):
        write_scene(root, "train", "ulm", number, (24, 32))
    for number in (20, 21, 22):
        write_scene(root, "val", "bonn", number, (24, 32))


def fit(root, folder, strategy=None, **arguments):
    """What the configuration above does, without the command line."""
    data = CityscapesDataModule(str(root), initial_size=2, crop=16, batch_size=2, num_workers=0)
    settings = {"query_size": 2, "callbacks": (ScenePictures(1, 1),), "trainer": {"max_epochs": 1, "check_val_every_n_epoch": 1}}
    return run_experiment(folder, strategy, data=data, task=SegmentationTask(Tiny), **{**settings, **arguments})


@pytest.fixture(scope="module", autouse=True)
def _quick_pictures():
    """Instead of pixels, a picture is a hash of all that is drawn."""

    def draw_run(path, run):
        write_atomically(path, pickle.dumps([path.name, without_seconds(run)]))
        return path

    def draw(*drawn):
        write_atomically(drawn[-1], hashlib.sha256(pickle.dumps(drawn[:-1])).digest())
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["al_lightning"])
        patch.setattr(plots, "draw_scenes", draw)
        patch.setattr(plots, "draw_histogram", draw)
        patch.setattr(plots, "draw_iou", lambda run, palette: draw_run(run.iou_picture, run))
        patch.setattr(plots, "draw_learning_curve", lambda run: draw_run(run.picture, run))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with ``data``, a run on them (``a/run``), and one that was killed before its third cycle (``b/run``)."""
    folder = tmp_path_factory.mktemp("made")
    draw_data(folder / "data")
    fit(folder / "data", folder / "a" / "run")

    def killed():
        dies_at(restart.FitRestart, "begin", 2)
        fit(folder / "data", folder / "b" / "run")

    assert in_child(killed) == -signal.SIGKILL
    return folder


@pytest.fixture
def whole(made):
    return RunDirectory(made / "a" / "run")


@pytest.fixture
def root(made):
    """The data as they were."""
    draw_data(made / "data")
    return made / "data"


@pytest.fixture
def killed(made, tmp_path):
    """A copy of the killed run; its two finished cycles have read four labels of the pool."""
    shutil.copytree(made / "b" / "run", tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def assert_same(run, other):
    """What does not depend on the time is the same to the byte, pictures as well."""
    names = {path.relative_to(other.path) for path in other.path.rglob("*") if path.is_file()}
    written_in_fit = {Path("config.yaml"), Path("learning_curve.png")}  # a script's run has another configuration, and no picture
    names -= written_in_fit
    assert {path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file()} - written_in_fit == names
    for name in names - {other.learning_curve.relative_to(other.path), other.environment.relative_to(other.path)}:
        if name.suffix != ".ckpt":
            assert (run.path / name).read_bytes() == (other.path / name).read_bytes(), name
    assert without_seconds(run) == without_seconds(other)
    assert all(same_weights(weights(run, cycle), weights(other, cycle)) for cycle in range(3))


def label_of(row):
    return LABEL.format(f"train/ulm/{row.item}")


def redraw(path):
    """Another label of the same size."""
    ids = np.array(Image.open(path))
    ids[:5] = 11
    Image.fromarray(ids).save(path)


def shrink(path):
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def test_the_record_of_images_and_labels(whole, root):
    """Each label once, with the cycle that was the first to train on it; the evaluation set's with cycle 0."""
    labels = sources.read_labels(whole.labels)
    pool = [(label.cycle, label.file) for label in labels if label.split == "pool"]
    assert sorted(pool) == sorted((row.cycle, label_of(row)) for row in whole.read_queries())
    evaluation = [(label.cycle, label.file) for label in labels if label.split == "evaluation"]
    assert evaluation == [(0, LABEL.format(f"val/bonn/bonn_{n:06d}_000019")) for n in (20, 21, 22)]
    assert all(hashlib.sha256((root / label.file).read_bytes()).hexdigest() == label.sha256 for label in labels)
    images = sources.read_images(whole.images)
    assert [image.split for image in images] == ["pool"] * 12 + ["evaluation"] * 3
    size = (root / images[0].file).stat().st_size
    assert images[0] == ("pool", IMAGE.format("train/ulm/ulm_000000_000019"), f"{size} bytes, 32x24 pixels")


def test_a_bad_label_is_mended_by_command_line(whole, root, tmp_path, capsys):
    """No finished cycle is lost, the resumed run is an undisturbed one on the mended data; after that the label may not change again."""

    def says(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["fit", *arguments, f"--run_dir={run.path}"])
        said = capsys.readouterr().err + str(ended.value)
        assert "Traceback" not in said
        return said

    run = RunDirectory(tmp_path / "run")
    (tmp_path / "scenes.yaml").write_text(CONFIG)
    bad = next(root / label_of(row) for row in whole.read_queries() if row.cycle == 2)
    good = bad.read_bytes()
    shrink(bad)
    assert bad.name in says(f"--config={tmp_path / 'scenes.yaml'}", f"--data.init_args.root={root}")
    assert len(run.read_cycles()) == 2 and run.queried(0).is_file() and not run.queried(1).exists()
    assert bad.name in says("--resume")
    bad.write_bytes(good)
    main(["fit", "--resume", f"--run_dir={run.path}"])
    assert_same(run, whole)
    drawn = [run.picture, run.iou_picture, run.cycle(2) / "evaluation.png"]
    for path in drawn:
        path.unlink()
    main(["fit", "--resume", f"--run_dir={run.path}"])
    assert "complete" in capsys.readouterr().out and all(path.is_file() for path in drawn)
    redraw(bad)
    assert f"1 changed: {bad.relative_to(root)}. Put them back" in says("--resume")


def test_a_cut_label_loses_nothing_either(whole, root, tmp_path):
    bad = next(root / label_of(row) for row in whole.read_queries() if row.cycle == 1)
    good = bad.read_bytes()
    cut(bad)
    for resume in (False, True):
        with pytest.raises(UserError, match=bad.name):
            fit(root, tmp_path / "run", resume=resume)
    bad.write_bytes(good)
    assert len(RunDirectory(tmp_path / "run").read_cycles()) == 1
    assert_same(fit(root, tmp_path / "run", resume=True), whole)


def drop_row(path):
    path.write_text("".join(line for number, line in enumerate(path.read_text().splitlines(keepends=True)) if number != 1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root, run: [redraw(root / label_of(row)) for row in run.read_queries() if row.cycle < 2], r"labels .* 4 changed: gtFine/"),
        (lambda root, run: redraw(root / LABEL.format("val/bonn/bonn_000021_000019")), r"1 changed: gtFine/val/bonn/bonn_000021_0"),
        (lambda root, run: run.labels.unlink(), r"labels.csv.* is missing"),
        (lambda root, run: run.labels.write_text("cycle,split\n1,2\n"), r"columns cycle, split, file, sha256 in .*labels.csv"),
        (
            lambda root, run: run.labels.write_text(run.labels.read_text().replace("0,pool", "x,pool")),
            r"whole number .* for cycle in row 1 of .*labels.csv",
        ),
        (lambda root, run: drop_row(run.labels), r"1 new: gtFine/"),
        (lambda root, run: write_scene(root, "train", "ulm", 4, (26, 32)), r"1 changed: leftImg8bit/train/ulm/ulm_000004_000019_left"),
        (lambda root, run: (root / IMAGE.format("train/ulm/ulm_000007_000019")).unlink(), r"1 missing: leftImg8bit/.*ulm_000007_000019"),
        (
            lambda root, run: [write_scene(root, "val", "trier", n, (24, 32)) for n in range(30, 37)],
            r"7 new: leftImg8bit/val/trier/trier_000030_.*_000034_000019_leftImg8bit.png and 2 more",
        ),
    ],
)
def test_what_changed_is_named(killed, root, change, said):
    change(root, killed)
    before = killed.learning_curve.read_bytes(), killed.queries.read_bytes()
    with pytest.raises(UserError, match=said):
        fit(root, killed.path, resume=True)
    assert (killed.learning_curve.read_bytes(), killed.queries.read_bytes()) == before


def test_labels_that_no_finished_cycle_has_read_may_change(killed, root, tmp_path):
    """The resumed run is what an undisturbed one on the changed labels is."""
    read = {row.item for row in killed.read_queries() if row.cycle < 2}
    assert len(read) == 4
    for path in (root / "gtFine" / "train").rglob("*.png"):
        if not any(path.name.startswith(item) for item in read):
            redraw(path)
    before = killed.queried(1).read_bytes(), killed.queried(0).read_bytes()
    run = fit(root, killed.path, resume=True)
    assert run.queried(0).read_bytes() == before[1] and run.queried(1).read_bytes() != before[0]
    again = fit(root, tmp_path / "again" / "run")
    (killed.cycle(1) / "queried.png").unlink()  # drawn before its labels changed
    (again.cycle(1) / "queried.png").unlink()
    assert_same(run, again)


def test_an_oracle_has_read_every_label(root, tmp_path):
    run = fit(root, tmp_path / "run", LowestMiou(), cycles=2)
    labels = sources.read_labels(run.labels)
    assert len({label.file for label in labels}) == len(labels) == 12 + 3 and {label.cycle for label in labels} == {0}
    labeled = {label_of(row) for row in run.read_queries()}
    path = root / next(label.file for label in labels if label.split == "pool" and label.file not in labeled)
    redraw(path)
    with pytest.raises(UserError, match=f"1 changed: .*{path.name}"):
        fit(root, run.path, LowestMiou(), cycles=2, resume=True)


def test_another_evaluation_makes_an_initial_run_another_one(whole, root, tmp_path):
    redraw(root / LABEL.format("val/bonn/bonn_000021_000019"))
    with pytest.raises(UserError, match=r"the initial run in .* 1 changed: gtFine/val/bonn/bonn_000021"):
        fit(root, tmp_path / "run", initial_run=str(whole.path))
    assert not {path.name for path in (tmp_path / "run").iterdir()} - {".lock", "config.yaml"}


def test_a_run_of_an_earlier_version_is_read_but_not_resumed(killed, root, tmp_path):
    killed.images.unlink()
    killed.labels.unlink()
    killed.write_environment({**killed.read_environment(), "data": {"items": 12, "sha256": "0" * 64}})
    with pytest.raises(UserError, match=r"A run of an earlier version has none: it can be read .* but not resumed"):
        fit(root, killed.path, resume=True)
    killed.write_config(CONFIG + "seed_everything: 0\n")
    report(["report", str(killed.path), "--out", str(tmp_path / "report")])


# Each is called again in the process that goes on. labels.csv is written before each of the three cycles.
DEATHS = {
    "images.csv not written": lambda: dies_at(sources, "write_images", 1),
    "images.csv written": lambda: dies_at(sources, "write_images", 1, after=True),
    "labels.csv not written": lambda: dies_at(sources, "write_labels", 1),
    "labels.csv of the last cycle not written": lambda: dies_at(sources, "write_labels", 3),
    "labels.csv of the last cycle written": lambda: dies_at(sources, "write_labels", 3, after=True),
    "queried.csv not written": lambda: dies_at(RunDirectory, "write_queried", 2),
    "queried.csv written": lambda: dies_at(RunDirectory, "write_queried", 2, after=True),
    "row not written": lambda: dies_at(RunDirectory, "append_cycle", 2),
    "row written": lambda: dies_at(RunDirectory, "append_cycle", 2, after=True),
    "scores not drawn": lambda: dies_at(plots, "draw_histogram", 2),
    "evaluation not drawn": lambda: dies_at(plots, "draw_scenes", 3),
    "queried not drawn": lambda: dies_at(plots, "draw_scenes", 4),
    "iou not drawn": lambda: dies_at(plots, "draw_iou", 2),
    "last evaluation not drawn": lambda: dies_at(plots, "draw_scenes", 5),
    "last iou not drawn": lambda: dies_at(plots, "draw_iou", 3),
}


@pytest.mark.parametrize("death", DEATHS)
def test_sigkill_loses_no_table_and_no_picture(whole, root, tmp_path, death):
    run = RunDirectory(tmp_path / "run")

    def work():
        DEATHS[death]()
        fit(root, run.path)

    assert in_child(work) == -signal.SIGKILL
    finished = len(run.read_cycles()) if run.learning_curve.exists() else 0
    assert all(run.queried(cycle).is_file() for cycle in range(min(finished, 2)))
    assert_same(fit(root, run.path, resume=True), whole)


def test_pictures_whose_weights_are_gone_are_said_to_be_missing(root, tmp_path, capsys):
    def work():
        dies_at(plots, "draw_scenes", 3)
        fit(root, tmp_path, keep="none")

    assert in_child(work) == -signal.SIGKILL
    run = fit(root, tmp_path, keep="none", resume=True)
    assert "Pictures of cycles 1 are missing, and so are the checkpoints" in capsys.readouterr().out
    assert not (run.cycle(1) / "evaluation.png").exists() and (run.cycle(2) / "evaluation.png").exists()


def test_queried_tables_are_read_as_numbers(whole):
    with whole.queried(1).open() as file:
        rows = list(csv.DictReader(file))
    assert [[*map(str, row.values())] for row in whole.read_queried(1)] == [[*row.values()] for row in rows]
    assert whole.read_queried(2) == []


def test_a_label_that_an_earlier_cycle_has_read_is_no_other_label(tmp_path):
    """A copy's label is its original's; an oracle has read those of the whole pool."""
    run = RunDirectory(tmp_path / "run")
    sources.write_labels(run.labels, [sources.ReadLabel(0, sources.POOL, "a.png", "1"), sources.ReadLabel(1, sources.POOL, "b.png", "2")])
    hashes = {"a.png": "1", "b.png": "2"}
    data = SimpleNamespace(
        pool=SimpleNamespace(labeled_in=torch.tensor([0, 1, 1])),
        label_files=lambda indices: [("a.png", "b.png", "a.png")[index] for index in indices],
        label_sha256=hashes.get,
    )
    record = DataRecord(run, data)
    assert record.changed_in_unfinished(1) == ""
    hashes["b.png"] = "3"
    assert "b.png" in record.changed_in_unfinished(1)
