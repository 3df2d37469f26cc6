import os
from pathlib import Path

import pytest

from al_lightning.errors import UserError
from al_lightning.run_tables import Labeled
from al_lightning.runs import WRITES_THERE, RunDirectory
from al_lightning.sweeps.conduct import conduct, outstanding, refuse_changed, time_left
from al_lightning.sweeps.plan import PlannedRun
from tests.experiments import in_child
from tests.test_runs import cycle_row


def planned(name, initial=None):
    return PlannedRun(name, Path("base.yaml"), {"seed_everything": 1}, Path("out") / name, {}, initial)


def write_run(directory, finished=True):
    run = RunDirectory(directory)
    run.append_queries([Labeled(0, 0, 4, "a")])
    if finished:
        run.append_cycle(cycle_row(run.finished(), 1 + run.finished()))
    return run


class Pretended:
    """Runs that end after a few looks: well, or as ``bad`` says."""

    def __init__(self, jobs, bad=()):
        self.jobs, self.bad = jobs, dict(bad)
        self.calls, self.cancelled, self.at_once = [], [], 0
        self.slots = set()

    def start(self, arguments, log, slot):
        directory = Path(arguments[arguments.index("--run_dir") + 1])
        self.arguments = arguments
        self.calls.append((directory.name, "--resume" in arguments, slot))
        assert slot not in self.slots and slot < self.jobs
        self.slots.add(slot)
        self.at_once = max(self.at_once, len(self.slots))
        launcher, failure = self, self.bad.get(directory.name)
        if isinstance(failure, BaseException):
            raise failure
        log.write_text("doing\nal_lightning: error: Expected this, got that.\nSee help.\n" if failure else "done\n")

        class Job:
            looks = 0

            def done(self):
                self.looks += 1
                if self.looks == 2:
                    launcher.slots.remove(slot)
                    if not failure:
                        write_run(directory)
                return self.looks >= 2

            def failure(self):
                return failure

            def cancel(self):
                launcher.cancelled.append(directory.name)

        return Job()


@pytest.fixture
def said():
    return []


def test_all_runs_in_order_some_at_a_time(said):
    initial = planned("initial")
    runs = [initial, planned("a", initial), planned("b", initial), planned("c"), planned("d", initial)]
    launcher = Pretended(jobs=2)
    assert conduct(runs, launcher, Path("logs"), said.append) == {}
    # c needs nobody; the others wait for the run whose cycle 0 they share
    assert [name for name, _, _ in launcher.calls] == ["initial", "c", "a", "b", "d"]
    assert launcher.at_once == 2
    assert [line.split(":")[0] for line in said] == [f"[{n}/5] {name}" for n, name in enumerate(["initial", "c", "a", "b", "d"], 1)]
    assert all(run.state() == "finished" for run in runs)


def test_a_failure_stops_nobody_but_those_who_need_the_run(said):
    initial = planned("initial")
    runs = [planned("x"), initial, planned("a", initial), planned("b")]
    failures = conduct(runs, Pretended(1, {"x": "exit status 1", "initial": "ended by SIGKILL"}), Path("logs"), said.append)
    assert failures == {
        "x": "exit status 1: al_lightning: error: Expected this, got that.",
        "initial": "ended by SIGKILL: al_lightning: error: Expected this, got that.",
        "a": "not started, because initial failed",
    }
    assert [run.state() for run in runs] == ["new", "new", "new", "finished"]


def test_a_run_that_waits_for_labels_has_not_failed(said):
    run = planned("x")
    launcher = Pretended(1, {"x": "exit status 75"})
    RunDirectory(run.directory).append_queries([Labeled(0, 0, 4, "a")])
    RunDirectory(run.directory).append_cycle(cycle_row(0, 1) | {"query_seconds": 1.0})
    assert run.state() == "unfinished" and "x" in conduct([run], launcher, Path("logs"), said.append)
    RunDirectory(run.directory).write_asked(0, [Labeled(1, 0, 2, "b", 0.5)])
    assert run.state() == "waiting" and outstanding([run]) == [run]
    assert conduct([run], launcher, Path("logs"), said.append) == {} and "x: waits for labels" in said[-1]
    launcher.bad["x"] = "exit status 1"
    assert "x" in conduct([run], launcher, Path("logs"), said.append)


