"""All runs of a sweep: finished ones are left alone, unfinished ones go on, and one that fails does not stop the others."""

import json
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from al_lightning import settings as names
from al_lightning.callbacks.cycle import clock
from al_lightning.cli import differences
from al_lightning.config_reader import ConfigReader
from al_lightning.errors import UserError
from al_lightning.loggers import refuse_unreachable
from al_lightning.refusals import WAITS_FOR_LABELS
from al_lightning.runs import WRITES_THERE, RunDirectory
from al_lightning.sweeps.checked import CheckedRuns, shape
from al_lightning.sweeps.launch import Job, Launcher, LocalLauncher, SubmititLauncher
from al_lightning.sweeps.plan import INITIAL_RUN, REPORTING, SEED, PlannedRun, options

_BETWEEN_LOOKS = 0.1  # seconds
_WAITS = "waits for labels"

Renewed = Mapping[str, Mapping[str, Any]]
"""By name of a run that exists, the settings whose values are others than it has stored, and may be: see :func:`settings.renewed`."""


def outstanding(runs: Sequence[PlannedRun], further: Collection[str] = ()) -> list[PlannedRun]:
    """The runs that are not finished, in their order. A run that others share is among them only if one of those others is new.

    Args:
        runs: of the sweep.
        further: names of runs that are not finished, whatever their files say, because they are to go further.
    """
    shared = {run.initial.name for run in runs if run.initial is not None}
    states = {run.name: "unfinished" if run.name in further else run.state() for run in runs}
    needed = {run.initial.name for run in runs if run.initial is not None and states[run.name] == "new"}
    return [run for run in runs if states[run.name] != "finished" and (run.name not in shared or run.name in needed)]


def refuse_changed(runs: Sequence[PlannedRun], changes: Callable[[PlannedRun], list[str]]) -> None:
    """Makes sure that runs which exist have the planned settings; how they report progress does not count.

    Args:
        runs: the planned ones.
        changes: gives the differences between a run's stored configuration and its plan, one line each.

    Raises:
        UserError: an existing run has other settings.
    """
    for run in runs:
        shared = f"{INITIAL_RUN} was '{run.directory.parent}/"  # with runs that the sweep has no longer
        free = (*REPORTING, *([INITIAL_RUN] if run.initial else []), *([] if INITIAL_RUN in run.settings else [shared]))
        if run.state() != "new" and (changed := [line for line in changes(run) if not line.startswith(free)]):
            raise UserError(
                f"Expected the run in {run.directory} to have the sweep's settings, but {'; '.join(changed)}. "
                "Give the sweep another folder (--out), or remove the run."
            )


def conduct(
    runs: Sequence[PlannedRun],
    launcher: Launcher,
    logs: Path,
    say: Callable[[str], None],
    finished: Callable[[PlannedRun], None] = lambda run: None,
    renewed: Renewed = MappingProxyType({}),
    refuse: Callable[[PlannedRun], None] = lambda run: None,
) -> dict[str, str]:
    """Starts runs, or goes on with them, until each has ended.

    Args:
        runs: in the order of their start; a shared run comes before those that share it.
        launcher: starts them.
        logs: folder for what they print, one file per run.
        say: called with a line whenever a run has ended.
        finished: called with each run that ended well.
        renewed: settings of runs that exist, which they are told.
        refuse: called with a run that another process has begun meanwhile; raises a UserError if its settings are not the planned ones.

    Returns:
        The reasons why runs failed, by their names.
    """
    logs.mkdir(parents=True, exist_ok=True)
    work = _Work(runs, launcher, logs, say, finished, renewed, refuse)
    try:
        while work.waiting or work.started:
            work.collect()
            work.give_up()
            work.start()
            time.sleep(_BETWEEN_LOOKS)
    finally:
        for one in work.started:
            one.job.cancel()
    return work.failures


