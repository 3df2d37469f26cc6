import errno
import math
import os
from pathlib import Path

import pytest

from al_lightning.errors import UserError
from al_lightning.files import write_atomically
from al_lightning.run_tables import CycleRow, Labeled
from al_lightning.runs import RunDirectory, find_runs
from tests.experiments import in_child


def cycle_row(cycle, labeled):
    return {
        "cycle": cycle,
        "labeled": labeled,
        "val/accuracy": 0.5,
        "epochs": 2,
        "train_steps": 10,
        "train_seconds": 1.5,
        "query_seconds": None,
        "query_peak_bytes": None,
    }


@pytest.fixture
def run(tmp_path):
    """Cycles 0 and 1 are finished; 3 items at first, 2 a query."""
    run = RunDirectory(tmp_path / "run")
    run.append_queries([Labeled(0, rank, index, f"item {index}") for rank, index in enumerate((4, 7, 9))])
    for cycle in (0, 1):
        run.append_queries([Labeled(cycle + 1, rank, 20 + 2 * cycle + rank, "x", 0.25) for rank in (0, 1)])
        run.append_cycle(cycle_row(cycle, 3 + 2 * cycle))
    return run


def test_columns_and_round_trip(run):
    assert run.queries.read_text().splitlines()[:2] == ["cycle,rank,index,item,score", "0,0,4,item 4,"]
    header = "cycle,labeled,val/accuracy,epochs,train_steps,train_seconds,query_seconds,query_peak_bytes"
    assert run.learning_curve.read_text().splitlines() == [header, "0,3,0.5,2,10,1.5,,", "1,5,0.5,2,10,1.5,,"]
    assert run.read_queries()[0] == Labeled(0, 0, 4, "item 4", None)
    assert run.read_queries()[-1] == Labeled(2, 1, 23, "x", 0.25)
    assert run.read_cycles()[1]["labeled"] == "5"


def test_the_typed_curve(run):
    assert run.read_curve()[1] == CycleRow(
        cycle=1,
        labeled=5,
        metrics={"val/accuracy": 0.5},
        epochs=2,
        train_steps=10,
        train_seconds=1.5,
        query_seconds=None,
        query_peak_bytes=None,
    )
    run.append_cycle({**cycle_row(2, 7), "val/accuracy": None, "query_seconds": 0.5, "query_peak_bytes": 7})
    last = run.read_curve()[-1]
    assert math.isnan(last.metrics["val/accuracy"]) and (last.query_seconds, last.query_peak_bytes) == (0.5, 7.0)


@pytest.mark.parametrize("text", ["fit:\n  seed_everything: 3\n", "seed_everything: 3\n"])
def test_the_configuration_with_and_without_the_commands_name(run, text):
    run.write_config(text)
    assert run.read_config() == {"seed_everything": 3}


def test_queried_pixels_of_crops_and_of_counted_images(run):
    assert run.read_queried_pixels(1) is None
    for cycle in (0, 1):
        rows = [{"rank": r, "index": 9 + r, "item": "x", "city": "bochum", "road": 10 + r, "sky": 3, "ignored": cycle} for r in (0, 1)]
        run.write_queried(cycle, rows)
    assert run.read_queried_pixels(1) == 10 + 11 + 6
    assert run.read_queried_pixels(2) == 2 * 27 + 2
    assert run.read_queried_pixels(3) is None and run.read_queried_pixels(0) is None
    run.write_crops([f"item {index}" for index in range(24)], [(0, 0, 2, index) for index in range(24)])
    assert run.read_queried_pixels(1) == 2 * 20 + 2 * 21


def test_runs_are_found_at_any_depth_once(run, tmp_path):
    RunDirectory(tmp_path / "deep" / "er" / "b").append_cycle(cycle_row(0, 3))
    started = RunDirectory(tmp_path / "deep" / "a")
    started.write_config("{}")
    started.write_environment({})
    RunDirectory(run.cycle(0)).append_cycle(cycle_row(0, 3))  # not a run of its own
    write_atomically(tmp_path / "wandb" / "files" / "config.yaml", b"{}")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    (tmp_path / "deep" / "same").symlink_to(run.path)
    paths = [found.path.relative_to(tmp_path) for found in find_runs(tmp_path)[0]]
    assert paths == [Path("deep/a"), Path("deep/er/b"), Path("deep/same")]
    assert [found.path for found in find_runs(run.path)[0]] == [run.path]
    with pytest.raises(UserError, match="no such folder"):
        find_runs(tmp_path / "absent")