def test_why_a_run_failed_is_read_off_its_last_start(said):
    Path("logs").mkdir()
    Path("logs/x.txt").write_text("al_lightning: error: Expected something else, last time.\n")
    failing = Pretended(1, {"x": "exit status 1"})
    failing.start = lambda arguments, log, slot, start=failing.start: _appending(start, arguments, log, slot)
    failures = conduct([planned("x")], failing, Path("logs"), said.append)
    assert failures == {"x": "exit status 1: ValueError: no more"}


def _appending(start, arguments, log, slot):
    before = log.read_text()
    job = start(arguments, log, slot)
    log.write_text(before + "Traceback\nValueError: no more\n")
    return job


def test_finished_runs_are_left_alone_and_unfinished_ones_go_on(said):
    initial = planned("initial")
    runs = [initial, planned("done", initial), planned("half", initial), planned("new")]
    write_run("out/done")
    write_run("out/half").append_queries([Labeled(1, 0, 5, "b")])
    half = (Path("out/half") / "learning_curve.csv").read_text().replace("1.5,,", "1.5,0.5,7")  # a query was made: it is not the last cycle
    (Path("out/half") / "learning_curve.csv").write_text(half)
    todo = outstanding(runs)
    assert [run.name for run in todo] == ["half", "new"]  # nobody new shares the initial run
    launcher = Pretended(2)
    conduct([run for run in todo if run.name == "half"], launcher, Path("logs"), said.append)
    assert launcher.calls == [("half", True, 0)] and launcher.arguments == ["fit", "--resume", "--run_dir", "out/half"]
    assert [run.name for run in outstanding([*runs, planned("other", initial)])] == ["initial", "new", "other"]
    conduct([run for run in todo if run.name == "new"], launcher, Path("logs"), said.append)
    assert launcher.arguments == [*planned("new").arguments(), "--resume"]  # a cluster may run it once more


def test_the_time_left_knows_that_shared_runs_are_short():
    shared, others = planned("initial"), [PlannedRun(name, Path("base.yaml"), {}, Path(name), {"axis": name}) for name in "abc"]
    assert time_left([], {False: [2.0]}, 2) == ""
    assert time_left([shared, *others], {False: [2.0]}, 2) == ""  # how long the others take is not known
    assert time_left([shared, *others], {False: [2.0], True: [60.0, 80.0]}, 2) == ", about 0:01:46 left"  # 2 rounds of (2 + 3 * 70) / 4
    assert time_left(others, {True: [60.0]}, 1) == ", about 0:03:00 left"


