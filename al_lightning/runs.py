"""The run directory: what its tables say, how they are written, and who may write. :mod:`al_lightning.run_files` has the files' names.

A cycle is finished when learning_curve.csv has its row, and that row is written last: checkpoint, query, row. A crash can leave rows in
queries.csv of a query whose cycle has no such row yet; they are removed, and the cycle is done again. If a person is asked, asked.csv is
written before the row, and the whole query when all its labels are there; until then the run waits. What is asked before cycle 0 lies in
cycles/evaluation and cycles/initial: the first is answered when evaluation.csv exists, the second when queries.csv has rows of cycle 0.
If there is more than a crash can leave, tables have lost rows, and the run is refused and left as it is (callbacks/recovery.py).

One process writes: it locks the directory before it changes anything there, environment.json and the configuration included. Rows are
appended in one write and synced. Other files are written under a temporary name, synced and renamed. Until a cycle is finished, nothing is
lost by a new start, so what a failed start leaves does not stop the next one. If the last cycle is done again (the run goes further), its
row is removed first; a table without rows says that cycle 0 had been finished, so that nothing is drawn anew.
"""

import json
import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from al_lightning import locks, run_tables
from al_lightning.errors import UserError
from al_lightning.files import appending, as_csv, columns_of, keep_rows, remove_unfinished, write_atomically
from al_lightning.run_reader import RunReader
from al_lightning.run_tables import Labeled
from al_lightning.settings import Settings, with_renewed
from al_lightning.text import encoded

WRITES_THERE = "Another process is writing into the run"


