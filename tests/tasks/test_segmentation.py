import shutil

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import nn
from torchmetrics.functional.classification import multiclass_jaccard_index

from al_lightning.acquisition import BALD, CountAbove, Entropy, LowestMiou, Random
from al_lightning.analysis.drawings import plots
from al_lightning.callbacks import ScenePictures
from al_lightning.data import SyntheticScenesDataModule
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from al_lightning.tasks import SegmentationTask
from al_lightning.tasks.segmentation import iou_metrics
from tests.callbacks.test_resume import Dies, dies_at
from tests.experiments import in_child, run_experiment, same_weights, weights, without_seconds


class Tiny(nn.Module):
    """Two convolutions with a dropout between them."""

    def __init__(self, classes: int = 19):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(8, classes, 1))

    def forward(self, images):
        return self.body(images)


def make_data(**arguments):
    settings = {"train_sequences": 6, "val_sequences": 2, "frames": 2, "height": 40, "width": 56}
    return SyntheticScenesDataModule(**{**settings, "initial_size": 4, "crop": 32, "batch_size": 2, "num_workers": 0, **arguments})


def run_scenes(folder, strategy=None, **arguments):
    return run_experiment(
        folder,
        strategy or Entropy(),
        data=make_data(cache=str(folder.parent / "scenes")),
        task=SegmentationTask(Tiny),
        query_size=3,
        **arguments,
    )


def test_metrics_against_sklearn_and_torchmetrics_on_ragged_images():
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 4, size), rng.choice([0, 1, 2, 255], size)) for size in [(5, 7), (3, 4), (6, 2)]]  # class 4 never occurs
    task = SegmentationTask(Tiny, classes=["a", "b", "c", "d", "e"])
    for predicted, true in pairs:
        task.val_confusion.update(torch.from_numpy(predicted)[None], torch.from_numpy(true)[None])
    found = iou_metrics(task.val_confusion.compute(), task.classes)
    predicted, true = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    kept = true != 255
    expected = sklearn.metrics.jaccard_score(true[kept], predicted[kept], labels=range(4), average=None)
    np.testing.assert_allclose([float(found[f"val/iou/{name}"]) for name in "abcd"], expected, rtol=1e-6)
    assert torch.isnan(found["val/iou/e"])
    assert float(found["val/miou"]) == pytest.approx(expected.mean())
    assert float(found["val/pixel_accuracy"]) == pytest.approx(sklearn.metrics.accuracy_score(true[kept], predicted[kept]))
    reference = multiclass_jaccard_index(torch.from_numpy(predicted), torch.from_numpy(true), 5, ignore_index=255, average="none")
    np.testing.assert_allclose([float(found[f"val/iou/{name}"]) for name in "abcd"], reference[:4], rtol=1e-6)


def test_the_loss_ignores_what_is_ignored():
    task = SegmentationTask(Tiny).eval()
    images, targets = torch.rand(2, 3, 5, 6), torch.randint(0, 19, (2, 5, 6))
    targets[0, :3] = 255
    kept = targets != 255
    logits = task(images).permute(0, 2, 3, 1)[kept]
    torch.testing.assert_close(task.loss(images, targets), nn.functional.cross_entropy(logits, targets[kept]))
    assert float(task.loss(images, torch.full_like(targets, 255))) == 0


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"accumulate_grad_batches": 2}, [0, 0, 1, 1, 2, 2]),
        ({"callbacks": GradientAccumulationScheduler({1: 2})}, [0, 1, 2, 2, 3, 3]),
        ({"callbacks": GradientAccumulationScheduler({0: 2, 2: 1})}, [0, 0, 1, 1, 2, 3]),
        ({"callbacks": GradientAccumulationScheduler({1: 2}), "max_steps": 3}, [0, 1, 2, 2]),
    ],
)
def test_the_rate_decays_polynomially_to_zero(tmp_path, trainer, steps):
    data = make_data(cache=str(tmp_path / "scenes"))
    task = SegmentationTask(Tiny)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}
    rates = []
    task.on_train_batch_start = lambda *_: rates.append(task.trainer.optimizers[0].param_groups[0]["lr"])
    Trainer(accelerator="cpu", max_epochs=3, **quiet, **trainer).fit(task, datamodule=data)
    np.testing.assert_allclose(rates, [0.007 * (1 - step / (1 + steps[-1])) ** 0.9 for step in steps])


