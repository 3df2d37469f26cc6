"""Whatever instant the process dies, the resumed run ends as one that never died."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import OnExceptionCheckpoint

from al_lightning import runs
from al_lightning.callbacks import active_learning, record, restart
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from tests.experiments import in_child, make_data, run_experiment, same_weights, weights, without_seconds

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return {mode: run_experiment(tmp_path_factory.mktemp("whole") / mode, retrain=mode) for mode in ("scratch", "warm")}


def assert_equal_runs(run, other):
    assert run.queries.read_bytes() == other.queries.read_bytes()
    assert without_seconds(run) == without_seconds(other)
    assert all(same_weights(weights(run, cycle), weights(other, cycle)) for cycle in range(3))


class Dies(Callback):
    """Sends a signal to its own process at the n-th call of a hook."""

    def __init__(self, hook, at, what):
        self.left = at
        setattr(self, hook, lambda *_: self.count(what))

    across_cycles = True

    def count(self, what):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), what)


def dies_at(owner, name, at, *, after=False):
    """Replaces a function by one that is killed at its n-th call, before or after its work."""
    function, calls = getattr(owner, name), [0]

    def deadly(*args, **kwargs):
        calls[0] += 1
        result = function(*args, **kwargs) if after or calls[0] != at else None
        if calls[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def dies_in_row(at):
    """The n-th appended table is cut in the middle of its bytes."""
    append, calls = RunDirectory._append, [0]

    def deadly(self, path, columns, rows):
        calls[0] += 1
        if calls[0] != at:
            return append(self, path, columns, rows)
        before = path.read_bytes() if path.exists() else b""
        append(self, path, columns, rows)
        content = path.read_bytes()
        path.write_bytes(content[: (len(before) + len(content)) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    RunDirectory._append = deadly


# Tables are appended in this order: initial set, then query and row of each of cycles 0 and 1, then the row of cycle 2.
DEATHS = {
    **{f"table {at} not written": lambda at=at: dies_at(RunDirectory, "_append", at) for at in range(1, 7)},
    **{f"table {at} half written": lambda at=at: dies_in_row(at) for at in range(1, 7)},
    **{f"table {at} written": lambda at=at: dies_at(RunDirectory, "_append", at, after=True) for at in range(1, 7)},
    "environment not written": lambda: dies_at(RunDirectory, "write_environment", 1),
    "environment not renamed": lambda: dies_at(runs.os, "replace", 1),
    "checkpoint not renamed": lambda: dies_at(record.os, "replace", 3),
    "between two cycles": lambda: dies_at(restart.FitRestart, "begin", 2),
    "after the choice": lambda: dies_at(active_learning.selection, "take", 2, after=True),
}


@pytest.mark.parametrize("death", DEATHS)
def test_sigkill_while_the_state_changes(tmp_path, whole, death):
    def work():
        DEATHS[death]()
        run_experiment(tmp_path)

    assert in_child(work) == -signal.SIGKILL
    assert_equal_runs(run_experiment(tmp_path, resume=True), whole["scratch"])


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("hook", "at"), [("on_train_batch_start", 3), ("on_train_batch_start", 9), ("on_scoring", 4), ("on_validation_start", 3)]
)
def test_signals_in_training_scoring_and_evaluation(tmp_path, whole, what, hook, at):
    status = in_child(lambda: run_experiment(tmp_path, callbacks=(Dies(hook, at, what),)))
    assert status != 0
    assert_equal_runs(run_experiment(tmp_path, resume=True), whole["scratch"])


@pytest.mark.parametrize("at", [2, 9, 15])
def test_warm_runs_resume_from_the_last_finished_weights(tmp_path, whole, at):
    dies = Dies("on_train_batch_start", at, signal.SIGKILL)
    assert in_child(lambda: run_experiment(tmp_path, callbacks=(dies,), retrain="warm", keep="last")) == -signal.SIGKILL
    run = run_experiment(tmp_path, retrain="warm", keep="last", resume=True)
    assert without_seconds(run) == without_seconds(whole["warm"])
    assert same_weights(weights(run, 2), weights(whole["warm"], 2))


def test_warm_needs_its_checkpoint(tmp_path):
    dies = Dies("on_train_batch_start", 9, signal.SIGKILL)
    in_child(lambda: run_experiment(tmp_path, callbacks=(dies,), retrain="warm"))
    RunDirectory(tmp_path).checkpoint(0).unlink()
    with pytest.raises(UserError, match=r"last.ckpt .* missing"):
        run_experiment(tmp_path, retrain="warm", resume=True)


def test_warm_refuses_the_checkpoint_of_another_run_or_cycle(tmp_path, whole):
    dies = Dies("on_train_batch_start", 16, signal.SIGKILL)  # in cycle 2
    assert in_child(lambda: run_experiment(tmp_path, callbacks=(dies,), retrain="warm")) == -signal.SIGKILL
    run = RunDirectory(tmp_path)
    own, before = run.checkpoint(1).read_bytes(), contents(tmp_path)
    for other, what in ((whole["warm"].checkpoint(1), "cycle 1 of another run"), (run.checkpoint(0), "cycle 0 of its run")):
        run.checkpoint(1).write_bytes(other.read_bytes())
        with pytest.raises(UserError, match=f"to be the checkpoint of cycle 1 of its run, but it is of {what}"):
            run_experiment(tmp_path, retrain="warm", resume=True)
    run.checkpoint(1).write_bytes(own)
    assert set(before) == set(contents(tmp_path))
    assert without_seconds(run_experiment(tmp_path, retrain="warm", resume=True)) == without_seconds(whole["warm"])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_run_begins_with_another_checkpoint_or_changed_rows_of_an_initial_run(tmp_path, whole):
    initial = RunDirectory(shutil.copytree(whole["scratch"].path, tmp_path / "initial"))
    own = initial.checkpoint(0).read_bytes()
    initial.checkpoint(0).write_bytes(initial.checkpoint(1).read_bytes())
    with pytest.raises(UserError, match="to be the checkpoint of cycle 0 of its run, but it is of cycle 1 of its run"):
        run_experiment(tmp_path / "run", initial_run=str(initial.path))
    initial.checkpoint(0).write_bytes(own)
    initial.queries.write_text(initial.queries.read_text().replace("0,3,", "0,4,", 1))
    with pytest.raises(UserError, match=r"Expected rank 0, 1, 2 ... in .*/initial/queries.csv, got 4 in place of 3"):
        run_experiment(tmp_path / "run", initial_run=str(initial.path))


def test_a_run_goes_on_from_its_directory_and_not_from_a_checkpoint(tmp_path, whole, monkeypatch):
    fit, saves = Trainer.fit, OnExceptionCheckpoint(str(tmp_path), "saved")
    given = {"ckpt_path": whole["scratch"].checkpoint(1)}
    monkeypatch.setattr(Trainer, "fit", lambda *args, **kwargs: fit(*args, **kwargs, **given))
    with pytest.raises(UserError, match=r"Expected no ckpt_path, got .*last.ckpt"):
        run_experiment(tmp_path)
    given.clear()
    with pytest.raises(SystemExit):
        run_experiment(tmp_path, callbacks=(Dies("on_train_batch_start", 9, signal.SIGTERM), saves))
    assert Path(saves.ckpt_path).is_file()  # which Lightning finds by itself
    assert_equal_runs(run_experiment(tmp_path, callbacks=(saves,), resume=True), whole["scratch"])


def test_two_deaths_and_a_complete_run(tmp_path, whole):
    for at in (8, 3):
        dies = Dies("on_train_batch_start", at, signal.SIGKILL)
        assert in_child(lambda dies=dies: run_experiment(tmp_path, callbacks=(dies,), resume=True)) == -signal.SIGKILL
    run = run_experiment(tmp_path, resume=True)
    assert_equal_runs(run, whole["scratch"])
    assert len(run.read_environment()["resumed"]) == 2  # the second process began the run, the third and this one went on
    before = run.learning_curve.read_bytes()
    assert run_experiment(tmp_path, resume=True).learning_curve.read_bytes() == before


def interrupted(folder: Path) -> RunDirectory:
    assert in_child(lambda: run_experiment(folder, callbacks=(Dies("on_train_batch_start", 9, signal.SIGKILL),))) == -signal.SIGKILL
    return RunDirectory(folder)


def test_other_data_is_refused(tmp_path, monkeypatch):
    interrupted(tmp_path)
    with pytest.raises(UserError, match=r"differ: data.init_args.initial_size was 70 and is 71\."):
        run_experiment(tmp_path, data=make_data(initial_size=71), resume=True)
    kind = type(make_data())
    real = kind.setup

    def changed(data, stage):
        real(data, stage)
        data._train.images[5, 0, 3, 4] += 1

    monkeypatch.setattr(kind, "setup", changed)
    with pytest.raises(UserError, match=r"data .* not the same: 1 changed: train-images-idx3-ubyte\."):
        run_experiment(tmp_path, resume=True)


@pytest.mark.parametrize("name", ["queries.csv", "environment.json"])
def test_a_missing_file_is_named(tmp_path, name):
    (interrupted(tmp_path).path / name).unlink()
    with pytest.raises(UserError, match=f"{name} in the run directory, but it is missing"):
        run_experiment(tmp_path, resume=True)


def test_a_missing_last_query_is_refused(tmp_path):
    run = interrupted(tmp_path)
    lines = run.queries.read_text().splitlines(keepends=True)
    run.queries.write_text("".join(line for line in lines if not line.startswith("1,")))
    with pytest.raises(UserError, match="query after cycle 0"):
        run_experiment(tmp_path, resume=True)


def test_leftovers_of_the_killed_cycle_are_removed(tmp_path):
    run = interrupted(tmp_path)
    (run.cycle(1)).mkdir(parents=True, exist_ok=True)
    (run.cycle(1) / "partial.ckpt").write_bytes(b"half")
    run_experiment(tmp_path, resume=True)
    assert [path.name for path in run.cycle(1).iterdir()] == ["last.ckpt"]


def test_the_loggers_axis_goes_on(tmp_path):
    interrupted(tmp_path)

    class Steps(Callback):
        seen: list = []

        def on_cycle_end(self, trainer, module, finished):
            self.seen.append(finished.logged_steps)

    run_experiment(tmp_path, callbacks=(Steps(),), resume=True)
    assert Steps.seen == [6 + 8, 6 + 8 + 12]


def test_checkpoints_load_safely(whole):
    checkpoint = torch.load(whole["scratch"].checkpoint(1), weights_only=True)
    data = make_data()
    data.setup("fit")
    data.load_state_dict(checkpoint[type(data).__qualname__])
    assert data.pool.cycle == 1 and int(data.pool.labeled.sum()) == 120
