"""The runs that a sweep file asks for.

    base: ../fashion_mnist/entropy.yaml     # a configuration, relative to the sweep file, or one of `configs list`
    out: runs/width                         # the folder of the runs; runs/<the file's stem> by default
    set: {active_learning.query_size: 500}  # for all runs
    grid:                                   # every combination of
      seed_everything: [0, 1, 2, 3]         #   values of a key,
      model.init_args.network.init_args.width: [16, 4]
      query:                                #   or named groups of settings
        Random: {active_learning.strategy: Random}
        every 4th: {active_learning.strategy: Entropy, active_learning.stride: 4}
    slurm: {slurm_partition: gpu}           # submitit's parameters, for --submit

``{seed}`` in a value stands for the run's seed. Runs that differ only in what comes after cycle 0 share one cycle 0.
"""

import datetime
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from al_lightning import shipped
from al_lightning.configuration_files import read_settings
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from al_lightning.settings import LATER_CYCLES

SEED = "seed_everything"
INITIAL_RUN = "active_learning.initial_run"
ORACLE = "active_learning.oracle"

REPORTING = ["cycle_logger", "trainer.logger", "trainer.enable_progress_bar", "trainer.enable_model_summary"]
# Settings with which a run is nothing but cycle 0.
ONLY_CYCLE_0 = {
    "active_learning.strategy": "Random",
    "active_learning.cycles": 1,
    "active_learning.keep": "all",
    "active_learning.also_record": [],
    "trainer.logger": {"class_path": "lightning.pytorch.loggers.logger.DummyLogger"},  # some callbacks want one
}


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep.

    Attributes:
        name: of its directory in the sweep's folder.
        base: path of the configuration that it changes.
        settings: the settings that it changes, by dotted key.
        directory: path of the run's directory.
        labels: its value on each axis of the grid, as text for people; empty for a run that is only shared.
        initial: the run whose cycle 0 it shares; None if it trains its own.
    """

    name: str
    base: Path
    settings: Mapping[str, Any]
    directory: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    initial: "PlannedRun | None" = None

    def state(self) -> str:
        """``finished``, ``waiting`` for a person's labels, ``unfinished``, ``broken`` if its tables can't be read, or ``new``."""
        directory = RunDirectory(self.directory)
        try:
            if directory.is_finished():
                return "finished"
            if directory.awaited():
                return "waiting"
            return "unfinished" if directory.holds_run() else "new"
        except UserError:  # whoever goes on with the run says why
            return "broken"

    def arguments(self) -> list[str]:
        """The arguments of ``fit`` for this run, the command's name first."""
        settings = dict(self.settings)
        if self.initial is not None:
            settings[INITIAL_RUN] = str(self.initial.directory)
        return ["fit", "--config", str(self.base), "--run_dir", str(self.directory), *options(settings)]


def options(settings: Mapping[str, Any]) -> list[str]:
    """Settings by dotted key as options of ``fit``."""
    return [f"--{key}={value if isinstance(value, str) else _option(value)}" for key, value in settings.items()]


def _option(value: Any) -> str:
    """A value as YAML reads it. A date is its text, as in the name of a folder."""
    return str(value) if isinstance(value, datetime.date) else json.dumps(value, default=str)


