"""The offline Weights & Biases file holds the curve of learning_curve.csv."""

import base64
import csv
import io
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from al_lightning.callbacks import CycleLogger
from al_lightning.cli import main
from al_lightning.commands import main as command
from al_lightning.data import FashionMNISTSampleDataModule
from al_lightning.loggers import hyperparameters, name_run
from al_lightning.runs import RunDirectory
from tests.test_cli import TINY

wandb = pytest.importorskip("wandb")


def payloads(content):
    """The records of a LevelDB log: blocks of 32 KiB of chunks, each with crc (4 bytes), length (2), kind (whole, first, middle, last)."""
    at, parts = 7, []  # after W&B's own header
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if at + 7 + length > len(content):
            return  # it is being written
        parts.append(content[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def records(path):
    """All records of a run that has ended; W&B's own process may still be writing the last ones."""
    from wandb.proto import wandb_internal_pb2

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = []
        for payload in payloads(path.read_bytes()):
            found.append(wandb_internal_pb2.Record())
            found[-1].ParseFromString(payload)
        if any(record.HasField("exit") for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} holds no exit record")


def test_offline_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY.replace("  logger: false\n", ""))
    main(["fit", "--config", str(config), "--run_dir", "run"])
    wandb.finish()
    (path,) = Path("run/wandb").glob("offline-run-*/run-*.wandb")
    rows, metrics, config, summary = [], {}, {}, {}
    for record in records(path):
        if record.HasField("run"):
            begun = record.run
            config |= {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in begun.config.update}
        if record.HasField("config"):
            config |= {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.config.update}
        if record.HasField("summary"):
            summary |= {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.summary.update}
        if record.HasField("history"):
            rows.append({".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item})
        if record.HasField("metric"):
            metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
    logged = [row for row in rows if "active_learning/labeled" in row]
    run = RunDirectory("run")
    curve = run.read_cycles()
    assert [row["active_learning/labeled"] for row in logged] == [int(row["labeled"]) for row in curve]
    assert [row["active_learning/val/accuracy"] for row in logged] == pytest.approx([float(row["val/accuracy"]) for row in curve])
    assert [row["active_learning/query_seconds"] for row in logged[:2]] == pytest.approx([float(row["query_seconds"]) for row in curve[:2]])
    assert all(0 <= row["active_learning/tied_share"] <= 1 for row in logged[:2])
    assert metrics["active_learning/*"] == "active_learning/labeled"

    assert begun.display_name == "Entropy-seed3" and list(begun.tags) == ["Entropy", "MLP", "FashionMNISTSampleDataModule"]
    assert begun.run_group.startswith("FashionMNISTSampleDataModule-MLP-") and begun.job_type == "Entropy"
    command(["report", "run", "--baseline", "Entropy", "--format", "svg"])
    with Path("report/tables/runs.csv").open() as file:
        assert [row["group"] for row in csv.DictReader(file)] == [begun.run_group]
    kinds = {field.name for field in record.DESCRIPTOR.fields}  # none for a view, which is why docs/logging.md says what to click
    assert {"history", "metric", "run"} < kinds and not kinds & {"view", "workspace", "report", "panel", "panels"}
    wanted = {"strategy": "Entropy", "seed": 3, "query_size": 50, "network": "MLP", "cycles": 3, "max_epochs": 2, "initial_size": 70}
    assert wanted.items() <= config.items() and config["model.init_args.network.init_args.width"] == 7
    accuracy = [float(row["val/accuracy"]) for row in curve]
    assert summary["labels_spent"] == 100 and summary["final/val/accuracy"] == pytest.approx(accuracy[-1])
    assert summary["alc/val/accuracy"] == pytest.approx(100 * (accuracy[0] / 2 + accuracy[1] + accuracy[2] / 2))
    assert all("active_learning/scores" in str(row) for row in logged[:2])
    tables = sorted(Path("run/wandb").glob("offline-run-*/files/media/html/active_learning/queried_*.html"))
    assert len(tables) == 2
    rows = [row.split("<td>")[1:] for row in min(tables, key=lambda path: int(path.name.split("_")[1])).read_text().split("<tr>")[2:]]
    expected = [row for row in run.read_queries() if row.cycle == 1][:8]
    assert [int(row[1].removesuffix("</td>")) for row in rows] == [row.index for row in expected]
    assert [float(row[3].removesuffix("</td>")) for row in rows] == pytest.approx([row.score for row in expected], rel=1e-5)
    data = FashionMNISTSampleDataModule(initial_size=1)
    data.setup("fit")
    for row, item in zip(rows, expected, strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(row[4].split("base64,")[1].split('"')[0])))
        np.testing.assert_array_equal(np.asarray(picture), data.picture(item.index))


def test_runs_that_may_be_compared_are_in_one_group_under_names_of_their_own():
    settings = {
        "seed_everything": 4,
        "model.init_args.network.class_path": "al_lightning.models.MLP",
        "data.class_path": "al_lightning.data.MNISTDataModule",
        "active_learning.strategy.class_path": "al_lightning.acquisition.Odin",
        "active_learning.strategy.init_args.temperature": 0.1,
        "active_learning.query_size": 100,
        "trainer.max_steps": -1,
    }

    def named(changes, **given):
        logger = SimpleNamespace(**{"name": None, "group": None, "job_type": None, "tags": None, **given})
        name_run(logger, settings | changes)
        return logger

    first = named({})
    assert first.name == "Odin(temperature=0.1)-seed4" and first.tags == ["Odin(temperature=0.1)", "MLP", "MNISTDataModule"]
    other = named({"seed_everything": 5, "active_learning.strategy.class_path": "al_lightning.acquisition.Margin"})
    assert other.group == first.group and other.name != first.name
    assert named({"active_learning.query_size": 200}).group != first.group
    # What W&B draws as one line with a band: all seeds of a strategy, and nothing else.
    assert (first.group, first.job_type) == ((again := named({"seed_everything": 5})).group, again.job_type)
    assert first.job_type == "Odin(temperature=0.1)" != other.job_type
    mine = {"name": "mine", "group": "ours", "job_type": "theirs", "tags": ["x"]}
    assert vars(named({}, **mine)) == mine
    assert hyperparameters(settings)["strategy"] == "Odin(temperature=0.1)" and "max_steps" not in hyperparameters(settings)


def test_a_start_with_other_settings_is_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    Path("tiny.yaml").write_text(TINY.replace("  logger: false\n", "  logger: {class_path: WandbLogger, init_args: {offline: true}}\n"))
    monkeypatch.setattr("al_lightning.tasks.Task.setup", lambda *_: sys.exit(9))
    named = []
    for rate in ("0.1", "0.1", "0.2"):
        with pytest.raises(SystemExit):
            main(["fit", "--config", "tiny.yaml", "--run_dir=run", f"--model.init_args.network.init_args.dropout={rate}"])
        named.append(RunDirectory("run").read_config()["trainer"]["logger"]["init_args"]["id"])
    assert named[0] == named[1] != named[2]


def test_a_run_that_is_complete_has_its_results_when_it_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    Path("tiny.yaml").write_text(TINY)
    main(["fit", "--config", "tiny.yaml", "--run_dir=run"])

    class Logger(WandbLogger):
        experiment = SimpleNamespace(summary={})

        def __init__(self):
            pass

    logger = Logger()
    CycleLogger().on_resume(SimpleNamespace(default_root_dir="run", loggers=[logger], is_global_zero=True), None)
    assert logger.experiment.summary["labels_spent"] > 0 and "alc/val/accuracy" in logger.experiment.summary
