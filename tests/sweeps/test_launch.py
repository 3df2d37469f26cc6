import sys
from pathlib import Path

import pytest

from al_lightning import cli
from al_lightning.errors import UserError
from al_lightning.sweeps.launch import SubmititLauncher, run_fit, share_gpus
from tests.experiments import in_child


@pytest.mark.parametrize(
    ("count", "jobs", "shares"),
    [
        (0, 3, [None, None, None]),
        (1, 1, ["0"]),
        (8, 3, ["0,1", "2,3", "4,5"]),
        (2, 5, ["0", "1", "0", "1", "0"]),
    ],
)
def test_gpus_are_shared_out(count, jobs, shares):
    assert share_gpus(count, jobs) == shares


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
