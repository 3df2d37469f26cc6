"""The run directory: what its tables say, how they are written, and who may write. :mod:`al_lightning.run_files` has the files' names.

What makes a cycle finished is its row in learning_curve.csv, and that row is written last: checkpoint, query, row. Rows of
queries.csv that belong to a later cycle than the finished ones imply were cut off by a crash; they are removed, and the cycle is done
again. Where a person is asked, asked.csv comes before the row, and the query all at once when the labels are there; until then it waits.
What is asked before cycle 0 lies in cycles/evaluation and cycles/initial: evaluation.csv says that the one is answered, the rows of cycle 0
that the other is.
Where more is there than a crash can leave, the tables lost rows, and the run is refused as it is (callbacks/recovery.py).

One process writes: it locks the directory before anything in it changes, environment.json and the configuration included. Rows are
appended in one write and synced; files are written under a temporary name of the process's own, synced and renamed. Until a cycle is
finished nothing is lost by starting anew, so nothing that a failed start leaves is in the way of the next one.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from al_lightning import locks, run_tables, sources
from al_lightning.errors import UserError
from al_lightning.files import appending, as_csv, columns_of, keep_rows, remove_unfinished, write_atomically
from al_lightning.reading import ANY, TEXT, read_json, read_table, read_yaml
from al_lightning.run_files import EVALUATION_FIRST, INITIAL, RunFiles
from al_lightning.run_tables import CycleRow, Labeled
from al_lightning.text import encoded

_CYCLE = "[0-9]{3,9}"  # what the directory of a cycle is called


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
        found = (path.parent.name for path in self.path.glob("cycles/*/last.ckpt"))
        return sorted(int(name) for name in found if re.fullmatch(_CYCLE, name))

    def finished(self) -> int:
        """The number of finished cycles."""
        return len(self.read_curve()) if os.path.lexists(self.learning_curve) else 0

    def implied(self) -> int:
        """How many cycles must have been finished for what else is here to be.

        The directory of a cycle is made, and the query after it recorded, when the one before it is finished.
        """
        begun = [int(path.name) for path in self.path.glob("cycles/*") if re.fullmatch(_CYCLE, path.name)]
        queried = [row.cycle - 1 for row in self.read_queries()] if os.path.lexists(self.queries) else []
        return max([0, *begun, *queried])

    def has_begun(self) -> bool:
        """Whether a cycle was finished, or a person was asked for what cycle 0 needs: what was drawn once is not drawn again."""
        return self.finished() > 0 or any(os.path.lexists(self.asked(before)) for before in (EVALUATION_FIRST, INITIAL))

    def holds_run(self) -> bool:
        """Whether there is something to lose."""
        return self.has_begun() or self.implied() > 0

    def is_finished(self) -> bool:
        """Whether the run has come to its end: its last cycle made no query."""
        cycles = self.read_curve() if os.path.lexists(self.learning_curve) else []
        return bool(cycles) and cycles[-1].query_seconds is None

    def looks_like_run(self) -> bool:
        """Whether some run left its files here, whole or not."""
        others = (self.config, self.queries, self.environment)
        return os.path.lexists(self.learning_curve) or sum(map(os.path.lexists, others)) > 1

    def refuse_run(self, script: bool = False) -> None:
        """Makes sure that the directory is free.

        Args:
            script: whether a Python script wants it.

        Raises:
            UserError: a run has finished a cycle here.
        """
        if self.holds_run():
            go_on = f"with `fit --resume --run_dir {self.path}`, or name another --run_dir"
            if script:
                go_on = "by its script with ActiveLearningCallback(..., resume=True), or give the Trainer another default_root_dir"
            raise UserError(f"{self.path} holds a run already. Continue it {go_on}.")

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
        write_atomically(self.config, encoded(text))

    def config_sha256(self) -> str | None:
        """What environment.json remembers the configuration by; None where there is none, as in a run of the Python API's."""
        return hashlib.sha256(self.config.read_bytes()).hexdigest() if self.config.is_file() else None

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Writes environment.json."""
        write_atomically(self.environment, (json.dumps(environment, indent=2) + "\n").encode())

    def write_crops(self, items: Sequence[str], boxes: Sequence[Sequence[int]]) -> None:
        """Writes crops.csv: top, left, height, width of each item in its image."""
        write_atomically(self.crops, _crops_table(items, boxes))

    def refuse_other_crops(self, items: Sequence[str], boxes: Sequence[Sequence[int]]) -> None:
        """Makes sure that crops.csv, if it is there, says what :meth:`write_crops` would write.

        Raises:
            UserError: it does not.
        """
        if self.crops.is_file() and not _crops_table(items, boxes).startswith(self.crops.read_bytes() or b"-"):  # images may be new
            raise UserError(f"Expected {self.crops} to list the run's crops, but it says something else. Remove it: it is written anew.")

    def append_queries(self, rows: Sequence[Labeled]) -> None:
        """Records which items are labeled."""
        self._append(self.queries, [*run_tables.QUERY_COLUMNS], run_tables.query_cells(rows))

    def append_answers(self, rows: Sequence[Labeled]) -> None:
        """Records which of the items that the run waits for are labeled: all of them or, if the process dies, none."""
        before = self.queries.read_bytes() if self.queries.is_file() else encoded(as_csv([[*run_tables.QUERY_COLUMNS]]))
        write_atomically(self.queries, before + encoded(as_csv(run_tables.query_cells(rows))))

    def write_asked(self, cycle: int, rows: Sequence[Labeled]) -> None:
        """Writes a cycle's asked.csv."""
        self._write_ranked(self.asked(cycle), rows)

    def write_control(self, path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Writes one of a cycle's tables that let a person see when to stop: random.csv, errors.csv or evaluated.csv."""
        write_atomically(path, encoded(as_csv([columns, *rows])))

    def write_evaluation(self, rows: Sequence[Labeled]) -> None:
        """Writes evaluation.csv."""
        self._write_ranked(self.evaluation, rows)

    def append_cycle(self, row: Mapping[str, Any]) -> None:
        """Records a finished cycle.

        Args:
            row: all fixed columns of learning_curve.csv, and one for each metric; None leaves a cell empty.
        """
        first, last = run_tables.FIRST_CURVE_COLUMNS, run_tables.LAST_CURVE_COLUMNS
        columns = [*first, *sorted(set(row) - {*first, *last}), *last]
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
        write_atomically(self.scores(cycle), encoded(as_csv([[*run_tables.SCORE_COLUMNS, *scores], *rows])))

    def write_queried(self, cycle: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes a cycle's queried.csv, one row a queried image."""
        columns = list(rows[0]) if rows else []
        write_atomically(self.queried(cycle), encoded(as_csv([columns, *([row[c] for c in columns] for row in rows)])))

    def keep_rows(self, cycles: int, labeled: int) -> None:
        """Removes what comes after the first rows of the tables.

        Args:
            cycles: rows of learning_curve.csv to keep.
            labeled: rows of queries.csv to keep.
        """
        keep_rows(self.learning_curve, 1 + cycles)
        keep_rows(self.queries, 1 + labeled)

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

    # Reading: each raises a UserError that names the file, if that is missing or damaged; a row that is being written is left out

    def read_config(self) -> dict[str, Any]:
        """The settings of config.yaml, nested, without the name of the command around them."""
        content = read_yaml(self._present(self.config))
        settings: dict[str, Any] = content["fit"] if isinstance(content.get("fit"), dict) else content
        self._refuse_wrong_classes(settings)
        return settings

    def _refuse_wrong_classes(self, node: Any) -> None:
        if isinstance(node, dict) and not isinstance(arguments := node.get("init_args", {}), dict):
            raise UserError(
                f"Expected init_args in {self.config} to be the arguments of {node.get('class_path')}, each as `key: value`, "
                f"got {arguments!r:.60}."
            )
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            self._refuse_wrong_classes(part)

    def read_environment(self) -> dict[str, Any]:
        """The content of environment.json."""
        content = read_json(self._present(self.environment))
        for name, kind in {"data": dict, "versions": dict, "resumed": list}.items():
            if not isinstance(content.get(name, kind()), kind):
                raise UserError(f"Expected {name} in {self.environment} to be a {kind.__name__}, got {content[name]!r:.60}.")
        return content

    def read_validation_labels(self) -> int:
        """The number of labeled items that were held out for validation; 0 where none were, or nobody recorded it."""
        found = self.read_environment().get("data", {}).get("validation", 0) if os.path.lexists(self.environment) else 0
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise UserError(f"Expected data.validation in {self.environment} to be a number of items, got {found!r:.60}.")
        return found

    def read_cycles(self) -> list[dict[str, str]]:
        """The finished cycles, in order, as their cells say."""
        self.read_curve()
        return read_table(self.learning_curve, {}, {ANY: TEXT}, growing=True)

    def read_curve(self) -> list[CycleRow]:
        """The finished cycles, in order."""
        return run_tables.read_curve(self._present(self.learning_curve))

    def read_queries(self) -> list[Labeled]:
        """The labeled items, in order."""
        return run_tables.read_queries(self._present(self.queries))

    def read_labeled(self) -> tuple[list[CycleRow], list[Labeled]]:
        """The finished cycles, and the items that are labeled after them: those of the initial set and of one query a finished cycle."""
        cycles = self.read_curve()
        labeled = [row for row in self.read_queries() if row.cycle <= len(cycles)]
        run_tables.refuse_wrong_rows(self.queries, cycles, labeled)
        return cycles, labeled

    def awaited(self) -> list[Labeled]:
        """What a person was asked to label and the run has not taken up yet, by rank; empty where the run waits for nobody."""
        if next(self.path.glob("cycles/*/asked.csv"), None) is None:
            return []
        cycles = self.read_curve() if os.path.lexists(self.learning_curve) else []
        if cycles:
            last = len(cycles) - 1
            return [] if cycles[-1].query_seconds is None or self._has_labeled_after(last) else self.read_asked_by(last)
        if os.path.lexists(self.asked(INITIAL)):
            return [] if self._has_labeled_after(INITIAL) else self.read_asked_by(INITIAL)
        return [] if os.path.lexists(self.evaluation) else self.read_asked_by(EVALUATION_FIRST)

    def _has_labeled_after(self, cycle: int) -> bool:
        if cycle < 0 and not os.path.lexists(self.queries):
            return False
        return any(row.cycle > cycle for row in self.read_queries())

    def read_asked_by(self, cycle: int) -> list[Labeled]:
        """What a person was asked to label after a cycle, or before the first one, by rank; empty where nobody was asked then."""
        return run_tables.read_asked(self.asked(cycle), cycle + 1) if os.path.lexists(self.asked(cycle)) else []

    def read_asked(self) -> list[Labeled]:
        """All that a person was ever asked to label, by cycle and rank."""
        cycles = sorted(int(path.parent.name) for path in self.path.glob("cycles/*/asked.csv") if re.fullmatch(_CYCLE, path.parent.name))
        return [row for cycle in (EVALUATION_FIRST, INITIAL, *cycles) for row in self.read_asked_by(cycle)]

    def still_asked(self, cycle: int) -> list[int]:
        """The items that a person was asked for after a cycle and has not labeled, by rank; none where nobody was asked."""
        labeled = {row.index for row in self.read_queries()}
        return [row.index for row in self.read_asked_by(cycle) if row.index not in labeled]

    def read_random(self, cycle: int) -> set[int]:
        """The items that a cycle's query has drawn at random."""
        return run_tables.read_random(self.random(cycle)) if os.path.lexists(self.random(cycle)) else set()

    def read_evaluation(self) -> list[Labeled]:
        """The items that the run took out of its pool to evaluate on, by rank; empty where it took none."""
        return run_tables.read_asked(self.evaluation, EVALUATION_FIRST + 1) if os.path.lexists(self.evaluation) else []

    def read_scores(self, cycle: int) -> tuple[list[int], dict[str, list[float]]] | None:
        """What was recorded of a cycle's scored items: their indices, and by column their scores; None where nothing was."""
        return run_tables.read_scores(self.scores(cycle)) if os.path.lexists(self.scores(cycle)) else None

    def read_training(self) -> dict[int, list[dict[str, float]]]:
        """What a CSVLogger logged while each finished cycle trained: by cycle its rows, in order; empty cells are left out."""
        files = sorted(self.path.rglob("metrics.csv"), key=lambda path: (len(path.parent.name), path.parent.name))
        finished = len(self.read_curve())
        return {cycle: rows for cycle, rows in run_tables.read_logged(files).items() if cycle < finished}

    def read_queried(self, cycle: int) -> list[dict[str, Any]]:
        """What a cycle's queried images hold, an image a row; empty where nothing was recorded."""
        return run_tables.read_queried(self.queried(cycle)) if os.path.lexists(self.queried(cycle)) else []

    def read_queried_pixels(self, cycles: int) -> int | None:
        """Pixels of the items that the first queries chose; the initial set does not count.

        Args:
            cycles: number of queries.

        Returns:
            The sum over crops.csv, or over what the tables of the queried images count; None where neither was recorded.
        """
        if os.path.lexists(self.crops):
            areas = run_tables.read_areas(self.crops)
            chosen = [row.index for row in self.read_labeled()[1] if 1 <= row.cycle <= cycles]
            if unknown := [index for index in chosen if index >= len(areas)]:
                raise UserError(f"Expected the {len(areas)} items of {self.crops} in {self.queries}, got index {unknown[0]}.")
            return sum(areas[index] for index in chosen)
        tables = [self.queried(cycle) for cycle in range(cycles)]
        return sum(map(run_tables.read_counted, tables)) if tables and all(map(os.path.lexists, tables)) else None

    def read_labeled_pixels(self) -> dict[int, int]:
        """Pixels of what is labeled in each finished cycle, by the number of labeled items; empty where nobody recorded their sizes."""
        areas = self._areas()
        if not areas:
            return {}
        cycles, labeled = self.read_labeled()
        if any(row.index >= len(areas) for row in labeled):  # copies of an image, which is listed once
            return {}
        joining = run_tables.indices_by_cycle(labeled)
        sums = accumulate(sum(areas[index] for index in joining.get(row.cycle, [])) for row in cycles)
        return {row.labeled: pixels for row, pixels in zip(cycles, sums, strict=True)}

    def _areas(self) -> list[int]:
        """Pixels of each item of the pool; none where they were not recorded."""
        if os.path.lexists(self.crops):
            return run_tables.read_areas(self.crops)
        listed = sources.read_images(self.images) if os.path.lexists(self.images) else []
        found = [sources.pixels_of(source) for source in listed if source.split != sources.EVALUATION]
        return [] if None in found else [area for area in found if area is not None]

    def _present(self, path: Path) -> Path:
        if not os.path.lexists(path):
            raise UserError(f"Expected {path} in the run directory, but it is missing: this run can't be read or continued without it.")
        return path


def find_runs(folder: str | os.PathLike[str]) -> tuple[list[RunDirectory], dict[Path, str]]:
    """The runs in a folder, at any depth and sorted by path, or the folder itself where it is one.

    Links are followed, each directory is looked at once. There are no runs inside runs.

    Returns:
        The runs; and the directories that can't be read, with the reason.

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
