"""Images that are held out of the pool for validation, through the command line."""

import csv
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer

from al_lightning.acquisition import Entropy
from al_lightning.callbacks import ActiveLearningCallback
from al_lightning.cli import main
from al_lightning.commands.report import main as report
from al_lightning.commands.status import main as status
from al_lightning.data import FashionMNISTSampleDataModule, FolderSegmentationDataModule
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask
from tests.callbacks.test_processes import run_on
from tests.callbacks.test_resume import dies_at
from tests.data.images import test_class_folders as class_folders
from tests.data.scenes.test_own_data import CLASSES, LABELED, NAMES, image, refused, splits, write
from tests.data.scenes.test_own_data import fit as fit_folder
from tests.experiments import in_child, make_data, same_weights, weights, without_seconds
from tests.test_cli import TINY

pytestmark = pytest.mark.usefixtures("undrawn")

HELD = 150


class Peeks(Callback):
    """What a training sees at the end of each of its validations, and how often the evaluation set is looked at."""

    across_cycles = True
    seen: list[float] = []
    tests: list[int] = []

    def on_validation_end(self, trainer, module):
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            assert not any(name.startswith("test/") for name in trainer.callback_metrics)
            self.seen.append(float(trainer.callback_metrics["val/accuracy"]))

    def on_test_end(self, trainer, module):
        self.tests.append(trainer.datamodule.pool.cycle)


@pytest.fixture
def fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    Path("c.yaml").write_text(TINY + "  enable_progress_bar: false\n")

    def fit(name, *arguments, size=HELD):
        main(["fit", "--config=c.yaml", f"--run_dir={name}", f"--data.init_args.validation_size={size}", *arguments])
        return RunDirectory(name)

    return fit


def fails(capsys, fit, *arguments, **size):
    with pytest.raises(SystemExit) as ended:
        fit("run", *arguments, **size)
    said = f"{capsys.readouterr().err}{ended.value}"
    assert "Traceback" not in said
    return said


def accuracy(run, cycle, images, labels):
    network = MLP(width=7, dropout=0.1)
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights(run, cycle).items()})
    with torch.no_grad():
        return float((network.eval()(images.float() / 255).argmax(1) == labels).float().mean())


def ready(**arguments):
    data = FashionMNISTSampleDataModule(**{"initial_size": 70, "pool_size": 600, "validation_size": HELD, "seed": 3, **arguments})
    data.setup("fit")
    return data


