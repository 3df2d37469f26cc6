"""Checkpoints within a cycle's training, between its epochs: a killed run loses minutes of it, not hours."""

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
    """Runs trainings, and writes checkpoints of them to ``cycles/NNN/training.ckpt``.

    Args:
        restart: collects and restores the state of a training.
        record: the run's record, open.
        minutes: least time between two checkpoints; None for no checkpoints.
        say: shows a line to the user.

    Attributes:
        found: the checkpoint to continue from; None if there is none.
    """

    def __init__(self, restart: FitRestart, record: RunRecord, minutes: float | None, say: Callable[[str], None]) -> None:
        self._restart = restart
        self._record = record
        self._trainer = restart.trainer
        self._minutes = None if self._trainer.fast_dev_run else minutes  # type: ignore[attr-defined]
        self._say = say
        self._cycle = 0
        self._earlier = 0.0  # seconds of this cycle's training in processes that died
        self._began: float | None = None  # when this process began the current training
        self._written = 0.0  # when it last wrote a checkpoint
        self._problem: str | None = None  # the last one that the user was told of
        self.found: dict[str, Any] | None = None

    # Writing checkpoints

    def run(self, train: Stage, cycle: int) -> float:
        """Runs a cycle's training.

        Args:
            train: the training.
            cycle: number of the cycle.

        Returns:
            Its duration in seconds, together with the part of it that ran in processes which died.
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
        """Writes a checkpoint if it is time; but not within other fits, such as a search for a learning rate."""
        if self._began is not None:
            self._restart.restore_rest()
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
                self._say(f"No checkpoint of this training can be kept, so it begins anew if the run is killed: {problem}.")
            self._problem = problem
            self._written = time.perf_counter()

    def _keep(self, trained: bool) -> str | None:
        """Writes a checkpoint; returns why it can't be used, or None if it can."""
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
        """What must be the same for a training to continue."""
        identity: dict[str, Any] = {"run": self._record.id, "cycle": self._cycle, "number of processes": self._trainer.world_size}
        if self._trainer.checkpoint_callbacks:  # they remember the paths of their files
            identity["directory"] = os.path.abspath(self._record.run.path)
        return identity | {name: version(name) for name in ("torch", "lightning")}

    # Continuing

    def find(self, cycle: int) -> list[str]:
        """Looks for a checkpoint of an unfinished cycle.

        Returns:
            The files in the cycle's directory that belong to the checkpoint, or none. Other files were written after it, and will be
            written again.
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
        """Why the checkpoint can't be used; empty if there is no checkpoint, None if it can be used."""
        if self._minutes is None or not path.is_file():
            return ""
        try:
            with zipfile.ZipFile(path) as archive:
                if damaged := damaged_part(archive):
                    return f"is damaged in {damaged}"
            then, now = dict(_load_without_values(path)[_KEY]["identity"]), self._identity()
        except Exception as error:  # a damaged file may raise anything, and the cycle can be trained anew
            return f"can't be read ({type(error).__name__})"
        changed = [f"{name} was {then.get(name)} and is {now.get(name)}" for name in {**then, **now} if then.get(name) != now.get(name)]
        if changed:
            return f"does not fit this run any more: {'; '.join(changed)}"
        try:
            labels = self._record.data_record.changed_in_unfinished(self._cycle)
        except UserError as error:
            return f"was trained with labels that can't be compared any more ({error})"
        return f"was trained with other labels: {labels}" if labels else None

    def restore(self, train: Stage) -> Stage:
        """Restores the training's state from the checkpoint that was found; returns the rest of the training."""
        assert self.found is not None
        checkpoint, self.found = self.found, None
        self._restart.end()
        self._restart.begin(lambda: None, os.fspath(self._record.run.cycle(self._cycle)), checkpoint)
        own = checkpoint[_KEY]
        self._earlier = own["seconds"]
        where = "its training" if own["trained"] else f"epoch {self._trainer.current_epoch} of its training"
        self._say(f"Cycle {self._cycle} continues after {where} ({own['seconds'] / 60:.1f} minutes).")
        return self._restart.restore_rest if own["trained"] else train


def _files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()]


def _write(path: Path, state: dict[str, Any]) -> str | None:
    with replacing(path) as file:
        torch.save(state, file)
    try:
        _load_without_values(path)
    except Exception as error:  # a safe load refuses all but plain data; what it raises depends on where that is
        path.unlink()
        lines = str(error).splitlines() or [type(error).__name__]
        return f"its state can't be loaded safely ({next((line for line in lines if 'error:' in line), lines[0]).strip()})"
    return None


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    """A checkpoint; tensors that were on the CPU stay there, others go to the device."""

    def place(storage: Any, location: str) -> Any:
        return default_restore_location(storage, "cpu" if location == "cpu" else str(device))

    content: dict[str, Any] = torch.load(path, map_location=place, weights_only=True)
    return content


def _load_without_values(path: Path) -> dict[str, Any]:
    """A checkpoint without the values of its tensors."""
    content: dict[str, Any] = torch.load(path, map_location="meta", weights_only=True, mmap=True)
    return content
