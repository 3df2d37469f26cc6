"""Every shipped configuration runs end to end, on tiny data."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from al_lightning.cli import main
from al_lightning.config_reader import ConfigReader
from al_lightning.data import SyntheticScenesDataModule
from al_lightning.runs import RunDirectory
from al_lightning.sweeps.plan import ONLY_CYCLE_0, read_sweep

ROOT = Path(__file__).parents[1]
SWEEPS = sorted((ROOT / "configs" / "sweeps").rglob("*.yaml"))
CONFIGS = sorted(set((ROOT / "configs").rglob("*.yaml")) - set(SWEEPS))
# The scenes' change nothing but what test_config_runs and the strategies' own tests run, and MNIST has two of Fashion-MNIST's;
# all runs of all are `make test-slow`.
QUICK = [path for path in SWEEPS if path.parent.name == "fashion_mnist"]
AS_ANOTHER = {"two_classes.yaml"}  # the network of fcn.yaml, which takes most of its time

SCENES = {"train_sequences": 3, "val_sequences": 1, "height": 48, "width": 64}
SAMPLE = ROOT / "al_lightning" / "data" / "images" / "sample"
SIZE = {"ClassificationTask": 8, "SegmentationTask": 4}  # of the initial set, and of each query
METRIC = {"ClassificationTask": "val/accuracy", "SegmentationTask": "val/miou"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder in Cityscapes' layout, and in it two of images and masks."""
    data = SyntheticScenesDataModule(cache=str(tmp_path_factory.mktemp("scenes")), **SCENES)
    data.prepare_data()
    rng = np.random.default_rng(0)
    for folder, size in (("pool", 40), ("evaluation", 2)):  # images and masks, beside them
        for kind in ("images", "masks"):
            (data.root / folder / kind).mkdir(parents=True)
        for number in range(size):
            Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(data.root / folder / "images" / f"{number:02d}.png")
            Image.fromarray(rng.integers(0, 3, (48, 64), dtype=np.uint8)).save(data.root / folder / "masks" / f"{number:02d}.png")
    return data.root


@pytest.fixture(scope="module")
def reader():
    return ConfigReader()


def tiny(config, scenes):
    """What makes an experiment small and keeps its kind: data, initial set, and for segmentation the encoder."""
    data, network = config["data"]["class_path"], config["model"]["init_args"]["network"]
    size = SIZE[config["model"]["class_path"]]
    settings = {"data.init_args.initial_size": size, "active_learning.query_size": size, "trainer.max_epochs": 1}
    if config["model"]["class_path"] == "ClassificationTask":
        settings |= {"data.init_args.root": SAMPLE, "data.init_args.pool_size": 400, "trainer.max_epochs": 2}
    elif data == "SyntheticScenesDataModule":
        settings |= {f"data.init_args.{name}": value for name, value in {"cache": "scenes", "crop": 32, **SCENES}.items()}
    else:
        settings |= {"data.init_args.root": scenes, "data.init_args.crop": 32, "data.init_args.num_workers": 0}
        if data == "FolderSegmentationDataModule":
            settings |= {f"data.init_args.{name}": scenes / folder for name, folder in {"root": "pool", "evaluation": "evaluation"}.items()}
            settings["data.init_args.unnamed"] = "ignore"  # one has two of the three classes
        settings |= {"trainer.accelerator": "cpu", "model.init_args.network.init_args.encoder_weights": "none"}
        for name, edge in {"query_crop": 24, "square": 48}.items():
            if name in config["data"]["init_args"]:
                settings[f"data.init_args.{name}"] = edge
        if network["class_path"].endswith("DeepLabV3Plus"):
            settings["model.init_args.network.init_args.encoder"] = "tu-resnet18"
    if "max_steps" in config["trainer"]:
        settings["trainer.max_steps"] = 2
    return [f"--{name}={value}" for name, value in settings.items()]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.name in AS_ANOTHER else []) for path in CONFIGS],
    ids=lambda path: str(path.relative_to(ROOT / "configs")),
)
def test_config_runs(path, scenes, monkeypatch, request):
    if "synthetic" not in str(path):
        request.getfixturevalue("undrawn")
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    config = yaml.safe_load(path.read_text())
    short = ["--active_learning.cycles=2", "--active_learning.oracle=dataset", "--active_learning.keep=none", "--trainer.logger=false"]
    main(["fit", "--config", str(path), "--run_dir", "run", *tiny(config, scenes), *short])
    run = RunDirectory("run")
    task = config["model"]["class_path"]
    assert [row.labeled for row in run.read_curve()] == [SIZE[task], 2 * SIZE[task]]
    assert all(0 <= float(row[METRIC[task]]) < 1 for row in run.read_cycles())
    assert run.scores(0).exists() == ("also_record" in config["active_learning"])
    assert run.crops.exists() == ("query_crop" in config["data"].get("init_args", {}))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_config_is_complete_and_short(path):
    assert len(path.read_text().splitlines()) <= 45
    assert {"seed_everything", "model", "data", "active_learning", "trainer"} <= set(yaml.safe_load(path.read_text()))


