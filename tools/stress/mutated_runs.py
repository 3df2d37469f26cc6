"""Damages files of finished runs at random, and reads the runs with every command. Each command must succeed, or end with one message."""

import contextlib
import io
import json
import logging
import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
import yaml

from al_lightning import commands
from al_lightning.analysis.drawings import training
from al_lightning.analysis.pages import gallery
from al_lightning.callbacks.recovery import finished_part
from al_lightning.commands import figures, initial, maps
from al_lightning.commands.stored_run import load_cycle
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from al_lightning.sources import read_images, read_labels
from al_lightning.sweeps.plan import PlannedRun

_SECONDS = 300  # time limit of a reading, which allows for a busy machine
_WHOLE = 0.1  # share of runs for which the whole commands are run, including their figures
_CELLS = [
    "",
    "nan",
    "inf",
    "-inf",
    "-1",
    "1.5",
    "1e999",
    "1e300",
    "-1e38",
    "9" * 30,
    "1_0",
    "٣",
    "0x1",
    " 1",
    "text",
    '"',
    "$x$",
    "a\nb",
    "\0",
]
_TEXTS: list[Any] = ["", "text", "\ud800", "1" * 5000]
_VALUES = [None, True, -1, 0, 10**400, float("nan"), float("inf"), [], [1, [2]], {}, {"a": {"b": 1}}, *_TEXTS]
_LAUGHS = [b"%c: &%c [%s]\n" % (c + 1, c + 1, b", ".join([b"*%c" % c] * 10)) for c in range(97, 110)]
_TRAPS = [
    b"a: &a [*a]\n",
    b"a: &a {b: *a, c: *a}\n",
    b"a: &a\n  <<: [*a, *a]\n",
    b"a: " + b"[" * 200_000,
    b"a: &a [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(_LAUGHS),
    b"- 1\n",
    b"!!python/object/apply:os._exit [3]\n",
    b"a: !!timestamp x\nb: !!bool y\n",
    b"{" * 100_000,
    b'{"a":' * 100_000,
    b"[]",
    b"null",
    b'"text"',
]


def mutate_run_files(count: int, seed: int, folder: Path | None = None) -> str:
    """Damages ``count`` files, one in each copy of a run, and reads the copy with every command.

    Args:
        count: the number of damaged files.
        seed: seed of what is damaged, and how.
        folder: working folder; None for a temporary one.

    Returns:
        A summary line, which counts the faults. Each fault is printed when it is found.
    """
    if folder is None:
        with TemporaryDirectory() as made:
            return mutate_run_files(count, seed, Path(made))
    logging.disable(logging.WARNING)
    started, outcomes = time.monotonic(), Counter[str]()
    with _quiet():
        runs = finished_runs(folder)
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        run = folder / "damaged" / "run"
        shutil.rmtree(folder / "damaged", ignore_errors=True)
        shutil.copytree(draw.choice(runs), run)
        what = _damage(run, draw)
        for name, reading in _readings(run, folder, draw.random() < _WHOLE).items():
            outcomes[_outcome(reading, f"{what} (seed {seed}, number {number}): {name}")] += 1
    kinds = ", ".join(f"{outcomes[kind]:,} {kind}" for kind in ("read", "refused", "FAULTS"))
    return f"{count:,} damaged files, {sum(outcomes.values()):,} readings: {kinds}; {time.monotonic() - started:.0f} s"


# The runs


