"""Checks classes that a person has given, and writes them into the table of a run's data: all good ones at once, or none."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from al_lightning import locks
from al_lightning.callbacks.oracles import package_names
from al_lightning.data import FolderClassificationDataModule
from al_lightning.data.images.class_tables import HEADER, Spellings, given_classes, with_classes
from al_lightning.data.own_files import SUFFIXES
from al_lightning.errors import UserError
from al_lightning.files import remove_unfinished, write_atomically
from al_lightning.reading import read_text
from al_lightning.runs import RunDirectory
from al_lightning.sources import read_labels
from al_lightning.text import encoded

_LOCK = ".ingest.lock"


class Given(NamedTuple):
    """A class that a person has given to an image.

    Attributes:
        shown: where the class was given, for messages.
        image: how the image is called there.
        label: name of the class.
    """

    shown: str
    image: str
    label: str


class ClassIntake:
    """Takes classes for a run. This process must hold the lock of the run directory.

    Args:
        run: the run.
        data: the data of the run.
        asked: indices of the items that were asked for.
        replace: whether a class may replace another one. The old table is kept beside the new one then.

    Attributes:
        taken: the classes that were written, by the index of the item.
    """

    what, where = "classes", "rows or files"

    def __init__(self, run: RunDirectory, data: FolderClassificationDataModule, asked: Sequence[int], replace: bool) -> None:
        self.data, self.replace = data, replace
        self.taken: dict[int, str] = {}
        self._indices = {data.item(index): index for index in asked}
        images = {item: data.image_and_label(index)[0] for item, index in self._indices.items()}
        in_packages = package_names(data, run.read_asked())
        self._spellings = Spellings(images, {name: data.item(index) for index, name in in_packages.items()})
        self._table = data.image_and_label(0)[1]
        finished = run.finished()
        self._read = {label.file for label in read_labels(run.labels) if label.cycle < finished} if finished else set()
        self._said: dict[int, list[str]] = {}  # all classes that the source gives to each image
        self._replaces = False

    def take(self, source: Path, may_be_empty: bool) -> tuple[int, dict[str, str]]:
        """Takes the good classes.

        Args:
            source: a table with the columns name and class, or a folder with a folder of images for each class.
            may_be_empty: whether the source may have no classes.

        Returns:
            The number of given classes, and for the place of each refused one the reason.

        Raises:
            UserError: there are no classes, or another process takes classes for the same data.
        """
        given = _given(source)
        if not given and not may_be_empty:
            raise UserError(
                f"Expected a table with the columns name and class, or a folder of images for each class, got none in {source}."
            )
        if not locks.lock(self._table.parent / _LOCK):  # other runs may have the same data
            raise UserError(f"Another process takes classes into {self._table}. Wait for it, or end it.")
        try:
            remove_unfinished(self._table.parent, [".csv"])
            self.data.read_answers()  # other processes, and people, write into the table, too
            self._listen(given)
            refused = {each.shown: why for each in given if (why := self._refusal(each)) is not None}
            self._write()
        finally:
            locks.unlock(self._table.parent / _LOCK)
        return len(given), refused

    def _listen(self, given: Sequence[Given]) -> None:
        for each in given:
            if each.label and len(names := self._spellings.all_of(each.image)) == 1:
                self._said.setdefault(self._indices[next(iter(names))], []).append(each.label)

    def _refusal(self, given: Given) -> str | None:
        """Notes a class to be written, or returns the reason why it is refused."""
        names = self._spellings.all_of(given.image)
        if len(names) != 1:
            return f"its name fits several images: {', '.join(sorted(names))}" if names else "it was not asked for"
        index = self._indices[next(iter(names))]
        if given.label not in self.data.class_names:
            return f"expected {self.data.label_key()}, got {given.label or 'none'}"
        if others := [label for label in self._said[index] if label != given.label]:
            return f"the source gives it the class {others[0]}, too"
        if (there := self.data.class_of(index)) is not None and there != given.label:
            if (why := self._refusal_to_replace(index, there)) is not None:
                return why
            self._replaces = True
        if there != given.label:
            self.taken[index] = given.label
        return None

    def _refusal_to_replace(self, index: int, there: str) -> str | None:
        if self.data.label_files([index])[0] in self._read:
            return f"it has the class {there}, which a finished cycle has used: to change it, begin another run"
        if (image := self.data.image_and_label(index)[0]).parent == self._table.parent / there:
            return f"it has the class {there} by its folder, {image.parent}"
        if not self.replace:
            return f"it has the class {there} in {self._table}. To replace it, and keep the old table beside the new one, use --replace"
        return None

    def _write(self) -> None:
        if not self.taken:
            return
        before = read_text(self._table) if self._table.exists() else HEADER
        if self._replaces:
            old = encoded(before)
            write_atomically(self._table.with_name(f"{self._table.name}.{hashlib.sha256(old).hexdigest()[:8]}.old"), old)
        classes = {self.data.item(index): label for index, label in self.taken.items()}
        write_atomically(self._table, encoded(with_classes(before, classes, self.data.spellings())))
        self.data.answer(self.taken)


def _given(source: Path) -> list[Given]:
    if not source.is_dir():
        return [Given(f"{name} in row {number}", name, label) for number, (name, label) in enumerate(given_classes(source), 1)]
    folders = [folder for folder in sorted(source.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    return [
        Given(f"{folder.name}/{path.name}", path.name, folder.name)
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
