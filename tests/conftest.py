"""What all tests share: no card is touched, nothing is left behind, and what is slow and the same is done once.

Imports neither torch nor Lightning: the process of pytest-xdist that hands out the tests needs neither, and would import them first.
"""

import gc
import gzip
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("WANDB_SILENT", "true")
gc.disable()  # while the test modules are imported

PNG = b"\x89PNG\r\n\x1a\n"  # as a file of that kind begins
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")


def pytest_collection_finish() -> None:
    """All is imported: the garbage collector need not walk through it in every test."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or libraries speak of leaks when the process ends


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """For equal bits in all processes, and for tests that fork."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _asked_once() -> Iterator[None]:
    """What stays as it is while a process lives, and every run asks for: it would be a third of a tiny run's time."""
    from lightning.fabric.utilities import registry
    from lightning.pytorch.cli import LightningCLI

    from al_lightning import environment
    from al_lightning.data.images import idx

    sample = Path(idx.__file__).parent / "sample"
    opened, content = idx._unpacked, cache(lambda path: gzip.decompress(path.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "version", cache(environment.version))
        patch.setattr(environment, "_git_commit", cache(environment._git_commit))
        patch.setattr(registry, "entry_points", cache(registry.entry_points))
        patch.setattr(LightningCLI, "setup_parser", _built_once(LightningCLI.setup_parser))
        patch.setattr(idx, "_unpacked", lambda path: BytesIO(content(path)) if path.parent == sample else opened(path))
        yield


def _built_once(setup: Callable[..., None]) -> Callable[..., None]:
    """Gives command lines copies of the first one's parser, which takes a tenth of a second to build."""
    built: dict[type, dict[str, Any]] = {}

    def copied(cli: Any, *arguments: Any) -> None:
        if type(cli) not in built:
            before = {*vars(cli)}
            setup(cli, *arguments)
            built[type(cli)] = {name: made for name, made in vars(cli).items() if name not in before}
        vars(cli).update(deepcopy(built[type(cli)]))

    return copied


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of runs are made, but not drawn, and scenes are not even arranged: either takes as long as a tiny run.

    What they show is tested where they are the subject.
    """
    from al_lightning.analysis.drawings import plots

    monkeypatch.setattr(plots, "rendered", lambda *_: PNG)
    monkeypatch.setattr(plots, "draw_scenes", lambda *arguments: arguments[-1].write_bytes(PNG) and arguments[-1])


@pytest.fixture
def in_time() -> Iterator[None]:
    """A test that hangs fails."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test leaves in its working directory goes with it, and so does a W&B run, which the next logger would go on with."""
    monkeypatch.chdir(tmp_path)
    yield
    if (wandb := sys.modules.get("wandb")) is not None and wandb.run is not None:
        wandb.finish()
