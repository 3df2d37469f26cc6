"""What a Python script's run records of its settings."""

from functools import partial
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateFinder, ModelCheckpoint, StochasticWeightAveraging
from PIL import Image

import al_lightning
from al_lightning.errors import UserError

OFF = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def run_of(folder, *callbacks, **arguments):
    """The callbacks that a run has recorded."""
    learning = al_lightning.ActiveLearningCallback(al_lightning.Random(), 50, **{"cycles": 1, **arguments})
    trainer = al_lightning.Trainer(
        callbacks=[learning, *callbacks], max_epochs=1, accelerator="cpu", default_root_dir=str(folder), limit_val_batches=1, **OFF
    )
    task = al_lightning.ClassificationTask(partial(al_lightning.MLP, width=7))
    trainer.fit(task, datamodule=al_lightning.FashionMNISTSampleDataModule(initial_size=70, pool_size=600))
    return al_lightning.RunDirectory(folder).read_config()["trainer"]["callbacks"]


def best(**arguments):
    return ModelCheckpoint(monitor="val/loss", **arguments)


def test_where_files_lie_is_no_setting_and_what_is_kept_is(tmp_path):
    one = run_of(tmp_path / "one", best(dirpath=tmp_path / "here", filename="a", verbose=True))
    other = run_of(tmp_path / "other", best(dirpath=tmp_path / "there"))
    assert one == other and one[0]["init_args"]["monitor"] == "val/loss"
    assert run_of(tmp_path / "third", best(mode="max")) != one


@pytest.mark.parametrize(
    "make",
    [
        lambda value: EMAWeightAveraging(decay=value),
        lambda value: StochasticWeightAveraging(swa_lrs=value),
        lambda value: LearningRateFinder(min_lr=value / 100, num_training_steps=3),
    ],
    ids=["EMA", "SWA", "rate finder"],
)
def test_what_callbacks_keep_under_other_names_is_a_setting(tmp_path, make):
    written = [run_of(tmp_path / str(number), make(value)) for number, value in enumerate((0.9, 0.99, 0.9))]
    assert written[0] == written[2] != written[1]


def test_a_second_fit_of_the_same_objects_begins_as_the_first(tmp_path, monkeypatch):
    """The first fit has left a folder and a best score in the callback, which would be in the way of the second."""
    monkeypatch.chdir(tmp_path)
    for number in range(9):
        path = Path("photos", ("cat", "dog", "unlabeled")[number % 3], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (25 * number, 0, 0)).save(path)
    kept, task = best(), al_lightning.ClassificationTask(partial(al_lightning.MLP, num_classes=2, input_shape=(3, 8, 8)))
    learning = al_lightning.ActiveLearningCallback(al_lightning.Margin(), 1, cycles=2, oracle="human", query_weights="best", resume=True)
    trainer = al_lightning.Trainer(callbacks=[learning, kept], max_epochs=1, accelerator="cpu", default_root_dir="run", **OFF)
    run = al_lightning.RunDirectory("run")
    for labeled in (4, 5):
        trainer.fit(task, datamodule=al_lightning.FolderClassificationDataModule("photos", evaluation=0.4))
        assert run.read_curve()[-1].labeled == labeled
        if asked := run.awaited():
            Path("photos/labels.csv").write_text(f"name,class\n{asked[0].item},cat\n")
    assert run.is_finished() and Path(kept.best_model_path).parent == run.cycle(1).absolute()
    with pytest.raises(UserError, match=r"made for this run, but one has kept checkpoints in .*run/cycles/001\. Make it anew"):
        run_of("other", kept)
