"""What a run records of its data: the images that it began with, the labels that its cycles have read, and what queried items contain."""

from collections.abc import Container, Sequence
from contextlib import suppress

from torch import Tensor

from al_lightning import sources
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.run_tables import Labeled, indices_by_cycle
from al_lightning.runs import RunDirectory
from al_lightning.sources import ADDED, EVALUATION, POOL, VALIDATION, ReadLabel


class DataRecord:
    """Reads and writes images.csv, labels.csv and the cycles' queried.csv; for the first process only, except :meth:`oracle_labels`.

    A resumed run must equal an undisturbed run on the current data. So the images must be the same, and so must the labels that finished
    cycles have read. Other labels may be corrected.

    Args:
        run: the run directory.
        data: the data module, set up.
    """

    def __init__(self, run: RunDirectory, data: PoolDataModule) -> None:
        self.run = run
        self.data = data
        self._oracle_has_read = False
        self._to_tabulate: dict[int, Sequence[int]] = {}  # the queried items of each cycle whose queried.csv is still to be written

    # Beginning and resuming

    def start(self) -> None:
        """Records the images, in a directory that holds no run."""
        sources.write_images(self.run.images, self.data.sources())
        if (crops := self._crops()) is not None:
            self.run.write_crops(*crops)

    def discard(self) -> None:
        """Removes the files of a start that was killed."""
        for path in (self.run.images, self.run.labels, self.run.crops, self.run.evaluation):
            path.unlink(missing_ok=True)

    def refuse_other_images(self, run: RunDirectory, whose: str) -> None:
        """Makes sure that a run was started with the images that are there now.

        Args:
            run: the run.
            whose: what the message calls it.

        Raises:
            UserError: the images differ; the message names the files.
        """
        then, now = run.read_environment().get("data", {}), self.data.fingerprint()
        if then == now:
            if (crops := self._crops()) is not None:
                run.refuse_other_crops(*crops)
            self._refuse_other_added(run, whose)
            return
        keys = [f"{key} was {then.get(key)} and is {now.get(key)}" for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
        changed = sources.changed_images(run.images, self.data.sources())
        drawn = (
            "" if changed else ". Crops and validation are drawn by a seed: give all runs, that one too, the same data.init_args.pool_seed"
        )
        changed = changed or ", ".join(keys)
        raise UserError(f"Expected the data that {whose} in {run.path} was started with, but they are not the same: {changed}{drawn}.")

    def _refuse_other_added(self, run: RunDirectory, whose: str) -> None:
        """Makes the same check for images that were added after the run had begun."""
        listings = sources.read_images(run.images), self.data.sources()
        then, now = ({source.file: source.identity for source in listing if source.split == ADDED} for listing in listings)
        if changed := sources.differences(then, {file: now.get(file) for file in then}):
            raise UserError(f"Expected the images that {whose} in {run.path} has taken in, but they are not the same: {changed}.")

    def take_in_added(self) -> None:
        """Records the images that were added since, so that they keep their indices from now on."""
        known = sources.read_images(self.run.images)
        files = {source.file for source in known}
        if added := [source for source in self.data.sources() if source.split == ADDED and source.file not in files]:
            sources.write_images(self.run.images, [*known, *added])

    def refuse_other_labels(self, run: RunDirectory, whose: str, labeled: Sequence[Labeled], finished: int) -> None:
        """Makes sure that the labels which finished cycles have read are unchanged.

        Args:
            run: the run.
            whose: what the message calls it.
            labeled: its labeled items; those of later cycles are not checked.
            finished: number of its finished cycles.

        Raises:
            UserError: a label was changed, or is missing; the message names the files.
        """
        files = [*self.data.label_files([row.index for row in labeled if row.cycle < finished]), *self._evaluation_labels()]
        if files and finished and (changed := self.changed_labels(run, range(finished), files)):
            raise UserError(
                f"Expected the labels that finished cycles of {whose} in {run.path} have read, but they are not the same: {changed}. "
                "Put them back, or begin another run."
            )

    def changed_labels(self, run: RunDirectory, cycles: Container[int], files: Sequence[str] = ()) -> str:
        """The changes in the labels that some cycles of a run were the first to read, in words; empty if there are none.

        Args:
            run: the run.
            cycles: the cycles.
            files: names of labels that must be among those that were read.

        Raises:
            UserError: labels.csv is missing or damaged, or a label can't be read.
        """
        then = {label.file: label.sha256 for label in sources.read_labels(run.labels) if label.cycle in cycles}
        return sources.differences(then, {file: self.data.label_sha256(file) for file in {**then, **dict.fromkeys(files)}})

    def changed_in_unfinished(self, cycle: int) -> str:
        """The changes in the labels that the first part of a cycle's training has read, in words; empty if there are none.

        Raises:
            UserError: see :meth:`changed_labels`.
        """
        earlier = {label.file for label in self._labels() if label.cycle < cycle}  # as of copies; these are compared for finished cycles
        files = self.data.label_files((self.data.pool.labeled_in == cycle).nonzero().flatten().tolist())
        files = [file for file in files if file not in earlier]
        return self.changed_labels(self.run, [cycle], files) if files else ""

    def go_on(self, labeled: Sequence[Labeled], finished: int) -> None:
        """Writes the tables of queried items that are missing. The last one is written again: its labels may have been corrected.

        Args:
            labeled: the labeled items.
            finished: number of finished cycles.

        Raises:
            UserError: an item's label can't be read.
        """
        if (crops := self._crops()) is not None:
            self.run.write_crops(*crops)
        queries = {cycle - 1: items for cycle, items in indices_by_cycle(labeled).items() if 0 < cycle <= finished}
        self._to_tabulate = {c: items for c, items in queries.items() if c == finished - 1 or not self.run.queried(c).is_file()}
        self._tabulate()

    # In each cycle

    def begin(self, cycle: int) -> None:
        """Records the labels that a cycle is the first to read, before it reads them.

        Raises:
            UserError: one of them can't be read.
        """
        self._tabulate()
        earlier = [label for label in self._labels() if label.cycle < cycle] if cycle else []  # a killed start's file may be damaged
        self._add_labels(earlier, cycle, self.data.pool.labeled_in == cycle)

    def finish(self, cycle: int, queried: Tensor) -> None:
        """Writes what a cycle's queried items contain; if an oracle strategy has read the labels of the whole pool, records these, too."""
        if self._oracle_has_read:
            self._add_labels(self._labels(), cycle, self.data.pool.unlabeled & self.data.pool.answerable)
        self._to_tabulate[cycle] = queried.tolist()
        with suppress(UserError):  # the next cycle reports a bad label when it begins: this cycle is not lost
            self._tabulate()

    def oracle_labels(self, indices: Tensor) -> Tensor:
        """Labels for an oracle strategy, see :meth:`PoolDataModule.oracle_labels`. Its choice depends on them, so they count as read."""
        self._oracle_has_read = True
        return self.data.oracle_labels(indices)

    # Parts

    def _crops(self) -> tuple[list[str], Sequence[Sequence[int]]] | None:
        boxes = self.data.boxes()
        return None if boxes is None else ([self.data.item(index) for index in range(len(boxes))], boxes)

    def _labels(self) -> list[ReadLabel]:
        return sources.read_labels(self.run.labels) if self.run.labels.is_file() else []

    def _add_labels(self, known: list[ReadLabel], cycle: int, items: Tensor) -> None:
        """Records labels that are not in ``known``: of pool items, bool ``(N,)``, and in cycle 0 those for validation and evaluation."""
        files = dict.fromkeys(self.data.label_files(items.nonzero().flatten().tolist()), POOL)
        if cycle == 0:
            files |= self._evaluation_labels()
        for file in {label.file for label in known} & set(files):
            del files[file]
        if known or files:
            read = [ReadLabel(cycle, split, file, self._sha256(file)) for file, split in files.items()]
            sources.write_labels(self.run.labels, known + read)

    def _evaluation_labels(self) -> dict[str, str]:
        """The files of the labels for validation and for evaluation, each with its split."""
        validation = dict.fromkeys(self.data.label_files(self.data.validation.tolist()), VALIDATION)
        return validation | dict.fromkeys(self.data.evaluation_label_files(), EVALUATION)

    def _sha256(self, file: str) -> str:
        if (found := self.data.label_sha256(file)) is None:
            raise UserError(f"Expected the label {file}, but there is no such file.")
        return found

    def _tabulate(self) -> None:
        for cycle, indices in [*self._to_tabulate.items()]:
            rows = [
                {"rank": rank, "index": index, "item": self.data.item(index), **content}
                for rank, index in enumerate(indices)
                if (content := self.data.content(index)) is not None
            ]
            if rows:
                self.run.write_queried(cycle, rows)
            del self._to_tabulate[cycle]