def finished_runs(folder: Path) -> list[Path]:
    """Makes three runs: a classification that records scores and metrics, and two of scenes, whose items are images and crops."""
    trainer = {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False}
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": "."}}
    sample = {
        "model": {
            "class_path": "ClassificationTask",
            "init_args": {"network": {"class_path": "al_lightning.models.MLP", "init_args": {"width": 7}}},
        },
        "data": {"class_path": "FashionMNISTSampleDataModule", "init_args": {"initial_size": 20, "pool_size": 60}},
        "active_learning": {"strategy": "Entropy", "query_size": 10, "cycles": 3, "also_record": ["Margin"]},
        "trainer": {**trainer, "logger": logger, "check_val_every_n_epoch": 1},
    }
    network = {"class_path": "torch.nn.Conv2d", "init_args": {"in_channels": 3, "out_channels": 19, "kernel_size": 1}}
    sizes = {"train_sequences": 4, "val_sequences": 1, "frames": 2, "height": 40, "width": 56, "crop": 32, "initial_size": 2}
    scenes = {
        "model": {"class_path": "SegmentationTask", "init_args": {"network": network}},
        "data": {"class_path": "SyntheticScenesDataModule", "init_args": {"cache": str(folder / "drawn"), "num_workers": 0, **sizes}},
        "active_learning": {"strategy": "Entropy", "query_size": 2, "cycles": 2},
        "trainer": {**trainer, "logger": False},
    }
    crops = {**scenes, "data": {**scenes["data"], "init_args": {**scenes["data"]["init_args"], "query_crop": 24}}}  # type: ignore[dict-item]
    runs = []
    for name, config in {"sample": sample, "scenes": scenes, "crops": crops}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        commands.main(["fit", "--config", str(folder / f"{name}.yaml"), "--run_dir", str(folder / name)])
        for picture in (folder / name).rglob("*.png"):
            picture.unlink()
        runs.append(folder / name)
    return runs


# Damage


