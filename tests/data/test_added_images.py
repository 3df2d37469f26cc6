"""Images come into the folder of a run that has begun: they join its pool, and no index that is in use changes."""

import csv
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image

from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from tests.callbacks.test_asked_first import fit, to_its_end, wanted
from tests.callbacks.test_oracles import EVERY, assert_same, draw, folder, label, only  # noqa: F401
from tests.callbacks.test_resume import dies_at
from tests.commands import test_ingest_classes as classes
from tests.data.images.test_class_folders import image
from tests.experiments import in_child

EARLIER, LATER = [f"a{number}" for number in range(6)], [f"b{number}" for number in range(4)]


def arrive(*names):
    for name in names:
        draw(Path("later"), name)
        shutil.copyfile(f"later/images/{name}.png", f"data/images/{name}.png")
        shutil.copyfile(f"later/masks/{name}.png", f"annotator/{name}.png")


def listed(run):
    with run.images.open() as file:
        return [(row["split"], Path(row["file"]).stem) for row in csv.DictReader(file)]


def rows_fit(run, skipped=0):
    pool = [name for split, name in listed(run) if split != "evaluation"]
    return all(pool[row.index] == row.item[skipped:] for row in (*run.read_queries(), *run.read_asked()))


def die():
    dies_at(RunDirectory, "append_cycle", 1)
    fit("killed", query_size=8, cycles=4)


def test_they_join_at_the_next_cycle_and_a_killed_run_sees_the_same(folder):  # noqa: F811
    for name in ("whole", "killed"):
        for path in (*Path("data/images").glob("[ab]*"), *Path("annotator").glob("[ab]*")):
            path.unlink()
        only()
        label(*wanted(fit(name, query_size=8, cycles=4)))
        before = listed(RunDirectory(name))
        assert [split for split, _ in before] == ["unlabeled"] * 18 + ["evaluation"] * 2
        for number, names in enumerate((LATER, EARLIER)):  # which would come before all others in a listing
            arrive(*names)
            if name == "killed":
                assert in_child(die) == -signal.SIGKILL
            label(*wanted(fit(name, query_size=8, cycles=4)))
            assert listed(RunDirectory(name)) == before + [("added", late) for late in LATER + EARLIER * number]
    whole = RunDirectory("whole")
    assert {row.item for row in whole.read_asked()} & {*LATER} and {row.item for row in whole.read_asked()} & {*EARLIER}
    to_its_end("whole", query_size=8, cycles=4)
    to_its_end("killed", query_size=8, cycles=4)
    assert_same(RunDirectory("killed"), whole)
    assert rows_fit(whole) and whole.read_environment()["data"] == RunDirectory("killed").read_environment()["data"]


def test_a_run_that_had_used_up_its_pool_asks_for_them(folder, capsys):  # noqa: F811
    only()
    to_its_end("run", query_size=8, cycles=9)
    assert "the pool is used up" in capsys.readouterr().out
    run, before = RunDirectory("run"), RunDirectory("run").read_curve()
    arrive(*LATER)
    assert {*wanted(fit("run", query_size=8, cycles=9))} == {*LATER} and "goes further" in capsys.readouterr().out
    to_its_end("run", query_size=8, cycles=9)
    assert [row.labeled for row in run.read_curve()] == [*(row.labeled for row in before), before[-1].labeled + len(LATER)]
    assert rows_fit(run)


def test_a_run_that_is_killed_as_it_goes_further_keeps_what_it_began_with(folder):  # noqa: F811
    """It does cycle 0 again, while more images would make both draws come out differently."""
    label(*EVERY)
    arguments = {"oracle": "dataset", "evaluation": 0.3, "cycles": 1}
    run = fit("run", **arguments)
    before, first = listed(run), run.queries.read_bytes()
    arrive(*LATER, *EARLIER)
    label(*LATER, *EARLIER)

    def die():
        dies_at(RunDirectory, "append_cycle", 1)
        fit("run", **{**arguments, "cycles": 2})

    assert in_child(die) == -signal.SIGKILL and run.finished() == 0
    fit("run", **{**arguments, "cycles": 2})
    assert [row for row in listed(run) if row[0] != "added"] == before and run.queries.read_bytes().startswith(first)
    assert run.finished() == 2 and rows_fit(run)


def test_what_is_gone_is_named_and_evaluation_stays_as_it_is(folder):  # noqa: F811
    only("s01", "s11", "s12")
    run = fit("run", evaluation=0.4, group="^s.", size="all")
    held = next(name for split, name in listed(run) if split == "evaluation")[:2]
    before = listed(run)
    arrive(f"{held}x", "s2x")
    label(*wanted(run))
    run = fit("run", evaluation=0.4, group="^s.", size="all")
    assert listed(run) == [*before, ("added", "s2x")] and rows_fit(run)
    for name in (next(name for split, name in before if split == "unlabeled"), "s2x"):
        path = Path(f"data/images/{name}.png")
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(UserError, match=f"not the same: 1 missing: images/{name}.png"):
            fit("run", evaluation=0.4, group="^s.", size="all")
        Image.new("RGB", (7, 9)).save(path)
        with pytest.raises(UserError, match=f"not the same: 1 changed: images/{name}.png"):
            fit("run", evaluation=0.4, group="^s.", size="all")
        path.write_bytes(content)
    assert fit("run", evaluation=0.4, group="^s.", size="all").awaited()


@pytest.mark.parametrize("layout", classes.LAYOUTS)
def test_of_classes(layout, capsys):
    classes.write(layout)
    assert classes.fit(layout)
    names, new = classes.wanted(), [f"{number}" for number in range(50, 60)]
    classes.command(capsys, "ingest", "run", classes.say(names))
    place = Path("photos", "unlabeled" if layout == "folders" else "images")
    for name in new:
        Image.fromarray(image(name)).save(place / f"0{name}.png")
    run = RunDirectory("run")
    before = listed(run)
    assert classes.fit(layout, query_size=20, cycles=2)
    assert listed(run) == before + [("added", f"0{name}") for name in new] and len({row.item for row in run.awaited()} - {*names}) == 20
    assert any(row.index >= 30 for row in run.awaited()) and rows_fit(run, len("unlabeled/") * (layout == "folders"))
    classes.command(capsys, "ingest", "run", classes.say(classes.wanted()))
    assert not classes.fit(layout, query_size=20, cycles=2) and run.read_curve()[1].labeled == 26
    (place / "050.png").unlink()
    with pytest.raises(UserError, match=r"1 missing: .*/050\.png"):
        classes.fit(layout, query_size=20, cycles=2)
