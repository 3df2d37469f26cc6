from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from al_lightning.callbacks import CycleLogger
from tests.experiments import run_experiment


def test_any_logger_holds_the_learning_curve(tmp_path):
    logger = CSVLogger(tmp_path)
    run = run_experiment(tmp_path / "run", callbacks=(CycleLogger(),), trainer={"logger": logger})
    table = pandas.read_csv(f"{logger.log_dir}/metrics.csv").dropna(subset=["active_learning/labeled"])
    curve = pandas.read_csv(run.learning_curve)
    assert table["active_learning/labeled"].tolist() == curve["labeled"].tolist()
    assert table["active_learning/val/accuracy"].tolist() == pytest.approx(curve["val/accuracy"].tolist())
    assert table["active_learning/query_peak_bytes"].dropna().tolist() == curve["query_peak_bytes"].dropna().tolist()
    assert table["step"].tolist() == [6, 14, 26]


def test_the_table_of_what_was_queried_shows_names_as_they_are_and_pictures_small():
    names = {7: "<b>a & b", 3: "c"}
    data = SimpleNamespace(item=names.get, picture=lambda index: np.zeros((2000, 100 * index, 3), np.uint8))
    query = SimpleNamespace(indices=torch.tensor([7, 3, 5]), scores=torch.tensor([0.5, 1e-9, 0.0]))
    table = CycleLogger(images=2)._table(data, query)
    assert "<td>0</td><td>7</td><td>&lt;b&gt;a &amp; b</td><td>0.5</td>" in table and "<td>c</td><td>1e-09</td>" in table
    assert table.count("<tr>") == 3 and len(table) < 10_000
