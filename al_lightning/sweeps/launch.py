"""Starting one run of a sweep: in a process of this machine, or as a job of a cluster."""

import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from al_lightning.errors import UserError
from al_lightning.refusals import WAITS_FOR_LABELS
from al_lightning.text import print_any_name

# glibc reads these when a process starts. By default, it maps memory anew for each tensor over 32 MB and gives it back after use, so that
# the system clears all pages again: for large images on a CPU, that is a tenth of the time or more.
_KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


def _keep_memory() -> None:
    """Makes processes that are started from now on keep the memory that they have used, unless the environment says otherwise."""
    for name, value in _KEPT_MEMORY.items():
        os.environ.setdefault(name, value)


class Job(Protocol):
    """A started run."""

    def done(self) -> bool:
        """Whether it has ended, well or not."""

    def failure(self) -> str | None:
        """Why a run that has ended failed; None if it ended well."""

    def cancel(self) -> None:
        """Ends the run in such a way that it can be resumed."""


class Launcher(Protocol):
    """Starts runs.

    Attributes:
        jobs: how many may run at a time.
    """

    jobs: int

    def start(self, arguments: Sequence[str], log: Path, slot: int) -> Job:
        """Starts a run.

        Args:
            arguments: of ``fit``, the command's name first.
            log: file to which the run's output is appended.
            slot: from 0 to ``jobs - 1``, one that no other started run has now.
        """


def run_fit(arguments: Sequence[str], log: str, gpus: str | None) -> None:
    """Runs ``fit`` in this process, which was started for this run.

    Args:
        arguments: of ``fit``, the command's name first.
        log: file to which standard output and standard error are appended.
        gpus: CUDA_VISIBLE_DEVICES; None leaves it as it is.
    """
    with open(log, "ab") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    print_any_name()
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    # Lightning starts the other processes of a run by the command line of the first one.
    sys.argv = ["al_lightning", *arguments]
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("al_lightning.__main__")
    from al_lightning import cli

    try:
        cli.main(list(arguments))
    except SystemExit as end:
        if end.code != WAITS_FOR_LABELS:  # the run's files say so, too, and submitit would take the status for a job that was killed
            raise


class LocalLauncher:
    """Processes of this machine, forked from one that has loaded torch and Lightning; each gets a share of threads and GPUs.

    Args:
        jobs: how many run at a time.
    """

    def __init__(self, jobs: int) -> None:
        import torch

        self.jobs = jobs
        _keep_memory()
        # Read when torch is loaded, by the process from which runs are forked. More threads than cores make tiny models many times slower.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // jobs)))
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["al_lightning.sweeps.preloaded"])
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")  # their numbers, or names, on the whole machine
        count = torch.cuda.device_count()
        self._gpus = share_gpus(given[:count] if len(given) >= count and given[0] else [*map(str, range(count))], jobs)

    def start(self, arguments: Sequence[str], log: Path, slot: int) -> Job:
        """See :meth:`Launcher.start`."""
        process = self._context.Process(target=run_fit, args=(list(arguments), str(log), self._gpus[slot]))
        process.start()
        return _LocalJob(process)


class _LocalJob:
    """A process."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def done(self) -> bool:
        return not self._process.is_alive()

    def failure(self) -> str | None:
        code: int = self._process.exitcode
        if code == 0:
            return None
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def cancel(self) -> None:
        # Ctrl-C at a terminal has reached the process, too, which is closing its run.
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def share_gpus(visible: Sequence[str], jobs: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each slot: an equal share of the GPUs, or a GPU that slots share if there are fewer GPUs than slots.

    Example:
        >>> share_gpus("0123", 2), share_gpus(["3", "5"], 3), share_gpus([], 2)
        (['0,1', '2,3'], ['3', '5', '3'], [None, None])
    """
    if not visible:
        return [None] * jobs
    each = len(visible) // jobs
    if each == 0:
        return [visible[slot % len(visible)] for slot in range(jobs)]
    return [",".join(visible[slot * each : (slot + 1) * each]) for slot in range(jobs)]


class SubmititLauncher:
    """Jobs of a cluster, through submitit.

    Args:
        cluster: ``slurm``, or submitit's ``local``.
        jobs: how many run at a time.
        folder: for submitit's own files.
        parameters: of submitit's executor, for example ``timeout_min`` or ``slurm_partition``.

    Raises:
        UserError: submitit is not installed, or does not take the cluster or the parameters.
    """

    def __init__(self, cluster: str, jobs: int, folder: Path, parameters: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UserError("Expected the package submitit for --submit. Install it: pip install al_lightning[slurm].") from error
        self.jobs = jobs
        _keep_memory()
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=cluster)
            self._executor.update_parameters(**parameters)
        except (NameError, ValueError, RuntimeError) as error:
            raise UserError(
                f"Expected `slurm` in the sweep to be parameters that submitit takes on the cluster {cluster!r}: {error}"
            ) from error

    def start(self, arguments: Sequence[str], log: Path, slot: int) -> Job:
        """See :meth:`Launcher.start`."""
        return _SubmititJob(self._executor.submit(run_fit, list(arguments), str(log), None))


class _SubmititJob:
    """A job of submitit."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def done(self) -> bool:
        return bool(self._job.done())

    def failure(self) -> str | None:
        error = self._job.exception()
        return None if error is None else f"job {self._job.job_id}, {self._job.state}"

    def cancel(self) -> None:
        self._job.cancel()