@dataclass(frozen=True)
class Sweep:
    """The content of a sweep file.

    Attributes:
        path: of the file.
        base: path of the configuration that the runs change.
        content: of that configuration.
        out: folder of the runs.
        settings: the settings that all runs change, by dotted key.
        grid: for each axis, the settings of each value, by the value's label.
        slurm: parameters for submitit.
    """

    path: Path
    base: Path
    content: Mapping[str, Any]
    out: Path
    settings: Mapping[str, Any]
    grid: Mapping[str, Mapping[str, Mapping[str, Any]]]
    slurm: Mapping[str, Any]

    def runs(self) -> list[PlannedRun]:
        """All runs, seed by seed; each comes after the run whose cycle 0 it shares.

        Raises:
            UserError: two runs would have the same name, or a seed is none.
        """
        axes = sorted(self.grid, key=lambda axis: axis != SEED)  # stable: the seed is the outermost loop, the other axes keep their order
        planned = [self._run(dict(zip(axes, labels, strict=True))) for labels in itertools.product(*(self.grid[axis] for axis in axes))]
        runs = self._with_shared_cycle_0(planned)
        if doubled := [name for name, count in Counter(run.name for run in runs).items() if count > 1]:
            raise UserError(f"Expected a name of its own for each run of {self.path}, got {', '.join(sorted(doubled))} more than once.")
        return runs

    def _run(self, labels: Mapping[str, str]) -> PlannedRun:
        settings = dict(self.settings)
        for axis, label in labels.items():
            settings |= self.grid[axis][label]
        seed = self._seed(settings)
        name = _directory_name(*(labels[axis] for axis in self.grid if axis != SEED), f"seed{seed}")
        return PlannedRun(name, self.base, _filled_in(settings, seed), self.out / name, labels)

    def _seed(self, settings: Mapping[str, Any]) -> int:
        seed = settings.get(SEED, self.content.get(SEED, 0))
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise UserError(f"Expected {SEED} in the sweep {self.path} to be an integer from 0 to {2**32 - 1}, got {seed!r}.")
        return seed

    def _with_shared_cycle_0(self, planned: Sequence[PlannedRun]) -> list[PlannedRun]:
        learning = self.content.get("active_learning") or {}
        if any(INITIAL_RUN in run.settings for run in planned) or learning.get("initial_run"):
            return list(planned)
        if any(run.settings.get(ORACLE, learning.get("oracle")) == "human" for run in planned):  # each asks for its own first labels
            return list(planned)
        groups: dict[str, list[PlannedRun]] = {}
        for run in planned:
            groups.setdefault(json.dumps(_without(run.settings, [*LATER_CYCLES, *REPORTING]), sort_keys=True, default=str), []).append(run)
        runs = []
        names = Counter(self._name_of_initial(group[0], False) for group in groups.values() if len(group) > 1)
        for group in groups.values():
            if len(group) == 1:
                runs += group
                continue
            first = group[0]
            name = self._name_of_initial(first, names[self._name_of_initial(first, False)] > 1)
            initial = PlannedRun(name, self.base, _without(first.settings, LATER_CYCLES) | ONLY_CYCLE_0, self.out / name)
            runs += [initial, *(replace(run, initial=initial) for run in group)]
        return runs

    def _name_of_initial(self, run: PlannedRun, by_axes: bool) -> str:
        """The name of the run whose cycle 0 a run shares, after the values that decide on cycle 0; ``by_axes``: which axis has each."""
        deciding = {axis: label for axis, label in run.labels.items() if axis != SEED}
        deciding = {axis: label for axis, label in deciding.items() if _without(self.grid[axis][label], [*LATER_CYCLES, *REPORTING])}
        parts = [f"{axis}={label}" for axis, label in deciding.items()] if by_axes else deciding.values()
        return _directory_name("initial", *parts, f"seed{self._seed(run.settings)}")


def read_sweep(path: str | os.PathLike[str], out: str | None = None, overrides: Mapping[str, Any] | None = None) -> Sweep:
    """Reads a sweep file.

    Args:
        path: of the YAML file.
        out: folder of the runs, in place of the file's.
        overrides: settings of all runs by dotted key, which win over the file's ``set``.

    Raises:
        UserError: the file is missing or is not a sweep.
    """
    file = Path(path)
    content = read_settings(file)
    if unknown := set(content) - {"base", "out", "set", "grid", "slurm"}:
        raise UserError(
            f"Expected the keys base, out, set, grid and slurm in the sweep {file}, got {', '.join(sorted(map(str, unknown)))}."
        )
    _refuse_other_names(file, content)
    content = {"set": {}, "slurm": {}} | {key: value for key, value in content.items() if value is not None}
    for key, kind in {"base": str, "out": str, "grid": dict, "set": dict, "slurm": dict}.items():
        if not isinstance(content.get(key, "" if key == "out" else None), kind):
            raise UserError(f"Expected {key} in the sweep {file}, {'a path' if kind is str else 'a mapping'}, got {content.get(key)!r}.")
    grid = {axis: _axis(file, axis, values) for axis, values in content["grid"].items()}
    settings = {**content["set"], **(overrides or {})}
    groups = [group for labels in grid.values() for group in labels.values()]
    if varied := sorted({*(overrides or {})} & {*content["grid"]}):
        raise UserError(f"Expected settings that are no axis of the sweep {file}, got {varied[0]}. To run a part of the grid, use --only.")
    _refuse_directories(file, [settings, *groups])
    base = Path(os.path.relpath(file.parent / content["base"]))
    if not base.is_file():
        shipped_base = Path(shipped.located(content["base"]))
        if not shipped_base.is_file():
            raise UserError(
                f"Expected the configuration {base}, the base of the sweep {file}, but it is missing. A base is a path relative to the "
                "sweep file, or a name that `configs list` prints."
            )
        base = shipped_base
    return Sweep(
        path=file,
        base=base,
        content=read_settings(base),
        out=Path(out or content.get("out") or f"runs/{file.stem}"),
        settings=settings,
        grid=grid,
        slurm=content["slurm"],
    )


