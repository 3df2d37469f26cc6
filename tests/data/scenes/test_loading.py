import atexit
import errno
import multiprocessing.util
import os
import signal
import time
from contextlib import suppress
from itertools import islice
from multiprocessing import Value
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, Dataset

from al_lightning import cli
from al_lightning.analysis.drawings import plots
from al_lightning.data.scenes.datasets import EpochSampler, ShareSampler
from al_lightning.data.scenes.loading import EpochLoader, end_where_nothing_can_be_sent
from al_lightning.interpreter import run_and_leave
from al_lightning.refusals import refusal
from al_lightning.runs import RunDirectory
from tests.experiments import in_child, same_weights, weights, without_seconds

pytestmark = pytest.mark.usefixtures("undrawn")


class Unsendable:
    def __reduce__(self):
        raise OSError(errno.EMFILE, "Too many open files")


class Items(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return Unsendable()


def test_a_batch_that_cannot_be_sent_is_not_waited_for(capfd):
    loader = DataLoader(Items(), num_workers=1, batch_size=None, worker_init_fn=end_where_nothing_can_be_sent, timeout=5)
    with pytest.raises(RuntimeError, match="exited unexpectedly") as error:
        list(loader)
    assert "al_lightning: error: this process has as many files open as it may. Raise the limit (ulimit -n)" in capfd.readouterr().err
    assert "a loading process has ended; what it printed tells why" in refusal(error.value)


class Keys(Dataset):
    """Gives each key back, with the process that loaded it, and counts the loaded ones."""

    def __init__(self):
        self.loaded = Value("i", 0)

    def __getitem__(self, key):
        with self.loaded.get_lock():
            self.loaded.value += 1
        return *key, os.getpid()


def epochs_of(num_workers, items=7, batch_size=3, world=1):
    sampler = EpochSampler(torch.arange(10, 10 + items), 0, world, seed=5, batch_size=batch_size)
    return EpochLoader(Keys(), batch_size=sampler.batch_size, sampler=sampler, num_workers=num_workers, persistent_workers=num_workers > 0)


def epoch(loader, number, batches=None):
    """Keys of an epoch's first batches, and the processes that loaded them."""
    loader.sampler.set_epoch(number)
    found = [batch for batch, _ in zip(loader, range(len(loader) if batches is None else batches), strict=False)]
    return [list(zip(*map(torch.Tensor.tolist, batch[:2]), strict=True)) for batch in found], {int(i) for b in found for i in b[2]}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_epochs_are_what_they_are_alone_in_any_order_by_the_same_processes(num_workers):
    loader, seen = epochs_of(num_workers), set()
    for number, batches in [(0, None), (1, None), (2, 1), (3, None), (3, None), (7, None), (8, 0), (8, None)]:
        keys, processes = epoch(loader, number, batches)
        assert keys == epoch(epochs_of(0), number, batches)[0]
        assert [len(batch) for batch in keys] == [3] * (2 if batches is None else batches)
        assert all(key[0] == number for batch in keys for key in batch)
        seen |= processes
    assert len(seen) == max(1, num_workers) and (os.getpid() in seen) == (num_workers == 0)
    assert {item for number in range(9) for batch in epoch(loader, number)[0] for _, item in batch} == {*range(10, 17)}


@pytest.mark.parametrize(("items", "batch_size", "world", "sizes"), [(7, 7, 1, [7]), (7, 9, 1, [7]), (7, 2, 2, [2, 2]), (7, 3, 2, [3])])
def test_an_epoch_is_whole_batches_or_the_only_one(items, batch_size, world, sizes):
    assert [len(batch) for batch in epoch(epochs_of(0, items, batch_size, world), 1)[0]] == sizes


def test_processes_share_the_items():
    trained = [[*islice(EpochSampler(torch.arange(10, 18), rank, 2, 5, 2), 4)] for rank in range(2)]
    assert sorted(item for keys in trained for _, item in keys) == [*range(10, 18)]
    evaluated = [[*ShareSampler(7, rank, 3)] for rank in range(3)]
    assert sorted(item for share in evaluated for item in share) == [*range(7)] and [
        len(ShareSampler(7, rank, 3)) for rank in range(3)
    ] == [3, 2, 2]


def test_the_next_epoch_is_loaded_before_it_is_asked_for():
    loader = epochs_of(num_workers=1)
    epoch(loader, 0)
    patience = time.monotonic() + 20
    while loader.dataset.loaded.value < 4 * 3 and time.monotonic() < patience:  # two batches an epoch, two ahead
        time.sleep(0.01)
    assert loader.dataset.loaded.value == 4 * 3


# Whole runs

SCENES = {"cache": "../scenes", "train_sequences": 6, "val_sequences": 2, "frames": 2, "height": 40, "width": 56}
SETTINGS = {**SCENES, "initial_size": 5, "crop": 32, "batch_size": 2, "num_workers": 2}
FIT = "fit --model SegmentationTask --model.network tests.tasks.test_segmentation.Tiny --data SyntheticScenesDataModule --run_dir run "
FIT += "--trainer.accelerator cpu --trainer.logger false --trainer.enable_progress_bar false --trainer.enable_model_summary false "
FIT += "--active_learning.strategy Entropy --active_learning.query_size 3 --active_learning.cycles 2 "


def fit(folder, monkeypatch, *more, **settings):
    """Two cycles of two epochs, by the command line; the network has dropout."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(plots, "draw_learning_curve", lambda run: run.picture)
    data = [f"--data.{name}={value}" for name, value in {**SETTINGS, **settings}.items()]
    cli.main([*FIT.split(), "--trainer.max_epochs=2", *data, *more])
    return RunDirectory(folder / "run")


def assert_same(run, other):
    assert run.queries.read_text() == other.queries.read_text()
    assert without_seconds(run) == without_seconds(other)
    assert run.checkpoints() == other.checkpoints() != []
    assert all(same_weights(weights(run, cycle), weights(other, cycle)) for cycle in run.checkpoints())


def test_processes_start_once_a_cycle_and_change_no_bit(tmp_path, monkeypatch):
    """Those that train, evaluate and score; validation is within epochs and at their end, and comes once more for the best weights."""
    more = ["--trainer.val_check_interval=0.5", "--active_learning.query_weights=best", "--trainer.callbacks=ModelCheckpoint"]
    more += ["--trainer.callbacks.monitor=val/miou", "--trainer.callbacks.mode=max", "--data.init_args.score_batch_size=1"]
    alone = fit(tmp_path / "alone", monkeypatch, *more, num_workers=0)
    started, start = [], BaseProcess.start
    monkeypatch.setattr(BaseProcess, "start", lambda self: (started.append(self), start(self)))
    run = fit(tmp_path / "together", monkeypatch, *more, decoded_cache="memory")
    assert len(started) == 2 * (2 + 2) + 2  # the last cycle scores nothing
    assert not any(process.is_alive() for process in started)
    assert_same(run, alone)


def test_two_processes_with_loading_processes_of_their_own(tmp_path, monkeypatch):
    devices = ["--trainer.devices=2", "--trainer.strategy=ddp_fork", "--active_learning.cycles=1"]
    for workers in (0, 1):
        assert in_child(lambda workers=workers: fit(tmp_path / str(workers), monkeypatch, *devices, num_workers=workers)) == 0
    assert_same(RunDirectory(tmp_path / "0" / "run"), RunDirectory(tmp_path / "1" / "run"))


class Ends(Callback):
    """Ends the run in one way or another at a hook."""

    def __init__(self, how: str, hook: str):
        setattr(self, hook, {"error": self.fail, "Ctrl-C": self.interrupt, "SIGTERM": self.terminate}[how])

    def fail(self, *_):
        raise ValueError("mine")

    def interrupt(self, *_):
        os.killpg(0, signal.SIGINT)  # as a terminal does

    def terminate(self, *_):
        os.kill(os.getpid(), signal.SIGTERM)


def of_group(group):
    """Who is alive of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just gone
            state, _, its, *_ = path.read_text().rsplit(")", 1)[1].split()
            found += [path] * (int(its) == group and state != "Z")
    return found


@pytest.mark.parametrize(
    ("how", "hook", "status"),
    [("error", "on_validation_batch_end", 1), ("Ctrl-C", "on_train_batch_end", 130), ("SIGTERM", "on_scoring", 143)],
)
@pytest.mark.usefixtures("in_time")
def test_no_process_outlives_the_run(tmp_path, monkeypatch, how, hook, status):
    def work():
        atexit._clear()  # the parent's: they would remove its files
        atexit.register(multiprocessing.util._exit_function)  # of any process that has imported multiprocessing
        os.setsid()
        (tmp_path / "group").write_text(str(os.getpid()))
        ends = [
            "--trainer.callbacks=tests.data.scenes.test_loading.Ends",
            f"--trainer.callbacks.how={how}",
            f"--trainer.callbacks.hook={hook}",
        ]
        run_and_leave(lambda: fit(tmp_path / "folder", monkeypatch, *ends))

    assert in_child(work) == status
    assert not of_group(int((tmp_path / "group").read_text()))
