"""The tables of a run directory: their columns, what their cells hold, and what their rows say together."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from al_lightning.errors import UserError
from al_lightning.reading import AMOUNT, ANY, COUNT, FINITE, NUMBER, SHARE, TEXT, WHOLE, Kind, one_of, optional, read_table

QUERY_COLUMNS = {"cycle": COUNT, "rank": COUNT, "index": COUNT, "item": TEXT, "score": optional(FINITE)}
ASKED_COLUMNS = {name: kind for name, kind in QUERY_COLUMNS.items() if name != "cycle"}
VALIDATED, TESTED = "val/", "test/"
"""Prefixes of the columns of metrics: of the images that training may look at, and of the evaluation set if that is another one."""
CROP_COLUMNS = {"index": COUNT, "item": TEXT, "top": COUNT, "left": COUNT, "height": COUNT, "width": COUNT}
SCORE_COLUMNS = {"index": COUNT, "item": TEXT}
RANDOM, BY_STRATEGY = "random", "strategy"
"""What put an item into a query."""
_BY = one_of(RANDOM, BY_STRATEGY)
RANDOM_COLUMNS = {"index": COUNT, "item": TEXT, "by": _BY, "score": optional(FINITE)}
ERROR_COLUMNS = {"index": COUNT, "item": TEXT, "by": _BY, "error": SHARE}
COUNTED = ("hits", "true", "predicted")
"""What evaluated.csv counts of each class, in columns like ``hits sky``."""
_QUERIED = {"rank": COUNT, "index": COUNT, "item": TEXT}
_QUERIED_IDENTITY = {*_QUERIED, "city"}  # what queried.csv says of an image besides counts of pixels
QUERIED_COLUMNS = {*_QUERIED_IDENTITY, "ignored"}
"""The columns of queried.csv that are not named after a class."""
_END_OF_CYCLE = "active_learning/cycle"  # a column that a logger fills in the row of a finished cycle


@dataclass(frozen=True)
class Labeled:
    """A labeled item: a row of queries.csv.

    Attributes:
        cycle: the cycle whose training set it first joins.
        rank: its place in the query, from 0.
        index: position in the data set.
        item: the name that a person knows it by.
        score: None where no strategy chose it (the data module drew it), or where scores would tell which items were drawn at random.
    """

    cycle: int
    rank: int
    index: int
    item: str
    score: float | None = None


def column(kind: Kind) -> Any:
    """A field that is a column of learning_curve.csv, whose cells hold values of this kind."""
    return field(metadata={"kind": kind})


@dataclass(frozen=True, kw_only=True)
class CycleRow:
    """A finished cycle: a row of learning_curve.csv. Each field is a column; metrics are further columns.

    To add a column, add a field here. It is filled from the attribute of that name of
    :class:`~al_lightning.callbacks.cycle.FinishedCycle`, or of its query, if the name begins with ``query_``.

    Attributes:
        cycle: from 0.
        labeled: items of its training set.
        metrics: by column; NaN for an empty cell.
        epochs: number of epochs of its training.
        train_steps: number of optimizer steps of its training.
        train_seconds: time of its training.
        query_seconds: time of scoring and choosing; None if the cycle made no query, which is so in the last cycle of a finished run.
        query_peak_bytes: largest memory while scoring; None if the cycle made no query.
    """

    cycle: int = column(COUNT)
    labeled: int = column(COUNT)
    metrics: Mapping[str, float]
    epochs: int = column(COUNT)
    train_steps: int = column(COUNT)
    train_seconds: float = column(AMOUNT)
    query_seconds: float | None = column(optional(AMOUNT))
    query_peak_bytes: float | None = column(optional(AMOUNT))


_NAMES = [field.name for field in fields(CycleRow)]
_KINDS: dict[str, Kind] = {field.name: field.metadata["kind"] for field in fields(CycleRow) if field.metadata}
FIRST_CURVE_COLUMNS = {name: _KINDS[name] for name in _NAMES[: _NAMES.index("metrics")]}
LAST_CURVE_COLUMNS = {name: _KINDS[name] for name in _NAMES[_NAMES.index("metrics") + 1 :]}


def read_curve(path: Path) -> list[CycleRow]:
    """The finished cycles.

    Raises:
        UserError: the table is missing or damaged, or cycles are not 0, 1, 2 ..., each with more labeled items than the one before.
    """
    fixed = FIRST_CURVE_COLUMNS | LAST_CURVE_COLUMNS
    cycles = []
    for row in read_table(path, fixed, {ANY: optional(NUMBER, math.nan)}, growing=True):
        metrics = {name: value for name, value in row.items() if name not in fixed}
        if strange := [name for name in metrics if not name.startswith((VALIDATED, TESTED))]:
            raise UserError(f"Expected metrics val/... and test/... as the other columns of {path}, got {', '.join(strange)}.")
        cycles.append(CycleRow(metrics=metrics, **{name: value for name, value in row.items() if name in fixed}))
    cycles.sort(key=lambda row: row.cycle)
    _count_up(path, "cycle", (row.cycle for row in cycles))
    for before, after in pairwise(cycles):
        if after.labeled <= before.labeled:
            raise UserError(f"Expected more labeled items in each cycle of {path}, got {before.labeled}, then {after.labeled}.")
    return cycles


def of_evaluation(metrics: Iterable[str]) -> list[str]:
    """The metrics of the evaluation set among some: ``test/...``; if there are none, ``val/...``, as the same images validate."""
    names = [*metrics]
    return [name for name in names if name.startswith(TESTED)] or [name for name in names if name.startswith(VALIDATED)]


def read_queries(path: Path) -> list[Labeled]:
    """The labeled items.

    Raises:
        UserError: the table is missing or damaged.
    """
    return [Labeled(**row) for row in read_table(path, QUERY_COLUMNS, growing=True)]


def query_cells(rows: Iterable[Labeled]) -> list[list[Any]]:
    """The cells of labeled items in queries.csv."""
    return [[r.cycle, r.rank, r.index, r.item, "" if r.score is None else f"{r.score:z.9g}"] for r in rows]  # z: 0, never -0


def read_asked(path: Path, cycle: int) -> list[Labeled]:
    """What a person was asked to label, by rank.

    Args:
        path: of the table.
        cycle: the cycle whose training set these items are to join.

    Raises:
        UserError: the table is missing or damaged, or has no rows.
    """
    asked = [Labeled(cycle, **row) for row in read_table(path, ASKED_COLUMNS)]
    if not asked:
        raise UserError(f"Expected a row for each item to label in {path}, got none.")
    _count_up(path, "rank", (row.rank for row in asked))
    _once(path, (row.index for row in asked))
    return asked


def indices_by_cycle(labeled: Iterable[Labeled]) -> dict[int, list[int]]:
    """The items that join the training set in each cycle; cycles and items keep their order."""
    found: dict[int, list[int]] = {}
    for row in labeled:
        found.setdefault(row.cycle, []).append(row.index)
    return found


def refuse_wrong_rows(path: Path, cycles: Iterable[CycleRow], labeled: Sequence[Labeled]) -> None:
    """Makes sure that there are as many labeled items as the learning curve says, each once, in order of cycle and rank.

    Args:
        path: of the table of labeled items.
        cycles: the finished cycles.
        labeled: the items of the finished cycles, and of the query after them.

    Raises:
        UserError: rows are missing or were added.
    """
    joining, count = Counter(row.cycle for row in labeled), 0
    for cycle in cycles:
        count += joining[cycle.cycle]
        if cycle.labeled != count:
            raise UserError(
                f"Expected {cycle.labeled} labeled items in {path} up to cycle {cycle.cycle}, got {count}: rows are missing or were added."
            )
    _once(path, (row.index for row in labeled))
    ranks: dict[int, list[int]] = {}
    for row in labeled:
        ranks.setdefault(row.cycle, []).append(row.rank)
    _count_up(path, "cycle", ranks)
    for its in ranks.values():
        _count_up(path, "rank", its)


def read_areas(path: Path) -> list[int]:
    """Number of pixels of each item, if items are crops.

    Raises:
        UserError: the table is missing or damaged, or indices are not 0, 1, 2 ...
    """
    rows = read_table(path, CROP_COLUMNS)
    _count_up(path, "index", (row["index"] for row in rows))
    return [row["height"] * row["width"] for row in rows]


def read_queried(path: Path) -> list[dict[str, Any]]:
    """What a cycle's queried images hold, one row for each image.

    Raises:
        UserError: the table is missing or damaged.
    """
    rows = read_table(path, _QUERIED, {"city": TEXT, ANY: COUNT})
    _once(path, (row["index"] for row in rows))
    return rows


def read_counted(path: Path) -> int:
    """Number of pixels of a cycle's queried images.

    Raises:
        UserError: the table is missing or damaged.
    """
    return sum(count for row in read_queried(path) for name, count in row.items() if name not in _QUERIED_IDENTITY)


def read_random(path: Path) -> dict[int, tuple[str, float | None]]:
    """By index: what put each item into a query, :data:`RANDOM` or :data:`BY_STRATEGY`, and its score.

    Raises:
        UserError: the table is missing or damaged, or has no rows.
    """
    rows = read_table(path, RANDOM_COLUMNS)
    if not rows:
        raise UserError(f"Expected a row for each item of a query in {path}, got none.")
    _once(path, (row["index"] for row in rows))
    return {row["index"]: (row["by"], row["score"]) for row in rows}


def read_errors(path: Path) -> list[dict[str, Any]]:
    """How wrong a network was on the items that it asked for, one row for each; items without a labeled pixel have none.

    Raises:
        UserError: the table is missing or damaged.
    """
    rows = read_table(path, ERROR_COLUMNS)
    _once(path, (row["index"] for row in rows))
    return rows


def read_evaluated(path: Path) -> list[list[list[int]]]:
    """Numbers of pixels of each evaluation image and class, ``(N, C, 3)``, in the order of :data:`COUNTED`.

    Raises:
        UserError: the table is missing or damaged, has no rows, or has more hits than pixels.
    """
    rows = [{name: count for name, count in row.items() if name != "item"} for row in read_table(path, {"item": TEXT}, {ANY: COUNT})]
    names = [name.partition(" ") for name in (rows[0] if rows else ())]
    classes = [name for what, _, name in names if what == COUNTED[0]]
    if not classes or [f"{what} {name}" for name in classes for what in COUNTED] != [*rows[0]]:
        raise UserError(f"Expected a row for each evaluation image in {path}, with {', '.join(COUNTED)} of each class, got something else.")
    found = [[counts[place : place + 3] for place in range(0, len(counts), 3)] for counts in ([*row.values()] for row in rows)]
    if any(hits > min(true, predicted) for image in found for hits, true, predicted in image):
        raise UserError(f"Expected no more hits than pixels of a class in {path}, got more: it is damaged.")
    return found


def read_scores(path: Path) -> tuple[list[int], dict[str, list[float]]]:
    """The indices of a cycle's scored items, and by column their scores.

    Raises:
        UserError: the table is missing or damaged, or an item is there twice.
    """
    rows = read_table(path, SCORE_COLUMNS, {ANY: FINITE})
    if not rows:
        raise UserError(f"Expected a row for each scored item in {path}, got none.")
    _once(path, (row["index"] for row in rows))
    return [row["index"] for row in rows], {name: [row[name] for row in rows] for name in rows[0] if name not in SCORE_COLUMNS}


def read_logged(files: Iterable[Path]) -> dict[int, list[dict[str, float]]]:
    """The rows that a CSVLogger logged while each cycle trained, in order, by cycle; without empty cells.

    A row with the end of a cycle separates the rows of cycles. The rows that a killed process logged after the last such row are of a
    cycle without a logged end. A resumed run begins another file; steps that it trained again count once. The last cycle of a run that
    goes further is trained again from its first step.

    Args:
        files: in the order in which they were begun.

    Raises:
        UserError: a file is damaged.
    """
    cycles: dict[int, list[dict[str, float]]] = {}
    unfinished = 0  # the first cycle whose end was not logged
    for file in files:
        rows: list[dict[str, float]] = []
        for row in read_table(file, {}, {_END_OF_CYCLE: optional(WHOLE), ANY: optional(NUMBER)}, growing=True):
            if row.get(_END_OF_CYCLE) is not None:
                cycles[row[_END_OF_CYCLE]] = _joined(cycles.get(row[_END_OF_CYCLE], []), rows)
                unfinished, rows = row[_END_OF_CYCLE] + 1, []
            else:
                rows.append({name: value for name, value in row.items() if value is not None})
        if rows:
            ended = cycles.get(unfinished - 1, [])
            if ended and rows[0].get("step", math.inf) <= ended[0].get("step", -math.inf):
                unfinished -= 1  # a cycle that is done again, as the run goes further
            unfinished += _are_of_next_cycle(rows, cycles.get(unfinished, []))
            cycles[unfinished] = _joined(cycles.get(unfinished, []), rows)
    return dict(sorted(cycles.items()))


def _joined(earlier: list[dict[str, float]], rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Rows of a training that was interrupted and resumed: from the step at which it was resumed, the later rows."""
    return [row for row in earlier if not rows or row.get("step", math.inf) < rows[0].get("step", -math.inf)] + rows


def _are_of_next_cycle(rows: list[dict[str, float]], earlier: list[dict[str, float]]) -> bool:
    """Whether rows are of the cycle after that of earlier rows: steps go on, but epochs begin again."""
    before, after = ([row["epoch"] for row in some if "epoch" in row] for some in (earlier, rows))
    if not before or not after or after[0] > before[-1]:
        return False
    return rows[0].get("step", -math.inf) > earlier[-1].get("step", math.inf)


def _count_up(path: Path, name: str, values: Iterable[int]) -> None:
    for place, value in enumerate(values):
        if value != place:
            raise UserError(f"Expected {name} 0, 1, 2 ... in {path}, got {value} in place of {place}: rows are missing or were added.")


def _once(path: Path, indices: Iterable[int]) -> None:
    seen: set[int] = set()
    for index in indices:
        if index in seen:
            raise UserError(f"Expected each index once in {path}, got {index} again: rows were added.")
        seen.add(index)
