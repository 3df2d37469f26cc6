"""Every callback that Lightning has, through the command line: it does in each cycle what it does in a fresh fit, or is refused at once."""

import csv
import sys

import pytest
import torch
from lightning.pytorch import callbacks as lightning_callbacks
from torch import nn

from al_lightning.analysis.drawings import plots
from al_lightning.cli import main
from al_lightning.data import FashionMNISTSampleDataModule
from al_lightning.models.freezing import EncoderNetwork
from al_lightning.runs import RunDirectory
from tests.experiments import same_weights, weights

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = """
seed_everything: 3
model:
  class_path: ClassificationTask
  init_args:
    network: {class_path: tests.callbacks.test_lightning_callbacks.WithNorm}
    optimizer: {class_path: SGD, init_args: {lr: 0.1, momentum: 0.9}}
data:
  class_path: FashionMNISTSampleDataModule
  init_args: {batch_size: 8, initial_size: 70, pool_size: 300, eval_batch_size: 250}
active_learning: {strategy: Entropy, query_size: 30, cycles: 3}
trainer:
  accelerator: cpu
  max_epochs: 4
  logger: {class_path: CSVLogger, init_args: {save_dir: .}}
  log_every_n_steps: 1
  enable_model_summary: false
"""

HERE = "tests.callbacks.test_lightning_callbacks"
WORKS = {
    "stopping, keeping, watching": [
        "{class_path: EarlyStopping, init_args: {monitor: val/loss, patience: 1, min_delta: 0.05}}",
        "{class_path: ModelCheckpoint, init_args: {monitor: val/loss}}",
        "{class_path: GradientAccumulationScheduler, init_args: {scheduling: {1: 2}}}",
        "{class_path: Timer, init_args: {duration: 00:01:00:00}}",
        "{class_path: OnExceptionCheckpoint, init_args: {dirpath: .}}",
        "LearningRateMonitor",
        "SpikeDetection",
        "{class_path: ThroughputMonitor, init_args: {batch_size_fn: " + HERE + ".size_of_batch}}",
        "{class_path: LambdaCallback, init_args: {on_train_end: " + HERE + ".nothing}}",
        "ModelSummary",
        "TQDMProgressBar",
    ],
    "stochastic averages": ["{class_path: StochasticWeightAveraging, init_args: {swa_lrs: 0.05, swa_epoch_start: 0.5}}"],
    "moving averages": ["{class_path: EMAWeightAveraging, init_args: {decay: 0.9}}"],
    "finetuning at a rate that was found, averaged": [
        "WeightAveraging",
        "{class_path: BackboneFinetuning, init_args: {unfreeze_backbone_at_epoch: 2}}",
        "LearningRateFinder",
        "{class_path: LearningRateMonitor, init_args: {logging_interval: epoch}}",
    ],
}
REFUSED = {
    "BatchSizeFinder": "the memory that is free, not the configuration, would say what each cycle computes",
    "{class_path: ModelPruning, init_args: {pruning_fn: l1_unstructured}}": "pruning_fn (l1_unstructured) can't be written into it",
    "BasePredictionWriter": "nothing is predicted in a fit",
    **{
        f"lightning.pytorch.callbacks.{name}": "which others are made from"
        for name in ("Callback", "Checkpoint", "BaseFinetuning", "ProgressBar")
    },
}
# They need packages that are not required here, and are of a kind that is in WORKS: bars, summaries and measurements change no training.
ELSEWHERE = {"DeviceStatsMonitor", "RichModelSummary", "RichProgressBar"}
NOT_IN_BLOCKS = [
    "GradientAccumulationScheduler",
    "LearningRateFinder",
    "SpikeDetection",
    "StochasticWeightAveraging",
    "EMAWeightAveraging",
]


class WithNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(784, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(6, 10)

    def forward(self, inputs):
        return self.head(self.backbone(inputs))


class Frozen(EncoderNetwork):
    def __init__(self, freeze_encoder: bool = True):
        super().__init__()
        self.encoder, self.head = nn.Sequential(nn.Flatten(), nn.Linear(784, 6), nn.ReLU()), nn.Linear(6, 10)
        if freeze_encoder:
            self.freeze_encoder("file")

    def forward(self, inputs):
        with self.encoding(inputs):
            features = self.encoder(inputs)
        return self.head(features)


class Later(FashionMNISTSampleDataModule):
    """Begins in cycle 2 of a run."""

    def __init__(self, queries: str, seed: int = 0):
        super().__init__(batch_size=8, initial_size=70, pool_size=300, eval_batch_size=250, seed=seed)
        self.queries = queries

    def setup(self, stage):
        super().setup(stage)
        for cycle in ("1", "2") if self.pool.cycle == 0 else ():
            self.pool.label(torch.tensor([int(row["index"]) for row in table(self.queries) if row["cycle"] == cycle]))


def table(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def size_of_batch(batch):
    return len(batch[0])


def nothing(*_):
    pass


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    monkeypatch.setattr(plots, "draw_learning_curve", lambda run: run.picture)
    (tmp_path / "c.yaml").write_text(CONFIG)


def run(name, *arguments, config="c.yaml"):
    main(["fit", "--config", config, "--run_dir", name, *arguments])
    return RunDirectory(name)


def with_callbacks(chosen):
    return [f"--trainer.callbacks+={callback}" for callback in chosen]


@pytest.mark.parametrize("name", WORKS)
def test_the_third_cycle_equals_a_fresh_fit_on_its_labels(name):
    """The fresh fit is told by the stored configuration, which so is read back too."""
    whole = run("whole", *with_callbacks(WORKS[name]))
    fresh = run("fresh", "--data", f"{HERE}.Later", "--data.queries", str(whole.queries), config="whole/config.yaml")
    assert same_weights(weights(whole, 2), weights(fresh, 2))
    then, (now,) = table(whole.learning_curve)[2], table(fresh.learning_curve)
    assert [then[key] for key in ("val/loss", "epochs", "train_steps")] == [now[key] for key in ("val/loss", "epochs", "train_steps")]
    names = [sorted(path.name for path in its.cycle(2).iterdir()) for its in (whole, fresh)]
    assert names[0] == names[1]
    if "LearningRateFinder" in WORKS[name]:
        (metrics,) = whole.path.rglob("metrics.csv")
        rates = [rate for row in table(metrics) if (rate := row.get("lr-SGD") or row.get("lr-SGD/pg1"))]
        assert len(rates) == 12 and len(set(rates)) == 3 and "0.1" not in rates  # one of its own for each cycle's four epochs


@pytest.mark.parametrize("callback", REFUSED)
def test_what_an_experiment_can_not_have_is_refused_before_it_begins(capsys, callback):
    with pytest.raises(SystemExit) as ended:
        run("r", *with_callbacks([callback]))
    said = capsys.readouterr().err + str(ended.value)
    assert REFUSED[callback] in said and "Traceback" not in said
    assert not RunDirectory("r").learning_curve.exists()


def test_no_callback_of_lightning_is_forgotten():
    tried = " ".join([*(callback for chosen in WORKS.values() for callback in chosen), *REFUSED])
    assert not [name for name in lightning_callbacks.__all__ if name not in tried and name not in ELSEWHERE]


def test_blocks_go_round_what_counts_steps(capsys):
    arguments = {"StochasticWeightAveraging": "swa_lrs: 0.1", "GradientAccumulationScheduler": "scheduling: {1: 2}"}
    chosen = [f"{{class_path: {name}, init_args: {{{arguments.get(name, '')}}}}}" for name in NOT_IN_BLOCKS]
    with pytest.raises(SystemExit) as ended:
        run("r", *with_callbacks(chosen), "--model.init_args.block=4")
    assert all(name in str(ended.value) for name in NOT_IN_BLOCKS) and "Set block to 1" in str(ended.value)


def test_finetuning_needs_a_backbone():
    with pytest.raises(SystemExit, match="a network with a backbone or an encoder for BackboneFinetuning, got MLP"):
        run("r", *with_callbacks(["BackboneFinetuning"]), "--model.init_args.network=al_lightning.models.MLP")


def test_finetuning_needs_an_encoder_that_is_not_frozen_for_good():
    asked = [*with_callbacks(["BackboneFinetuning"]), f"--model.init_args.network={HERE}.Frozen"]
    with pytest.raises(SystemExit, match=r"one that runs without gradients in Frozen: freeze_encoder is true\. Set it to false"):
        run("r", *asked)
    assert not RunDirectory("r").queries.exists()  # refused before the run begins
    assert run("r", *asked, "--model.init_args.network.freeze_encoder=false").is_finished()
