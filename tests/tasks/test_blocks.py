"""Steps in blocks equal those of the ordinary mode, whatever is traced, and whatever can't be."""

import copy
import csv
import sys

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from al_lightning.analysis.drawings import plots
from al_lightning.cli import main
from al_lightning.errors import UserError
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask, blocks, recorded
from al_lightning.tasks.traced import step
from tests.experiments import run_experiment, without_seconds
from tests.tasks.test_traced import Convolutional, Counts, Decides, batches, task_of

pytestmark = pytest.mark.usefixtures("undrawn")

HERE = "tests.tasks.test_blocks"
CONFIG = """
seed_everything: 3
model:
  class_path: ClassificationTask
  init_args: {network: {class_path: al_lightning.models.MLP, init_args: {width: 7, dropout: 0.3}}}
data:
  class_path: FashionMNISTSampleDataModule
  init_args: {batch_size: 8, initial_size: 70, pool_size: 300, eval_batch_size: 250}
active_learning: {strategy: Entropy, query_size: 20, cycles: 2}
trainer:
  accelerator: cpu
  max_epochs: 3
  logger: {class_path: CSVLogger, init_args: {save_dir: .}}
  enable_model_summary: false
  enable_progress_bar: false
"""


class LessDropout(Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        module.network.dropout.p = 0.3 if trainer.current_epoch < 2 else 0.1


class HalfGradients(Callback):
    def on_train_start(self, trainer, module):
        self.handle = module.network.output.bias.register_post_accumulate_grad_hook(halve)

    def on_train_end(self, trainer, module):
        self.handle.remove()


def halve(parameter):
    parameter.grad.mul_(0.5)


CASES = {
    # what is asked for, and whether a trace makes any step
    "as it comes, with a scheduler": (["--lr_scheduler=StepLR", "--lr_scheduler.step_size=1"], True),
    "buffers, and weights that join in": (
        [
            "--model.init_args.network=tests.callbacks.test_lightning_callbacks.WithNorm",
            "--trainer.callbacks=BackboneFinetuning",
            "--trainer.callbacks.unfreeze_backbone_at_epoch=1",
        ],
        True,
    ),
    "another optimizer, and a rate that changes": (
        [f"--trainer.callbacks={HERE}.LessDropout", "--optimizer=SGD", "--optimizer.lr=0.1", "--optimizer.momentum=0.9"],
        True,
    ),
    "a hook": ([f"--trainer.callbacks={HERE}.HalfGradients"], False),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    monkeypatch.setattr(plots, "draw_learning_curve", lambda run: run.picture)
    (tmp_path / "c.yaml").write_text(CONFIG)

    def run(name, *arguments):
        main(["fit", "--config", "c.yaml", "--run_dir", name, *arguments])
        return RunDirectory(name)

    return run


@pytest.fixture
def traced(monkeypatch):
    """A mark for each step of a trace, which is made early here."""
    monkeypatch.setattr(blocks, "PAYS_AFTER", 2)
    made = []
    monkeypatch.setattr(recorded, "step", lambda *arguments: made.append(1) or step(*arguments))
    return made


def training(run, cycle):
    """What a cycle's training has left."""
    checkpoint = torch.load(run.checkpoint(cycle), weights_only=True)
    return {name: checkpoint[name] for name in ("state_dict", "optimizer_states", "lr_schedulers")}


def losses(run):
    (table,) = run.path.rglob("metrics.csv")
    with table.open() as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.mark.parametrize("case", CASES)
def test_a_run_in_blocks_equals_one_in_the_ordinary_mode(run, traced, case):
    """9 and 12 steps an epoch, the last of 6 and 2 items."""
    arguments, some = CASES[case]
    ordinary = run("ordinary", *arguments)
    assert not traced
    block = run("block", "--model.init_args.block=3", *arguments)
    assert bool(traced) == some
    assert block.queries.read_bytes() == ordinary.queries.read_bytes()
    assert without_seconds(block) == without_seconds(ordinary)
    assert losses(block) == losses(ordinary) and len(losses(block)) == 6
    for cycle in (0, 1):
        assert equal(training(block, cycle), training(ordinary, cycle))


class Anneals(Counts):
    """Another function at each call."""

    def forward(self, inputs):
        return super().forward(inputs) * (1 + 0.1 * self.calls)


class Recurrent(nn.Module):
    """torch's own kernel for it is nothing that a trace can call."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.output = nn.LSTM(28, 5, batch_first=True), nn.Linear(5, 10)

    def forward(self, inputs):
        return self.output(self.recurrent(inputs.squeeze(1))[0][:, -1])


class Scaled(MLP):
    scale = 1.0

    def forward(self, inputs):
        return self.scale * super().forward(inputs)


def rescale(task, number):
    task.network.scale = 1.0 + (number > 2)


def look(task, number):
    if number == 3:
        task.network.register_forward_hook(lambda *_: task.calls.append(number))


@pytest.mark.parametrize(
    ("make", "between", "traced_steps"),
    [
        # 5 blocks of 2 mini-batches of 5 and one of 3: the second makes the trace
        (lambda: MLP(7, dropout=0.3), None, 3),
        (Convolutional, None, 3),
        (Scaled, rescale, 1),
        (lambda: MLP(7), look, 1),
        (Anneals, None, 0),
        (Decides, None, 0),
        (Recurrent, None, 0),
    ],
)
def test_steps_in_blocks_are_those_of_autograd(traced, make, between, traced_steps):
    by_autograd = task_of(make)
    in_blocks = copy.deepcopy(by_autograd)
    outcomes = []
    for task, take in ((by_autograd, plainly), (in_blocks, blocks.BlockSteps().take)):
        torch.manual_seed(1)
        task.calls, optimizer = [], torch.optim.Adam(task.parameters(), fused=True)
        given, found = [(*batch, None) for batch in batches(15)], []
        for number in range(5):
            if between is not None:
                between(task, number)
            *whole, (inputs, targets, _) = given[3 * number : 3 * number + 3]
            found += take(task, optimizer, [*whole, (inputs[:3], targets[:3], None)])
        left = {"weights": task.state_dict(), "optimizer": optimizer.state_dict(), "chance": torch.get_rng_state()}
        outcomes.append({"losses": found, "calls": len(task.calls), **left})
    assert equal(*outcomes)
    assert len(traced) == traced_steps


def plainly(task, optimizer, block):
    for inputs, targets, _ in block:
        optimizer.zero_grad()
        loss = task.loss(inputs, targets)
        loss.backward()
        optimizer.step()
        yield loss.detach()


def test_a_search_for_anomalies_is_autograds(traced):
    task, steps = task_of(lambda: MLP(7)), blocks.BlockSteps()
    optimizer, block = torch.optim.Adam(task.parameters()), [(*batch, None) for batch in batches(3)]
    found = []
    for anomalies in (True, False, True, False):  # the second makes the trace
        with torch.autograd.set_detect_anomaly(anomalies):
            list(steps.take(task, optimizer, block))
        found.append(len(traced))
    assert found == [0, 0, 0, 2]


def test_a_short_training_is_not_traced(traced, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(blocks, "TracedLoss", lambda *_: pytest.fail("it is"))
    task, steps = task_of(lambda: MLP(7)), blocks.BlockSteps()
    optimizer = torch.optim.Adam(task.parameters())
    for _ in range(4):
        list(steps.take(task, optimizer, [(*batch, None) for batch in batches(74)]))


class OwnOptimizers(ClassificationTask):
    def __init__(self, how, block):
        super().__init__(lambda: MLP(7), block=block)
        self.how = how

    def configure_optimizers(self):
        return self.how(self.parameters())


def schedule(parameters, **settings):
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5), **settings}}


def two(parameters):
    first, second, *others = parameters
    return [torch.optim.SGD([first, second], lr=1.0), torch.optim.SGD(others, lr=1.0)]


@pytest.mark.parametrize(
    "how",
    [lambda p: schedule(p, interval="step"), lambda p: schedule(p, frequency=2), two, lambda p: torch.optim.LBFGS(p)],
    ids=["each step", "every second epoch", "two optimizers", "LBFGS"],
)
def test_what_blocks_would_leave_out_of_own_optimizers_is_refused(tmp_path, how):
    with pytest.raises(UserError, match=r"block.* to 1"):
        run_experiment(tmp_path / "run", task=OwnOptimizers(how, 3))
    assert run_experiment(tmp_path / "plain", task=OwnOptimizers(schedule, 3), cycles=1).is_finished()