def carry_out(
    runs: Sequence[PlannedRun], out: Path, jobs: int | None = None, cluster: str | None = None, parameters: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Carries out all runs that are not finished, and prints how they end.

    Args:
        runs: in the order of their start; a shared run comes before those that share it.
        out: their folder.
        jobs: how many run at a time; None for 1 on this machine, and for all of them on a cluster.
        cluster: for submitit; None for this machine.
        parameters: of submitit.

    Returns:
        The reasons why runs failed, by their names.

    Raises:
        UserError: a run that exists has other settings.
        SystemExit: settings were refused (the reason is printed), or the process got SIGTERM.
        KeyboardInterrupt: somebody pressed Ctrl-C.
    """
    checked, renewed = refuse_mistakes(runs, out)

    def refuse(run: PlannedRun) -> None:
        refuse_changed([run], partial(_changes, ConfigReader(), renewed))

    todo = outstanding(runs, _further(renewed))
    states = [run.state() for run in todo]
    at_a_time = jobs or (max(1, len(todo)) if cluster else 1)
    new = states.count("new")
    counts = f"{new} to start, {len(todo) - new} to go on with, {at_a_time} at a time"
    print(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in {out}: {counts if todo else 'all finished'}.", flush=True)
    if not todo:
        return {}
    launcher: Launcher = (
        LocalLauncher(at_a_time) if cluster is None else SubmititLauncher(cluster, at_a_time, out / "submitit", parameters or {})
    )
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the finally clauses, which end the runs
    try:
        failures = conduct(todo, launcher, out / "logs", partial(print, flush=True), lambda run: checked.add([run]), renewed, refuse)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.")
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
    if waiting := sum(run.state() == "waiting" for run in todo):
        print(f"{waiting} of {len(todo)} runs wait for labels: python -m al_lightning status {out} says for how many.")
    if failures:
        print(f"{len(failures)} of {len(todo)} runs failed; what they printed is in {out / 'logs'}:")
        for name, why in failures.items():
            print(f"  {name}: {why}")
    return failures


def refuse_mistakes(runs: Sequence[PlannedRun], out: Path) -> tuple[CheckedRuns, dict[str, Mapping[str, Any]]]:
    """Finds a mistake in any run before the first one starts.

    Of the runs that were checked before and have not changed, only one of each shape is parsed: that finds what new code changes.

    Args:
        runs: of a sweep.
        out: their folder.

    Returns:
        What was checked, and what is renewed.

    Raises:
        UserError: a run that exists has other settings.
        SystemExit: settings were refused; the reason is printed.
    """
    checked = CheckedRuns(out / "logs" / "checked.json")
    reader, renewed = ConfigReader(), dict[str, Mapping[str, Any]]()
    seen, looked_at = set(), []
    for run in runs:
        known = run in checked
        settings = {key: value for key, value in run.settings.items() if key != SEED}
        kind = json.dumps(shape(settings) if known else settings, sort_keys=True)
        if kind not in seen:
            seen.add(kind)
            resolved = reader.read(run.arguments())
            if run.state() != "finished":
                offline = resolved.get("trainer.logger.init_args.offline")
                refuse_unreachable(resolved.get("trainer.logger", {"init_args": {"offline": offline}}))
        elif known:
            continue
        looked_at.append(run)
    refuse_changed(looked_at, partial(_changes, reader, renewed))
    go_on = {*renewed} - {run.name for run in looked_at if run.state() == "finished"} | {*_further(renewed)}
    checked.add([run for run in looked_at if run.name not in go_on])  # the others store other settings when they go on
    return checked, renewed


def _changes(reader: ConfigReader, renewed: dict[str, Mapping[str, Any]], run: PlannedRun) -> list[str]:
    """What a run may not change; notes what it may."""
    try:
        stored = reader.stored(run.directory)
    except UserError:  # the configuration is damaged: this run alone fails when it starts, and says so
        return []
    planned = reader.read(run.arguments())
    further = names.extended(stored, planned)
    budget = (planned.get(names.CYCLES), planned.get(names.LABEL_BUDGET))
    if run.state() == "finished" and RunDirectory(run.directory).has_gone_beyond(*budget):
        further = []
    if found := [*names.moved(stored, planned), *further]:  # `fit` compares what the files hold
        renewed[run.name] = {key: names.value(planned, key) for key in found}
    return differences(stored, planned, names.renewed(stored, planned))


def _further(renewed: Renewed) -> list[str]:
    """The runs that are to go further, or less far."""
    return [name for name, settings in renewed.items() if any(key in settings for key in names.BUDGET)]


@dataclass(frozen=True)
class _Started:
    """A run that was started and has not ended yet."""

    run: PlannedRun
    job: Job
    slot: int
    at: float
    log_begins: int  # in its log, in bytes: what is before this place is from earlier starts of the run


class _Work:
    """The runs that wait for their start, those that were started, and why others failed. The arguments are those of :func:`conduct`."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        launcher: Launcher,
        logs: Path,
        say: Callable[[str], None],
        finished: Callable[[PlannedRun], None],
        renewed: Renewed,
        refuse: Callable[[PlannedRun], None],
    ) -> None:
        self.waiting, self.started, self.failures = list(runs), list[_Started](), dict[str, str]()
        self._all, self._launcher, self._logs, self._renewed = len(runs), launcher, logs, renewed
        self._say, self._finished, self._refuse = say, finished, refuse
        self._unseen = {run.name for run in runs if run.state() == "new"}  # whose settings were not compared, as there were none
        # In seconds, of runs of the grid (True) and of those that are only shared (False), which are short.
        self._took: dict[bool, list[float]] = {}

    def collect(self) -> None:
        """Takes out the runs that have ended, and says how."""
        for one in [one for one in self.started if one.job.done()]:
            self.started.remove(one)
            failure = _failure(one, self._logs)
            taken = failure is not None and (RunDirectory(one.run.directory).is_held() or WRITES_THERE in failure)
            if taken:  # another process has the run, or had it
                self.waiting.append(one.run)
                self._unseen.add(one.run.name)
            else:
                self._note(one, failure)

    def give_up(self) -> None:
        """Takes out the runs that need one which failed."""
        for run in [run for run in self.waiting if run.initial is not None and run.initial.name in self.failures]:
            self.waiting.remove(run)
            self.failures[run.name] = f"not started, because {run.initial.name} failed"  # type: ignore[union-attr]

    def start(self) -> None:
        """Starts as many runs as the launcher has room for."""
        under_way = {one.run.name for one in self.started} | {run.name for run in self.waiting}
        for run in [run for run in self.waiting if run.initial is None or run.initial.name not in under_way]:
            free = set(range(self._launcher.jobs)) - {one.slot for one in self.started}
            if not free:
                break
            if RunDirectory(run.directory).is_held():  # by another sweep in the same folder, for example, which does the same
                continue
            self.waiting.remove(run)
            if (why := self._other_settings(run)) is not None:
                self.failures[run.name] = why
                self._say(f"{run.name}: FAILED, {why}")
            elif run.state() != "finished" or run.name in _further(self._renewed):
                self._start(run, min(free))

    def _other_settings(self, run: PlannedRun) -> str | None:
        """Why a run that another process has begun since the sweep was checked is not the planned one; None if it is."""
        if run.name not in self._unseen or run.state() == "new":
            return None
        try:
            self._refuse(run)
        except UserError as error:
            return str(error)
        return None

    def _start(self, run: PlannedRun, slot: int) -> None:
        log = log_of(run, self._logs)
        printed = log.stat().st_size if log.exists() else 0
        job = self._launcher.start(_arguments(run, self._renewed), log, slot)
        self._unseen.discard(run.name)
        self.started.append(_Started(run, job, slot, time.monotonic(), printed))

    def _note(self, one: _Started, failure: str | None) -> None:
        seconds = time.monotonic() - one.at
        if failure is None:
            self._finished(one.run)
        elif failure != _WAITS:
            self.failures[one.run.name] = failure
        self._took.setdefault(bool(one.run.labels), []).append(seconds)
        left = [other.run for other in self.started] + self.waiting
        how = "finished" if failure is None else failure if failure == _WAITS else f"FAILED, {failure}"
        estimate = time_left(left, self._took, self._launcher.jobs)
        self._say(f"[{self._all - len(left)}/{self._all}] {one.run.name}: {how}, {clock(seconds)}{estimate}")