class RunDirectory(RunReader):
    """Reads and writes a run's files, and makes sure that one process writes.

    Args:
        path: the run directory; it is made when a process is to write there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._held = False
        self._renewed: Settings | None = None

    def refuse_run(self, script: bool = False) -> None:
        """Makes sure that the directory holds no run.

        Args:
            script: whether a Python script wants the directory, for the message.

        Raises:
            UserError: a run here has finished a cycle, or has asked a person for labels.
        """
        if self.holds_run():
            go_on = f"with `fit --resume --run_dir {self.path}`, or name another --run_dir"
            if script:
                go_on = "by its script with ActiveLearningCallback(..., resume=True), or give the Trainer another default_root_dir"
            raise UserError(f"{self.path} holds a run already. Continue it {go_on}.")

    # One writer

    def hold(self) -> None:
        """Makes this process the only one that writes here, until it calls :meth:`release` or ends, however it ends.

        A copy of this object in another process of the run need not lock: this process holds the directory for it.

        Raises:
            UserError: another process writes here, or the path is no directory.
        """
        if self._held:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"Expected {self.path} to be a run's directory, but there is a file in its place. Name another one.") from error
        if not locks.lock(self.lock):
            raise UserError(f"{WRITES_THERE} {self.path}. Wait for it, or end it.")
        self._held = True
        remove_unfinished(self.path, [".yaml", ".json", ".csv"])

    def is_held(self) -> bool:
        """Whether another process holds the directory."""
        return locks.is_locked_elsewhere(self.lock)

    def release(self) -> None:
        """Ends :meth:`hold`."""
        if self._held:
            locks.unlock(self.lock)
            self._held = False

    # Writing

    def write_config(self, text: str) -> None:
        """Writes config.yaml."""
        write_atomically(self.config, encoded(text))

    def follow(self, now: Settings) -> None:
        """Keeps settings that name new places of files, or that go further, until :meth:`settle` is called."""
        self._renewed = now

    def settle(self, budget: bool = True) -> None:
        """Writes what is new in the settings of :meth:`follow` into config.yaml, which is otherwise left as it is.

        Args:
            budget: whether the new budget is written, and not the new places alone.
        """
        if self._renewed is None:
            return
        stored = self.read_config()
        if (renewed := with_renewed(stored, self._renewed, budget)) != stored:
            self.write_config(yaml.safe_dump(renewed, sort_keys=False))
        self._renewed = None

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Writes environment.json."""
        write_atomically(self.environment, (json.dumps(environment, indent=2) + "\n").encode())

    def write_crops(self, items: Sequence[str], boxes: Sequence[Sequence[int]]) -> None:
        """Writes crops.csv: top, left, height, width of each item in its image."""
        write_atomically(self.crops, _crops_table(items, boxes))

    def refuse_other_crops(self, items: Sequence[str], boxes: Sequence[Sequence[int]]) -> None:
        """Makes sure that crops.csv, if it exists, has what :meth:`write_crops` would write, up to crops of new images at the end.

        Raises:
            UserError: it has something else.
        """
        if self.crops.is_file() and not _crops_table(items, boxes).startswith(self.crops.read_bytes() or b"-"):
            raise UserError(f"Expected {self.crops} to list the run's crops, but it says something else. Remove it: it is written anew.")

    def append_queries(self, rows: Sequence[Labeled]) -> None:
        """Records which items are labeled."""
        self._append(self.queries, [*run_tables.QUERY_COLUMNS], run_tables.query_cells(rows))

    def append_answers(self, rows: Sequence[Labeled]) -> None:
        """Records which of the awaited items are labeled. If the process dies, all of them are recorded or none."""
        before = self.queries.read_bytes() if self.queries.is_file() else encoded(as_csv([[*run_tables.QUERY_COLUMNS]]))
        write_atomically(self.queries, before + encoded(as_csv(run_tables.query_cells(rows))))

    def write_asked(self, cycle: int, rows: Sequence[Labeled]) -> None:
        """Writes a cycle's asked.csv."""
        self._write_ranked(self.asked(cycle), rows)

    def write_random(self, cycle: int, rows: Sequence[Labeled], drawn: Container[int]) -> None:
        """Writes a cycle's random.csv: for each item of its query, whether it was drawn at random, and its score.

        Args:
            cycle: which has asked.
            rows: the items of its query.
            drawn: indices of the items that were drawn at random.
        """
        by = {True: run_tables.RANDOM, False: run_tables.BY_STRATEGY}
        cells = [[index, item, by[index in drawn], score] for _, _, index, item, score in run_tables.query_cells(rows)]
        self.write_control(self.random(cycle), [*run_tables.RANDOM_COLUMNS], cells)

    def write_control(self, path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Writes one of a cycle's tables by which a person sees when to stop: random.csv, errors.csv or evaluated.csv."""
        write_atomically(path, encoded(as_csv([columns, *rows])))

    def write_evaluation(self, rows: Sequence[Labeled]) -> None:
        """Writes evaluation.csv."""
        self._write_ranked(self.evaluation, rows)

    def append_cycle(self, row: Mapping[str, Any]) -> None:
        """Records a finished cycle.

        Args:
            row: all fixed columns of learning_curve.csv, and a column for each metric; None makes an empty cell.

        Raises:
            UserError: the table has other columns.
        """
        first, last = run_tables.FIRST_CURVE_COLUMNS, run_tables.LAST_CURVE_COLUMNS
        columns = [*first, *sorted(set(row) - {*first, *last}), *last]
        values = [f"{row[c]:.9g}" if isinstance(row[c], float) else row[c] for c in columns]
        self._append(self.learning_curve, columns, [values])

    def write_scores(self, cycle: int, indices: Sequence[int], items: Sequence[str], scores: Mapping[str, Sequence[float]]) -> None:
        """Writes a cycle's scores.csv.

        Args:
            cycle: the cycle whose weights scored.
            indices: of the scored items.
            items: names of the scored items.
            scores: of the scored items, by column.
        """
        rows = [
            [index, item, *(f"{value:z.9g}" for value in values)]
            for index, item, *values in zip(indices, items, *scores.values(), strict=True)
        ]
        write_atomically(self.scores(cycle), encoded(as_csv([[*run_tables.SCORE_COLUMNS, *scores], *rows])))

    def write_queried(self, cycle: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes a cycle's queried.csv, one row for each queried image."""
        columns = list(rows[0]) if rows else []
        write_atomically(self.queried(cycle), encoded(as_csv([columns, *([row[c] for c in columns] for row in rows)])))

    def keep_rows(self, cycles: int, labeled: int) -> None:
        """Removes what comes after the first rows of the tables.

        Args:
            cycles: rows of learning_curve.csv to keep.
            labeled: rows of queries.csv to keep.
        """
        for path, rows in ((self.learning_curve, cycles), (self.queries, labeled)):
            if path.exists():
                keep_rows(path, 1 + rows)
                if not path.stat().st_size:  # not even the names of its columns were written to their end
                    path.unlink()

    def remove_cycle(self, cycle: int) -> None:
        """Removes the row of the last finished cycle. Its query, if it made one, is not removed."""
        keep_rows(self.learning_curve, 1 + cycle)

    def _write_ranked(self, path: Path, rows: Sequence[Labeled]) -> None:
        write_atomically(path, encoded(as_csv([[*run_tables.ASKED_COLUMNS], *(cells for _, *cells in run_tables.query_cells(rows))])))

    def _append(self, path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        header: list[Sequence[Any]] = []
        if not path.exists():
            header = [columns]
        elif (found := columns_of(path)) != list(columns):
            raise UserError(f"Expected the columns {', '.join(columns)} in {path}, got {', '.join(found)}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with appending(path) as file:
            file.write(encoded(as_csv([*header, *rows])))


def find_runs(folder: str | os.PathLike[str]) -> tuple[list[RunDirectory], dict[Path, str]]:
    """The runs in a folder, at any depth and sorted by path, or the folder itself if it is a run.

    Links are followed; each directory is looked at once. Runs inside of runs are not found.

    Returns:
        The runs, and the reasons why directories can't be read, by their paths.

    Raises:
        UserError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise UserError(f"Expected {folder} to be a run directory or a folder of such, but there is no such folder.")
    seen: set[Path] = set()
    runs: list[RunDirectory] = []
    unreadable: dict[Path, str] = {}

    def walk(path: Path) -> None:
        if (real := path.resolve()) in seen:
            return
        seen.add(real)
        if (run := RunDirectory(path)).looks_like_run():
            runs.append(run)
            return
        try:
            children = sorted(child for child in path.iterdir() if child.is_dir())
        except OSError as error:
            unreadable[path] = f"it can't be read: {error.strerror}"
            return
        for child in children:
            walk(child)

    walk(Path(folder))
    return runs, unreadable


def _crops_table(items: Sequence[str], boxes: Sequence[Sequence[int]]) -> bytes:
    rows = [[index, item, *box] for index, (item, box) in enumerate(zip(items, boxes, strict=True))]
    return encoded(as_csv([[*run_tables.CROP_COLUMNS], *rows]))
