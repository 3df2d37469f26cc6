"""What a class takes over from the one in whose place it is named, through the reader of ``fit``'s settings."""

import inspect
from pathlib import Path

import pytest
import torch
import yaml

from al_lightning.cli import main
from al_lightning.config_reader import ConfigReader
from al_lightning.models import FCN, DeepLabV3Plus

pytestmark = pytest.mark.usefixtures("undrawn")

SCENES = "model: {class_path: SegmentationTask, init_args: {%s}}\ndata: {class_path: SyntheticScenesDataModule}"
IMAGES = "model: {class_path: ClassificationTask, init_args: {%s}}\ndata: {class_path: FashionMNISTSampleDataModule}"
OPTIMIZER = "model.init_args.optimizer"
SGD = {"lr": 0.007, "momentum": 0.9, "weight_decay": 1e-4}


@pytest.fixture(scope="module")
def reader():
    return ConfigReader()


@pytest.fixture
def read(reader, tmp_path):
    def read(text, *arguments, key=OPTIMIZER):
        (tmp_path / "c.yaml").write_text(text)
        required = ["--active_learning.strategy=Entropy", "--active_learning.query_size=1", "--active_learning.cycles=1"]
        found = reader.read(["fit", f"--config={tmp_path / 'c.yaml'}", *required, *arguments])
        return {name.removeprefix(f"{key}.init_args."): value for name, value in found.items() if name.startswith(f"{key}.init_args.")}

    return read


def defaults(kind):
    return {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}


def is_as_the_class_has_it(found, kind, **given):
    expected = {**defaults(kind), **given}
    return {name: float(found[name]) for name in ("lr", "weight_decay")} == {name: float(expected[name]) for name in ("lr", "weight_decay")}


@pytest.mark.parametrize("text", [SCENES, IMAGES], ids=["sgd", "adam"])
@pytest.mark.parametrize("optimizer", ["AdamW", "RMSprop", "Adagrad", "SGD"])
def test_an_optimizer_in_the_place_of_the_default_has_its_own_defaults(read, text, optimizer):
    if text == SCENES and optimizer == "SGD":
        return
    kind = getattr(torch.optim, optimizer)
    assert is_as_the_class_has_it(read(text % f"optimizer: {{class_path: torch.optim.{optimizer}}}"), kind)
    assert is_as_the_class_has_it(read(text % f"optimizer: {optimizer}"), kind)
    assert is_as_the_class_has_it(read(text % "", f"--{OPTIMIZER}={optimizer}"), kind)


def test_the_default_stays_where_no_other_class_is_named(read):
    for text in ("", "optimizer: SGD", "optimizer: {class_path: torch.optim.SGD}"):
        assert SGD.items() <= read(SCENES % text).items()
    assert {**SGD, "lr": 0.5}.items() <= read(SCENES % "", f"--{OPTIMIZER}.init_args.lr=0.5").items()


def test_what_is_given_stays_given(read):
    default_of_another = "optimizer: {class_path: AdamW, init_args: {lr: 0.007, weight_decay: 0}}"
    assert is_as_the_class_has_it(read(SCENES % default_of_another), torch.optim.AdamW, lr=0.007, weight_decay=0)
    before = "optimizer: {class_path: SGD, init_args: {lr: 0.3}}"
    assert is_as_the_class_has_it(read(SCENES % before, f"--{OPTIMIZER}=AdamW"), torch.optim.AdamW, lr=0.3)
    rate = f"--{OPTIMIZER}.init_args.lr=0.5"
    assert is_as_the_class_has_it(read(SCENES % "", rate, f"--{OPTIMIZER}=AdamW"), torch.optim.AdamW, lr=0.5)
    assert is_as_the_class_has_it(read(SCENES % "optimizer: AdamW", rate), torch.optim.AdamW, lr=0.5)


def test_a_second_file_of_settings_may_name_another_class(read, tmp_path):
    (tmp_path / "more.yaml").write_text("model: {init_args: {optimizer: {class_path: torch.optim.AdamW}}}")
    more = f"--config={tmp_path / 'more.yaml'}"
    assert is_as_the_class_has_it(read(SCENES % "", more), torch.optim.AdamW)
    assert is_as_the_class_has_it(read(SCENES % "optimizer: {init_args: {lr: 0.2}}", more), torch.optim.AdamW, lr=0.2)


def test_a_network_in_the_place_of_another_has_its_own_defaults(read):
    key = "model.init_args.network"
    for path in (FCN, DeepLabV3Plus):
        found = read(SCENES % f"network: {{class_path: al_lightning.models.{path.__name__}, init_args: {{num_classes: 5}}}}", key=key)
        assert found["num_classes"] == 5 and found["dropout"] == defaults(path)["dropout"] and "init_args" not in str(found)
    own = read(IMAGES % "network: {class_path: tests.test_class_changes.Wide}", key=key)
    assert own["width"] == 77 and own["dropout"] == 0.4  # not the MLP's
    assert read(IMAGES % "network: {init_args: {width: 9}}", f"--{key}=tests.test_class_changes.Wide", key=key)["width"] == 9


class Wide(torch.nn.Module):
    def __init__(self, width: int = 77, dropout: float = 0.4) -> None:
        super().__init__()


def test_a_run_stores_and_uses_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(
        IMAGES % "optimizer: {class_path: torch.optim.SGD}"
        + "\nactive_learning: {strategy: Random, query_size: 5, cycles: 1}"
        + "\ntrainer: {max_epochs: 1, logger: false, enable_progress_bar: false, accelerator: cpu}"
    )
    monkeypatch.setattr("sys.argv", ["al_lightning"])
    main(["fit", "--config=c.yaml", "--data.init_args.initial_size=5", "--run_dir=r"])
    stored = yaml.safe_load(Path("r/config.yaml").read_text())["model"]["init_args"]["optimizer"]["init_args"]
    (group,) = torch.load(next(Path("r").rglob("last.ckpt")), weights_only=True)["optimizer_states"][0]["param_groups"]
    assert stored["lr"] == group["lr"] == 0.001 and stored["momentum"] == group["momentum"] == 0
