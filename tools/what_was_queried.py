"""Counts what runs have asked for: kinds of image, pixels of classes, and frames whose neighbours in a video are labeled too.

    python tools/what_was_queried.py runs/nuclei/deciding --kind '[a-z]+' --out nuclei-queried.csv
    python tools/what_was_queried.py runs/camvid/whole_images runs/camvid/batches --frames 30 --rare pole person --out camvid-queried.csv

A row for each strategy, with means over its runs, in percent. What was labeled in cycle 0, which no strategy has asked for, is not counted.
Pixels are those of `cycles/NNN/queried.csv`.
"""

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from al_lightning import settings
from al_lightning.analysis.numbers.recorded import Run, read_runs
from al_lightning.files import as_csv, write_atomically
from al_lightning.run_tables import QUERIED_COLUMNS, Labeled
from al_lightning.runs import RunDirectory

_FRAME = re.compile(r"(?P<sequence>.*?)_?(?P<number>\d+)")


def kinds(rows: Sequence[Labeled], pattern: str) -> dict[str, float]:
    """The share of each kind of image; a kind is what the pattern matches at the beginning of an item's name."""
    matched = (re.match(pattern, row.item) for row in rows)
    counts = Counter(match.group() if match else "none" for match in matched)
    return {f"kind {kind}": 100 * counts[kind] / len(rows) for kind in sorted(counts)}


def neighbours(rows: Sequence[Labeled], labeled: Sequence[Labeled], frames: int) -> dict[str, float]:
    """The share of items near a labeled one: at the time of the query, with the other items of the query, and at the end of the run."""

    def near(row: Labeled, among: Sequence[Labeled]) -> bool:
        (sequence, number), others = _place(row.item), map(_place, (other.item for other in among if other.index != row.index))
        return any(sequence == other and abs(number - its) <= frames for other, its in others)

    until = {
        "neighbour labeled before": lambda row, other: other.cycle < row.cycle,
        "or in the same query": lambda row, other: other.cycle <= row.cycle,
        "or later": lambda row, other: True,
    }
    return {
        name: 100 * fmean(near(row, [other for other in labeled if counts(row, other)]) for row in rows) for name, counts in until.items()
    }


def pixels(run: RunDirectory, cycles: int, rare: Sequence[str]) -> dict[str, float]:
    """The share of some classes among all labeled pixels that were asked for."""
    tables = [row for cycle in range(cycles) for row in run.read_queried(cycle)]
    counts = [{name: int(value) for name, value in row.items() if name not in {*QUERIED_COLUMNS, "city"}} for row in tables]
    every = sum(sum(row.values()) for row in counts)
    return {f"pixels {name}": 100 * sum(row[name] for row in counts) / every for name in rare or counts[0]} if every else {}


def of_run(run: RunDirectory, kind: str | None, frames: int | None, rare: Sequence[str]) -> dict[str, float]:
    """What one run has asked for; empty if it has asked for nothing."""
    curve, labeled = run.read_labeled()
    asked = [row for row in labeled if row.cycle > 0]
    if not asked:
        return {}
    found = {"queried": float(len(asked))}
    found |= kinds(asked, kind) if kind else {}
    found |= neighbours(asked, labeled, frames) if frames else {}
    return found | pixels(run, len(curve), rare)


def by_strategy(counted: Mapping[Run, Mapping[str, float]]) -> list[list[str | int]]:
    """A table with the mean counts of each strategy's runs.

    Raises:
        SystemExit: the runs can't be put together.
    """
    if keys := settings.differing([run.comparable for run in counted]):
        sys.exit(f"Expected runs that differ in strategy and seed alone, but they differ in {', '.join(keys)}: count them apart.")
    columns = list(dict.fromkeys(name for found in counted.values() for name in found))
    alike: dict[Any, dict[int, Run]] = defaultdict(dict)
    for run, found in counted.items():
        twin = alike[settings.key_of(run.choice)].setdefault(run.seed, run)
        if twin is not run:
            sys.exit(f"Expected one run of each strategy and seed, got {twin.path} and {run.path}.")
        if not any(name.startswith("pixels ") for name in found) and any(name.startswith("pixels ") for name in columns):
            sys.exit(f"Expected the pixels of what was queried (cycles/NNN/queried.csv) in {run.path}, as in other runs.")
    groups = [[*by_seed.values()] for by_seed in alike.values()]
    labels = settings.labels([its[0].choice for its in groups])
    means = [[fmean(counted[run].get(name, 0.0) for run in its) for name in columns] for its in groups]
    rows = [[label, len(its), *(f"{mean:.2f}" for mean in row)] for label, its, row in zip(labels, groups, means, strict=True)]
    return [["strategy", "runs", *columns], *rows]


def _place(name: str) -> tuple[str, int]:
    found = _FRAME.fullmatch(name)
    assert found, f"{name} does not end with the number of a frame"
    return found["sequence"], int(found["number"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="with runs in them")
    parser.add_argument("--kind", help="a regular expression: what it matches at the beginning of a name is the kind of an image")
    parser.add_argument("--frames", type=int, help="how far from each other neighbours are at most")
    parser.add_argument("--rare", nargs="+", default=[], metavar="CLASS", help="the classes whose pixels are counted; all by default")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    runs, skipped = read_runs(given.folders)
    for path, reason in skipped.items():
        print(f"{path} is left out: {reason}", file=sys.stderr)
    counted = {run: found for run in runs if (found := of_run(RunDirectory(run.path), given.kind, given.frames, given.rare))}
    table = by_strategy(counted)
    write_atomically(given.out, as_csv(table).encode())
    print(given.out.read_text(), end="")
