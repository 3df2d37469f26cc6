"""Experiments that a script makes, with the names that the package offers."""

import csv
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image

import al_lightning
from al_lightning import commands
from al_lightning.callbacks.script_settings import _made_by
from al_lightning.errors import UserError
from tests.experiments import same_weights, weights


def experiment(strategy, *, width=7, callbacks=(), trainer=None, **arguments):
    """As a notebook would say it."""
    learning = al_lightning.ActiveLearningCallback(strategy, 50, **{"cycles": 2, **arguments})
    settings = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = al_lightning.Trainer(callbacks=[learning, *callbacks], **settings, **(trainer or {}))
    data = al_lightning.FashionMNISTSampleDataModule(initial_size=70, pool_size=600, seed=arguments.get("seed", 0))
    trainer.fit(al_lightning.ClassificationTask(partial(al_lightning.MLP, width=width)), datamodule=data)
    return al_lightning.RunDirectory(trainer.default_root_dir)


def test_all_names_are_there_and_importing_the_package_loads_no_torch():
    for name in al_lightning.__all__:
        assert getattr(al_lightning, name).__name__ == name
    code = "import sys, al_lightning; assert 'ActiveLearningCallback' in dir(al_lightning); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_of_a_script_has_a_place_and_can_be_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [experiment(al_lightning.Odin(0.1), seed=3), experiment(al_lightning.Random(), seed=3)]
    assert [run.path for run in runs] == [Path("runs/Odin-seed3"), Path("runs/Random-seed3")]
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    stored = runs[0].read_config()
    assert stored["model"]["init_args"]["network"] == {"class_path": "al_lightning.models.mlp.MLP", "init_args": {"width": 7}}
    assert stored["data"]["init_args"]["initial_size"] == 70 and stored["trainer"]["max_epochs"] == 1
    strategy = stored["active_learning"]["strategy"]
    assert strategy["class_path"].endswith(".Odin") and strategy["init_args"]["temperature"] == 0.1
    commands.main(["report", "runs", "--out", "report"])
    page = Path("report/report.html").read_text()
    assert "Odin" in page and "Random" in page and len(list(Path("report/tables").glob("*.csv"))) > 2


def test_seeds_of_a_script_are_put_together_and_a_plain_simulation_has_no_stop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (3, 4):
        for strategy in (al_lightning.Margin(), al_lightning.Random()):
            experiment(strategy, seed=seed)
    commands.main(["report", "runs", "--out", "report"])
    with Path("report/tables/summary.csv").open() as file:
        assert [(row["setting"], row["strategy"], row["seeds"]) for row in csv.DictReader(file)] == [
            ("", "Random", "2"),
            ("", "Margin", "2"),
        ]
    assert not Path("report/tables/when_to_stop.csv").exists()


def test_it_goes_on_by_the_same_script_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whole = experiment(al_lightning.Entropy(), cycles=3, seed=5)
    whole.path.rename("whole")
    whole = al_lightning.RunDirectory("whole")

    class Stop(Exception):
        pass

    real = al_lightning.RunDirectory.append_cycle

    def dies_after_two(run, row):
        real(run, row)
        if row["cycle"] == 1:
            raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(al_lightning.RunDirectory, "append_cycle", dies_after_two)
        experiment(al_lightning.Entropy(), cycles=3, seed=5)
    with pytest.raises(UserError, match=r"holds a run already. Continue it by its script with ActiveLearningCallback\(..., resume=True\)"):
        experiment(al_lightning.Entropy(), cycles=3, seed=5)
    with pytest.raises(UserError, match=r"but this script's differ: model.init_args.network.init_args.width was 7 and is 8"):
        experiment(al_lightning.Entropy(), cycles=3, seed=5, width=8, resume=True)
    for trainer, callbacks, differs in (
        ({"limit_train_batches": 1}, (), "trainer.limit_train_batches was None and is 1"),
        ({"val_check_interval": 0.5}, (), "trainer.val_check_interval was None and is 0.5"),
        ({}, (EarlyStopping("val/loss", patience=7),), r"trainer.callbacks was None and is \[.*EarlyStopping.*'patience': 7"),
    ):
        with pytest.raises(UserError, match=f"but this script's differ: {differs}"):
            experiment(al_lightning.Entropy(), cycles=3, seed=5, resume=True, trainer=trainer, callbacks=callbacks)
    run = experiment(al_lightning.Entropy(), cycles=3, seed=5, resume=True)
    assert run.queries.read_bytes() == whole.queries.read_bytes() and same_weights(weights(run, 2), weights(whole, 2))

    Image.new("L", (28, 28)).save("item.png")
    path = str(run.path)
    for command in (["fit", "--resume", "--run_dir", path], ["query", "--run", path, "--images", str(tmp_path)], ["maps", "--run", path]):
        with pytest.raises(SystemExit) as ended:
            commands.main(command)
        assert "made" in str(ended.value) and "Python script" in str(ended.value) and "Traceback" not in capsys.readouterr().err


