"""Reads a run's files. Each method that reads raises a UserError that names the file, if it is missing or damaged; a row that is being
written is left out.
"""

import math
import os
import re
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from al_lightning import run_tables, sources
from al_lightning.errors import UserError
from al_lightning.files import whole_rows
from al_lightning.reading import ANY, TEXT, read_json, read_table, read_yaml
from al_lightning.run_files import EVALUATION_FIRST, INITIAL, RunFiles
from al_lightning.run_tables import CycleRow, Labeled
from al_lightning.text import decoded

_CYCLE = "[0-9]{3,9}"  # the name of a cycle's directory


class RunReader(RunFiles):
    """Reads a run; another process may be writing it.

    Args:
        path: the run directory.
    """

    # How far it is

    def checkpoints(self) -> list[int]:
        """The cycles whose checkpoint was kept, in order."""
        found = (path.parent.name for path in self.path.glob("cycles/*/last.ckpt"))
        return sorted(int(name) for name in found if re.fullmatch(_CYCLE, name))

    def finished(self) -> int:
        """The number of finished cycles."""
        return len(self.read_curve()) if os.path.lexists(self.learning_curve) else 0

    def implied_cycles(self) -> int:
        """How many cycles must be finished, judged by directories and queries.

        The directory of cycle k is made, and the query that cycle k chooses is recorded, when cycle k - 1 is finished.
        """
        begun = [int(path.name) for path in self.path.glob("cycles/*") if re.fullmatch(_CYCLE, path.name)]
        queried = [row.cycle - 1 for row in self.read_queries()] if os.path.lexists(self.queries) else []
        return max([0, *begun, *queried])

    def has_begun(self) -> bool:
        """Whether a cycle was finished, or a person was asked for what cycle 0 needs: these items must not be drawn again.

        A learning_curve.csv that has only the names of its columns is that of a run whose cycle 0 was finished and is done again.
        """
        asked = any(os.path.lexists(self.asked(before)) for before in (EVALUATION_FIRST, INITIAL))
        return asked or bool(self.learning_curve.is_file() and whole_rows(decoded(self.learning_curve.read_bytes()))[0])

    def holds_run(self) -> bool:
        """Whether there is a run here that could be lost: it has begun, or directories and queries tell that it had."""
        return self.has_begun() or self.implied_cycles() > 0

    def is_finished(self) -> bool:
        """Whether the run has come to its end: its last cycle made no query."""
        cycles = self.read_curve() if os.path.lexists(self.learning_curve) else []
        return bool(cycles) and cycles[-1].query_seconds is None

    def has_gone_beyond(self, cycles: int | None, labels: int | None) -> bool:
        """Whether more cycles are finished, or more items labeled in the last one, than these numbers; None is no limit."""
        rows = self.read_curve() if os.path.lexists(self.learning_curve) else []
        return bool(rows) and (len(rows) > (cycles or math.inf) or rows[-1].labeled > (labels or math.inf))

    def looks_like_run(self) -> bool:
        """Whether a run left files here, complete or not."""
        others = (self.config, self.queries, self.environment)
        return os.path.lexists(self.learning_curve) or sum(map(os.path.lexists, others)) > 1

    # What its files say

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
        """The finished cycles, in order, as the texts of their cells."""
        self.read_curve()
        return read_table(self.learning_curve, {}, {ANY: TEXT}, growing=True)

    def read_curve(self) -> list[CycleRow]:
        """The finished cycles, in order."""
        return run_tables.read_curve(self._present(self.learning_curve))

    def read_queries(self) -> list[Labeled]:
        """The labeled items, in order."""
        return run_tables.read_queries(self._present(self.queries))

    def read_labeled(self) -> tuple[list[CycleRow], list[Labeled]]:
        """The finished cycles, and the items that are labeled after them: the initial set, and one query for each finished cycle."""
        cycles = self.read_curve()
        labeled = [row for row in self.read_queries() if row.cycle <= len(cycles)]
        run_tables.refuse_wrong_rows(self.queries, cycles, labeled)
        return cycles, labeled

    def awaited(self) -> list[Labeled]:
        """The items that a person was asked to label and that the run does not use yet, by rank; empty if the run waits for nobody."""
        if not any(os.path.lexists(folder / self.asked(INITIAL).name) for folder in self.path.glob("cycles/*")):
            return []
        cycles = self.read_curve() if os.path.lexists(self.learning_curve) else []
        last = len(cycles) - 1 if cycles else INITIAL
        if os.path.lexists(self.asked(last)):
            ended = bool(cycles) and cycles[-1].query_seconds is None
            return [] if ended or self._has_labeled_after(last) else self.read_asked_by(last)
        return [] if cycles or os.path.lexists(self.evaluation) else self.read_asked_by(EVALUATION_FIRST)

    def _has_labeled_after(self, cycle: int) -> bool:
        if cycle < 0 and not os.path.lexists(self.queries):
            return False
        return any(row.cycle > cycle for row in self.read_queries())

    def read_asked_by(self, cycle: int) -> list[Labeled]:
        """The items that a person was asked to label after a cycle, or before the first one, by rank; empty if nobody was asked.

        Their scores are from random.csv, if asked.csv leaves them out, as they would tell the person which items were drawn at random.
        """
        if not os.path.lexists(self.asked(cycle)):
            return []
        rows, kept = run_tables.read_asked(self.asked(cycle), cycle + 1), self._read_random(cycle)
        if kept and kept.keys() != {row.index for row in rows}:
            raise UserError(f"Expected the items of {self.asked(cycle)} in {self.random(cycle)}, got others: rows were lost or added.")
        return [replace(row, score=kept[row.index][1]) for row in rows] if kept else rows

    def read_asked(self) -> list[Labeled]:
        """All items that a person was ever asked to label, by cycle and rank."""
        cycles = sorted(int(path.parent.name) for path in self.path.glob("cycles/*/asked.csv") if re.fullmatch(_CYCLE, path.parent.name))
        return [row for cycle in (EVALUATION_FIRST, INITIAL, *cycles) for row in self.read_asked_by(cycle)]

    def still_asked(self, cycle: int) -> list[int]:
        """The items that a person was asked for after a cycle and has not labeled, by rank; none if nobody was asked."""
        labeled = {row.index for row in self.read_queries()}
        return [row.index for row in self.read_asked_by(cycle) if row.index not in labeled]

    def read_random(self, cycle: int) -> set[int]:
        """The items of a cycle's query that were drawn at random."""
        return {index for index, (by, _) in self._read_random(cycle).items() if by == run_tables.RANDOM}

    def _read_random(self, cycle: int) -> dict[int, tuple[str, float | None]]:
        return run_tables.read_random(self.random(cycle)) if os.path.lexists(self.random(cycle)) else {}

    def read_evaluation(self) -> list[Labeled]:
        """The items that the run took out of its pool to evaluate on, by rank; empty if it took none."""
        return run_tables.read_asked(self.evaluation, EVALUATION_FIRST + 1) if os.path.lexists(self.evaluation) else []

    def read_scores(self, cycle: int) -> tuple[list[int], dict[str, list[float]]] | None:
        """The recorded scores of a cycle: the indices of the scored items, and their scores by column; None if none were recorded."""
        return run_tables.read_scores(self.scores(cycle)) if os.path.lexists(self.scores(cycle)) else None

    def read_training(self) -> dict[int, list[dict[str, float]]]:
        """The rows that a CSVLogger logged while each finished cycle trained, in order, by cycle; without empty cells."""
        files = sorted(self.path.rglob("metrics.csv"), key=lambda path: (len(path.parent.name), path.parent.name))
        finished = len(self.read_curve())
        return {cycle: rows for cycle, rows in run_tables.read_logged(files).items() if cycle < finished}

    def read_queried(self, cycle: int) -> list[dict[str, Any]]:
        """What a cycle's queried images hold, one row for each image; empty if nothing was recorded."""
        return run_tables.read_queried(self.queried(cycle)) if os.path.lexists(self.queried(cycle)) else []

    def read_queried_pixels(self, cycles: int) -> int | None:
        """Number of pixels of the items in the first queries; the initial set does not count.

        Args:
            cycles: number of queries.

        Returns:
            The sum from crops.csv, or from the tables of queried images; None if neither was recorded.
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
        """Number of labeled pixels in each finished cycle, by the number of labeled items; empty if image sizes were not recorded."""
        areas = self._areas()
        if not areas:
            return {}
        cycles, labeled = self.read_labeled()
        if any(row.index >= len(areas) for row in labeled):  # the pool has copies of an image, which is listed once
            return {}
        joining = run_tables.indices_by_cycle(labeled)
        sums = accumulate(sum(areas[index] for index in joining.get(row.cycle, [])) for row in cycles)
        return {row.labeled: pixels for row, pixels in zip(cycles, sums, strict=True)}

    def _areas(self) -> list[int]:
        """Number of pixels of each item of the pool; empty if they were not recorded."""
        if os.path.lexists(self.crops):
            return run_tables.read_areas(self.crops)
        listed = sources.read_images(self.images) if os.path.lexists(self.images) else []
        found = [sources.pixels_of(source) for source in listed if source.split != sources.EVALUATION]
        return [] if None in found else [area for area in found if area is not None]

    def _present(self, path: Path) -> Path:
        if not os.path.lexists(path):
            raise UserError(f"Expected {path} in the run directory, but it is missing: this run can't be read or continued without it.")
        return path
