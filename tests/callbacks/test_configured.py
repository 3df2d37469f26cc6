"""Runs whose files were moved, by command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from al_lightning import commands
from al_lightning.callbacks.configured import configured
from al_lightning.cli import main
from al_lightning.runs import RunDirectory
from al_lightning.sweeps import conduct
from tests.experiments import in_child, take_back_a_cycle, without_seconds


class FromFile(nn.Module):
    """A network with weights of a file."""

    def __init__(self, encoder_weights: str = "none") -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
        if encoder_weights != "none":
            self.load_state_dict(torch.load(encoder_weights))

    def forward(self, images):
        return self.layers(images)


@pytest.fixture
def experiment(tmp_path, monkeypatch, undrawn):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for folder, count in (("pool", 7), ("more", 3)):
        for name in ("ant", "bee"):
            (tmp_path / folder / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 255, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / name / f"{name}{index}.png")
    torch.save(FromFile().state_dict(), "weights.pth")
    Path("config.yaml").write_text("""
model:
  class_path: ClassificationTask
  init_args: {network: {class_path: tests.callbacks.test_configured.FromFile, init_args: {encoder_weights: weights.pth}}}
data:
  class_path: FolderClassificationDataModule
  init_args: {root: pool, evaluation: more, initial_size: 4, batch_size: 2}
active_learning: {strategy: Margin, query_size: 2, cycles: 3}
trainer: {max_epochs: 1, accelerator: cpu, logger: false, enable_progress_bar: false}
""")
    main(["fit", "--config", "config.yaml", "--run_dir", "run"])
    return RunDirectory("run")


WEIGHTS = "model.init_args.network.init_args.encoder_weights"
MOVES = {"data.init_args.root": "pool", "data.init_args.evaluation": "more", WEIGHTS: "weights.pth"}


def moved():
    """Moves all files; returns the options that say so."""
    Path("new").mkdir()
    for name in MOVES.values():
        Path(name).rename(f"new/{name}")
    return [f"--{key}=new/{name}" for key, name in MOVES.items()]


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["fit", "--resume", "--run_dir", "run", *arguments])
    return capsys.readouterr().err + str(end.value)


def test_a_run_follows_its_files(experiment):
    whole, queries, known = without_seconds(experiment), experiment.queries.read_bytes(), configured(experiment)
    assert configured(experiment).items() <= experiment.read_environment().items() and len(known) == 2
    take_back_a_cycle(experiment)
    options = moved()
    main(["fit", "--resume", "--run_dir", "run", *options])
    assert without_seconds(experiment) == whole and experiment.queries.read_bytes() == queries
    assert configured(experiment) == known  # where files lie is no part of it
    stored = experiment.read_config()
    assert stored["data"]["init_args"]["evaluation"] == "new/more" and stored["resume"] is False
    # from now on without the options; others may begin with the run, too
    take_back_a_cycle(experiment)
    main(["fit", "--resume", "--run_dir", "run"])
    assert without_seconds(experiment) == whole
    Path("new").rename("newer")
    options = [option.replace("new/", "newer/") for option in options]
    main(["fit", "--config", "config.yaml", "--run_dir", "other", "--active_learning.initial_run=run", *options])
    assert without_seconds(RunDirectory("other"))[1:] == whole[1:]


def test_the_configuration_may_be_edited_so(experiment):
    whole = without_seconds(experiment)
    take_back_a_cycle(experiment)
    moved()
    text = experiment.config.read_text()
    for key, name in MOVES.items():
        last = key.rpartition(".")[2]
        assert text.count(f" {last}: {name}\n") == 1
        text = text.replace(f" {last}: {name}\n", f" {last}: new/{name}\n")
    experiment.config.write_text("# moved to another disk\n" + text)
    main(["fit", "--resume", "--run_dir", "run"])
    assert without_seconds(experiment) == whole


def test_other_files_in_another_place_are_refused(experiment, capsys):
    take_back_a_cycle(experiment)
    before = experiment.config.read_bytes()
    moved()
    torch.manual_seed(1)
    torch.save(FromFile().state_dict(), "new/other.pth")
    places = ["--data.init_args.root=new/pool", "--data.init_args.evaluation=new/more"]
    said = refused(capsys, *places, f"--{WEIGHTS}=new/other.pth")
    assert "Expected the encoder's weights that the run to resume in run began with, but new/other.pth has other content" in said
    said = refused(capsys, places[0].replace("pool", "more"), places[1], f"--{WEIGHTS}=new/weights.pth")
    assert "Expected the images that the run began with, but they are not the same: 8 missing: ant/ant3.png" in said
    said = refused(capsys, *places, f"--{WEIGHTS}=none")
    assert "encoder_weights was 'weights.pth' and is 'none'" in said
    said = refused(capsys, *places, f"--{WEIGHTS}=new/weights.pth", "--data.init_args.batch_size=3")
    assert "differs: data.init_args.batch_size was 2 and is 3." in said
    said = refused(capsys, places[0], "--data.init_args.evaluation=0.2", f"--{WEIGHTS}=new/weights.pth")
    assert "data.init_args.evaluation was 'more' and is 0.2" in said
    assert experiment.config.read_bytes() == before
    # also in their old place, where nothing says so
    Path("new/other.pth").rename("weights.pth")
    assert "weights.pth has other content" in refused(capsys, *places)


class Forked:
    """Runs are forked from this process, which has imported all."""

    jobs = 1

    def __init__(self, jobs):
        pass

    def start(self, arguments, log, slot):
        self.status = in_child(lambda: main(arguments))
        return self

    def done(self):
        return True

    def failure(self):
        return f"exit status {self.status}" if self.status else None


def test_a_sweep_goes_on_with_files_that_were_moved(experiment, monkeypatch, capsys):
    monkeypatch.setattr(conduct, "LocalLauncher", Forked)
    Path("trial.yaml").write_text(yaml.safe_dump({"base": "config.yaml", "out": "runs", "grid": {"seed_everything": [0]}}))
    commands.main(["sweep", "trial.yaml", "--set", *(f"{key}={name}" for key, name in MOVES.items())])
    run = RunDirectory("runs/seed0")
    whole = without_seconds(run)
    take_back_a_cycle(run)
    moved()
    commands.main(["sweep", "trial.yaml", "--set", *(f"{key}=new/{name}" for key, name in MOVES.items())])
    assert "0 to start, 1 to go on with" in capsys.readouterr().out
    assert run.is_finished() and without_seconds(run) == whole
    assert run.read_config()["data"]["init_args"]["root"] == "new/pool"