def test_what_is_interrupted_is_cancelled(said):
    runs = [planned("a"), planned("b"), planned("c")]
    launcher = Pretended(3, {"c": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        conduct(runs, launcher, Path("logs"), said.append)
    assert launcher.cancelled == ["a", "b"]


def test_a_run_that_another_process_writes_is_waited_for(said):
    import os
    import time

    run = planned("shared")
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        directory = write_run(run.directory, finished=False)
        directory.hold()
        os.write(told, b"x")
        time.sleep(0.7)
        directory.append_cycle(cycle_row(0, 1))
        os._exit(0)
    os.read(ready, 1)
    assert RunDirectory(run.directory).is_held()
    launcher = Pretended(1)
    assert conduct([run, planned("own")], launcher, Path("logs"), said.append) == {}
    assert [name for name, _, _ in launcher.calls] == ["own"]  # the other was finished elsewhere
    assert run.state() == "finished"
    os.waitpid(child, 0)


def test_a_run_that_another_process_has_begun_meanwhile_is_compared(said):
    """While this one waits for its place; whether the other is finished or was killed."""
    for finished in (True, False):
        runs = [planned(f"{name}-{finished}") for name in ("own", "same", "other")]
        launcher, whole = Pretended(1), []

        def start(arguments, log, slot, launcher=launcher, runs=runs, finished=finished):
            for run in runs[1:]:
                if not launcher.calls:
                    curve = write_run(run.directory).learning_curve
                    if not finished:  # a query was made: it is not the last cycle
                        curve.write_text(curve.read_text().replace("1.5,,", "1.5,0.5,7"))
            return Pretended.start(launcher, arguments, log, slot)

        def refuse(run):
            if run.name.startswith("other"):
                raise UserError("its rate was 0.1 and is 0.5")

        launcher.start = start
        failures = conduct(runs, launcher, Path("logs"), said.append, lambda run, whole=whole: whole.append(run.name), refuse=refuse)
        assert failures == {f"other-{finished}": "its rate was 0.1 and is 0.5"}
        assert [name for name, _, _ in launcher.calls] == [run.name for run in runs[: 1 if finished else 2]] == whole


def test_who_comes_second_to_a_run_leaves_it_to_the_first(said):
    """Also if the first has finished it by then."""
    run = planned("shared")
    launcher = Pretended(1, {"shared": "exit status 1"})

    def start(arguments, log, slot):
        job = Pretended.start(launcher, arguments, log, slot)
        log.write_text(f"al_lightning: error: {WRITES_THERE} {run.directory}. Wait for it, or end it.\n")
        write_run(run.directory)
        return job

    launcher.start = start
    assert conduct([run], launcher, Path("logs"), said.append) == {} and len(launcher.calls) == 1


def test_other_settings_are_refused():
    initial = planned("initial")
    run = planned("a", initial)
    changes = ["active_learning.initial_run was 'x' and is None", "trainer.logger was 1 and is False"]
    refuse_changed([run], lambda run: [*changes, "model was 1"])  # a new run has nothing to compare
    write_run(run.directory)
    refuse_changed([run], lambda run: changes)
    with pytest.raises(UserError, match=r"to have the sweep's settings, but model was 1 and is 2. Give the sweep another folder"):
        refuse_changed([run], lambda run: [*changes, "model was 1 and is 2"])


def test_a_run_may_have_begun_with_what_the_sweep_shared_before():
    """A grid that is narrowed to one strategy shares no cycle 0 any more."""
    run = planned("a")
    write_run(run.directory)
    refuse_changed([run], lambda run: [f"active_learning.initial_run was '{run.directory.parent}/initial-seed0' and is None"])
    with pytest.raises(UserError, match="initial_run was 'elsewhere/x' and is None"):
        refuse_changed([run], lambda run: ["active_learning.initial_run was 'elsewhere/x' and is None"])


def test_who_asks_whether_a_run_is_held_hinders_nobody():
    run = write_run("out/x")
    run.hold()
    run.release()

    def asks(until):
        while not until.exists():
            RunDirectory("out/x").is_held()

    asking = os.fork()
    if not asking:
        asks(Path("end"))
        os._exit(0)
    try:
        for _ in range(300):
            run.hold()
            run.release()
    finally:
        Path("end").touch()
        os.waitpid(asking, 0)


def test_a_lock_that_can_not_be_read_is_held_by_nobody(monkeypatch):
    run = write_run("out/x")
    run.lock.touch()

    def refuse(path, mode="r"):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert not run.is_held()


def test_a_run_that_nobody_holds_is_free():
    run = write_run("out/x")
    assert not run.is_held()
    run.hold()
    assert in_child(lambda: _expect(RunDirectory("out/x").is_held())) == 0
    run.release()
    assert in_child(lambda: _expect(not RunDirectory("out/x").is_held())) == 0


def _expect(truth):
    assert truth