def test_a_decay_without_an_end_is_refused(tmp_path):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=-1, max_time="00:00:00:01", **quiet)
    with pytest.raises(UserError, match=r"max_epochs or trainer\.max_steps, over which the learning rate decays"):
        trainer.fit(SegmentationTask(Tiny), datamodule=make_data(cache=str(tmp_path / "scenes")))


@pytest.mark.parametrize("strategy", [Entropy(CountAbove(2.5)), BALD(3), LowestMiou()], ids=lambda s: type(s).__name__)
def test_the_loop_runs_and_resumes_on_scenes(tmp_path, strategy):
    whole = run_scenes(tmp_path / "whole", strategy)
    curve = whole.read_cycles()
    assert [row["labeled"] for row in curve] == ["4", "7", "10"]
    assert all(0 < float(row["val/miou"]) < 1 for row in curve) and "val/iou/road" in curve[0]
    assert all(row.item.startswith("city") for row in whole.read_queries())
    dies = Dies("on_train_batch_start", 6, 9)
    assert in_child(lambda: run_scenes(tmp_path / "killed", strategy, callbacks=(dies,))) == -9
    resumed = run_scenes(tmp_path / "killed", strategy, resume=True)
    assert resumed.queries.read_bytes() == whole.queries.read_bytes()
    assert without_seconds(resumed) == without_seconds(whole)
    assert same_weights(weights(resumed, 2), weights(whole, 2))


def test_copies_tie_with_each_other_alone(tmp_path):
    repeat = {"item": 5, "copies": 6}
    data = make_data(cache=str(tmp_path / "scenes"), pool_repeat=repeat, query_crop=24)
    run = run_experiment(tmp_path / "run", Entropy(), data=data, task=SegmentationTask(Tiny), query_size=3, also_record=[CountAbove(2.5)])
    rows = run.read_queries()
    assert len({row.item for row in rows}) == len(rows) == 10
    indices, scores = run.read_scores(0)
    copies = [score for index, score in zip(indices, scores["score"], strict=True) if index in (5, *range(12, 18))]
    assert len(copies) > 1 and np.ptp(copies) <= 1e-5 * copies[0] < np.ptp(scores["score"])


def test_1_and_2_processes_select_the_same_scenes(tmp_path, undrawn):
    make_data(cache=str(tmp_path / "scenes"), val_sequences=2).prepare_data()
    tables, curves = [], []
    for processes in (1, 2):
        trainer = {"max_epochs": 0, "check_val_every_n_epoch": 1, "devices": processes, "strategy": "ddp_fork" if processes > 1 else "auto"}
        folder = tmp_path / str(processes)
        more = {"also_record": [BALD(3), Random()], "callbacks": (ScenePictures(1, 1),)}
        assert in_child(lambda folder=folder, trainer=trainer, more=more: run_scenes(folder, trainer=trainer, **more)) == 0
        tables.append((folder / "queries.csv").read_bytes() + RunDirectory(folder).scores(1).read_bytes())
        assert RunDirectory(folder).queried(1).exists()
        curves.append([row["val/miou"] for row in RunDirectory(folder).read_cycles()])
    assert tables[0] == tables[1]
    assert curves[0] == curves[1]  # every evaluation image once


def test_scores_are_float32_where_training_is_not(tmp_path):
    """Under bf16-mixed the network computes in bfloat16; entropy is taken of its logits in float32 or better, not in steps of 2 ** -7."""
    run = run_scenes(tmp_path / "run", trainer={"precision": "bf16-mixed"}, cycles=2)
    network = Tiny().eval()
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights(run, 0).items()})
    data = make_data(cache=str(tmp_path / "scenes"))
    data.setup("fit")
    queried = [row for row in run.read_queries() if row.cycle == 1]
    for inputs, indices in data.pool_batches([torch.tensor([row.index]) for row in queried]):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            logits = network(inputs)
        assert logits.dtype == torch.bfloat16
        expected = scipy.stats.entropy(logits.double().softmax(1).numpy(), axis=1).mean()
        (score,) = (row.score for row in queried if row.index == int(indices))
        assert score == pytest.approx(expected, rel=1e-5)


