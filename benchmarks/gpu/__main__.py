"""Runs the benchmarks that need a graphics card: python -m benchmarks.gpu [--tiny] [--out FILE] [SECTION ...].

Each section runs in its own process with a time limit. All sections together take less than eight minutes. Nothing is downloaded.
``--tiny`` tries the whole command in less than a minute, on the CPU if there is no card.
"""

import argparse
import importlib
import json
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.gpu.rows import HEAD, Row, collect, rows_of_process, write_row

ALL = 450  # the time limit of all sections together, in seconds


class Section(NamedTuple):
    """A part of the benchmarks that runs in one process.

    Attributes:
        module: the module whose function, named like the section, returns the parts to measure. Only the section's process imports it.
        limit: the time limit in seconds.
    """

    module: str
    limit: float


SECTIONS = {
    "training": Section("training", 160),
    "scoring": Section("scoring", 110),
    "agreement": Section("agreement", 60),
    "process_group": Section("agreement", 60),
    "compiled": Section("training", 150),
}


def run_section(name: str, tiny: bool, file: Path) -> None:
    """Measures one section in this process, and writes its rows into a file."""
    from benchmarks.common import prepare
    from benchmarks.gpu.sizes import FULL, TINY

    prepare()
    module = importlib.import_module(f"benchmarks.gpu.{SECTIONS[name].module}")
    collect(getattr(module, name)(TINY if tiny else FULL), write_row(file))


def machine() -> dict[str, str | int]:
    """Describes the machine and the versions."""
    found: dict[str, str | int] = {"torch": torch.__version__, "lightning": version("lightning"), "python": platform.python_version()}
    found |= {"machine": platform.machine(), "threads": torch.get_num_threads()}
    if not torch.cuda.is_available():
        return found | {"device": "cpu"}
    properties = torch.cuda.get_device_properties(0)
    memory = f"{properties.total_memory / 2**30:.0f} GiB"
    return found | {
        "device": properties.name,
        "memory": memory,
        "cuda": str(torch.version.cuda),
        "cudnn": int(torch.backends.cudnn.version() or 0),
    }


def measure(names: list[str], tiny: bool) -> list[Row]:
    """Runs the sections one after the other, and prints their rows as they come."""
    rows: list[Row] = []
    end = time.monotonic() + ALL
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            limit = min(SECTIONS[name].limit, end - time.monotonic())
            command = [sys.executable, "-m", "benchmarks.gpu", *(["--tiny"] if tiny else []), "--section", name]
            began = time.monotonic()
            measured = rows_of_process(name, command, limit, Path(folder)) if limit > 0 else [Row(name, None, note="no time was left")]
            for row in measured:
                rows.append(row)
                print(row.line(), flush=True)
            print(f"({name}: {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Runs the command, or one section in its own process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("names", nargs="*", metavar="SECTION", help=f"any of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--tiny", action="store_true", help="try the command on tiny data, without meaningful results")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-gpu.json"), help="file of the results (%(default)s)")
    parser.add_argument("--section", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.section is not None:
        name, file = given.section
        run_section(name, given.tiny, Path(file))
        return
    if unknown := set(given.names) - set(SECTIONS):
        parser.error(f"expected sections of {', '.join(SECTIONS)}, got {', '.join(sorted(unknown))}")
    if not given.tiny and not torch.cuda.is_available():
        parser.error("expected a graphics card that torch can use, found none; --tiny tries the command without one")
    found = machine()
    print(", ".join(f"{name} {value}" for name, value in found.items()), end="\n\n", flush=True)
    began = time.monotonic()
    rows = measure(given.names or list(SECTIONS), given.tiny)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": found, "tiny": given.tiny, "seconds": time.monotonic() - began, "rows": [asdict(row) for row in rows]}
    given.out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    missed, failed = sum(row.met is False for row in rows), sum(row.value is None for row in rows)
    print(f"\n{len(rows)} rows in {result['seconds']:.0f} s, {missed} targets missed, {failed} not measured: {given.out}")


if __name__ == "__main__":
    main()
