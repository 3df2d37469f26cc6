"""The tools that numbers of the pages stand on."""

import csv
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from al_lightning.run_tables import Labeled
from tests.analysis.recorded import record, strategy

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def what_was_queried():
    spec = importlib.util.spec_from_file_location("what_was_queried", TOOLS / "what_was_queried.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_kinds_and_neighbours_are_counted(what_was_queried):
    frames = {0: ["a_0030", "b_0100"], 1: ["a_0060", "a_0500", "b_0131"], 2: ["a_0090", "a_0530"]}
    items = [(cycle, rank, item) for cycle, names in frames.items() for rank, item in enumerate(names)]
    labeled = [Labeled(cycle, rank, index, item) for index, (cycle, rank, item) in enumerate(items)]
    asked = labeled[2:]
    assert what_was_queried.kinds(asked, "[a-z]") == {"kind a": 80.0, "kind b": 20.0}
    assert what_was_queried.kinds(asked, "[0-9]") == {"kind none": 100.0}
    # a_0060 is near a_0030, a_0090 near a_0060, a_0530 near a_0500, which is near nothing before it; b_0131 is 31 frames away
    assert what_was_queried.neighbours(asked, labeled, 30) == {
        "neighbour labeled before": 60.0,
        "or in the same query": 60.0,
        "or later": 80.0,
    }
    assert what_was_queried.neighbours(asked, labeled, 31)["neighbour labeled before"] == 80.0
    with_its_twin = [*labeled, Labeled(2, 2, 7, "a_0535")]
    assert what_was_queried.neighbours(with_its_twin[5:], with_its_twin, 5) == {
        "neighbour labeled before": 0.0,
        "or in the same query": pytest.approx(200 / 3),
        "or later": pytest.approx(200 / 3),
    }


def asked(folder, name, seed, **settings):
    record(folder, [0.3, 0.5], strategy(name), seed, initial=1, query_size=2, **settings)
    rows = [(0, 0, 0, "a_1"), (1, 0, 1, "ab"[seed % 2] + "_2"), (1, 1, 2, "b_3")]
    lines = [f"{cycle},{rank},{index},{item},0.5" for cycle, rank, index, item in rows]
    (folder / "queries.csv").write_text("\n".join(["cycle,rank,index,item,score", *lines, ""]))


def counted(folder):
    found = folder / "found.csv"
    command = [sys.executable, TOOLS / "what_was_queried.py", folder, "--kind", "[a-z]", "--out", found]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return {row["strategy"]: row for row in csv.DictReader(found.open())} if ended.returncode == 0 else ended.stderr


def test_the_runs_of_a_strategy_are_one_row(tmp_path):
    for name, seeds in (("Random", 2), ("Entropy", 3)):
        for seed in range(seeds):
            asked(tmp_path / f"{name}-seed{seed}", name, seed, active_learning__initial_run=f"runs/begun-seed{seed}")
    rows = {name: (row["runs"], row["kind a"]) for name, row in counted(tmp_path).items()}
    assert rows == {"Random": ("2", "25.00"), "Entropy": ("3", "33.33")}
    asked(tmp_path / "again", "Random", 1)
    assert "Expected one run of each strategy and seed, got " in counted(tmp_path)
    shutil.rmtree(tmp_path / "again")
    asked(tmp_path / "other", "Random", 5, trainer__max_epochs=77)
    assert "they differ in trainer.max_epochs: count them apart" in counted(tmp_path)