def log_of(run: PlannedRun, logs: Path) -> Path:
    """The file of what a run prints."""
    return logs / f"{run.name}.txt"


def _arguments(run: PlannedRun, renewed: Renewed) -> list[str]:
    """The arguments of ``fit``: a job that a cluster starts once more goes on with its run."""
    if run.state() == "new":
        return [*run.arguments(), "--resume"]
    return ["fit", "--resume", "--run_dir", str(run.directory), *options(renewed.get(run.name, {}))]


def _failure(one: _Started, logs: Path) -> str | None:
    how = one.job.failure()
    if how in (None, f"exit status {WAITS_FOR_LABELS}") and one.run.state() == "waiting":
        return _WAITS
    if how is None:
        return None if one.run.state() == "finished" else "it ended early, without an error"
    log = log_of(one.run, logs)
    printed = log.read_bytes()[one.log_begins :].decode(errors="replace") if log.exists() else ""
    lines = [line for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("al_lightning: error:")]
    return f"{how}: {(errors or lines or ['it printed nothing'])[-1]}"


def time_left(left: Sequence[PlannedRun], took: Mapping[bool, Sequence[float]], jobs: int) -> str:
    """About how long runs will take, in words; empty until one of each of their kinds has ended.

    Args:
        left: the runs that have not ended.
        took: seconds that ended runs took: those of the grid (True), and those that are only shared (False).
        jobs: how many run at a time.
    """
    if not left or not all(bool(run.labels) in took for run in left):
        return ""
    means = {kind: sum(seconds) / len(seconds) for kind, seconds in took.items()}
    mean = sum(means[bool(run.labels)] for run in left) / len(left)
    return f", about {clock(mean * -(-len(left) // jobs))} left"