def test_val_is_of_what_is_held_out_and_test_of_the_evaluation_set(fit, caplog):
    run, data = fit("run"), ready()
    assert len(data.validation) == HELD and f"450 images in the pool, {HELD} for validation, 1000 for evaluation" in caplog.text
    assert not {row.index for row in run.read_queries()} & set(data.validation.tolist())
    for row in run.read_curve():
        expected = {
            "val/accuracy": accuracy(run, row.cycle, data._train.images[data.validation], data._train.labels[data.validation]),
            "test/accuracy": accuracy(run, row.cycle, data._eval.images, data._eval.labels),
        }
        assert {name: row.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    found = json.loads(run.environment.read_text())["data"]
    assert found["validation"] == HELD and "validation_sha256" in found
    plain = fit("without", "--active_learning.cycles=1", size="null")
    assert json.loads(plain.environment.read_text())["data"]["sha256"] == found["sha256"]  # whose curves can be compared


def test_trainings_see_what_is_held_out_and_the_evaluation_set_is_looked_at_once_a_cycle(fit):
    peeks = {"class_path": "tests.callbacks.test_validation.Peeks"}
    best = {"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/accuracy", "mode": "max"}}
    stop = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/accuracy", "mode": "max", "patience": 3}}
    Path("callbacks.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [peeks, best, stop], "max_epochs": 4}}))
    from tests.callbacks.test_validation import Peeks  # the one that the command line imports

    run = fit("run", "--config=callbacks.yaml", "--active_learning.query_weights=best", "--active_learning.cycles=2")
    data, rows = ready(), run.read_curve()
    assert Peeks.tests == [0, 1] and len(Peeks.seen) >= 6
    assert rows[-1].metrics["val/accuracy"] == pytest.approx(max(Peeks.seen[-rows[-1].epochs :]))
    for row in rows:
        assert row.metrics["test/accuracy"] == pytest.approx(accuracy(run, row.cycle, data._eval.images, data._eval.labels), abs=1e-6)
    reached = fit("reached", '--active_learning.target={"val/accuracy": 0.01}')
    assert len(reached.read_curve()) == 1


def test_a_run_that_died_ends_as_one_that_did_not(fit):
    arguments = ["--active_learning.cycles=2", "--active_learning.checkpoint_minutes=0"]
    whole = fit("whole", *arguments)

    def die():
        dies_at(RunDirectory, "append_cycle", 2)
        fit("dead", *arguments)

    assert in_child(die) == -9
    dead = fit("dead", "--resume", *arguments)
    assert dead.queries.read_bytes() == whole.queries.read_bytes() and without_seconds(dead) == without_seconds(whole)
    assert same_weights(weights(dead, 1), weights(whole, 1))


def test_another_draw_is_other_data(fit, capsys):
    run = fit("run", "--active_learning.cycles=1")
    text = run.environment.read_text()
    digest = json.loads(text)["data"]["validation_sha256"]
    run.environment.write_text(text.replace(digest, "0" * 64))
    assert f"validation_sha256 was {'0' * 64} and is {digest}" in fails(capsys, fit, "--active_learning.cycles=1", "--resume")


def test_what_is_listed_or_copied_stays_in_the_pool_and_a_share_is_of_the_rest():
    Path("mine.txt").write_text("\n".join(map(str, range(300))))
    data = ready(pool_size=None, initial_items="mine.txt", validation_size=0.5, pool_repeat={"item": 1000, "copies": 40})
    held = set(data.validation.tolist())
    assert len(held) == (5000 - 300 - 1) // 2 and not held & {*range(300), 1000, *range(5000, 5040)}
    assert held != set(ready(pool_size=None, validation_size=0.5, seed=4).validation.tolist())
    assert len(ready(initial_size="all").pool.labeled_indices) == 600 - HELD
    assert ready(seed=9, initial_seed=3).validation.tolist() == ready().validation.tolist()


def test_groups_are_held_out_as_wholes_and_labels_of_what_is_held_out_are_read_once(capsys):
    write()
    run = fit_folder(group="^[a-z]+", evaluation=0.25, validation_size=0.3)
    rows = list(csv.DictReader(run.images.open()))
    held = {Path(row["file"]).stem for row in rows if row["split"] == "validation"}
    videos = {split: {name.split("_")[0] for name in names} for split, names in (splits(run) | {"validation": held}).items()}
    assert held and not videos["validation"] & (videos["pool"] | videos["evaluation"])
    unasked = {name for name in set(NAMES) - set(LABELED) if name.split("_")[0] in videos["validation"]}
    data = FolderSegmentationDataModule(
        root="photos", classes=CLASSES, crop=16, initial_size=3, num_workers=0, group="^[a-z]+", evaluation=0.25, validation_size=0.3
    )
    data.setup("fit")
    data.pool.answerable.fill_(True)  # as where a person is asked
    assert unasked and not {data.item(index) for index in data.pool.candidates.tolist()} & (unasked | held)
    assert {row["split"] for row in csv.DictReader(run.labels.open()) if row["cycle"] == "0"} == {"pool", "validation", "evaluation"}
    name = next(Path(row["file"]) for row in rows if row["split"] == "validation").stem
    before = Path("photos/masks", f"{name}.png").read_bytes()
    Path("photos/masks", f"{name}.png").write_bytes(before + b" ")
    said = refused(capsys, "--resume", group="^[a-z]+", evaluation=0.25, validation_size=0.3)
    assert f"1 changed: masks/{name}.png" in said


def test_what_is_held_out_where_crops_are_queried_is_whole_images():
    write(names=LABELED)
    run = fit_folder(query_crop=16, evaluation=0.25, validation_size=4, cycles=1)
    data = FolderSegmentationDataModule(root="photos", classes=CLASSES, query_crop=16, evaluation=0.25, validation_size=4, num_workers=0)
    data.setup("fit")
    assert [images.shape[-2:] for images, _, _ in data.val_dataloader()] == 4 * [(24, 40)]
    assert image(data.item(int(data.validation[0]))).shape[:2] == (24, 40)
    assert 0 <= run.read_curve()[0].metrics["test/miou"] <= 1


def test_images_with_classes_hold_out_too():
    class_folders.write_folders()
    run = class_folders.fit(validation_size=6, evaluation=0.2)
    rows = list(csv.DictReader(run.images.open()))
    held = {Path(row["file"]).stem for row in rows if row["split"] == "validation"}
    assert len(held) == 6 and not held & {Path(row.item).name for row in run.read_queries()}
    assert {row["split"] for row in csv.DictReader(run.labels.open())} == {"pool", "validation", "evaluation"}
    data = class_folders.ready(validation_size=6, evaluation=0.2, initial_size=4)
    assert sum(len(targets) for _, targets, _ in data.val_dataloader()) == 6
    assert len({row.metrics["val/loss"] - row.metrics["test/loss"] for row in run.read_curve()} - {0}) == 3


def test_two_processes_measure_what_one_does(tmp_path):
    settings = {"cycles": 1, "trainer": {"max_epochs": 0}}
    one, two = (run_on(n, tmp_path / str(n), data=make_data(validation_size=61), **settings).read_cycles()[0] for n in (1, 2))
    assert {name: one[name] for name in one if "accuracy" in name} == {name: two[name] for name in two if "accuracy" in name}
    assert {"test/accuracy", "val/accuracy"} < set(one)


def test_a_trainer_that_only_evaluates_knows_both_sets():
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[ActiveLearningCallback(Entropy(), 50)])
    task, data = ClassificationTask(lambda: MLP(width=7)), ready()
    assert set(trainer.validate(task, data, verbose=False)[0]) == {"val/accuracy", "val/loss"}
    assert set(trainer.test(task, data, verbose=False)[0]) == {"test/accuracy", "test/loss"}


