"""Remembers which runs of a sweep have its settings: parsing 1,000 of them at every start would take minutes."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from al_lightning.configuration_files import read_settings
from al_lightning.files import write_atomically
from al_lightning.runs import RunDirectory
from al_lightning.sweeps.plan import PlannedRun


class CheckedRuns:
    """Remembers runs by a hash of their planned settings and of their stored configuration.

    The hash does not cover defaults, which change with the code: to find such a change, parse one run of each :func:`shape`.

    Args:
        path: of the file that keeps the hashes between starts of the sweep; if it can't be read, nothing is remembered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bases: dict[Path, Any] = {}
        self._hashes: dict[str, str] = {}
        with suppress(OSError, ValueError):
            known = json.loads(path.read_bytes())
            self._hashes = known if isinstance(known, dict) else {}

    def __contains__(self, run: PlannedRun) -> bool:
        return (found := self._hash(run)) is not None and self._hashes.get(run.name) == found

    def add(self, runs: Sequence[PlannedRun]) -> None:
        """Remembers runs whose stored settings are the planned ones; runs without a stored configuration are left out."""
        found = {run.name: sha256 for run in runs if (sha256 := self._hash(run)) is not None}
        if found.items() - self._hashes.items():
            self._hashes |= found
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(self._hashes, indent=0).encode())

    def _hash(self, run: PlannedRun) -> str | None:
        try:
            stored = RunDirectory(run.directory).config.read_bytes()
        except OSError:
            return None
        if run.base not in self._bases:
            self._bases[run.base] = read_settings(run.base)
        planned = json.dumps([run.arguments(), self._bases[run.base]], sort_keys=True, default=str)
        return hashlib.sha256(planned.encode(errors="surrogateescape") + b"\0" + stored).hexdigest()


def shape(value: Any) -> Any:
    """Settings without their numbers: runs whose settings have the same shape take the same defaults.

    Example:
        >>> shape({"strategy": {"class_path": "Odin", "init_args": {"temperature": 0.1}}, "cycles": 3})
        {'strategy': {'class_path': 'Odin', 'init_args': {'temperature': 0}}, 'cycles': 0}
    """
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return 0 if isinstance(value, int | float) and not isinstance(value, bool) else value
