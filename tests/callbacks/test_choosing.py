"""Strategies that choose a query as a whole, through the command line."""

import csv
import io
import json
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from al_lightning.acquisition import (
    BALD,
    Apart,
    BatchBALD,
    CoreSet,
    Diverse,
    Entropy,
    Features,
    MaxHerding,
    MaxSoftmax,
    Power,
    ProbCover,
    Random,
    TypiClust,
)
from al_lightning.acquisition.batches import k_center
from al_lightning.callbacks import progress
from al_lightning.cli import main
from al_lightning.commands.stored_run import read_strategy
from al_lightning.errors import UserError
from al_lightning.models import MLP, DeepLabV3Plus
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask, SegmentationTask
from tests.experiments import make_data, run_experiment, weights, without_seconds
from tests.tasks.test_segmentation import make_data as make_scenes
from tests.tasks.test_segmentation import run_scenes
from tests.test_cli import TINY

pytestmark = pytest.mark.usefixtures("undrawn")

STRATEGIES = {
    "CoreSet": {},
    "BADGE": {},
    "BatchBALD": {"passes": 4},
    "EPIG": {"targets": 20, "passes": 4},
    "TypiClust": {},
    "ProbCover": {},
    "MaxHerding": {},
    "UHerding": {},
    "ClusterMargin": {},
    "Diverse": {"strategy": "BALD"},
    "Power": {"strategy": "MaxSoftmax"},
    "Apart": {"strategy": "Margin", "frames": 2},
    "ClassStratified": {"strategy": "Entropy"},
    "ClassAwareRandom": {},
}
CLASSIFIES = {"BADGE", "BatchBALD", "EPIG"}  # these refuse scenes
SCENES = [name for name in STRATEGIES if name not in CLASSIFIES]

UNTRAINED = "--trainer.max_epochs=0"


