"""The table of what a card decides: whatever fails or hangs there is said in a row, and the others go on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import strategies
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.rows import Row, at_least, at_most, collect, rows_of_process

WRITES = """
import json, subprocess, sys, time
with open(sys.argv[-1], "a") as file:
    file.write(json.dumps({"what": "first", "value": 2.0}) + "\\n" + '{"what": "half a r')
"""


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_part_that_fails_is_a_row_with_the_reason():
    rows = []
    parts = {"one": lambda: [Row("one", 1.0)], "two": lambda: [][0], "three": lambda: [Row("three", 3.0)]}
    collect(parts, rows.append)
    assert [(row.what, row.value) for row in rows] == [("one", 1.0), ("two", None), ("three", 3.0)]
    assert rows[1].line() == "| two | - (IndexError: list index out of range) |  | failed |"


def test_targets_are_marked():
    assert at_least("a", 0.949, 0.95).line() == "| a | 0.949 | >= 0.95 | NO |"
    assert at_most("b", 2.0, 2.0, "so").line() == "| b | 2 (so) | <= 2 | yes |"
    assert Row("c", 12345.6, "MiB").line() == "| c | 12,346 MiB |  |  |"


@pytest.mark.parametrize(
    ("then", "note"),
    [
        ("print('x')\nsys.exit('it broke')", "exit status 1: it broke"),
        ("child = subprocess.Popen(['sleep', '60'])\nprint(child.pid, flush=True)\ntime.sleep(60)", "ended after 3 s, which is its time"),
    ],
)
def test_a_process_that_dies_or_hangs_keeps_its_rows(tmp_path, then, note):
    began = time.monotonic()
    rows = list(rows_of_process("name", [sys.executable, "-c", WRITES + then], 3, tmp_path))
    assert rows == [Row("first", 2.0), Row("name", None, note=note)]
    assert time.monotonic() - began < 20
    if "ended" in note:  # with what it had started
        child = int((tmp_path / "name.log").read_text())
        while lives(child) and time.monotonic() < began + 20:
            time.sleep(0.01)
        assert not lives(child)


@pytest.mark.parametrize(("arguments", "message"), [([], "expected a graphics card"), (["--tiny", "nothing"], "got nothing")])
def test_what_can_not_be_measured_is_refused(capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_command_on_a_processor(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--out", "bench.json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "bench.json").read_text())
    assert len(result["rows"]) == 31 and not [row for row in result["rows"] if row["value"] is None]
    assert all(Row(**row).line() in done.stdout for row in result["rows"])
    exact = [row for row in result["rows"] if row["wanted"] == "1"]
    assert len(exact) == 8 and all(row["met"] for row in exact)


def test_queries_of_all_strategies_are_measured(monkeypatch, capsys):
    for name, value in {"_POOL": 300, "_LABELED": 40, "_SIZE": 6, "_ROUNDS": 1, "_CLOSE": 0}.items():
        monkeypatch.setattr(strategies, name, value)
    monkeypatch.setattr(sys, "argv", ["benchmarks.strategies"])
    strategies.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert len(rows) == len(strategies.STRATEGIES) + 2 and all(float(row[1]) > 0 and float(row[2]) > 0 for row in rows)
