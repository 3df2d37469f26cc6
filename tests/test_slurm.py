"""A real controller and one node, of Debian's slurm-wlm and munge on loopback, in a temporary folder: ``make test-slurm``."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from al_lightning.cli import main
from al_lightning.runs import RunDirectory
from tests.experiments import without_seconds
from tests.test_cli import TINY

pytestmark = pytest.mark.slurm
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # where the daemons are
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol") if shutil.which(name, path=PATH) is None]

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=20
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES State=UP
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, what
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Runs a command of SLURM's; its ``environment`` is that of those who use the cluster."""
    if MISSING:
        pytest.skip(f"needs {', '.join(MISSING)}: apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    names = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser(), "folder": folder}
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(**names, controller=free_port(), daemon=free_port()))
    environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(configuration), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    munge = [f"--{name}={folder / f'munge.{name[:4]}'}" for name in ("pid-file", "log-file", "seed-file")]
    daemons = []

    def start(*command):
        log = (folder / f"{command[0]}.txt").open("wb")
        daemons.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))

    def call(*command):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder / 'munge.socket'}", *munge)
        wait_for((folder / "munge.socket").exists)
        start("slurmctld", "-D", "-f", str(configuration))
        start("slurmd", "-D", "-f", str(configuration), "-N", names["host"])
        wait_for(lambda: "idle" in subprocess.run(["sinfo", "-h"], capture_output=True, text=True, env=environment).stdout)
        call.environment = environment
        yield call
        call("scancel", "--user", names["user"])
        wait_for(lambda: not call("squeue", "-h"))
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(timeout=60)


REQUEUES = {
    "by an administrator": lambda slurm, job: slurm("scontrol", "requeue", job),
    "by the signal before its time is over": lambda slurm, job: slurm("scancel", "--signal=USR1", job),
}


@pytest.mark.parametrize("requeue", REQUEUES)
@pytest.mark.parametrize("tasks", [1, 2])
def test_a_requeued_job_goes_on(slurm, tmp_path, requeue, tasks):
    """One command for every start: the job is ended in a cycle of chance and started once more by the controller."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    options = ["--active_learning.cycles=6", "--trainer.max_epochs=40", "--trainer.enable_progress_bar=false"]
    if tasks > 1:
        options += [f"--trainer.devices={tasks}", "--trainer.strategy=ddp"]
    fit = ["-m", "al_lightning", "fit", "--config", "tiny.yaml", *options]
    run = RunDirectory("runs/tiny-Entropy-seed3")
    command = " ".join(["srun", "--kill-on-bad-exit=1", sys.executable, *fit, "--resume"])
    job = slurm(
        *["sbatch", "--parsable", "--requeue", f"--ntasks={tasks}", f"--ntasks-per-node={tasks}", "--open-mode=append"],
        *["--output=said.txt", f"--chdir={tmp_path}", f"--wrap={command}"],
    )

    def told():
        return dict(entry.split("=", 1) for entry in slurm("scontrol", "show", "job", job, "--oneliner").split() if "=" in entry)

    def said():
        return Path("said.txt").read_text() if Path("said.txt").exists() else ""

    wait_for(lambda: run.learning_curve.exists() or told()["JobState"] == "FAILED", 300)
    assert run.learning_curve.exists(), said()
    before = len(run.read_cycles())
    REQUEUES[requeue](slurm, job)
    wait_for(lambda: told()["Restarts"] == "1")
    wait_for(lambda: told()["JobState"] in ("COMPLETED", "FAILED"), 300)
    assert told()["JobState"] == "COMPLETED", said()
    assert 1 <= before < 6 == len(run.read_cycles()) and not list(run.path.glob("hpc_ckpt*"))
    assert len(run.read_environment()["resumed"]) == 1
    if tasks == 1:
        main([*fit[2:], "--run_dir", "whole"])
        assert without_seconds(run) == without_seconds(RunDirectory("whole"))


def test_a_requeued_run_of_a_sweep_goes_on(slurm, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    settings = {"active_learning.cycles": 6, "trainer.max_epochs": 40, "trainer.enable_progress_bar": False}
    sweep = {"base": "tiny.yaml", "out": "runs", "set": settings, "grid": {"seed_everything": [3]}, "slurm": {"timeout_min": 30}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    command = [sys.executable, "-m", "al_lightning", "sweep", "sweep.yaml", "--submit", "slurm"]
    run = RunDirectory("runs/seed3")
    with (tmp_path / "said.txt").open("wb") as file:
        conducting = subprocess.Popen(command, stdout=file, stderr=file, env=slurm.environment)
        try:
            wait_for(run.learning_curve.exists, 300)
            job = slurm("squeue", "--noheader", "--format=%A")
            slurm("scontrol", "requeue", job)
            assert conducting.wait(timeout=600) == 0, (tmp_path / "said.txt").read_text()
        finally:
            conducting.terminate()
    assert "Restarts=1" in slurm("scontrol", "show", "job", job)
    assert len(run.read_cycles()) == 6 and len(run.read_environment()["resumed"]) == 1