def _refuse_other_names(file: Path, content: Mapping[Any, Any]) -> None:
    """Refuses names that YAML takes for something else, as ``on`` for true. A group of settings may be named by a number.

    Raises:
        UserError: there is such a name.
    """
    parts = [part for part in (content.get("set"), content.get("grid")) if isinstance(part, dict)]
    axes = [axis for axis in parts[-1].values() if isinstance(axis, dict)] if isinstance(content.get("grid"), dict) else []
    groups = [group for axis in axes for group in axis.values() if isinstance(group, dict)]
    names = [name for part in (content, *parts, *groups) for name in part]
    labels = [label for axis in axes for label in axis if isinstance(label, bool)]
    if other := [name for name in names if not isinstance(name, str)] + labels:
        raise UserError(f"Expected names as text in the sweep {file}, got {other[0]!r}. Write it in quotes.")


def _refuse_directories(file: Path, groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuses settings of a run's directory: the sweep gives each run its own, where it finds it again.

    Raises:
        UserError: there is such a setting.
    """
    for key in ("run_dir", "resume", "config"):
        if any(key in group for group in groups):
            raise UserError(
                f"Expected no {key} among the settings of the sweep {file}: each run has a directory of its own in the folder out (--out)."
            )


def _axis(file: Path, axis: str, values: Any) -> dict[str, dict[str, Any]]:
    """The settings of each value of an axis, by the value's label."""
    if isinstance(values, list) and values:
        labels = [str(value) if axis == SEED else _label(axis, value) for value in values]
        if len({*labels}) < len({*map(repr, values)}):  # as of files of one name in two folders
            labels = [f"{axis.rsplit('.', 1)[-1]}={value}" for value in values]
        labeled = [(label, {axis: value}) for label, value in zip(labels, values, strict=True)]
        if len({*labels}) < len(labeled):
            raise UserError(f"Expected each value of {axis} once in the sweep {file}, got {', '.join(label for label, _ in labeled)}.")
        return dict(labeled)
    if isinstance(values, dict) and values and all(isinstance(settings, dict) for settings in values.values()):
        return {str(label): settings for label, settings in values.items()}
    raise UserError(f"Expected a list of values, or named groups of settings, for {axis} in the sweep {file}, got {values!r}.")


def _label(axis: str, value: Any) -> str:
    """A value as a person names it: ``Odin-temperature=0.1``, ``width=16``."""
    if isinstance(value, dict) and "class_path" in value:
        arguments = value.get("init_args") or {}
        if not isinstance(arguments, dict):
            raise UserError(f"Expected init_args of {value['class_path']} as a mapping, got {arguments!r}.")
        return "-".join([str(value["class_path"]).rsplit(".", 1)[-1], *(_label(name, part) for name, part in arguments.items())])
    text = str(value).rsplit("/", 1)[-1]
    last = axis.rsplit(".", 1)[-1]
    return text if last == "strategy" else f"{last}={text}"


def _directory_name(*labels: str) -> str:
    return "-".join(re.sub(r"[^\w.=,+-]+", "_", label) for label in labels)


def _filled_in(value: Any, seed: int) -> Any:
    """The value, with the seed in place of ``{seed}``."""
    if isinstance(value, str):
        return value.replace("{seed}", str(seed))
    if isinstance(value, dict):
        return {key: _filled_in(part, seed) for key, part in value.items()}
    return [_filled_in(part, seed) for part in value] if isinstance(value, list) else value


def _without(settings: Mapping[str, Any], left_out: Sequence[str]) -> dict[str, Any]:
    """The settings without these keys and without those below them."""
    return {key: value for key, value in settings.items() if not any(key == each or key.startswith(f"{each}.") for each in left_out)}
