import os
import sys
from pathlib import Path

import pytest

from al_lightning import cli
from al_lightning.errors import UserError
from al_lightning.sweeps.launch import LocalLauncher, SubmititLauncher, run_fit
from tests.experiments import in_child


@pytest.mark.parametrize(
    ("given", "count", "jobs", "shares"),
    [
        (None, 0, 3, [None, None, None]),
        (None, 1, 1, ["0"]),
        (None, 8, 3, ["0,1", "2,3", "4,5"]),
        (None, 2, 5, ["0", "1", "0", "1", "0"]),
        ("3", 1, 2, ["3", "3"]),
        ("5,GPU-7f,2", 3, 3, ["5", "GPU-7f", "2"]),
        ("6,4,-1,2", 2, 2, ["6", "4"]),  # CUDA sees none behind one that does not exist
        ("", 0, 2, [None, None]),
    ],
)
def test_gpus_are_shared_out(monkeypatch, given, count, jobs, shares):
    """Those that this process may use, by the numbers or names that they have on the machine."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setattr("os.environ", {**os.environ})  # a launcher sets variables for its processes
    assert LocalLauncher(jobs)._gpus == shares


def test_parameters_that_the_cluster_does_not_know_are_one_error(tmp_path):
    with pytest.raises(
        UserError, match=r"Expected `slurm` in the sweep to be parameters that submitit takes on the cluster 'local': .*colour"
    ):
        SubmititLauncher("local", 1, tmp_path, {"colour": "red"})


@pytest.mark.parametrize(("code", "status"), [(75, 0), ("al_lightning: error: Expected this.", 1)])
def test_a_job_whose_run_waits_for_labels_ends_well(monkeypatch, code, status):
    """As a cluster sees it, which knows no such status; the run's files say that it waits."""
    monkeypatch.setattr(cli, "main", lambda arguments: sys.exit(code))
    assert in_child(lambda: run_fit(["fit"], "log.txt", None)) == status and Path("log.txt").exists()
