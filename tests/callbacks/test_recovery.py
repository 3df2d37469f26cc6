"""What a run has finished is held against all else that is there, and nothing is touched where it does not fit."""

import pytest

from al_lightning.callbacks.recovery import finished_part
from al_lightning.errors import UserError
from al_lightning.run_tables import Labeled
from al_lightning.runs import RunDirectory
from tests.test_runs import cycle_row


@pytest.fixture
def run(tmp_path):
    """Cycles 0 and 1 are finished; 3 items at first, 2 a query."""
    run = RunDirectory(tmp_path / "run")
    run.append_queries([Labeled(0, rank, index, f"item {index}") for rank, index in enumerate((4, 7, 9))])
    for cycle in (0, 1):
        indices = (20 + 2 * cycle, 21 + 2 * cycle)
        run.append_queries([Labeled(cycle + 1, rank, index, f"item {index}", 0.25) for rank, index in enumerate(indices)])
        run.append_cycle(cycle_row(cycle, 3 + 2 * cycle))
    return run


def part(run):
    """Recovers it, as a run of 40 items does."""
    cycles, labeled = finished_part(run, 40, "item {}".format)
    if cycles:
        run.keep_rows(len(cycles), len(labeled))
    return len(cycles), [row.index for row in labeled]


def test_a_whole_run_is_left_alone(run):
    before = (run.queries.read_bytes(), run.learning_curve.read_bytes())
    assert part(run) == (2, [4, 7, 9, 20, 21, 22, 23])
    assert (run.queries.read_bytes(), run.learning_curve.read_bytes()) == before


@pytest.mark.parametrize("tail", ["3,0,30,item 30,0.5\n3,1,31,item 31,0.4\n", "3,0,30,item 30,0.5\n3,1,3", "3"])
def test_a_query_whose_cycle_is_not_finished_is_removed(run, tail):
    before = run.queries.read_bytes()
    with run.queries.open("a") as file:
        file.write(tail)
    part(run)
    assert run.queries.read_bytes() == before


def test_half_a_row_is_removed_and_the_query_before_it(run):
    with run.learning_curve.open("r+") as file:
        file.truncate(run.learning_curve.stat().st_size - 1)  # the last line end is missing
    assert part(run) == (1, [4, 7, 9, 20, 21])
    assert len(run.queries.read_text().splitlines()) == 6
    assert len(run.read_cycles()) == 1


def test_before_the_first_cycle_is_finished_there_is_nothing(run):
    run.learning_curve.write_text("cycle,lab")
    run.queries.write_text("".join(run.queries.read_text().splitlines(keepends=True)[:6]))  # the query after cycle 0 at most
    assert part(run) == (0, [])


def without_line(name, number):
    def change(run):
        lines = (run.path / name).read_text().splitlines(keepends=True)
        del lines[number]
        (run.path / name).write_text("".join(lines))

    return change


def replaced(name, old, new):
    def change(run):
        text = (run.path / name).read_text()
        assert old in text
        (run.path / name).write_text(text.replace(old, new, 1))

    return change


DAMAGE = {
    "curve lost": (lambda run: run.learning_curve.unlink(), "2 finished cycles|1 finished cycles"),
    "curve emptied": (lambda run: run.learning_curve.write_text(""), "rows were lost"),
    "curve of nothing but its header": (
        lambda run: run.learning_curve.write_text(run.learning_curve.read_text().partition("\n")[0] + "\n"),
        "rows were lost",
    ),
    "last rows of the curve lost": (
        lambda run: (run.cycle(2).mkdir(parents=True), without_line("learning_curve.csv", 2)(run)),
        "rows were lost",
    ),
    "first row of the curve lost": (without_line("learning_curve.csv", 1), r"Expected cycle 0, 1, 2 \.\.\. .* got 1 in place of 0"),
    "cycle that is no number": (
        replaced("learning_curve.csv", "1,5,", "x,5,"),
        "a whole number of at least 0 for cycle in row 2 .* got 'x'",
    ),
    "labeled that is no number": (replaced("learning_curve.csv", "1,5,", "1,x,"), "for labeled in row 2 .* got 'x'"),
    "steps that are no number": (replaced("learning_curve.csv", ",10,", ",,"), "train_steps"),
    "queries lost": (lambda run: run.queries.unlink(), "queries.csv in the run directory, but it is missing"),
    "row of the initial set lost": (without_line("queries.csv", 2), "Expected rank 1 of cycle 0 in row 2 .* got rank 2 of cycle 0"),
    "last row of a query lost": (without_line("queries.csv", 3), "Expected 3 labeled items .* got 2"),
    "whole query lost": (lambda run: (without_line("queries.csv", 4)(run), without_line("queries.csv", 4)(run)), "got rank 0 of cycle 2"),
    "another item": (replaced("queries.csv", "7,item 7", "7,item 8"), "Expected 'item 7', the item at index 7 .* got 'item 8'"),
    "another index": (replaced("queries.csv", "1,7,", "1,8,"), "Expected 'item 8', the item at index 8"),
    "index beyond the data": (replaced("queries.csv", "1,7,", "1,40,"), "an index from 0 to 39 in row 2 .* got 40"),
    "index below 0": (replaced("queries.csv", "1,7,", "1,-1,"), "at least 0 for index in row 2 .* got '-1'"),
    "index that is no number": (replaced("queries.csv", "1,7,", "1,7a,"), "for index in row 2 .* got '7a'"),
    "score that is no number": (replaced("queries.csv", "0.25", "high"), "a finite number or nothing for score in row 4 .* got 'high'"),
    "item twice": (replaced("queries.csv", "9,item 9", "7,item 7"), "Expected each item once .* 'item 7' again in row 3"),
    "column lost": (replaced("queries.csv", "rank", "place"), "Expected the columns cycle, rank, .* got 'cycle,place"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_error_and_nothing_is_touched(run, damage):
    change, message = DAMAGE[damage]
    change(run)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=message):
        part(run)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
