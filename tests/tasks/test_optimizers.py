"""What the user asked for happens, what he did not touch stays, anything else is refused."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from al_lightning.analysis.drawings import plots
from al_lightning.callbacks import ScenePictures
from al_lightning.cli import main
from al_lightning.config_reader import ConfigReader
from al_lightning.errors import UserError
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask, SegmentationTask
from tests.experiments import same_weights, weights
from tests.tasks.test_classification import fit

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = """
seed_everything: 3
model:
  class_path: ClassificationTask
  init_args:
    network: {class_path: al_lightning.models.MLP, init_args: {width: 7}}
    optimizer: {class_path: AdamW, init_args: {lr: 0.01}}
data:
  class_path: FashionMNISTSampleDataModule
  init_args: {initial_size: 70, pool_size: 200, eval_batch_size: 250}
active_learning: {strategy: Random, query_size: 50, cycles: 2}
trainer:
  accelerator: cpu
  max_epochs: 4
  logger: {class_path: CSVLogger, init_args: {save_dir: .}}
  log_every_n_steps: 1
  callbacks: [{class_path: LearningRateMonitor, init_args: {logging_interval: step}}]
  enable_model_summary: false
  enable_progress_bar: false
"""
SCENES = """
model:
  class_path: SegmentationTask
  init_args: {network: {class_path: tests.tasks.test_optimizers.OneByOne}}
data:
  class_path: SyntheticScenesDataModule
  init_args: {cache: scenes, train_sequences: 4, val_sequences: 1, frames: 1, height: 32, width: 32, num_workers: 0,
    initial_size: 2, crop: 32, batch_size: 1}
"""


class OneByOne(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 19, 1)


class Fixed(ClassificationTask):
    """A user's task that has its own optimizer."""

    def __init__(self, width: int = 7):
        super().__init__(lambda: MLP(width), torch.optim.Adam)


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    monkeypatch.setattr(plots, "draw_learning_curve", lambda run: run.picture)
    monkeypatch.setattr(ScenePictures, "on_cycle_end", lambda *_: None)
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "scenes.yaml").write_text(SCENES)


def run(name, *arguments, config="c.yaml"):
    main(["fit", "--config", config, "--run_dir", name, *arguments])
    return RunDirectory(name)


def rates(run):
    """The learning rate of each step, a list a cycle."""
    (table,) = run.path.rglob("metrics.csv")
    with table.open() as file:
        found = [(row["step"], value) for row in csv.DictReader(file) for key, value in row.items() if key.startswith("lr-") and value]
    steps = [int(row["train_steps"]) for row in run.read_cycles()]
    values = [rate for _, rate in sorted((int(step), float(value)) for step, value in found)]
    return np.split(np.array(values), np.cumsum(steps)[:-1])


def test_optimizer_and_scheduler_of_the_command_line_are_settings_of_the_model():
    reader = ConfigReader()
    options = ["optimizer=SGD", "optimizer.lr=0.1", "lr_scheduler=StepLR", "lr_scheduler.step_size=2"]
    Path("top.yaml").write_text(
        CONFIG + "optimizer: {class_path: SGD, init_args: {lr: 0.1}}\nlr_scheduler: {class_path: StepLR, init_args: {step_size: 2}}\n"
    )
    short = reader.read(["fit", "--config=c.yaml", *(f"--{option}" for option in options)])
    assert short == reader.read(["fit", "--config=c.yaml", *(f"--model.init_args.{option}" for option in options)])
    assert short == reader.read(["fit", "--config=top.yaml"])
    assert short["model.init_args.optimizer.init_args.lr"] == 0.1 and "optimizer.class_path" not in short


