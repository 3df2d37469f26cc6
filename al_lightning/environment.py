"""The environment of a run: versions, device, command line."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from al_lightning import __version__

_PACKAGES = ["lightning", "torch", "torchvision", "torchmetrics", "jsonargparse", "numpy"]


def describe(device: torch.device, processes: int) -> dict[str, Any]:
    """Versions, device, command line, time, and the git commit of the code (None, if it is no checkout).

    Args:
        device: on which the run computes.
        processes: number of the run's processes.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "git_commit": _git_commit(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})",
        "processes": processes,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        # A checkout that is not installed runs too, and has no metadata.
        "versions": {"al_lightning": __version__} | {name: version(name) for name in _PACKAGES},
    }


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
