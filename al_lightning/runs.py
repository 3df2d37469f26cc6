"""The run directory: what its tables say, how they are written, and who may write. :mod:`al_lightning.run_files` has the files' names.

What makes a cycle finished is its row in learning_curve.csv, and that row is written last: checkpoint, query, row. Rows of
queries.csv that belong to a later cycle than the finished ones imply were cut off by a crash; they are removed, and the cycle is done
again. Where more is there than a crash can leave, the tables lost rows, and the run is refused as it is (callbacks/recovery.py).

One process writes: it locks the directory before anything in it changes, environment.json and the configuration included. Rows are
appended in one write and synced; files are written under a temporary name of the process's own, synced and renamed. Until a cycle is
finished nothing is lost by starting anew, so nothing that a failed start leaves is in the way of the next one.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from al_lightning import locks
from al_lightning.errors import UserError
from al_lightning.files import appending, as_csv, columns_of, keep_lines, remove_unfinished, whole_rows, write_atomically
from al_lightning.run_files import RunFiles

QUERY_COLUMNS = ["cycle", "rank", "index", "item", "score"]
_QUERIED_IDENTITY = {"rank", "index", "item", "city"}  # what queried.csv says of an image besides counts of pixels
QUERIED_COLUMNS = {*_QUERIED_IDENTITY, "ignored"}
"""The columns of queried.csv that are not called like a class."""
_FIRST_CURVE_COLUMNS = ["cycle", "labeled"]
_LAST_CURVE_COLUMNS = ["epochs", "train_steps", "train_seconds", "query_seconds", "query_peak_bytes"]


@dataclass(frozen=True)
class Labeled:
    """A labeled item, as queries.csv has it.

    Attributes:
        cycle: the cycle whose training set it first joins.
        rank: its place in the query, from 0.
        index: position in the data set.
        item: the name that a person knows it by.
        score: None for the initial set.
    """

    cycle: int
    rank: int
    index: int
    item: str
    score: float | None = None


@dataclass(frozen=True)
class CycleRow:
    """A finished cycle, as learning_curve.csv has it.

    Attributes:
        cycle: from 0.
        labeled: items of its training set.
        metrics: by column; NaN for an empty cell.
        train_seconds: of its training.
        query_seconds: of scoring and choosing; None where no query was made, which is so in the last cycle of a run that came to its end.
        query_peak_bytes: of memory while scoring; None likewise.
    """

    cycle: int
    labeled: int
    metrics: Mapping[str, float]
    train_seconds: float
    query_seconds: float | None
    query_peak_bytes: float | None


class RunDirectory(RunFiles):
    """What a run's files say, and how they are written.

    Args:
        path: the directory; made where it is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._held = False

    def checkpoints(self) -> list[int]:
        """The cycles whose checkpoint was kept, in order."""
        return sorted(int(path.parent.name) for path in self.path.glob("cycles/[0-9]*/last.ckpt"))

    def finished(self) -> int:
        """The number of finished cycles."""
        return len(self.read_cycles()) if self.learning_curve.exists() else 0

    def implied(self) -> int:
        """How many cycles must have been finished for what else is here to be.

        The directory of a cycle is made, and the query after it recorded, when the one before it is finished.
        """
        begun = [int(path.name) for path in self.path.glob("cycles/*") if path.name.isdigit()]
        queried = [row.cycle - 1 for row in self.read_queries()] if self.queries.exists() else []
        return max([0, *begun, *queried])

    def holds_run(self) -> bool:
        """Whether a cycle was finished here: then there is something to lose."""
        return self.finished() > 0 or self.implied() > 0

    def is_finished(self) -> bool:
        """Whether the run has come to its end: its last cycle made no query."""
        cycles = self.read_cycles() if self.learning_curve.exists() else []
        return bool(cycles) and cycles[-1]["query_seconds"] == ""

    def looks_like_run(self) -> bool:
        """Whether some run left its files here, whole or not."""
        return self.learning_curve.is_file() or (self.config.is_file() and (self.queries.is_file() or self.environment.is_file()))

    def refuse_run(self) -> None:
        """Makes sure that the directory is free.

        Raises:
            UserError: a run has finished a cycle here.
        """
        if self.holds_run():
            raise UserError(
                f"{self.path} holds a run already. Continue it with `fit --resume --run_dir {self.path}`, or name another --run_dir."
            )

    # One writer

    def hold(self) -> None:
        """Makes this process the only one that writes here, until it calls :meth:`release` or ends, however it ends.

        A copy that another process gets of this object is held by this one on its behalf.

        Raises:
            UserError: another one does, or it is no directory.
        """
        if self._held:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"Expected {self.path} to be a run's directory, but there is a file in its place. Name another one.") from error
        if not locks.lock(self.lock):
            raise UserError(f"Another process is writing into the run {self.path}. Wait for it, or end it.")
        self._held = True
        remove_unfinished(self.path, [".yaml", ".json", ".csv"])

    def is_held(self) -> bool:
        """Whether another process holds it."""
        return locks.is_locked_elsewhere(self.lock)

    def release(self) -> None:
        """Ends :meth:`hold`."""
        if self._held:
            locks.unlock(self.lock)
            self._held = False

    # Writing

    def write_config(self, text: str) -> None:
        """Writes config.yaml."""
        write_atomically(self.config, text.encode())

    def config_sha256(self) -> str | None:
        """What environment.json remembers the configuration by; None where there is none, as in a run of the Python API's."""
        return hashlib.sha256(self.config.read_bytes()).hexdigest() if self.config.is_file() else None

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Writes environment.json."""
        write_atomically(self.environment, (json.dumps(environment, indent=2) + "\n").encode())

    def write_crops(self, items: Sequence[str], boxes: Sequence[Sequence[int]]) -> None:
        """Writes crops.csv: top, left, height, width of each item in its image."""
        rows = [[index, item, *box] for index, (item, box) in enumerate(zip(items, boxes, strict=True))]
        write_atomically(self.crops, as_csv([["index", "item", "top", "left", "height", "width"], *rows]).encode())

    def append_queries(self, rows: Sequence[Labeled]) -> None:
        """Records which items are labeled."""
        values = [[r.cycle, r.rank, r.index, r.item, "" if r.score is None else f"{r.score:.9g}"] for r in rows]
        self._append(self.queries, QUERY_COLUMNS, values)

    def append_cycle(self, row: Mapping[str, Any]) -> None:
        """Records a finished cycle.

        Args:
            row: all fixed columns of learning_curve.csv, and one for each metric; None leaves a cell empty.
        """
        metrics = sorted(set(row) - {*_FIRST_CURVE_COLUMNS, *_LAST_CURVE_COLUMNS})
        columns = [*_FIRST_CURVE_COLUMNS, *metrics, *_LAST_CURVE_COLUMNS]
        values = [f"{row[c]:.9g}" if isinstance(row[c], float) else row[c] for c in columns]
        self._append(self.learning_curve, columns, [values])

    def write_scores(self, cycle: int, indices: Sequence[int], items: Sequence[str], scores: Mapping[str, Sequence[float]]) -> None:
        """Writes a cycle's scores.csv.

        Args:
            cycle: whose weights scored.
            indices: of the scored items.
            items: their names.
            scores: of these items, by column.
        """
        rows = [
            [index, item, *(f"{value:.9g}" for value in values)]
            for index, item, *values in zip(indices, items, *scores.values(), strict=True)
        ]
        write_atomically(self.scores(cycle), as_csv([["index", "item", *scores], *rows]).encode())

    def write_queried(self, cycle: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes a cycle's queried.csv, one row a queried image."""
        columns = list(rows[0]) if rows else []
        write_atomically(self.queried(cycle), as_csv([columns, *([row[c] for c in columns] for row in rows)]).encode())

    def keep_rows(self, cycles: int, labeled: int) -> None:
        """Removes what comes after the first rows of the tables.

        Args:
            cycles: rows of learning_curve.csv to keep.
            labeled: rows of queries.csv to keep.
        """
        keep_lines(self.learning_curve, 1 + cycles)
        keep_lines(self.queries, 1 + labeled)

    def _append(self, path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        header: list[Sequence[Any]] = []
        if not path.exists():
            header = [columns]
        elif (found := columns_of(path)) != list(columns):
            raise UserError(f"Expected the columns {', '.join(columns)} in {path}, got {', '.join(found)}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with appending(path) as file:
            file.write(as_csv([*header, *rows]).encode())

    # Reading

    def read_config(self) -> dict[str, Any]:
        """The settings of config.yaml, nested, without the name of the command around them.

        Raises:
            UserError: the file is missing or is no mapping.
        """
        try:
            content = yaml.load(self._text(self.config), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise UserError(f"Expected YAML in {self.config}, got {' '.join(str(error).split())}.") from error
        if not isinstance(content, dict):
            raise UserError(f"Expected a mapping in {self.config}, got {type(content).__name__}.")
        settings: dict[str, Any] = content["fit"] if isinstance(content.get("fit"), dict) else content
        return settings

    def read_curve(self) -> list[CycleRow]:
        """The finished cycles by number, typed; a row that is being written is left out.

        Raises:
            UserError: the table is missing, or a cell that must be a number is none.
        """
        other = {*_FIRST_CURVE_COLUMNS, *_LAST_CURVE_COLUMNS}
        try:
            rows = [
                CycleRow(
                    int(row["cycle"]),
                    int(row["labeled"]),
                    {name: float(row[name]) if row[name] else float("nan") for name in row if name not in other},
                    float(row["train_seconds"]),
                    float(row["query_seconds"]) if row["query_seconds"] else None,
                    float(row["query_peak_bytes"]) if row["query_peak_bytes"] else None,
                )
                for row in self.read_cycles()
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"Expected a column of numbers of each kind in {self.learning_curve}, got {error!r}.") from error
        return sorted(rows, key=lambda row: row.cycle)

    def read_queried_pixels(self, cycles: int) -> int | None:
        """Pixels of the items that the first queries chose; the initial set does not count.

        Args:
            cycles: number of queries.

        Returns:
            The sum over crops.csv, or over what the tables of the queried images count; None where neither was recorded.
        """
        if self.crops.is_file():
            boxes = csv.DictReader(io.StringIO(self._text(self.crops)))
            area = {int(box["index"]): int(box["height"]) * int(box["width"]) for box in boxes}
            return sum(area[row.index] for row in self.read_queries() if 1 <= row.cycle <= cycles)
        tables = [self.queried(cycle) for cycle in range(cycles)]
        if not tables or not all(table.is_file() for table in tables):
            return None
        rows = [row for table in tables for row in csv.DictReader(io.StringIO(self._text(table)))]
        return sum(int(count) for row in rows for name, count in row.items() if name not in _QUERIED_IDENTITY)

    def read_environment(self) -> dict[str, Any]:
        """The content of environment.json."""
        content: dict[str, Any] = json.loads(self._text(self.environment))
        return content

    def read_cycles(self) -> list[dict[str, str]]:
        """The finished cycles, in order; a row that is being written is left out."""
        return list(csv.DictReader(io.StringIO(whole_rows(self._text(self.learning_curve)))))

    def read_queries(self) -> list[Labeled]:
        """The labeled items, in order; a row that is being written is left out.

        Raises:
            UserError: the table is missing, or a cell that must be a number is none.
        """
        rows = csv.DictReader(io.StringIO(whole_rows(self._text(self.queries))))
        try:
            return [
                Labeled(int(r["cycle"]), int(r["rank"]), int(r["index"]), r["item"], float(r["score"]) if r["score"] else None)
                for r in rows
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"Expected numbers in the columns {', '.join(QUERY_COLUMNS)} of {self.queries}, got {error!r}.") from error

    def read_scores(self, cycle: int) -> tuple[list[int], dict[str, list[float]]] | None:
        """What was recorded of a cycle's scored items: their indices, and by column their scores; None where nothing was."""
        if not self.scores(cycle).is_file():
            return None
        rows = list(csv.DictReader(io.StringIO(self._text(self.scores(cycle)))))
        columns = [name for name in rows[0] if name not in {"index", "item"}] if rows else []
        return [int(row["index"]) for row in rows], {name: [float(row[name]) for row in rows] for name in columns}

    def read_training(self) -> dict[int, list[dict[str, str]]]:
        """What a CSVLogger logged while each finished cycle trained: by cycle its rows, in order; empty cells are left out.

        A file's rows are cut where the end of a cycle is logged; what a killed process logged after its last such row is the next
        cycle's. A resumed run begins another file; of a cycle that is in several, the last one counts.
        """
        files = sorted(self.path.rglob("metrics.csv"), key=lambda path: (len(path.parent.name), path.parent.name))
        cycles: dict[int, list[dict[str, str]]] = {}
        for file in files:
            rows: list[dict[str, str]] = []
            for row in csv.DictReader(io.StringIO(whole_rows(file.read_text()))):
                if end := row.get("active_learning/cycle"):
                    cycles[int(float(end))] = rows
                    rows = []
                else:
                    rows.append({name: value for name, value in row.items() if value})
            if rows:
                cycles[max(cycles, default=-1) + 1] = rows
        finished = len(self.read_cycles())
        return {cycle: rows for cycle, rows in sorted(cycles.items()) if cycle < finished}

    def _text(self, path: Path) -> str:
        if not path.is_file():
            raise UserError(f"Expected {path} in the run directory, but it is missing: this run can't be read or continued without it.")
        return path.read_text()


def find_runs(folder: str | os.PathLike[str]) -> list[RunDirectory]:
    """The runs in a folder, at any depth and sorted by path, or the folder itself where it is one.

    Links are followed, each directory is looked at once. There are no runs inside runs.

    Raises:
        UserError: there is no such folder, or one can't be read.
    """
    if not Path(folder).is_dir():
        raise UserError(f"Expected {folder} to be a run directory or a folder of such, but there is no such folder.")
    seen: set[Path] = set()

    def walk(path: Path) -> Iterator[RunDirectory]:
        if (real := path.resolve()) in seen:
            return
        seen.add(real)
        if (run := RunDirectory(path)).looks_like_run():
            yield run
            return
        try:
            children = sorted(child for child in path.iterdir() if child.is_dir())
        except OSError as error:
            raise UserError(f"Expected to look for runs in {path}, but it can't be read: {error}") from error
        for child in children:
            yield from walk(child)

    return list(walk(Path(folder)))
