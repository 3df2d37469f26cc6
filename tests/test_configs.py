"""Every shipped configuration runs end to end, on tiny data."""

import sys
from pathlib import Path

import pytest
import yaml

from al_lightning.cli import main
from al_lightning.data import SyntheticScenesDataModule
from al_lightning.runs import RunDirectory

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))

SCENES = {"train_sequences": 9, "val_sequences": 2, "height": 48, "width": 64}
SAMPLE = ROOT / "al_lightning" / "data" / "sample"
METRIC = {"ClassificationTask": "val/accuracy", "SegmentationTask": "val/miou"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder in Cityscapes' layout."""
    data = SyntheticScenesDataModule(cache=str(tmp_path_factory.mktemp("scenes")), **SCENES)
    data.prepare_data()
    return data.root


def tiny(config, scenes):
    """What makes an experiment small and keeps its kind: data, initial set, and for segmentation the encoder."""
    data, network = config["data"]["class_path"], config["model"]["init_args"]["network"]
    settings = {"data.init_args.initial_size": 16}
    if config["model"]["class_path"] == "ClassificationTask":
        settings |= {"data.init_args.root": SAMPLE, "data.init_args.pool_size": 400}
    elif data == "SyntheticScenesDataModule":
        settings |= {f"data.init_args.{name}": value for name, value in {"cache": "scenes", "crop": 32, **SCENES}.items()}
    else:
        settings |= {"data.init_args.root": scenes, "data.init_args.crop": 32, "data.init_args.num_workers": 0}
        settings |= {"trainer.accelerator": "cpu", "model.init_args.network.init_args.encoder_weights": "none"}
        if "query_crop" in config["data"]["init_args"]:
            settings["data.init_args.query_crop"] = 24
        if network["class_path"].endswith("DeepLabV3Plus"):
            settings["model.init_args.network.init_args.encoder"] = "tu-resnet18"
    if "max_steps" in config["trainer"]:
        settings["trainer.max_steps"] = 4
    return [f"--{name}={value}" for name, value in settings.items()]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_config_runs(path, scenes, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    config = yaml.safe_load(path.read_text())
    short = ["--trainer.max_epochs=2", "--active_learning.cycles=2", "--active_learning.query_size=20", "--trainer.logger=false"]
    main(["fit", "--config", str(path), "--run_dir", "run", *tiny(config, scenes), *short])
    run = RunDirectory("run")
    assert [row["labeled"] for row in run.read_cycles()] == ["16", "36"]
    assert all(0 < float(row[METRIC[config["model"]["class_path"]]]) < 1 for row in run.read_cycles())
    assert run.scores(0).exists() == ("also_record" in config["active_learning"])
    assert run.crops.exists() == ("query_crop" in config["data"].get("init_args", {}))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_config_is_complete_and_short(path):
    assert len(path.read_text().splitlines()) <= 40
    assert {"seed_everything", "model", "data", "active_learning", "trainer"} <= set(yaml.safe_load(path.read_text()))