@pytest.fixture
def fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    Path("c.yaml").write_text(TINY)

    def fit(name, *arguments, **learning):
        set = [f"--active_learning.{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in learning.items()]
        main(["fit", "--config=c.yaml", f"--run_dir={name}", *set, *arguments])
        return RunDirectory(name)

    return fit


def refused(capsys, fit, *arguments, **learning):
    with pytest.raises(SystemExit) as ended:
        fit("refused", *arguments, **learning)
    said = f"{ended.value.code}{capsys.readouterr().err}"
    assert ended.value.code not in (0, None) and "Traceback" not in said and not RunDirectory("refused").holds_run()
    return said


def queried(run, cycle=1):
    return [(row.rank, row.index) for row in run.read_queries() if row.cycle == cycle]


def die_in_cycle_1(run):
    """As if the process had been killed before the second query."""
    run.learning_curve.write_text("".join(run.learning_curve.read_text().splitlines(keepends=True)[:2]))
    for cycle in (1, 2):
        shutil.rmtree(run.cycle(cycle))


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_by_its_name(tmp_path, name):
    """What others say is recorded beside what it says, if that is of an item alone; and a resumed run draws what the other one drew."""
    strategy, other = read_strategy(json.dumps({"class_path": name, "init_args": STRATEGIES[name]})), BALD(2)

    def run(**arguments):
        task = ClassificationTask(lambda: MLP(7, 0.1))
        untrained = {"max_epochs": 0, "limit_val_batches": 0}
        return run_experiment(tmp_path, strategy, task=task, trainer=untrained, also_record=[other], **arguments)

    whole = run()
    assert len(queried(whole, 1)) == len(queried(whole, 2)) == 50
    with whole.scores(1).open(newline="") as file:
        columns = next(csv.reader(file))
    scores = name in ("ClusterMargin", "Diverse", "Power", "Apart", "ClassStratified")
    assert columns == ["index", "item", *(["score"] if scores else []), str(other)]
    before = whole.queries.read_bytes()
    die_in_cycle_1(whole)
    assert run(resume=True).queries.read_bytes() == before and len(whole.read_cycles()) == 3


def test_by_the_command_line_a_resumed_run_equals_one_that_never_stopped(fit):
    strategy = {"class_path": "Power", "init_args": {"strategy": "BALD"}}
    whole, half = (fit(name, strategy=strategy) for name in ("whole", "half"))
    die_in_cycle_1(half)
    fit("half", "--resume", strategy=strategy)
    assert half.queries.read_bytes() == whole.queries.read_bytes() and without_seconds(half) == without_seconds(whole)


def test_what_they_say_of_an_item_is_its_score(tmp_path):
    """Distances fall, information grows, and of a wrapped strategy it is the strategy's."""
    task = ClassificationTask(lambda: MLP(7, 0.1))
    scores = {
        type(strategy).__name__: [
            row.score for row in run_experiment(tmp_path / str(strategy), strategy, task=task, cycles=2).read_queries()
        ]
        for strategy in (CoreSet(), BatchBALD(4), Power(MaxSoftmax()))
    }
    distances, information, powers = (its[70:] for its in scores.values())
    assert distances == sorted(distances, reverse=True) and information == sorted(information)
    assert all(0 < score < 1 for score in powers) and powers != sorted(powers, reverse=True)


def test_random_picks_have_no_score_beside_those_of_a_query_as_a_whole(fit):
    """UHerding says what an item adds to the query; its margin is another thing."""
    run = fit("run", UNTRAINED, strategy="UHerding", random_share=0.3, cycles=3)
    rows = [row for row in run.read_queries() if row.cycle == 1]
    assert {row.index for row in rows if row.score is None} == run.read_random(0) and len(run.read_random(0)) == 15


def test_who_chooses_together_sees_random_picks_as_labeled(fit):
    run = fit("run", UNTRAINED, strategy="CoreSet", random_share=0.3, cycles=3)
    rows = [row for row in run.read_queries() if row.cycle == 1]
    drawn = run.read_random(0)
    assert len(rows) == 50 and len(drawn) == 15
    assert {row.index for row in rows if row.score is None} == drawn  # of these it says nothing
    data, network = make_data(seed=3), MLP(7, 0.1)
    data.setup("fit")
    network.load_state_dict({name.removeprefix("network."): its for name, its in weights(run, 0).items()})
    features = network.prefix(data._train.inputs(torch.arange(len(data._train)), torch.device("cpu"))).detach()
    labeled = [row.index for row in run.read_queries() if row.cycle == 0] + sorted(drawn)
    free = torch.tensor([index for index in data.pool.candidates.tolist() if index not in drawn])
    expected = free[k_center(features[free], features[labeled], 35)].tolist()
    assert [row.index for row in rows if row.index not in drawn] == expected


def test_what_makes_no_sense_is_refused_before_anything_is_trained(fit, capsys):
    said = refused(capsys, fit, strategy="CoreSet", stride=2)
    assert "active_learning.stride to be 1 with CoreSet, got 2: it chooses a query as a whole" in said
    assert "stride to be 1 with Diverse(strategy=Entropy), got 4, 1" in refused(
        capsys, fit, strategy={"class_path": "Diverse", "init_args": {"strategy": "Entropy"}}, stride=[4, 1]
    )
    assert "also_record to name strategies that score each item by itself, got BADGE" in refused(
        capsys, fit, also_record=["Margin", "BADGE"]
    )
    assert "ranks items by a score of each for Inverse" in refused(
        capsys, fit, strategy={"class_path": "Inverse", "init_args": {"strategy": "CoreSet"}}
    )
    assert "one of BALD" in refused(capsys, fit, strategy="CoreSett") and "CoreSet" in refused(capsys, fit, strategy="CoreSett")


def test_features_are_named_and_pooled_from_the_command_line(fit, capsys):
    plain = fit("plain", UNTRAINED, strategy="CoreSet", cycles=2)
    pixels = fit("pixels", UNTRAINED, "--active_learning.strategy.features.layer=hidden", strategy="CoreSet", cycles=2)
    half = fit("half", UNTRAINED, "--active_learning.strategy.features.half=true", strategy="CoreSet", cycles=2)
    assert queried(plain) != queried(pixels) and queried(plain)[:20] == queried(half)[:20]
    stored = yaml.safe_load(half.config.read_text())["active_learning"]["strategy"]
    assert stored["class_path"].endswith("CoreSet") and stored["init_args"]["features"]["init_args"]["half"] is True
    with pytest.raises(SystemExit) as ended:
        fit("wrong", "--active_learning.strategy.features.layer=hiden", strategy="CoreSet")
    assert "a layer of MLP, like hidden" in f"{ended.value.code}{capsys.readouterr().err}"


class Hole(MLP):
    """Knows nothing of one image."""

    def prefix(self, inputs):
        hidden = super().prefix(inputs)
        return torch.where((inputs == self.image).flatten(1).all(1, keepdim=True), torch.nan, hidden)


def test_a_representation_that_is_no_number_names_the_item(tmp_path):
    data = make_data()
    data.setup("fit")
    index = int(data.pool.unlabeled_indices[17])
    Hole.image = data._train.images[index] / 255
    for strategy in (CoreSet(), Diverse(Entropy())):
        with pytest.raises(UserError, match=rf"\b1 items became NaN or infinite.*the first of them {index}\."):
            run_experiment(tmp_path, strategy, task=ClassificationTask(lambda: Hole(7)), data=make_data())


class Large(MLP):
    """Has features that no half can hold."""

    def prefix(self, inputs):
        return super().prefix(inputs) * 1e6

    def tail(self, features):
        return super().tail(features) / 1e6


def test_what_a_half_can_not_hold_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"What CoreSet.* looks at in \d+ items became NaN or infinite"):
        run_experiment(tmp_path, CoreSet(Features(half=True)), task=ClassificationTask(lambda: Large(7)), cycles=2)
    run_experiment(tmp_path, CoreSet(), task=ClassificationTask(lambda: Large(7)), cycles=2)