def relative(path):
    return str(path.relative_to(ROOT / "configs" / "sweeps"))


@pytest.mark.parametrize("path", SWEEPS, ids=relative)
def test_first_and_last_run_of_a_sweep_are_understood(path, reader):
    understood(path, reader, lambda runs: runs[:1] if path in QUICK else [runs[0], *runs[1:][-1:]])
    assert len(path.read_text().splitlines()) <= 45


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=relative)
def test_every_run_of_a_sweep_is_understood(path, reader):
    understood(path, reader, list)


def understood(path, reader, part):
    sweep = read_sweep(path)
    runs = [*sweep.runs()]
    first = [run for run in runs if run.settings["seed_everything"] == runs[0].settings["seed_everything"]]
    some = part(first)
    settings = [reader.read(run.arguments()) for run in some]
    assert len({str({**one, "run_dir": None}) for one in settings}) == len(some) > 0  # no two are the same
    for one in settings:  # trainings of so many steps differ in epochs, so they are validated by steps, to the last, or not within
        steps, epochs, interval = (one.get(f"trainer.{name}") for name in ("max_steps", "check_val_every_n_epoch", "val_check_interval"))
        assert steps in (None, -1) or (steps % interval == 0 if epochs is None else epochs >= steps)
    assert len(sweep.grid["seed_everything"]) >= (3 if "screening" in path.stem else 4)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("path", QUICK, ids=relative)
def test_the_last_run_of_a_sweep_runs(path, scenes, monkeypatch):
    run_tiny(path, scenes, monkeypatch, slice(-1, None))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("path", SWEEPS, ids=relative)
def test_all_runs_of_a_sweep_run(path, scenes, monkeypatch):
    run_tiny(path, scenes, monkeypatch, slice(None))


def run_tiny(path, scenes, monkeypatch, part):
    """Runs a part of the first seed's runs on tiny data, behind those that they begin with or ask."""
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    sweep = read_sweep(path)
    config = yaml.safe_load(sweep.base.read_text())
    size = SIZE[config["model"]["class_path"]]
    runs = [*sweep.runs()]
    by_steps = "trainer.val_check_interval" in runs[0].settings  # and null epochs, which are left as they come
    often = "--trainer.val_check_interval=1" if by_steps else "--trainer.check_val_every_n_epoch=1"
    short = [often, "--trainer.logger=false", *tiny(config, scenes)]
    runs = [run for run in runs if run.settings["seed_everything"] == runs[0].settings["seed_everything"]]
    chosen = [run for run in runs if run.labels][part]
    assert chosen
    shared = {run.initial.name for run in chosen if run.initial is not None}
    alone = [f"--{key}={value}" for key, value in ONLY_CYCLE_0.items()]
    named = str([run.settings for run in chosen])
    for made_before in set(re.findall(r"runs/[\w/-]*(?:/taken|/full_pool/seed\d+|/initial-seed\d+)", named)):
        seed = f"--seed_everything={runs[0].settings['seed_everything']}"
        main(["fit", "--config", str(sweep.base), "--run_dir", made_before, *short, *alone, seed])
    for run in runs:
        if run in chosen or run.name in shared:
            whole = run.settings.get("data.init_args.initial_size") == "all"
            all_of_it = ["--data.init_args.initial_size=all"] if whole else []  # of the same argument the last one counts
            cycles = 1 if run.name in shared else 2
            main([*run.arguments(), *short, *all_of_it, f"--active_learning.cycles={cycles}"])
            labeled = [row.labeled for row in RunDirectory(run.directory).read_curve()]
            assert len(labeled) == 1 if whole else labeled == [size, 2 * size][:cycles]
