"""A person answers: the run asks, waits, and goes on as if the data set had answered."""

import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_lightning import runs
from al_lightning.cli import main
from al_lightning.runs import RunDirectory
from tests.callbacks.test_resume import dies_at
from tests.conftest import in_child, same_weights, weights, without_seconds

WAITS = 75
CONFIG = """
model:
  class_path: SegmentationTask
  init_args: {network: {class_path: tests.tasks.test_segmentation.Tiny, init_args: {classes: 2}}, classes: [ground, cell]}
data:
  class_path: FolderSegmentationDataModule
  init_args: {root: data, evaluation: evaluation, classes: {ground: 0, cell: 7}, crop: 16, batch_size: 2, num_workers: 0}
active_learning: {strategy: Entropy, query_size: 4, cycles: 3}
trainer: {max_epochs: 1, accelerator: cpu, logger: false, enable_progress_bar: false, enable_model_summary: false}
"""


def draw(folder, name):
    rng = np.random.default_rng(list(name.encode()))
    for kind, pixels in (("images", rng.integers(0, 256, (24, 20, 3))), ("masks", rng.choice([0, 7], (24, 20)))):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{name}.png")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """18 images, of which 3 have masks; the others are with the annotator."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    for number in range(18):
        draw(Path("data"), f"s{number:02d}")
    for number in range(2):
        draw(Path("evaluation"), f"v{number}")
    Path("c.yaml").write_text(CONFIG)
    shutil.move("data/masks", "annotator")
    Path("data/masks").mkdir()
    label("s01", "s05", "s09")
    return tmp_path


def label(*names):
    for name in names:
        shutil.copyfile(f"annotator/{name}.png", f"data/masks/{name}.png")


def fit(run, *arguments, oracle="human"):
    """Runs the command; its exit status, and the run."""
    try:
        main(["fit", "--config=c.yaml", f"--run_dir={run}", f"--active_learning.oracle={oracle}", *arguments])
    except SystemExit as end:
        return end.code, RunDirectory(run)
    return 0, RunDirectory(run)


def asked(run, cycle):
    return [row.item for row in run.awaited()] if not run.finished() > cycle + 1 else None


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def assert_same(run, other):
    assert run.queries.read_bytes() == other.queries.read_bytes() and without_seconds(run) == without_seconds(other)
    assert all(same_weights(weights(run, cycle), weights(other, cycle)) for cycle in range(3))
    assert all(run.queried(cycle).read_bytes() == other.queried(cycle).read_bytes() for cycle in range(2))


@pytest.fixture
def simulated(folder):
    """The same run, where the data set answers."""
    shutil.copytree("annotator", "data/masks", dirs_exist_ok=True)
    Path("first.txt").write_text("s01\ns05\ns09\n")
    status, run = fit("simulated", "--data.init_args.initial_items=first.txt", oracle="dataset")
    assert status == 0
    for path in Path("data/masks").iterdir():
        path.unlink()
    label("s01", "s05", "s09")
    return run


def test_it_waits_and_goes_on_as_a_simulation_does(folder, simulated, capsys):
    status, run = fit("run")
    for cycle in range(2):
        wanted = [row.item for row in run.awaited()]
        assert status == WAITS and len(wanted) == 4 and run.finished() == cycle + 1
        assert run.asked(cycle).read_text().startswith("rank,index,item,score\n0,")
        assert {path.name for path in run.package(cycle).iterdir()} == {"README.txt", *(f"{name}.png" for name in wanted)}
        assert "the ids 0 for ground, 7 for cell" in (run.package(cycle) / "README.txt").read_text()
        assert f"0 of 4 labels are there: put masks of the images in {run.package(cycle)} into data/masks" in capsys.readouterr().out
        label(*wanted[:3])
        before = {path: content for path, content in contents("run").items() if path.name != "environment.json"}
        assert fit("run", "--resume")[0] == WAITS and "3 of 4 labels are there" in capsys.readouterr().out
        assert before.items() <= contents("run").items()
        label(wanted[3])
        status, run = fit("run", "--resume")
    assert status == 0
    assert_same(run, simulated)
    draw(Path("."), "s01")
    shutil.copyfile("annotator/s02.png", f"data/masks/{wanted[0]}.png")
