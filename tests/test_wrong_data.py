"""Data, task and network that do not fit each other are one error of the command, before anything is trained."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from torch import nn

from al_lightning.cli import main
from al_lightning.data import CityscapesDataModule
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory

pytestmark = pytest.mark.usefixtures("undrawn")


class PerPixel(nn.Conv2d):
    """The smallest network for scenes."""

    def __init__(self, num_classes: int = 19) -> None:
        super().__init__(3, num_classes, 1)


class Pyramid(nn.Module):
    """As DeepLabv3+'s: a batch norm of what is pooled to one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 19, 1), nn.BatchNorm2d(19))
        self.head = nn.Conv2d(3, 19, 1)

    def forward(self, images):
        return self.head(images) + self.pooled(images)


class Normed(nn.Sequential):
    """Keeps the sizes of the batches that its batch norm was trained on."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 5), nn.BatchNorm1d(5), nn.Linear(5, 10))
        self[2].register_forward_pre_hook(lambda layer, args: TRAINED_ON.append(len(args[0])) if layer.training else None)


class Pair(nn.Linear):
    """Answers with two things."""

    def __init__(self) -> None:
        super().__init__(784, 10)

    def forward(self, images):
        return super().forward(images.flatten(1)), images


TRAINED_ON: list[int] = []
MLP = {"class_path": "al_lightning.models.MLP"}
QUIET = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "callbacks": {"class_path": "ScenePictures", "init_args": {"evaluation": 0, "queried": 0}},
}


@pytest.fixture(autouse=True)
def _argv(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])


def ids(values=(7, 23, 11)):
    label = np.full((32, 40), values[0], np.uint8)
    label[:16], label[10:16, :20] = values[1], values[2]
    return label


def write(root, split, number, label):
    for folder, name, pixels in (("leftImg8bit", "leftImg8bit", np.random.default_rng(number)), ("gtFine", "gtFine_labelIds", None)):
        path = Path(root) / folder / split / "ulm" / f"ulm_{number:06d}_000019_{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(label if pixels is None else pixels.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(path)


def fit(capsys, model, data, network, *arguments, **task):
    """Runs the command; what it refused, in one line, or None."""
    config = {
        "seed_everything": 0,
        "model": {"class_path": model, "init_args": {"network": network, **task}},
        "data": data,
        "active_learning": {"strategy": "Random", "query_size": 2, "cycles": 2},
        "trainer": QUIET if model == "SegmentationTask" else {**QUIET, "callbacks": None},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    try:
        main(["fit", "--config", "config.yaml", "--run_dir", "run", *arguments])
    except SystemExit as ended:
        said = capsys.readouterr().err + str(ended.code)
        line = said.strip().splitlines()[-1]
        assert "Traceback" not in said and line.startswith("al_lightning: error: Expected"), said
        return line
    return None


def write_scenes(labels):
    """Four images to train on and two for evaluation.

    Args:
        labels: of images that are odd, by split, or by split and number.
    """
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            write("scenes", split, number, labels.get((split, number), labels.get(split, ids())))


def fit_scenes(capsys, network="PerPixel", task=None, outputs=None, **settings):
    given = {"root": "scenes", "initial_size": 3, "crop": 16, "batch_size": 2, "num_workers": 0, **settings}
    network = {"class_path": network if "." in network else f"tests.test_wrong_data.{network}", "init_args": outputs or {}}
    return fit(capsys, "SegmentationTask", {"class_path": "CityscapesDataModule", "init_args": given}, network, **(task or {}))


def fit_sample(capsys, network, *arguments, task=None, **settings):
    given = {"initial_size": 33, "pool_size": 100, **settings}
    data = {"class_path": "FashionMNISTSampleDataModule", "init_args": given}
    return fit(capsys, "ClassificationTask", data, network, *arguments, **(task or {}))


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        ({"train": ids((0, 10, 2)), "val": ids((0, 10, 2))}, ["look like trainIds", "the ids 0, 2, 10", "val/ulm/ulm_000000"]),
        ({"train": ids((0, 13, 2))}, ["look like trainIds", "the labeled items (3"]),
        ({"val": ids().astype(np.uint16) * 1000}, ["8-bit integers", "val/ulm/ulm_000000", "7000 to 23000"]),
        ({("val", 1): ids((7, 40, 201))}, ["0 to 33, 255 in", "val/ulm/ulm_000001", "got 40, 201"]),
        ({"val": ids((0, 255, 29))}, ["at least one class", "evaluation set (2", "the ids 0, 29, 255 only"]),
        ({"train": ids((0, 0, 0))}, ["at least one class", "the labeled items (3", "the ids 0 only"]),
    ],
)
def test_labels_that_teach_nothing_are_refused(capsys, labels, parts):
    write_scenes(labels)
    said = fit_scenes(capsys)
    assert said is not None and all(part in said for part in parts), said
    assert not RunDirectory("run").learning_curve.exists()


@pytest.mark.parametrize("labels", [{"train": ids().astype(np.uint16) * 1000}, {"train": ids() == 7}, {"train": ids((7, 40, 201))}])
def test_a_cache_does_not_change_what_is_refused(labels):
    write_scenes(labels)
    said = set()
    for cache in ("none", "memory", "disk"):
        data = CityscapesDataModule(root="scenes", initial_size=3, crop=16, num_workers=0, decoded_cache=cache)
        data.setup("fit")
        with pytest.raises(UserError) as error:
            data.train_dataloader()
        said.add(str(error.value))
    assert len(said) == 1


def test_a_bad_label_is_named_by_the_cycle_that_reads_it(capsys):
    """Not before: nobody looks at labels that nobody gave."""
    write_scenes({})
    data = CityscapesDataModule(root="scenes", initial_size=1, seed=0)
    data.setup("fit")
    for index in data.pool.unlabeled_indices.tolist():
        write("scenes", "train", index, ids((255, 23, 50)))
    said = fit_scenes(capsys, initial_size=1)
    assert said is not None and "got 50" in said
    assert len(RunDirectory("run").read_cycles()) == 1


@pytest.mark.parametrize(
    ("network", "settings", "task", "match"),
    [
        ("PerPixel", {"foreground": ["road"]}, {}, r"2x16x16 outputs of PerPixel .*\(background, foreground\), got 19x16"),
        ("al_lightning.models.MLP", {}, {}, "inputs of 3x16x16, as the data have, but MLP can't take them"),
        ("PerPixel", {"foreground": ["road"]}, {"classes": ["foreground", "background"]}, "2 classes of the data .*Leave it out"),
        ("Pyramid", {"batch_size": 1}, {}, "at least 2 items .*batch norm of Pyramid .*larger data.init_args.batch_size"),
        ("Pyramid", {"initial_size": 1}, {}, "at least 2 items .*batch norm of Pyramid .*larger data.init_args.initial_size"),
    ],
)  # fmt: skip
def test_a_network_or_task_that_does_not_fit_the_scenes_is_refused(capsys, network, settings, task, match):
    write_scenes({})
    said = fit_scenes(capsys, network, task, **settings)
    assert said is not None and re.search(match, said), said


@pytest.mark.parametrize("names", [None, ["background", "way"]])
def test_metrics_have_the_names_of_the_data(capsys, names):
    """And a batch of one is fine where no batch norm is."""
    write_scenes({})
    assert (
        fit_scenes(capsys, outputs={"num_classes": 2}, task={"classes": names}, batch_size=1, initial_size=1, foreground=["road"]) is None
    )
    found = [column.removeprefix("val/iou/") for column in RunDirectory("run").read_cycles()[0] if column.startswith("val/iou/")]
    assert sorted(found) == sorted(names or ["background", "foreground"])


@pytest.mark.parametrize(
    ("network", "task", "match"),
    [
        ({**MLP, "init_args": {"num_classes": 7}}, {}, r"10 outputs of MLP .*1x28x28.*\(T-shirt/top, .* and 5 more\), got 7"),
        ({**MLP, "init_args": {"input_shape": [3, 32, 32]}}, {}, "inputs of 1x28x28, as the data have, but MLP"),
        (MLP, {"num_classes": 9}, "10 classes of the data .*model.init_args.num_classes for 9"),
        ({"class_path": "tests.test_wrong_data.Pair"}, {}, "10 outputs of Pair .*got tuple"),
    ],
)  # fmt: skip
def test_a_network_or_task_that_does_not_fit_the_images_is_refused(capsys, network, task, match):
    said = fit_sample(capsys, network, task=task)
    assert said is not None and re.search(match, said), said


def test_no_batch_of_one_reaches_a_batch_norm_that_can_not_train_on_it(capsys, monkeypatch):
    """33 + 2 labels in batches of 16: 16, 16 and 1, then 16, 16 and 3."""
    monkeypatch.setattr("tests.test_wrong_data.TRAINED_ON", trained_on := [])
    network = {"class_path": "tests.test_wrong_data.Normed"}
    assert fit_sample(capsys, network, batch_size=16) is None
    assert trained_on == [1, 16, 16, 16, 16, 3]  # the first is the question whether it can
    assert [row["train_steps"] for row in RunDirectory("run").read_cycles()] == ["2", "3"]
    assert "at least 2 items" in fit_sample(capsys, network, "--run_dir=other", batch_size=1)
