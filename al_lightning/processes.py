"""What became of the other processes of a run that this one has started."""

import signal
import subprocess

from lightning.pytorch import Trainer

_PATIENCE = 2.0  # seconds; whoever notices first that a process has gone may be faster than the system


def ended_processes(trainer: Trainer) -> str:
    """Which of the processes that the trainer has started have ended, and how, for people; empty if none has or who did is not known."""
    started = getattr(trainer.strategy.launcher, "procs", [])
    return ", ".join(f"process {rank} of the run has ended ({how})" for rank, process in enumerate(started, 1) if (how := _end(process)))


def _end(process: object) -> str:
    """How a process has ended; empty of one that has not, or that ended well."""
    if not isinstance(process, subprocess.Popen):
        return ""
    try:
        status = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        return ""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}" if status else ""
