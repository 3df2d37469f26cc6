"""An unbiased control: what is drawn at random inside of queries and for evaluation, and what a person sees of it."""

import csv
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from al_lightning.acquisition import CoreSet, Random
from al_lightning.analysis.numbers import stopping
from al_lightning.data import FolderSegmentationDataModule
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from tests.callbacks.test_asked_first import FIRST, fit, wanted
from tests.callbacks.test_oracles import EVERY, assert_same, folder, label, only  # noqa: F401
from tests.callbacks.test_resume import dies_at
from tests.commands.test_ingest import command
from tests.experiments import in_child, weights
from tests.tasks.test_segmentation import Tiny

PICTURES = FolderSegmentationDataModule("data", {"ground": 0, "cell": 7})


def table(path):
    with path.open() as file:
        return [*csv.DictReader(file)]


def to_its_end(run, leaves=0, **arguments):
    while asked := wanted(fit(run, **arguments)):
        label(*asked[: len(asked) - leaves])
    return RunDirectory(run)


@pytest.mark.parametrize("strategy", [None, CoreSet()], ids=["scores items", "scores none"])
def test_random_picks_are_marked_and_compared_as_they_are_labeled(folder, capsys, strategy):  # noqa: F811
    settings = {"random_share": 0.5, "cycles": 3, "strategy": strategy, **FIRST}
    only(*EVERY)
    simulated = fit("simulated", "dataset", initial_strategy=Random(), **settings)
    only()
    run = to_its_end("run", **settings)
    assert_same(run, simulated)
    for cycle in range(2):
        for name in ("random", "errors", "evaluated"):
            assert getattr(run, name)(cycle).read_bytes() == getattr(simulated, name)(cycle).read_bytes()
        queried = [row for row in run.read_queries() if row.cycle == cycle + 1]
        drawn = run.read_random(cycle)
        assert len(drawn) == 2 and drawn < {row.index for row in queried}
        scores = [row.score for row in queried if row.index not in drawn]
        assert strategy is None or {row.score for row in queried if row.index in drawn} == {None}
        assert scores == sorted(scores, reverse=True)  # what the strategy chose is in its order
        errors = {int(row["index"]): row for row in table(run.errors(cycle))}
        assert {index for index, row in errors.items() if row["by"] == "random"} == drawn and {*errors} == {row.index for row in queried}
        network = Tiny(2)
        network.load_state_dict({name.removeprefix("network."): value for name, value in weights(run, cycle).items()})
        for row in errors.values():
            mask = np.array(Image.open(f"data/masks/{row['item']}.png"))
            inputs = PICTURES.inputs_of(np.array(Image.open(f"data/images/{row['item']}.png")))
            with torch.no_grad():
                wrong = network.eval()(inputs[None])[0].argmax(0).numpy() != mask // 7
            assert float(row["error"]) == pytest.approx(wrong[mask != 255].mean()) and 0.2 < (mask != 255).mean() < 0.9
        assert {row["score"] for row in table(run.asked(cycle))} == {""}  # an empty score, or one out of order, would tell which
    named = [line.split()[0] for line in (run.package(0) / "README.txt").read_text().splitlines() if "->" in line]
    assert named == [f"{row.item}.png" for row in run.read_asked_by(0)]  # nothing else is said of any
    counts = np.array([[int(row[name]) for name in row if name != "item"] for row in table(run.evaluated(2))]).reshape(5, 2, 3)
    assert stopping.mean_iou(counts.sum(axis=0)) == pytest.approx(run.read_curve()[2].metrics["val/miou"], abs=1e-6)
    status, said = command(capsys, "status", "run")
    assert (
        status == 0 and "7 queried) and 5 for evaluation" in said.replace(" of them", "") and "points per label of the last cycles" in said
    )


def killed(run, deaths, **arguments):
    """Processes that go on with a run and are killed, one after the other."""
    for death in deaths:
        assert in_child(lambda death=death: (death(), fit(run, **arguments))) == -signal.SIGKILL


def finishes():
    dies_at(RunDirectory, "append_cycle", 1)


def takes_up():
    dies_at(RunDirectory, "append_answers", 1, after=True)


@pytest.mark.parametrize("unanswered", ["pool", "asked"])
def test_what_is_not_answered_returns_or_stays_asked_for(folder, unanswered):  # noqa: F811
    """The last of four is never labeled, until all are; killed or not."""
    settings = {"enough": 0.7, "unanswered": unanswered, "random_share": 0.5, "cycles": 4, "size": "all"}
    for name, deaths in (("whole", ()), ("killed", (takes_up, finishes))):
        only("s01", "s05", "s09")
        killed(name, deaths[1:], **settings)
        first = wanted(run := fit(name, **settings))
        label(*first[:3])
        killed(name, deaths, **settings)
        second = wanted(fit(name, **settings))
        stays = unanswered == "asked"
        assert len(first) == len(second) == 4 and (not stays or second[0] == first[3])
        marks = [{row.item for row in run.read_asked_by(cycle) if row.index in run.read_random(cycle)} for cycle in (0, 1)]
        assert len(marks[0]) == 2 and len(marks[1] - {first[3]}) == 2 and (not stays or (first[3] in marks[0]) == (first[3] in marks[1]))
        label(*(item for item in second if item != first[3]))
        killed(name, deaths, **settings)
        third = wanted(fit(name, **settings))
        assert not stays or third[0] == first[3]
        label(*third)
        assert fit(name, **settings).is_finished()
        assert [row.labeled for row in run.read_curve()] == ([3, 6, 9, 13] if stays or first[3] in second else [3, 6, 10, 14])
    whole = RunDirectory("whole")
    assert_same(run, whole)
    assert [run.errors(cycle).read_bytes() for cycle in range(3)] == [whole.errors(cycle).read_bytes() for cycle in range(3)]


def test_what_is_not_answered_at_first_stays_asked_for_within_a_query(folder):  # noqa: F811
    """Also of the initial set; and a query that is smaller than what is left asks for no more than its size."""
    only()
    settings = {"enough": 0.3, "unanswered": "asked", "query_size": [6, 2], "cycles": 3, "size": 6}
    first = wanted(fit("run", **settings))
    label(*first[:2])
    second = wanted(fit("run", **settings))
    assert len(first) == len(second) == 6 and second[:4] == first[2:]
    label(*second[:2])
    assert wanted(fit("run", **settings)) == second[2:4]


def test_nothing_is_asked_of_a_person_to_try_the_code(folder):  # noqa: F811
    only()
    with pytest.raises(UserError, match="Expected labels to try two cycles with"):
        fit("run", trainer={"max_epochs": 1, "fast_dev_run": True}, size=6)
