"""``python -m al_lightning ingest RUN FROM``: what a person has drawn or said goes to where a run's data have it, once it is checked.

A mask is there as a whole or not at all, and what is there is never lost, whenever the process dies: the same command goes on.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from al_lightning import locks
from al_lightning.callbacks.oracles import refuse_other_items
from al_lightning.commands.arguments import CommandParser
from al_lightning.commands.ingest_classes import ClassIntake
from al_lightning.commands.stored_run import labels_wanted, load_data
from al_lightning.data import FolderClassificationDataModule, PoolDataModule
from al_lightning.data.own_files import SUFFIXES
from al_lightning.errors import UserError
from al_lightning.files import remove_unfinished, write_atomically
from al_lightning.run_tables import Labeled
from al_lightning.runs import RunDirectory
from al_lightning.sources import read_labels

_LOCK = ".ingest.lock"
_Wanted = tuple[int, Path]
"""An item that a run has asked for: its index, and the place of its mask."""


def main(arguments: Sequence[str]) -> None:
    """Takes what is good, and says of each other file what is wrong with it.

    Args:
        arguments: the command's name first.

    Raises:
        UserError: it is no run that asks a person, another process writes there, or the folder has no masks.
        SystemExit: with status 1 if a file was refused.
    """
    options = _parser().parse_args(arguments[1:])
    run = RunDirectory(options.run)
    if not run.config.is_file():
        raise UserError(f"Expected {run.config}, the configuration of a run, but it is missing. Is it the directory of a run?")
    run.hold()
    try:
        data = load_data(run)
        given_in_table = isinstance(data, FolderClassificationDataModule)
        refused = _take_classes(run, data, options) if given_in_table else _take_masks(run, data, options)
        for name, why in refused.items():
            print(f"  {name}: {why}")
        if wanted := labels_wanted(run, data):
            print(wanted)
    finally:
        run.release()
    if refused:
        sys.exit(1)


def _take_masks(run: RunDirectory, data: PoolDataModule, options: argparse.Namespace) -> dict[str, str]:
    """Takes masks; gives by name of a file, why it is refused."""
    files = _files(options.folder)
    intake = Intake(run, data, options.allow_empty, options.replace)
    refused = intake.take(files)
    _tell("masks", len(files), len(intake.taken), len(refused))
    return {file.name: why for file, why in refused.items()}


def _take_classes(run: RunDirectory, data: FolderClassificationDataModule, options: argparse.Namespace) -> dict[str, str]:
    """Takes classes; gives by where they stand, why they are refused."""
    intake = ClassIntake(run, data, asked_for(run, data), options.replace)
    count, refused = intake.take(options.folder)
    _tell("classes", count, len(intake.taken), len(refused))
    return refused


def _tell(what: str, count: int, taken: int, refused: int) -> None:
    same = count - taken - refused
    print(f"{taken} {what} are taken, {same} were there already, {refused} are refused{':' if refused else '.'}")


def asked_for(run: RunDirectory, data: PoolDataModule) -> list[Labeled]:
    """All that a run has asked a person for.

    Raises:
        UserError: it has asked nobody, or for what are no items of these data.
    """
    refuse_other_items(data, asked := run.read_asked())
    if not asked:
        raise UserError(f"Expected a run that has asked a person for labels (active_learning.oracle=human), but {run.path} has not.")
    return asked


class Intake:
    """Takes masks for a run, whose directory this process holds.

    Args:
        run: says what was asked for.
        data: of the run.
        allow_empty: whether a mask may be the same in all its pixels.
        replace: whether a mask may take the place of another one, which is kept beside it.

    Attributes:
        taken: the places of the masks that were written.

    Raises:
        UserError: the run has asked nobody, or another process takes masks into the same folder.
    """

    def __init__(self, run: RunDirectory, data: PoolDataModule, allow_empty: bool, replace: bool) -> None:
        self.data = data
        self.allow_empty, self.replace = allow_empty, replace
        self.taken: list[Path] = []
        self._wanted: dict[str, _Wanted] = {}
        for row in asked_for(run, data):
            place = data.image_and_label(row.index)[1]
            self._wanted |= dict.fromkeys((row.item, place.stem), (row.index, place))
        finished = run.finished()
        self._read = {label.file for label in read_labels(run.labels) if label.cycle < finished} if finished else set()

    def take(self, files: Sequence[Path]) -> dict[Path, str]:
        """Takes what is good.

        Returns:
            By file, why it is refused.
        """
        folders = {place.parent for _, place in self._wanted.values()}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            if not locks.lock(folder / _LOCK):  # other runs may have the same data
                raise UserError(f"Another process takes masks into {folder}. Wait for it, or end it.")
            remove_unfinished(folder, SUFFIXES)
        try:
            return {file: why for file in files if (why := self._refusal(file)) is not None}
        finally:
            for folder in folders:
                locks.unlock(folder / _LOCK)

    def _refusal(self, file: Path) -> str | None:
        """Takes a mask; why it is refused, if it is."""
        if (wanted := self._wanted.get(file.stem)) is None:
            return "it was not asked for"
        index, place = wanted
        if file.suffix.lower() != place.suffix.lower():
            return f"expected a {place.suffix} file, as its place is {place}"
        try:
            classes = self.data.label_in(index, file)
        except UserError as error:
            return str(error)
        if bool((classes == classes[0, 0]).all()) and not self.allow_empty:
            return "it is empty: all its pixels are the same. If that is right, say --allow_empty"
        if place.exists():
            if self._is_same(index, place, classes):
                return None
            if (why := self._refusal_to_replace(index, place)) is not None:
                return why
            old = place.read_bytes()
            write_atomically(place.with_name(f"{place.name}.{hashlib.sha256(old).hexdigest()[:8]}.old"), old)
        write_atomically(place, file.read_bytes())
        self.taken.append(place)
        return None

    def _is_same(self, index: int, place: Path, classes: torch.Tensor) -> bool:
        try:
            return torch.equal(self.data.label_in(index, place), classes)
        except UserError:  # what is there is no mask of this image
            return False

    def _refusal_to_replace(self, index: int, place: Path) -> str | None:
        if self.data.label_files([index])[0] in self._read:
            return f"another mask is at {place}, which a finished cycle has read: to change it, begin another run"
        if not self.replace:
            return f"another mask is at {place}. To take this one and keep that one beside it, say --replace"
        return None


def _files(folder: Path) -> list[Path]:
    """The files that may be masks, by name."""
    if not folder.is_dir():
        raise UserError(f"Expected a folder of masks, got {folder}, which is none.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not found:
        raise UserError(f"Expected masks ({', '.join(SUFFIXES)}) in {folder}, found none.")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m al_lightning ingest",
        description="Takes masks or classes of images that a run has asked for into its data: checks each, copies the good ones, and says "
        "of the others why not. Images are not touched. Done twice it changes nothing.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's directory")
    parser.add_argument(
        "folder",
        type=Path,
        metavar="FROM",
        help="folder of masks, each with the name of its image; of classes a table (name,class), or a folder of images for each class",
    )
    parser.add_argument("--allow_empty", action="store_true", help="take masks whose pixels are all the same, too")
    parser.add_argument(
        "--replace", action="store_true", help="take what differs from a label that is there, which is kept beside it as *.old"
    )
    return parser
