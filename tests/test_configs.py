"""Every shipped configuration runs end to end, on tiny data."""

import sys
from pathlib import Path

import pytest
import yaml

from al_lightning.cli import main
from al_lightning.runs import RunDirectory

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_config_runs(path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    sample = ROOT / "al_lightning" / "data" / "sample"
    tiny = [
        f"--data.init_args.root={sample}",
        "--data.init_args.pool_size=400",
        "--data.init_args.initial_size=64",
        "--trainer.logger=false",
    ]
    short = ["--trainer.max_epochs=2", "--active_learning.cycles=2", "--active_learning.query_size=20"]
    main(["fit", "--config", str(path), "--run_dir", "run", *tiny, *short])
    run = RunDirectory("run")
    assert [row["labeled"] for row in run.read_cycles()] == ["64", "84"]
    assert all(0 < float(row["val/accuracy"]) < 1 for row in run.read_cycles())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_config_is_complete_and_short(path):
    assert len(path.read_text().splitlines()) <= 40
    assert {"seed_everything", "model", "data", "active_learning", "trainer"} <= set(yaml.safe_load(path.read_text()))