@pytest.mark.parametrize(("queries", "implied"), [(3, 2), (2, 1), (1, 0), (0, 0)])
def test_what_a_run_without_its_curve_says_of_finished_cycles(run, queries, implied):
    """The query after cycle 1 is made when cycle 0 is finished, and so is the directory of cycle 1. A table without rows had some."""
    assert (run.finished(), run.implied_cycles(), run.holds_run()) == (2, 1, True)
    run.append_queries([Labeled(3, 0, 30, "x", 0.5)])
    run.learning_curve.write_text(run.learning_curve.read_text().splitlines()[0] + "\n")
    lines = [line for line in run.queries.read_text().splitlines(keepends=True) if not line[0].isdigit() or int(line[0]) <= queries]
    run.queries.write_text("".join(lines))
    assert (run.finished(), run.implied_cycles(), run.holds_run()) == (0, implied, True)
    run.learning_curve.write_text("cycle,lab")  # the first row was not written to its end
    assert run.holds_run() == (implied > 0)
    run.cycle(0).mkdir(parents=True)
    assert run.implied_cycles() == implied
    run.cycle(2).mkdir()
    assert run.implied_cycles() == 2


def test_a_directory_that_holds_a_run_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="--resume"):
        run.refuse_run()
    RunDirectory(tmp_path / "other").refuse_run()
    started = RunDirectory(tmp_path / "started")
    started.append_queries([Labeled(0, 0, 4, "a")])
    started.refuse_run()  # nothing was finished


def test_a_file_in_the_place_of_a_run_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in ("file", "file/run"):
        with pytest.raises(UserError, match="to be a run's directory, but there is a file"):
            RunDirectory(tmp_path / path).hold()


def test_other_metrics_than_before_are_refused(run):
    row = cycle_row(2, 7)
    row["val/miou"] = row.pop("val/accuracy")
    with pytest.raises(UserError, match="val/miou"):
        run.append_cycle(row)


class FullDisk:
    """A file on a disk that has room for a few bytes more."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, data):
        self._file.write(data[: self._room])
        self._file.flush()
        if len(data) > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_a_full_disk_leaves_the_tables_as_they_were(run, monkeypatch):
    run.write_config("a: 0\n")
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    whole = Path.open

    def short(self, mode="r", *args, **kwargs):
        file = whole(self, mode, *args, **kwargs)
        return FullDisk(file, 5) if mode in ("ab", "wb") else file

    monkeypatch.setattr(Path, "open", short)
    with pytest.raises(OSError, match="No space left"):
        run.append_queries([Labeled(3, 0, 30, "x", 0.5)])
    with pytest.raises(OSError, match="No space left"):
        run.append_cycle(cycle_row(2, 7))
    with pytest.raises(OSError, match="No space left"):
        run.write_config("a: 1\nb: 2\n")
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_one_process_writes_into_a_run(run):
    run.hold()

    def refused():
        with pytest.raises(UserError, match="Another process is writing into the run"):
            RunDirectory(run.path).hold()

    assert in_child(refused) == 0
    assert not RunDirectory(run.path).is_held()  # by another; and whoever looks does not lose it
    RunDirectory(run.path).hold()
    assert in_child(refused) == 0
    assert in_child(run.hold) == 0  # a process that was handed the run has it held for it
    run.release()
    assert in_child(lambda: RunDirectory(run.path).hold()) == 0  # the child's end released it
    run.hold()
    assert in_child(refused) == 0


def test_what_a_killed_process_was_writing_is_removed_by_the_next_writer(run):
    assert in_child(lambda: _dies_in_write(run)) == -9
    assert len(list(run.path.glob("environment.json.*.tmp"))) == 1
    run.hold()
    assert not list(run.path.glob("*.tmp"))


def _dies_in_write(run):
    os.replace = lambda *_: os.kill(os.getpid(), 9)
    run.write_environment({})