def test_pictures_under_another_precision(tmp_path):
    run = run_scenes(tmp_path / "run", BALD(2), trainer={"precision": "bf16-true"}, cycles=2, callbacks=(ScenePictures(1, 1),))
    assert (run.cycle(0) / "evaluation.png").exists() and (run.cycle(0) / "queried.png").exists()


def test_channels_last_changes_the_layout_alone():
    """The same loss and gradients; weights keep the layout when they are drawn anew."""
    images, targets = torch.rand(2, 3, 9, 7), torch.randint(0, 19, (2, 9, 7))
    tasks = [SegmentationTask(Tiny, channels_last=layout) for layout in (False, True)]
    losses = []
    for task in tasks:
        task.draw_weights(3)
        losses.append(task.eval().loss(images, targets))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1])
    for a, b in zip(tasks[0].parameters(), tasks[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert tasks[1].network.body[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not tasks[1].network.body[0].weight.is_contiguous()


SCENE_DEATHS = {
    "crops not written": lambda: dies_at(RunDirectory, "write_crops", 1),
    "crops written": lambda: dies_at(RunDirectory, "write_crops", 1, after=True),
    "scores not written": lambda: dies_at(RunDirectory, "write_scores", 2),
    "scores written": lambda: dies_at(RunDirectory, "write_scores", 1, after=True),
    "while drawing": lambda: dies_at(plots, "draw_scenes", 3),
    "content not written": lambda: dies_at(RunDirectory, "write_queried", 1),
}


def run_crops(folder, **arguments):
    data = make_data(cache=str(folder.parent / "scenes"), query_crop=24, decoded_cache="disk", cache_folder=str(folder.parent / "decoded"))
    pictures = (ScenePictures(1, 1),)
    return run_experiment(
        folder, Entropy(), data=data, task=SegmentationTask(Tiny), query_size=3, also_record=[BALD(3)], callbacks=pictures, **arguments
    )


@pytest.fixture(scope="module")
def whole_crops(tmp_path_factory):
    return run_crops(tmp_path_factory.mktemp("crops") / "run")


def test_other_crops_are_refused_and_missing_ones_written(whole_crops, undrawn):
    def content():
        return {path: path.read_bytes() for path in copy.rglob("*") if path.is_file() and path.name != ".lock"}

    copy = whole_crops.path.parent / "copy"
    shutil.copytree(whole_crops.path, copy)
    whole = whole_crops.crops.read_text()
    (copy / "crops.csv").write_text(whole.replace(",24,24\n", ",24,23\n", 1))
    before = content()
    with pytest.raises(UserError, match=r"Expected .*crops\.csv to list the run's crops"):
        run_crops(copy, resume=True)
    assert content() == before
    (copy / "crops.csv").unlink()
    assert run_crops(copy, resume=True).crops.read_text() == whole


@pytest.mark.parametrize("death", SCENE_DEATHS)
def test_sigkill_while_what_belongs_to_scenes_is_written(tmp_path, whole_crops, undrawn, death):
    def work():
        SCENE_DEATHS[death]()
        run_crops(tmp_path / "run")

    assert in_child(work) == -9
    run = run_crops(tmp_path / "run", resume=True)
    assert run.queries.read_bytes() == whole_crops.queries.read_bytes()
    assert run.crops.read_bytes() == whole_crops.crops.read_bytes()
    assert [run.scores(cycle).read_bytes() for cycle in (0, 1)] == [whole_crops.scores(cycle).read_bytes() for cycle in (0, 1)]
    assert without_seconds(run) == without_seconds(whole_crops)
    assert same_weights(weights(run, 2), weights(whole_crops, 2))
