"""Training and scoring in several real processes."""

import time
import traceback
from typing import Any

import pytest
from lightning.pytorch import Callback

from al_lightning.acquisition import BADGE, BALD, EPIG, ClassAwareRandom, ClassStratified, Diverse, Entropy, Odin, TypiClust, UHerding
from al_lightning.callbacks.first_process import in_first
from al_lightning.models import MLP
from al_lightning.tasks import ClassificationTask
from tests.experiments import in_child, make_data, run_experiment, without_seconds


class Scored(Callback):
    """Writes what this process scored."""

    def __init__(self, folder):
        self.folder = folder

    def on_scoring(self, trainer, done, total):
        if done == total:
            (self.folder / f"scored-{trainer.datamodule.pool.cycle}-{trainer.global_rank}").write_text(str(total))


def run_on(processes: int, folder, strategy=None, **arguments: Any):
    """Runs in a child, because a process that has used threads should not be forked further."""
    trainer = {"devices": processes, "strategy": "ddp_fork" if processes > 1 else "auto", **arguments.pop("trainer", {})}
    folder.mkdir(exist_ok=True, parents=True)

    def work():
        task = ClassificationTask(lambda: MLP(9, dropout=0.2))
        run_experiment(folder / "run", strategy, task=task, trainer=trainer, callbacks=(Scored(folder),), **arguments)

    assert in_child(work) == 0
    from al_lightning.runs import RunDirectory

    return RunDirectory(folder / "run")


ALONE = [Entropy(), BALD(5, 0.5), Odin(10.0, 0.01)]
TOGETHER = [BADGE(), UHerding(), EPIG(20, 5, 0.5), ClassStratified(Entropy()), TypiClust(), ClassAwareRandom()]


@pytest.mark.parametrize("strategy", [*ALONE, *TOGETHER], ids=lambda s: type(s).__name__)
def test_the_same_weights_select_the_same_items_on_1_2_and_3_processes(tmp_path, strategy):
    """Without training, every number of processes has the weights that were drawn."""
    runs = [run_on(n, tmp_path / str(n), strategy, data=make_data(eval_batch_size=40), trainer={"max_epochs": 0}) for n in (1, 2, 3)]
    tables = [run.queries.read_bytes() for run in runs]
    assert tables[0] == tables[1] == tables[2]
    assert [row["val/accuracy"] for row in runs[0].read_cycles()] == [row["val/accuracy"] for row in runs[2].read_cycles()]


def test_a_process_without_a_batch_chooses_the_same(tmp_path):
    """Two batches, of the pool and of what is labeled, for three processes."""
    data = {"eval_batch_size": 600, "initial_size": 570}
    arguments = {"query_size": 9, "cycles": 2, "trainer": {"max_epochs": 0}}
    runs = [run_on(n, tmp_path / str(n), Diverse(Entropy(), 2), data=make_data(**data), **arguments) for n in (1, 3)]
    first, other = ([(row.index, row.score) for row in run.read_queries() if row.cycle == 1] for run in runs)
    assert [index for index, _ in first] == [index for index, _ in other] and len(first) == 9


def test_a_pool_of_103_on_4_processes_scores_103(tmp_path):
    run = run_on(4, tmp_path, data=make_data(initial_size=20, pool_size=123, eval_batch_size=10), cycles=2, query_size=103)
    assert sum(int((tmp_path / f"scored-0-{rank}").read_text()) for rank in range(4)) == 103
    assert [row["labeled"] for row in run.read_cycles()] == ["20", "123"]


def test_training_on_2_processes_repeats_itself_and_resumes(tmp_path):
    runs = [run_on(2, tmp_path / name) for name in ("first", "second")]
    assert runs[0].queries.read_bytes() == runs[1].queries.read_bytes()
    assert without_seconds(runs[0]) == without_seconds(runs[1])
    assert [row["train_steps"] for row in runs[0].read_cycles()] == ["4", "4", "6"]  # 70, 120, 170 items in batches of 2 * 32
    # As if it had died in cycle 2.
    lines = runs[1].learning_curve.read_text().splitlines(keepends=True)
    runs[1].learning_curve.write_text("".join(lines[:-1]))
    resumed = run_on(2, tmp_path / "second", resume=True)
    assert without_seconds(resumed) == without_seconds(runs[0])


def test_an_error_of_the_first_process_is_every_process_s(tmp_path):
    run_on(1, tmp_path)

    def work():
        run_experiment(tmp_path / "run", trainer={"devices": 2, "strategy": "ddp_fork"})

    assert in_child(work) == 1


class FailsInFirst(Callback):
    """Lets the first process fail, and writes what each process gets."""

    def __init__(self, folder):
        self.folder = folder

    def on_fit_start(self, trainer, module):
        def divide():
            return 1 // 0

        try:
            in_first(trainer, divide)
        except Exception as error:
            (self.folder / f"failed-{trainer.global_rank}").write_text("".join(traceback.format_exception(error)))
            until = time.monotonic() + 20
            while time.monotonic() < until and len([*self.folder.glob("failed-*")]) < trainer.world_size:
                time.sleep(0.05)  # once a process has ended, the others are ended, too
            raise


@pytest.mark.usefixtures("in_time")
def test_any_error_of_the_first_process_reaches_the_others(tmp_path):
    def work():
        run_experiment(tmp_path / "run", callbacks=(FailsInFirst(tmp_path),), trainer={"devices": 2, "strategy": "ddp_fork"})

    assert in_child(work) == 1
    first, other = ((tmp_path / f"failed-{rank}").read_text() for rank in range(2))
    assert "in divide" in first and "FirstProcessFailed" not in first
    assert "FirstProcessFailed: The first process failed." in other
    for said in (first, other):
        assert said.strip().endswith("ZeroDivisionError: integer division or modulo by zero")


def test_evaluation_counts_every_image_once(tmp_path):
    accuracy = [run_on(n, tmp_path / str(n), cycles=1, trainer={"max_epochs": 0}).read_cycles()[0]["val/accuracy"] for n in (1, 3)]
    assert accuracy[0] == accuracy[1]
