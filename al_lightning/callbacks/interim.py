"""A cycle's training is kept between its epochs: a death costs minutes of it, not hours."""

import os
import time
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.serialization import default_restore_location

from al_lightning.callbacks.record import RunRecord
from al_lightning.callbacks.restart import FitRestart, Stage
from al_lightning.errors import UserError
from al_lightning.files import replacing
from al_lightning.states import damaged_part

_KEY = "al_lightning interim"


class Interim:
    """Runs trainings, and keeps how far they have come in ``cycles/NNN/training.ckpt``.

    Args:
        restart: knows what a training consists of.
        record: of the run, open.
        minutes: between two checkpoints at least; None for no checkpoints.
        say: shows a line to a person.
    """

    def __init__(self, restart: FitRestart, record: RunRecord, minutes: float | None, say: Callable[[str], None]) -> None:
        self._restart = restart
        self._record = record
        self._trainer = restart.trainer
        self._minutes = None if self._trainer.fast_dev_run else minutes  # type: ignore[attr-defined]
        self._say = say
        self._cycle = 0
        self._earlier = 0.0  # seconds of this cycle's training in processes that died
        self._began: float | None = None  # when this process began the training that is going on
        self._written = 0.0  # when it wrote a checkpoint last
        self._problem: str | None = None
        self.found: dict[str, Any] | None = None  # a checkpoint to go on from

    # Keeping

    def run(self, train: Stage, cycle: int) -> float:
        """Trains.

        Returns:
            The seconds that it took, with those before a death.
        """
        self._cycle = cycle
        if self._minutes is not None:
            self._restart.watch()
        self._began = self._written = time.perf_counter()
        train()
        seconds = self._seconds()
        self._keep_if_due(trained=True)
        self._began, self._earlier = None, 0.0
        return seconds

    def between_epochs(self) -> None:
        """Writes a checkpoint if it is time. What trains for reasons of its own (a search for a learning rate) is not kept."""
        if self._began is not None:
            self._restart.carry_over()
            self._keep_if_due(trained=False)

    def _seconds(self) -> float:
        assert self._began is not None
        return self._earlier + time.perf_counter() - self._began

    def _keep_if_due(self, trained: bool) -> None:
        if self._minutes is None:
            return
        due = time.perf_counter() - self._written >= 60 * self._minutes
        if self._trainer.strategy.broadcast(due):
            problem = self._restart.problem()
            if self._trainer.strategy.reduce_boolean_decision(problem is None):
                problem = self._keep(trained)
            if problem is not None and problem != self._problem:
                self._say(f"No checkpoint of this training can be kept, so a death costs more than minutes of it: {problem}.")
            self._problem = problem
            self._written = time.perf_counter()

    def _keep(self, trained: bool) -> str | None:
        """Writes a checkpoint; returns what is wrong with it, if anything is."""
        path = self._record.run.training(self._cycle)
        own = {
            "identity": self._identity(),
            "seconds": self._seconds(),
            "trained": trained,
            "files": sorted(set(_files(path.parent)) - {path.name}),
        }
        state = self._restart.checkpoint() | {_KEY: own}
        return self._record.on_rank_zero(lambda: _write(path, state))

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a training to go on."""
        identity: dict[str, Any] = {"run": self._record.id, "cycle": self._cycle, "number of processes": self._trainer.world_size}
        if self._trainer.checkpoint_callbacks:  # they know their files by path
            identity["directory"] = os.path.abspath(self._record.run.path)
        return identity | {name: version(name) for name in ("torch", "lightning")}

    # Going on

    def find(self, cycle: int) -> list[str]:
        """Looks for a checkpoint of an unfinished cycle.

        Returns:
            The files that belong to it in the cycle's directory. What else is there came later, and will come again.
        """
        self._cycle = cycle
        path = self._record.run.training(cycle)
        problem = self._record.on_rank_zero(lambda: self._refusal(path))
        if problem is not None:
            if problem:
                self._say(f"Cycle {cycle} begins anew: {path} {problem}.")
            return []
        self.found = _load(path, self._trainer.strategy.root_device)
        files: list[str] = self.found[_KEY]["files"]
        return [path.name, *files]

    def _refusal(self, path: Path) -> str | None:
        """Why a checkpoint is not gone on from; empty where there is none."""
        if self._minutes is None or not path.is_file():
            return ""
        try:
            with zipfile.ZipFile(path) as archive:
                if damaged := damaged_part(archive):
                    return f"is damaged in {damaged}"
            then, now = dict(_peek(path)[_KEY]["identity"]), self._identity()
        except Exception as error:  # whatever bytes it holds, the cycle can be trained anew
            return f"can't be read ({type(error).__name__})"
        changed = [f"{name} was {then.get(name)} and is {now.get(name)}" for name in {**then, **now} if then.get(name) != now.get(name)]
        if changed:
            return f"was written under other circumstances: {'; '.join(changed)}"
        try:
            labels = self._record.data_record.changed_in_unfinished(self._cycle)
        except UserError as error:
            return f"is of labels that nobody knows any more ({error})"
        return f"was trained by other labels: {labels}" if labels else None

    def restore(self, train: Stage) -> Stage:
        """Brings the training to where the found checkpoint is; returns what is left to do of it."""
        assert self.found is not None
        checkpoint, self.found = self.found, None
        self._restart.end()
        self._restart.begin(lambda: None, os.fspath(self._record.run.cycle(self._cycle)), checkpoint)
        own = checkpoint[_KEY]
        self._earlier = own["seconds"]
        where = "its training" if own["trained"] else f"epoch {self._trainer.current_epoch} of its training"
        self._say(f"Cycle {self._cycle} goes on after {where} ({own['seconds'] / 60:.1f} minutes).")
        return self._restart.carry_over if own["trained"] else train


def _files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()]


def _write(path: Path, state: dict[str, Any]) -> str | None:
    with replacing(path) as file:
        torch.save(state, file)
    try:
        _peek(path)
    except Exception as error:  # a safe load refuses what is no plain data, wherever it comes from
        path.unlink()
        lines = str(error).splitlines() or [type(error).__name__]
        return f"its state can't be loaded safely ({next((line for line in lines if 'error:' in line), lines[0]).strip()})"
    return None


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    """A checkpoint, its tensors on the CPU if they were there, else on the device."""

    def place(storage: Any, location: str) -> Any:
        return default_restore_location(storage, "cpu" if location == "cpu" else str(device))

    content: dict[str, Any] = torch.load(path, map_location=place, weights_only=True)
    return content


def _peek(path: Path) -> dict[str, Any]:
    """A checkpoint without the content of its tensors."""
    content: dict[str, Any] = torch.load(path, map_location="meta", weights_only=True, mmap=True)
    return content