@pytest.mark.parametrize("name", SCENES)
def test_scenes_and_no_label_is_read_before_it_is_asked_for(tmp_path, monkeypatch, name):
    from al_lightning import acquisition

    arguments = {"strategy": Entropy()} if "strategy" in STRATEGIES[name] else {}
    opened, whole = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda path, *more, **named: opened.append(str(getattr(path, "name", path))) or whole(path, *more, **named)
    )
    run = run_scenes(
        tmp_path / "run", getattr(acquisition, name)(**arguments), cycles=3, trainer={"max_epochs": 1, "check_val_every_n_epoch": 1}
    )
    rows = run.read_queries()
    assert len(rows) == 10 and len({row.index for row in rows}) == 10
    labels = {path for path in opened if "labelIds" in path and "/train/" in path}
    labeled = {path for path in labels for row in rows if row.item in path}
    assert len(labeled) == 10 and (labels == labeled) == (name != "ClassAwareRandom")


def test_progress_shows_scoring_then_choosing(fit, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    monkeypatch.setattr(progress, "_DELAY", 0)
    fit("run", UNTRAINED, "--trainer.enable_progress_bar=true", strategy="CoreSet", cycles=2)
    assert re.search(r"scoring.*choosing \.\.\.", screen.getvalue(), re.DOTALL)


class Pretrained(MLP):
    """Has a first layer that somebody trained: the same whatever the seed."""

    def __init__(self, width):
        super().__init__(width)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.linspace(-1, 1, self.hidden.weight.numel()).sin().view_as(self.hidden.weight))


class Convolutional(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Conv2d(1, 4, 3, stride=4), torch.nn.Linear(4, 10)

    def forward(self, inputs):
        return self.head(self.body(inputs).relu().mean((2, 3)))


class Parametrized(torch.nn.Module):
    """A pretrained layer, then drawn ones: weights that are computed from others, without a bias, and attention called by keywords."""

    def __init__(self, width):
        super().__init__()
        self.body = torch.nn.Conv2d(1, width, 5, stride=4)
        with torch.no_grad():
            for values in self.body.parameters():
                values.copy_(torch.linspace(-1, 1, values.numel()).sin().view_as(values))
        self.scaled = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv2d(width, width, 1, bias=False))
        self.attention, self.head = torch.nn.MultiheadAttention(width, 1, batch_first=True), torch.nn.Linear(width, 10)

    def forward(self, inputs):
        tokens = self.scaled(self.body(inputs)).flatten(2).mT
        return self.head(self.attention(query=tokens, key=tokens, value=tokens, need_weights=False)[0].mean(1))