def test_networks_that_nobody_can_name_are_told_apart_by_their_layers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    signs = []
    for number, width in enumerate((7, 8, 7)):
        learning = al_lightning.ActiveLearningCallback(al_lightning.Random(), 50, cycles=1)
        trainer = al_lightning.Trainer(
            callbacks=learning, max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=f"run{number}"
        )
        task = al_lightning.ClassificationTask(lambda width=width: al_lightning.MLP(width))
        trainer.fit(task, datamodule=al_lightning.FashionMNISTSampleDataModule(initial_size=70, pool_size=600))
        signs.append(al_lightning.RunDirectory(f"run{number}").read_config()["model"]["init_args"]["network"]["init_args"])
    assert signs[0] == signs[2] != signs[1]


def test_a_person_who_labels_for_a_script_is_told_of_the_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        folder = Path("photos", ("cat", "dog", "unlabeled")[number % 3])
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (30 * number, 0, 0)).save(folder / f"{number}.png")
    learning = al_lightning.ActiveLearningCallback(al_lightning.Margin(), 1, cycles=2, oracle="human")
    trainer = al_lightning.Trainer(
        callbacks=[learning], max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    data = al_lightning.FolderClassificationDataModule("photos", evaluation=0.4)
    network = partial(al_lightning.MLP, num_classes=2, input_shape=(3, 8, 8))
    trainer.fit(al_lightning.ClassificationTask(network), datamodule=data)
    run = al_lightning.RunDirectory("runs/Margin-seed0")
    told = (run.package(0) / "README.txt").read_text()
    assert "Then continue the run by its script, with resume=True." in told and "al_lightning" not in told
    assert run.read_config()["active_learning"]["oracle"] == "human"


def test_one_data_module_for_several_runs(tmp_path, monkeypatch):
    """Each begins with a pool of its own, with the same cycle 0."""
    monkeypatch.chdir(tmp_path)
    data = al_lightning.FashionMNISTSampleDataModule(initial_size=70, pool_size=600)
    rows = {}
    for strategy in (al_lightning.Random(), al_lightning.Margin()):
        learning = al_lightning.ActiveLearningCallback(strategy, 50, cycles=2)
        trainer = al_lightning.Trainer(callbacks=[learning], max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False)
        task = al_lightning.ClassificationTask(partial(al_lightning.MLP, width=7))
        trainer.fit(task, datamodule=data)
        trainer.validate(task, datamodule=data, verbose=False)  # of the same pool
        assert int(data.pool.labeled.sum()) == 120
        rows[str(strategy)] = al_lightning.RunDirectory(trainer.default_root_dir).read_curve()
    assert [[row.labeled for row in curve] for curve in rows.values()] == [[70, 120]] * 2
    assert rows["Random"][0].metrics == rows["Margin"][0].metrics

    class Once(al_lightning.FashionMNISTSampleDataModule):
        def setup(self, stage):
            if not hasattr(self, "pool"):
                super().setup(stage)

    data = Once(initial_size=70, pool_size=600)
    for number in range(2):
        settings = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "default_root_dir": f"once{number}"}
        trainer = al_lightning.Trainer(callbacks=[al_lightning.ActiveLearningCallback(al_lightning.Random(), 50, cycles=1)], **settings)
        if number == 0:
            trainer.fit(task, datamodule=data)
        else:
            with pytest.raises(UserError, match="Expected Once to begin a pool of its own for each fit"):
                trainer.fit(task, datamodule=data)


def test_loss_scheduler_and_what_a_lambda_makes_are_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tasks = {
        "plain": {},
        "again": {},
        "smooth": {"loss": torch.nn.CrossEntropyLoss(label_smoothing=0.5)},
        "weighed": {"loss": torch.nn.CrossEntropyLoss(weight=torch.arange(1.0, 11))},
        "other weights": {"loss": torch.nn.CrossEntropyLoss(weight=torch.arange(2.0, 12))},
        "steps": {"lr_scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=2)},
        "fast": {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1)},
        "slow": {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.001)},
    }
    stored = {}
    for name, arguments in tasks.items():
        learning = al_lightning.ActiveLearningCallback(al_lightning.Random(), 50, cycles=1)
        settings = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "default_root_dir": name}
        trainer = al_lightning.Trainer(callbacks=[learning], **settings)
        data = al_lightning.FashionMNISTSampleDataModule(initial_size=70, pool_size=600)
        trainer.fit(al_lightning.ClassificationTask(partial(al_lightning.MLP, width=7), **arguments), datamodule=data)
        stored[name] = str(al_lightning.RunDirectory(name).read_config()["model"])
    assert stored["plain"] == stored["again"] and len({*stored.values()}) == len(tasks) - 1

    def of_object(rate):
        helper = object()
        return _made_by(lambda parameters, rate=rate, helper=helper: torch.optim.SGD(parameters, lr=rate))["init_args"]

    assert of_object(0.1) == of_object(0.1) != of_object(0.2)  # the address of an object is another one in each process
