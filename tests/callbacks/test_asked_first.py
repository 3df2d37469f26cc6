"""Nothing is labeled: the run asks before cycle 0, and goes on as if the data set had answered."""

import csv
from pathlib import Path

import pytest

from al_lightning.commands import main
from al_lightning.runs import RunDirectory
from tests.callbacks.test_oracles import CONFIG, EVERY, assert_same, folder, label, only  # noqa: F401

FIRST = "--active_learning.evaluation_first=5"
SIZE = "--data.init_args.initial_size=6"
SHARE = "--data.init_args.evaluation=0.4"


def fit(run, *arguments):
    """The exit status of a run that begins or goes on."""
    Path("c.yaml").write_text(CONFIG)
    try:
        main(["fit", "--config=c.yaml", f"--run_dir={run}", *arguments, "--resume"])
    except SystemExit as end:
        return end.code
    return 0


def wanted(run):
    return [row.item for row in RunDirectory(run).awaited()]


def to_its_end(run, *arguments, cycles=3):
    """Labels what is asked for, until the run is finished; what it has waited for each time."""
    waits = []
    while (status := fit(run, f"--active_learning.cycles={cycles}", *arguments)) == 75:
        waits.append(wanted(run))
        label(*waits[-1])
    assert status == 0 and RunDirectory(run).is_finished()
    return waits


def simulate(*arguments):
    only(*EVERY)
    assert fit("simulated", "--active_learning.oracle=dataset", "--active_learning.initial_strategy=Random", *arguments) == 0
    only()
    return RunDirectory("simulated")


@pytest.mark.parametrize("first", [(), (FIRST,)], ids=["", "evaluation first"])
def test_a_person_who_is_asked_first_answers_as_the_data_set_does(folder, capsys, first):  # noqa: F811
    arguments = [SIZE, *([FIRST, SHARE] if first else [])]
    simulated = simulate(*arguments)
    waits = to_its_end("run", *arguments)
    assert [len(asked) for asked in waits] == [5] * bool(first) + [6, 4, 3 if first else 4]
    assert_same(RunDirectory("run"), simulated)
    assert not simulated.evaluation.exists() or simulated.evaluation.read_bytes() == RunDirectory("run").evaluation.read_bytes()
    rows = [row["item"] for row in csv.DictReader(open("run/cycles/initial/asked.csv"))]
    assert rows == waits[len(first)] and len({*sum(waits, [])}) == len(sum(waits, []))
    assert {path.stem for path in Path("run/cycles/initial/to_label").glob("*.png")} == {*rows}
