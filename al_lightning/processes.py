"""What has become of the other processes of a run, which this one has started."""

import logging
import re
import signal
import subprocess

from lightning.pytorch import Trainer

from al_lightning.refusals import GO_ON

_PATIENCE = 2.0  # seconds: the others may notice that a process is gone before the system knows its status
_OBSERVER = "lightning.fabric.strategies.launchers.subprocess_script"  # a thread that kills this process when another one has ended
_OBSERVED = re.compile(r"\[rank: (\d+)\] Child process with PID \d+ terminated with code (-?\d+)")


def lost_processes(trainer: Trainer) -> str | None:
    """Says which of the processes that the trainer has started have ended, and ends the others; None if none is known to have ended."""
    started = getattr(trainer.strategy.launcher, "procs", [])
    statuses = {rank: _status(process) for rank, process in enumerate(started, 1) if isinstance(process, subprocess.Popen)}
    if not any(statuses.values()):
        return None
    trainer.strategy.launcher.kill(signal.SIGKILL)  # type: ignore[union-attr]
    started.clear()  # Lightning's observer would report the others
    return _said({rank: status for rank, status in statuses.items() if status})


def speak_for_the_observer() -> None:
    """Makes Lightning's observer use the same words, in case it is the first to notice."""
    logging.getLogger(_OBSERVER).addFilter(_in_our_words)


def _in_our_words(record: logging.LogRecord) -> bool:
    if found := _OBSERVED.match(record.getMessage()):
        record.msg, record.args = f"al_lightning: error: {_said({int(found[1]): int(found[2])})}", ()
    return True


def _said(ended: dict[int, int]) -> str:
    """The message about processes that have ended, from their numbers and exit statuses."""
    hows = {rank: signal.Signals(-status).name if status < 0 else f"exit status {status}" for rank, status in ended.items()}
    which = ", ".join(f"process {rank} of the run has ended ({how})" for rank, how in hows.items())
    return f"{which}, and the others can't go on alone. Find out why, then {GO_ON}."


def _status(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        return None
