"""What a person reads is in percent and says so; what a program reads are fractions."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

import al_lightning
from al_lightning.cli import main
from al_lightning.commands import main as command
from tests.test_cli import TINY

SHOWN = re.compile(r"((?:val|test|train)/\w+) (-?[\d.]+)( %)?")  # a metric in a line, its value, its sign


def numbers(path, column):
    with Path(path).open() as file:
        return [float(row[column]) for row in csv.DictReader(file) if row[column]]


def test_metrics_are_percent_for_people_and_fractions_for_programs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    axes = []
    monkeypatch.setattr("al_lightning.analysis.drawings.plots.plt.close", lambda figure: (axes.extend(figure.axes), plt.close)[0])
    logger = "logger: {class_path: CSVLogger, init_args: {save_dir: '.', name: log, version: ''}}"
    (tmp_path / "tiny.yaml").write_text(TINY.replace("logger: false", logger).replace("max_epochs: 2", "max_epochs: 1"))
    main(["fit", "--config", "tiny.yaml", "--run_dir", "run"])
    command(["status", "run"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "val/" in line]
    accuracies = numbers("run/learning_curve.csv", "val/accuracy")
    assert all(0 < value < 1 for value in accuracies)
    assert numbers("run/log/metrics.csv", "active_learning/val/accuracy") == pytest.approx(accuracies)
    for line, value in zip(lines, [*accuracies, accuracies[-1]], strict=True):  # of each cycle, and of status
        found = {metric: (float(number), sign) for metric, number, sign in SHOWN.findall(line)}
        assert {metric: bool(sign) for metric, (_, sign) in found.items()} == {"val/accuracy": True, "val/loss": False}
        assert found["val/accuracy"][0] == pytest.approx(100 * value, abs=0.006)

    drawn = {axis.get_ylabel(): axis.lines[0].get_ydata() for axis in axes[:2]}
    np.testing.assert_allclose(drawn["val/accuracy (%)"], 100 * np.array(accuracies), rtol=1e-6)
    assert "val/loss" in drawn

    command(["report", "run", "--baseline", "Entropy"])
    page = Path("report/report.html").read_text()
    charts = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)]
    assert charts[0]["ylabel"] == "val/accuracy (%)"
    assert charts[0]["lines"][0]["mean"] == pytest.approx([100 * value for value in accuracies], abs=1e-3)
    assert numbers("report/tables/curves.csv", "value") == pytest.approx(accuracies)
    assert all("(%)" in heading for heading in re.findall(r"<th[^>]*>((?:mean over|last metric).*?)</th>", page))


def test_one_module_makes_percent_of_fractions():
    root = Path(al_lightning.__file__).parent
    makers = {path.name for path in root.rglob("*.py") if re.search(r"(?<!/ )\b100(\.0)? \*|\* 100\b|:[^{}\n]*%}", path.read_text())}
    assert makers == {"percent.py"}
