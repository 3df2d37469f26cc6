"""Every shipped configuration runs end to end, on tiny data."""

import sys
from pathlib import Path

import pytest
import yaml

from al_lightning.cli import main
from al_lightning.runs import RunDirectory

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))

SAMPLE = ROOT / "al_lightning" / "data" / "sample"
SMALL = {"initial_size": 16}
TINY = {
    "ClassificationTask": {"root": SAMPLE, "pool_size": 400, **SMALL},
    "SegmentationTask": {"cache": "scenes", "train_sequences": 9, "val_sequences": 2, "height": 48, "width": 64, "crop": 32, **SMALL},
}
METRIC = {"ClassificationTask": "val/accuracy", "SegmentationTask": "val/miou"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_config_runs(path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    task = yaml.safe_load(path.read_text())["model"]["class_path"]
    tiny = [f"--data.init_args.{name}={value}" for name, value in TINY[task].items()]
    short = ["--trainer.max_epochs=2", "--active_learning.cycles=2", "--active_learning.query_size=20", "--trainer.logger=false"]
    main(["fit", "--config", str(path), "--run_dir", "run", *tiny, *short])
    run = RunDirectory("run")
    assert [row["labeled"] for row in run.read_cycles()] == ["16", "36"]
    assert all(0 < float(row[METRIC[task]]) < 1 for row in run.read_cycles())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_config_is_complete_and_short(path):
    assert len(path.read_text().splitlines()) <= 40
    assert {"seed_everything", "model", "data", "active_learning", "trainer"} <= set(yaml.safe_load(path.read_text()))
