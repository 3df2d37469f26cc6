"""The finished part of a run, compared with the run's other files and its data. Nothing is changed here."""

from collections.abc import Callable, Sequence

from al_lightning.errors import UserError
from al_lightning.run_tables import CycleRow, Labeled
from al_lightning.runs import RunDirectory


def finished_part(run: RunDirectory, size: int, item: Callable[[int], str]) -> tuple[list[CycleRow], list[Labeled]]:
    """The finished cycles, and the items that are labeled after them: the initial set, and the query of each finished cycle.

    Args:
        run: the run; its rows after this part were left by a crash, and don't count.
        size: number of items in the data set.
        item: gives the name of an index there.

    Raises:
        UserError: rows are missing, doubled, out of order or of other data, or files show that more cycles were finished than the
            learning curve has.
    """
    finished = run.finished()
    if (implied := run.implied_cycles()) > finished:
        raise UserError(
            f"Expected the rows of {implied} finished cycles in {run.learning_curve}, because cycle {implied} has begun, got "
            f"{finished}: rows were lost. Nothing was changed. Put the table back; or, to do later cycles again, remove their "
            f"directories and the rows of {run.queries} after cycle {finished}."
        )
    if not finished:
        return [], []
    if problem := wrong_rows(run.read_queries(), size, item):
        raise UserError(f"{problem} The tables in {run.path} were changed, so the run can't be continued. Nothing was changed now.")
    return run.read_labeled()


def wrong_rows(rows: Sequence[Labeled], size: int, item: Callable[[int], str]) -> str | None:
    """What is wrong with the rows of queries.csv, in a sentence; None if nothing is.

    Cycles must count up from 0, and ranks from 0 within each. Each index must be in the data set, with its item's name, and come once.
    """
    seen: set[int] = set()
    cycle, rank = -1, 0
    for number, row in enumerate(rows, 1):
        cycle, rank = (cycle + 1, 0) if row.cycle == cycle + 1 else (cycle, rank)
        which = f"in row {number} of queries.csv"
        if (row.cycle, row.rank) != (cycle, rank):
            return f"Expected rank {rank} of cycle {cycle} {which}, got rank {row.rank} of cycle {row.cycle}."
        if not 0 <= row.index < size:
            return f"Expected an index from 0 to {size - 1} {which}, got {row.index}."
        if item(row.index) != row.item:
            return f"Expected {item(row.index)!r}, the item at index {row.index} of the data, {which}, got {row.item!r}."
        if row.index in seen:
            return f"Expected each item once in queries.csv, got {row.item!r} again {which}."
        seen.add(row.index)
        rank += 1
    return None