def test_report_and_status_say_which_set_and_what_it_cost(fit, capsys):
    settings = ["--active_learning.cycles=2", "--active_learning.strategy=Random"]
    held, plain = (fit(f"runs/{size}", *settings, size=size) for size in (HELD, "null"))
    report(["report", "runs", "--out", "report"])
    page = re.sub("<[^>]*>", " ", Path("report/report.html").read_text())
    assert f"the metric is test/accuracy, on the evaluation set; trainings are validated on {HELD} labeled images" in page
    assert f"120 + {HELD} for validation" in page
    rows = csv.DictReader(Path("report/tables/curves_by_seed.csv").read_text().splitlines())
    values = {row["setting"]: float(row["value"]) for row in rows if row["labeled"] == "120"}
    assert values["validation_size=150"] == held.read_curve()[1].metrics["test/accuracy"]
    assert values["validation_size=none"] == plain.read_curve()[1].metrics["val/accuracy"]
    status(["status", "runs/150"])
    assert f"120 labeled (50 of them queried) and {HELD} for validation, test/accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("size", [600, 531.0, 0, 1.5, "all"])
def test_sizes_that_can_not_be(fit, capsys, size):
    said = fails(capsys, fit, size=size)
    assert ("initial_size" if size == 531.0 else "validation_size") in said and not RunDirectory("run").holds_run()


def test_a_target_on_the_evaluation_set_is_refused(fit, capsys):
    assert "name metrics val/..." in fails(capsys, fit, '--active_learning.target={"test/accuracy": 0.5}')