def test_a_scheduler_without_an_optimizer_changes_the_rate_and_the_stored_configuration_repeats_it():
    first = run("first", "--lr_scheduler", "ExponentialLR", "--lr_scheduler.gamma", "0.1")
    for found in rates(first):
        np.testing.assert_allclose(found, np.repeat([0.01, 0.001, 1e-4, 1e-5], len(found) // 4))
    again = run("again", config="first/config.yaml")
    assert all(same_weights(weights(first, cycle), weights(again, cycle)) for cycle in (0, 1))


def test_another_optimizer_keeps_the_polynomial_decay():
    scenes = ["--config", "scenes.yaml", "--active_learning.query_size=1", "--trainer.max_epochs=3"]
    found = rates(run("r", *scenes, "--optimizer", "AdamW", "--optimizer.lr", "0.02"))
    for cycle, steps in enumerate((6, 9)):
        np.testing.assert_allclose(found[cycle], [0.02 * (1 - step / steps) ** 0.9 for step in range(steps)], rtol=1e-5)


def test_a_plateau_is_looked_for_where_the_metric_is_new():
    """Evaluated every other epoch, and never better by as much as is asked: the rate falls after the second evaluation and the third."""
    plateau = [f"--lr_scheduler{text}" for text in ("=ReduceLROnPlateau", ".monitor=val/loss", ".patience=0", ".threshold=0.99")]
    found = rates(run("r", *plateau, "--trainer.check_val_every_n_epoch=2", "--trainer.max_epochs=6"))
    for its in found:
        np.testing.assert_allclose(its, np.repeat([0.01, 0.01, 0.001], len(its) // 3))


def error(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        run("r", *arguments)
    return capsys.readouterr().err + str(ended.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--model.init_args.block=4", "--lr_scheduler=ReduceLROnPlateau", "--lr_scheduler.monitor=val/loss"],
            "Block training can't be used with ReduceLROnPlateau. Set model.init_args.block to 1.",
        ),
        (
            ["--optimizer=Adam", "--optimizer.fused=true", "--optimizer.foreach=true"],
            "one says: `fused` and `foreach` cannot be `True` together",
        ),
        (["--model=tests.tasks.test_optimizers.Fixed", "--optimizer=SGD"], "a model with the argument optimizer for --optimizer"),
        (["--optimizer=SparseAdam"], "Expected an optimizer for dense gradients, got SparseAdam"),
        (
            ["--lr_scheduler=StepLR", "--lr_scheduler.step_size=0"],
            "Expected the scheduler StepLR to take a step after epoch 0, but it says",
        ),
        (
            ["--lr_scheduler=OneCycleLR", "--lr_scheduler.max_lr=0.1", "--lr_scheduler.total_steps=1", "--model.init_args.block=4"],
            "Expected the scheduler OneCycleLR to take a step after epoch 1, but it says: Tried to step 2 times",
        ),
        (["--optimizer=SGDD"], "Expected optimizer to be one of ASGD, Adadelta"),
        (["--model.init_args.optimizer=SGDD"], "Expected optimizer to be one of ASGD, Adadelta"),
        (["--lr_scheduler=StepLRR"], "PolynomialLR, ReduceLROnPlateau, SequentialLR, StepLR, or the import path of one, got StepLRR"),
        (["--active_learning.strategy=Entropy", "--active_learning.strategy.aggregation=Maen"], "CountAbove, Max, Mean, PatchMax, Sum"),
    ],
)
def test_what_does_not_fit_is_one_error(capsys, arguments, said):
    assert said in error(capsys, *arguments)


def test_factories_in_python_meet_the_same_errors():
    torchs_own = ClassificationTask(lambda: MLP(7), lr_scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau)
    with pytest.raises(UserError, match=r"lightning.pytorch.cli.ReduceLROnPlateau with a monitor"):
        fit(torchs_own)
    with pytest.raises(UserError, match="Block training can't be used with LBFGS"):
        fit(ClassificationTask(lambda: MLP(7), optimizer=torch.optim.LBFGS, block=2))
    with pytest.raises(UserError, match="one says: Invalid learning rate: -1"):
        fit(ClassificationTask(lambda: MLP(7), optimizer=lambda parameters: torch.optim.SGD(parameters, lr=-1)))
    with pytest.raises(UserError, match=r"either lr_scheduler or poly_power, got poly_power 0.5"):
        SegmentationTask(OneByOne, lr_scheduler=lambda optimizer: ReduceLROnPlateau(optimizer, "val/loss"), poly_power=0.5)


def test_what_is_frozen_is_not_the_optimizers():
    def network():
        made = MLP(7)
        made.hidden.requires_grad_(False)
        return made

    trainer = fit(ClassificationTask(network, lambda parameters: torch.optim.AdamW(parameters, lr=0.1)), max_epochs=1)
    assert sum(len(group["params"]) for group in trainer.optimizers[0].param_groups) == 2


@pytest.mark.parametrize(
    ("arguments", "fused"),
    [
        ([], True),
        (["--optimizer=Adam", "--trainer.precision=bf16-mixed", "--trainer.gradient_clip_val=1"], True),
        (["--optimizer=Adam", "--optimizer.fused=false"], False),
        (["--optimizer=AdamW", "--optimizer.foreach=true"], None),
    ],
)
def test_an_adam_is_fused_unless_it_is_told_otherwise(arguments, fused):
    first = run("r", *arguments, "--trainer.max_epochs=1", "--active_learning.cycles=1")
    (state,) = torch.load(first.checkpoint(0), weights_only=True)["optimizer_states"]
    assert [group["fused"] for group in state["param_groups"]] == [fused]


def test_gradients_are_scaled_back_before_they_are_clipped():
    found = []
    for told in ({}, {"fused": False}):
        torch.manual_seed(0)
        task = ClassificationTask(lambda: MLP(7), lambda parameters, told=told: torch.optim.Adam(parameters, eps=1.0, **told))
        scaled = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
        trainer = fit(task, max_epochs=1, plugins=[scaled], gradient_clip_val=0.01)
        assert trainer.optimizers[0].param_groups[0]["fused"] is not bool(told)
        found.append(task.network.hidden.weight.detach())
    torch.testing.assert_close(*found)
    torch.manual_seed(0)
    # Eleven steps of a rate of 0.001, with an eps that is large: as long as their gradients
    assert 0 < (found[0] - MLP(7).hidden.weight).norm() < 11 * 0.001 * 0.02