COLD = "--active_learning.initial_strategy"


def test_a_cold_start_by_pixels_and_by_a_pretrained_layer(tmp_path):
    """What no drawn weight has touched: the same for other weights, and other features for another network."""

    def chosen(strategy, network=MLP, seed=1):
        data = make_data(initial_size=9, seed=seed, initial_seed=5)
        folder = tmp_path / f"{strategy}-{network.__name__}-{seed}"
        task = ClassificationTask(lambda: network(7))
        run = run_experiment(folder, data=data, task=task, seed=seed, initial_strategy=strategy, cycles=1, trainer={"max_epochs": 0})
        found = [row.index for row in run.read_queries()]
        assert len({*found}) == 9
        return found

    by_pixels = [chosen(strategy) for strategy in (CoreSet(), TypiClust(), ProbCover(), MaxHerding())]
    assert len({*map(tuple, by_pixels)}) == 4
    assert chosen(TypiClust(), seed=2) == by_pixels[1]
    assert chosen(TypiClust(), Pretrained) == chosen(TypiClust(), Pretrained, seed=2) != by_pixels[1]
    assert chosen(TypiClust(), Parametrized) == chosen(TypiClust(), Parametrized, seed=2) != by_pixels[1]


def test_a_cold_start_of_scenes_by_a_pretrained_encoder(tmp_path):
    """The features are what leaves the encoder, in the mean over the pixels: what comes behind it is drawn."""
    small = {"encoder": "tu-resnet18", "num_classes": 19}
    encoder = DeepLabV3Plus(**small, encoder_weights=None).encoder.eval()
    path = tmp_path / "encoder.safetensors"
    save_file({name.removeprefix("model."): value for name, value in encoder.state_dict().items()}, path)
    for seed in (1, 2):
        data = make_scenes(cache=str(tmp_path / "scenes"), height=32, width=64, initial_size=4, seed=seed)
        task = SegmentationTask(lambda: DeepLabV3Plus(**small, encoder_weights=str(path)))
        folder, trainer = tmp_path / str(seed), {"max_epochs": 0}
        run = run_experiment(folder, data=data, task=task, seed=seed, initial_strategy=CoreSet(), cycles=1, trainer=trainer)
        ((inputs, _),) = data.pool_batches([torch.arange(12)])
        with torch.no_grad():
            features = encoder(inputs)[-1].mean((2, 3))
        assert [row.index for row in run.read_queries()] == k_center(features, features[:0], 4).tolist()


def test_a_cold_start_without_features_is_refused(fit, capsys, tmp_path):
    network = json.dumps({"class_path": "tests.callbacks.test_choosing.Convolutional"})
    said = refused(capsys, fit, f"{COLD}=CoreSet", f"--model.init_args.network={network}")
    assert "a network with a pretrained encoder for CoreSet to choose an initial set" in said and "Convolutional are drawn from" in said
    for name in ("BADGE", "UHerding"):
        assert f"needs no trained network of this run, got {name}" in refused(capsys, fit, f"{COLD}={name}")
    with pytest.raises(UserError, match="got BatchBALD"):
        run_experiment(tmp_path / "refused", initial_strategy=BatchBALD(4))


def test_a_cold_start_by_a_named_layer_or_by_names(tmp_path):
    arguments = {"cycles": 1, "trainer": {"max_epochs": 0}}
    named = CoreSet(Features(layer="head"))
    run = run_experiment(tmp_path / "named", initial_strategy=named, task=ClassificationTask(Convolutional), **arguments)
    assert len({row.index for row in run.read_queries()}) == 70
    apart = run_experiment(tmp_path / "apart", initial_strategy=Apart(Random(), 15), **arguments)
    assert min(b - a for a, b in pairwise(sorted(row.index for row in apart.read_queries()))) > 15
