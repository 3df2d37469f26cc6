"""What does not fit together is refused before the first training."""

import pytest
import torch
from torch import nn

from al_lightning import cli
from al_lightning.acquisition import BALD, Entropy, Power, Random, Strategy
from al_lightning.callbacks import querying
from al_lightning.callbacks.choosing import seeded_order
from al_lightning.callbacks.querying import _drawn
from al_lightning.errors import UserError
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask
from tests.experiments import make_data, run_experiment
from tests.test_cli import TINY

FIT = ["fit", "--config", "tiny.yaml", "--run_dir=run", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
SCENES = """
model:
  class_path: SegmentationTask
  init_args:
    network: {class_path: tests.tasks.test_segmentation.Tiny}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.01}}
data: {class_path: SyntheticScenesDataModule, init_args: {initial_size: 2, crop: 32, num_workers: 0}}
active_learning: {strategy: Entropy, query_size: 2, cycles: 2}
trainer: {accelerator: cpu, max_steps: 1, max_epochs: -1}
"""


@pytest.mark.parametrize(
    ("config", "argument", "message"),
    [
        (
            TINY.replace("dropout: 0.1", "dropout: 0"),
            "strategy={class_path: BALD, init_args: {passes: 3, query_p: null}}",
            "has no dropout layer with a rate above 0",
        ),
        (TINY, "strategy={class_path: CoreSet, init_args: {features: {class_path: Features, init_args: {layer: nowhere}}}}", "got nowhere"),
        (TINY, "strategy=LowestMiou", "For classification use MostIncorrect"),
        (TINY, 'target={"val/miou": 0.5}', r"metrics from \['val/accuracy', 'val/loss'\], got \['val/miou'\]"),
        (SCENES, "strategy=BADGE", "Expected a classification for this strategy, got scenes"),
    ],
    ids=["dropout", "layer", "oracle", "target", "scenes"],
)
def test_what_does_not_fit_is_refused_before_a_training(config, argument, message, tmp_path, undrawn, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(config)
    monkeypatch.setattr("al_lightning.tasks.Task.training_step", lambda *_: pytest.fail("a training began"))
    with pytest.raises(SystemExit, match=message):
        cli.main([*FIT, f"--active_learning.{argument}"])
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    if config == TINY and "target" in argument:
        cli.main([*FIT, "--active_learning.cycles=1"])  # the run is not in the way of a corrected one


def test_random_picks_are_any_items():
    counts = torch.zeros(10)
    for seed in range(300):
        drawn = _drawn(torch.arange(3, 13), 3, 20, seed, 1)
        assert len({*drawn.tolist()}) == 3
        counts[drawn - 3] += 1
    assert counts.min() > 60 and counts.max() < 120  # 90 each, with a deviation of 8
    assert _drawn(torch.arange(9), 4, 9, 0, 1).tolist() != _drawn(torch.arange(9), 4, 9, 0, 2).tolist()


def test_ties_fall_by_the_seed_whatever_else_is_in_the_pool(tmp_path):
    def generator(seed=0):
        return torch.Generator().manual_seed(seed)

    whole, some = seeded_order(torch.arange(40), 40, generator()).tolist(), torch.arange(3, 40, 2)
    assert seeded_order(some, 40, generator()).tolist() == [item for item in whole if item in {*some.tolist()}]
    assert sorted(whole) == [*range(40)] != whole != seeded_order(torch.arange(40), 40, generator(1)).tolist()
    queries = []
    for seed in (1, 2):
        run = run_experiment(tmp_path / str(seed), Same(), data=make_data(), seed=seed, cycles=2, trainer={"max_epochs": 0})
        queries.append([row.index for row in run.read_queries() if row.cycle == 1])
    assert all(query != sorted(query) for query in queries) and queries[0] != queries[1]


class Same(Random):
    """Says the same of all items."""

    def ranking_keys(self, values, indices, seed):
        return torch.full((len(indices),), 0.25)


def test_what_is_random_in_a_choice_has_the_seed_of_the_experiment(tmp_path, monkeypatch):
    """Two runs with the same network and the same order of what ties."""
    first = run_experiment(tmp_path / "first", data=make_data(), seed=1, cycles=1, keep="all")
    monkeypatch.setattr(querying, "seeded_order", lambda candidates, *_: candidates)
    queries = []
    for seed in (1, 2):
        named = {"initial_run": first.path, "cycles": 2, "trainer": {"max_epochs": 0}}
        run = run_experiment(tmp_path / str(seed), Power(Entropy(), 1e-6), data=make_data(), seed=seed, **named)
        queries.append({row.index for row in run.read_queries() if row.cycle == 1})
    assert queries[0] != queries[1]


class OfItsBatch(nn.Sequential):
    def __init__(self, num_classes=10, kept=False):
        super().__init__(nn.BatchNorm2d(1, track_running_stats=kept), nn.Flatten(), nn.Linear(784, num_classes))


def test_a_network_that_scores_a_batch_not_an_item_is_warned_of(tmp_path, undrawn, caplog):
    own = "network: {class_path: tests.callbacks.test_querying.OfItsBatch, init_args: {kept: %s}}"
    for kept, warned in ((False, 1), (True, 0)):
        config = TINY.replace(
            "network: {class_path: al_lightning.models.MLP, init_args: {width: 7, dropout: 0.1}}", own % str(kept).lower()
        )
        (tmp_path / "tiny.yaml").write_text(config)
        caplog.clear()
        cli.main([*FIT, "--active_learning.cycles=2", f"--run_dir=run-{kept}"])
        said = [line for line in caplog.messages if line.startswith("WARNING: what OfItsBatch says of an item")]
        assert len(said) == warned


def test_what_a_training_will_mend_is_not_refused(tmp_path):
    def network() -> nn.Module:
        made = MLP(width=8, dropout=0.5)
        torch.nn.init.zeros_([*made.parameters()][-2])
        return made

    run = run_experiment(tmp_path / "run", BALD(passes=3), task=ClassificationTask(network), cycles=2)
    assert len(run.read_curve()) == 2


class Chooses(Strategy):
    """Answers as it is told."""

    ranks = scores_items = False

    def __init__(self, how):
        self.how = how

    def select(self, scored, size, generator):
        return self.how(scored.unlabeled.indices, size)


@pytest.mark.parametrize(
    ("how", "found"),
    [
        (lambda indices, size: indices[: size + 25], "a tensor of 75"),
        (lambda indices, size: indices[:3], "a tensor of 3"),
        (lambda indices, size: indices[:0], "a tensor of 0"),
        (lambda indices, size: indices[:size].unsqueeze(1), "a tensor of 50x1"),
        (lambda indices, size: indices[:size].tolist(), "list"),
        (lambda indices, size: None, "NoneType"),
        (lambda indices, size: indices[:size].float(), "torch.float32"),
        (lambda indices, size: indices[:1].repeat(size), "some of them twice"),
        (lambda indices, size: torch.arange(600)[~torch.isin(torch.arange(600), indices)][:size], "50 that can't be queried"),
    ],
)
def test_what_a_strategy_may_not_choose_is_refused_before_anything_is_written(tmp_path, how, found):
    data = make_data()
    with pytest.raises(UserError, match=f"Expected Chooses.* to select 50 different unlabeled items, .*got {found}"):
        run_experiment(tmp_path / "run", Chooses(how), data=data, query_size=50, trainer={"max_epochs": 0})
    run = RunDirectory(tmp_path / "run")
    assert not run.finished() and {row.cycle for row in run.read_queries()} == {0}
    mended, more = Chooses(lambda indices, size: indices[:size].int()), {"query_size": 50, "cycles": 2, "trainer": {"max_epochs": 0}}
    assert run_experiment(tmp_path / "run", mended, resume=True, **more).is_finished()


class Shaped(Entropy):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def ranking_keys(self, values, indices, seed):
        return self.shape(super().ranking_keys(values, indices, seed))


@pytest.mark.parametrize("shape", [lambda keys: keys[:, None], lambda keys: keys[1:], lambda keys: keys.sum(), lambda keys: keys.numpy()])
def test_ranking_keys_of_another_shape_are_refused_before_a_training(tmp_path, monkeypatch, shape):
    monkeypatch.setattr("al_lightning.tasks.Task.training_step", lambda *_: pytest.fail("a training began"))
    with pytest.raises(UserError, match=r"ranking keys of Shaped.* as a tensor with one number for each of \d+ items"):
        run_experiment(tmp_path / "run", Shaped(shape))
