import csv
import json

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from al_lightning.acquisition import BALD, Entropy, Inverse, LowestMiou, MaxSoftmax, Odin, Random
from al_lightning.analysis.drawings import plots
from al_lightning.callbacks import ScenePictures
from al_lightning.callbacks.scoring import pixel_scores
from al_lightning.errors import UserError
from tests.experiments import run_experiment
from tests.tasks.test_segmentation import Tiny, make_data, run_scenes


@pytest.mark.parametrize("strategy", [Random(), BALD(3)], ids=lambda s: type(s).__name__)
def test_each_cycle_leaves_its_pictures(tmp_path, strategy):
    run = run_scenes(tmp_path / "run", strategy, callbacks=(ScenePictures(evaluation=2, queried=2),), cycles=2)
    assert {path.name for path in run.cycle(0).iterdir()} == {"last.ckpt", "evaluation.png", "queried.png", "scores.png", "queried.csv"}
    assert {path.name for path in run.cycle(1).iterdir()} == {"last.ckpt", "evaluation.png"}  # the last cycle queries nothing
    for path in (*run.cycle(0).glob("*.png"), run.iou_picture):
        assert np.array(Image.open(path)).std() > 10
    rows = list(csv.DictReader(run.queried(0).open()))
    queried = [row for row in run.read_queries() if row.cycle == 1]
    assert [row["item"] for row in rows] == [row.item for row in queried]
    data = make_data(cache=str(tmp_path / "scenes"))
    data.setup("fit")
    for row in rows:
        label = np.array(Image.open(data._train[int(row["index"])].label))
        assert int(row["road"]) == (label == 7).sum() and int(row["car"]) == (label == 26).sum()
        assert int(row["ignored"]) == (label == 0).sum() and row["city"] == row["item"].split("_")[0]
        assert sum(int(row[name]) for name in [*data.classes.names, "ignored"]) == 40 * 56


class Logged(WandbLogger):
    """Keeps what it is told; starts no W&B process."""

    rows: list[dict] = []
    experiment = None
    save_dir = None

    def log_metrics(self, metrics, step=None):
        self.rows.append(metrics)

    def log_hyperparams(self, *_):
        pass


def test_wandb_gets_them(tmp_path):
    logger = Logged(save_dir=str(tmp_path), offline=True)
    run_scenes(tmp_path / "run", callbacks=(ScenePictures(1, 1),), cycles=2, trainer={"logger": logger})
    logged = logger.rows
    first, last = (row for row in logged if "active_learning/evaluation" in row)
    assert first["active_learning/labeled"] == 4
    assert first["active_learning/queried_content"].columns[:5] == ["rank", "index", "item", "city", "road"]
    assert set(first) - set(last) == {"active_learning/queried_scenes", "active_learning/queried_content"}
    assert json.dumps([row for row in first["active_learning/queried_content"].data])


@pytest.mark.parametrize("strategy", [Entropy(), MaxSoftmax(), Odin(10.0, 0.01)], ids=lambda s: type(s).__name__)
def test_pixel_scores_are_those_that_are_aggregated(strategy):
    torch.manual_seed(0)
    network, images = Tiny().train(), torch.rand(2, 3, 5, 7)
    logits, (scores,) = pixel_scores([strategy], network, images, torch.tensor([3, 1]), 0)
    assert network.training and network.body[2].training
    p = network.eval()(images).softmax(1)
    torch.testing.assert_close(logits.softmax(1), p)
    assert scores.shape == (2, 5, 7)
    if not isinstance(strategy, Odin):
        expected = torch.special.entr(p).sum(1) if isinstance(strategy, Entropy) else 1 - p.amax(1)
        torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("strategy", [LowestMiou(), Inverse(LowestMiou())], ids=str)
def test_predicted_classes_are_no_scores(strategy):
    assert pixel_scores([strategy], Tiny(), torch.rand(2, 3, 5, 7), torch.tensor([3, 1]), 0)[1] == [None]


def test_other_data_and_other_numbers_are_refused(tmp_path):
    with pytest.raises(UserError, match="Expected segmented scenes"):
        run_experiment(tmp_path, callbacks=(ScenePictures(),))
    with pytest.raises(UserError, match="evaluation of ScenePictures to be a number >=0, got -1"):
        ScenePictures(evaluation=-1)


def test_scenes_are_drawn_in_the_palette(tmp_path):
    """Classes in their colours, unlabeled items and missing scores said in words; images of different sizes in one figure."""
    palette = np.array([[10, 200, 30], [220, 20, 60]], np.uint8)
    rng = np.random.default_rng(0)
    rows = []
    for size, truth, scores in (((30, 50), True, True), ((40, 44), False, False)):
        classes = np.zeros(size, np.int64)
        classes[:, :20] = 1
        classes[:5] = 255
        image = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        rows.append(plots.SceneRow("a", image, classes if truth else None, classes.clip(0, 1), rng.random(size) if scores else None))
    path = plots.draw_scenes(rows, ["grass", "person"], palette, "title", tmp_path / "scenes.png")
    pixels = np.array(Image.open(path))[..., :3].reshape(-1, 3)
    for color in ([10, 200, 30], [220, 20, 60], [0, 0, 0]):
        assert (pixels == color).all(axis=1).sum() > 1000