def _damage(run: Path, draw: random.Random) -> str:
    """Damages a file of a run; returns a description of the damage."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    file = draw.choice(files)
    ways: dict[str, list[Callable[[Path, random.Random], None]]] = {
        ".csv": [_cells, _cells, _lines],
        ".json": [_node, _node, _trap],
        ".yaml": [_node, _node, _trap],
        ".ckpt": [_weights],
    }
    way = draw.choice([_place, _bytes, _bytes, *ways.get(file.suffix, [])])
    way(file, draw)
    return f"{file.relative_to(run)} by {way.__name__}"


def _place(file: Path, draw: random.Random) -> None:
    kind = draw.choice(["gone", "directory", "fifo", "empty", "link to itself"])
    file.unlink()
    if kind == "directory":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "empty":
        file.touch()
    elif kind == "link to itself":
        file.symlink_to(file)


def _bytes(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    place = draw.randrange(len(content) + 1)
    kind = draw.choice(["cut", "flip", "flip", "put in", "garbage"])
    if kind == "cut":
        del content[place:]
    elif kind == "flip":
        for _ in range(draw.choice([1, 1, 5])):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == "put in":
        content[place:place] = draw.choice([b"\0", b"\xff\xfe", b'"', b"\n", b",", b"\r", b"\xed\xa0\x80", b"'"])
    else:
        content = bytearray(draw.randbytes(draw.choice([1, 100, 10_000])))
    file.write_bytes(content)


def _cells(file: Path, draw: random.Random) -> None:
    rows = [line.split(",") for line in file.read_text(encoding="utf-8").split("\n")]
    row, other = draw.choice(rows), draw.choice(rows)
    place, elsewhere = draw.randrange(len(row)), draw.randrange(len(other))
    kind = draw.choice(["other", "other", "swap", "more", "less", "doubled name"])
    if kind == "other":
        row[place] = draw.choice(_CELLS)
    elif kind == "swap":
        row[place], other[elsewhere] = other[elsewhere], row[place]
    elif kind == "more":
        row.insert(place, "0")
    elif kind == "less":
        del row[place]
    else:
        rows[0][draw.randrange(len(rows[0]))] = draw.choice(rows[0])
    file.write_text("\n".join(map(",".join, rows)), encoding="utf-8")


def _lines(file: Path, draw: random.Random) -> None:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    place = draw.randrange(len(lines))
    kind = draw.choice(["doubled", "gone", "moved", "only the first"])
    line = lines[place]
    if kind == "doubled":
        lines.insert(draw.randrange(len(lines) + 1), line)
    elif kind == "only the first":
        del lines[1:]
    else:
        del lines[place]
        if kind == "moved":
            lines.insert(draw.randrange(len(lines) + 1), line)
    file.write_text("".join(lines), encoding="utf-8")


def _node(file: Path, draw: random.Random) -> None:
    """Changes or removes a value at any depth of a JSON or YAML file."""
    text = file.read_text(encoding="utf-8")
    content: Any = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    nodes: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            nodes.append((node, key))
            walk(node[key])

    walk(content)
    node, key = draw.choice(nodes)
    if draw.random() < 0.3:
        del node[key]
    else:
        node[key] = draw.choice(_VALUES)
    file.write_text(json.dumps(content) if file.suffix == ".json" else _as_yaml(content), encoding="utf-8")


def _as_yaml(content: Any) -> str:
    with contextlib.suppress(ValueError):  # Python refuses to write integers with too many digits
        return yaml.safe_dump(content)
    return "a: [\n"


def _trap(file: Path, draw: random.Random) -> None:
    file.write_bytes(draw.choice(_TRAPS))


def _weights(file: Path, draw: random.Random) -> None:
    content = torch.load(file, weights_only=True)
    state = content["state_dict"]
    name = draw.choice(list(state))
    changed: list[Any] = [{}, [], 3, {"state_dict": 3}, {"state_dict": {}}, {"state_dict": {name: 1}}]
    changed += [{**content, "state_dict": {**state, name: torch.zeros(2)}}, {**content, "state_dict": {**state, "other": torch.zeros(2)}}]
    torch.save(draw.choice(changed), file)


# Readings


def _readings(run: Path, folder: Path, whole: bool) -> dict[str, Callable[[], Any]]:
    """Returns the ways to read a run, by name."""
    directory = RunDirectory(run)
    out = str(folder / "out")
    readings: dict[str, Callable[[], Any]] = {
        "report": lambda: commands.main(["report", str(folder / "sample"), str(run.parent), "--out", out]),
        "figures": lambda: figures.draw_run(directory),
        "initial": lambda: initial.metric_of(directory, "val/loss"),
        "sweep": lambda: PlannedRun("run", run, {}, run).state(),
    }
    if (run / "crops.csv").exists() or not (run / "cycles" / "000" / "scores.csv").exists():
        readings["maps"] = (lambda: maps.main(["maps", "--run", str(run), "--out", out])) if whole else lambda: load_cycle(directory)
    # This is the last one, as it may change the run.
    resumed = ["fit", "--resume", "--run_dir", str(run)]
    readings["resume"] = (lambda: commands.main(resumed)) if whole else lambda: _recovered(directory)
    return {name: reading if whole else _undrawn(reading) for name, reading in readings.items()}


def _recovered(run: RunDirectory) -> None:
    run.read_config()
    run.read_environment()
    read_images(run.images)
    if run.labels.exists():
        read_labels(run.labels)
    names = {row.index: row.item for row in run.read_queries()}
    finished_part(run, 1000, lambda index: names[index])


def _undrawn(reading: Callable[[], Any]) -> Callable[[], Any]:
    """Returns the same reading, but its figures are made and not written."""

    def read() -> None:
        import matplotlib.pyplot as plt

        with (
            mock.patch.object(gallery, "rendered", lambda *_, **__: b"<svg/>"),
            mock.patch.object(training, "save", lambda figure, path: (plt.close(figure), path)[1]),
        ):
            reading()

    return read


def _outcome(reading: Callable[[], Any], what: str) -> str:
    """Returns how a reading ends: ``read``, ``refused`` or ``FAULTS``. A fault is printed."""
    try:
        with _ends_in_time(), _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reading()
        return "read"
    except UserError:
        return "refused"
    except SystemExit as end:
        if isinstance(end.code, str) or end.code in (1, 2):
            return "refused"
        print(f"FAULT {what}: exit status {end.code}", flush=True)
    except BaseException as error:  # a user would see any such exception as a traceback
        if isinstance(error, KeyboardInterrupt):
            raise
        print(f"FAULT {what}: {''.join(traceback.format_exception(error)[-3:])}", flush=True)
    return "FAULTS"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _ends_in_time() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError(f"it took more than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    summary = mutate_run_files(int(sys.argv[1]), int(sys.argv[2]))
    print(summary)
    sys.exit(0 if " 0 FAULTS" in summary else 1)
