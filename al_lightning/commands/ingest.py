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
from al_lightning.annotation.items import Rules
from al_lightning.callbacks.oracles import refuse_other_items
from al_lightning.commands.arguments import CommandParser
from al_lightning.commands.from_tools import simple
from al_lightning.commands.ingest_classes import ClassIntake
from al_lightning.commands.stored_run import labels_wanted, load_data
from al_lightning.data import FolderClassificationDataModule, PoolDataModule
from al_lightning.data.own_files import SUFFIXES
from al_lightning.errors import UserError
from al_lightning.files import remove_unfinished, write_atomically
from al_lightning.reading import ANY, TEXT, read_table
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
        asked = _asked(run, options.query, data)
        intake: Intake | ClassIntake = (
            ClassIntake(run, data, asked, options.replace)
            if isinstance(data, FolderClassificationDataModule)
            else Intake(run, data, asked, options.allow_empty, options.replace)
        )
        with simple(options.source, data, asked, Rules(options.annotators, options.overlaps), options.rest) as (source, unread):
            count, refused = intake.take(source, may_be_empty=bool(unread))
        taken, same, whys = len(intake.taken), count - len(intake.taken) - len(refused), unread | refused
        print(f"{taken} {intake.what} are taken, {same} were there already, {len(whys)} {intake.where} are refused{':' if whys else '.'}")
        for name, why in whys.items():
            print(f"  {name if name.isprintable() else repr(name)}: {why}")
        if wanted := labels_wanted(run, data):
            print(wanted)
    finally:
        run.release()
    if whys:
        sys.exit(1)


def _asked(run: RunDirectory, queried: Path | None, data: PoolDataModule) -> list[int]:
    """The items that a person was asked for, by a run or also by ``query``.

    Raises:
        UserError: there are none, or they are no items of these data.
    """
    refuse_other_items(data, asked := run.read_asked())
    found = sorted({row.index for row in asked} | {*([] if queried is None else _queried(queried, data))})
    if not found:
        raise UserError(f"Expected a run that has asked a person for labels (active_learning.oracle=human), but {run.path} has not.")
    return found


class Intake:
    """Takes masks for a run, whose directory this process holds.

    Args:
        run: says what was asked for.
        data: of the run.
        asked: the items that were asked for.
        allow_empty: whether a mask may be the same in all its pixels.
        replace: whether a mask may take the place of another one, which is kept beside it.

    Attributes:
        taken: the places of the masks that were written.
    """

    what, where = "masks", "files"

    def __init__(self, run: RunDirectory, data: PoolDataModule, asked: Sequence[int], allow_empty: bool, replace: bool) -> None:
        self.data = data
        self.allow_empty, self.replace = allow_empty, replace
        self.taken: list[Path] = []
        self._wanted: dict[str, _Wanted] = {}
        for index in asked:
            place = data.image_and_label(index)[1]
            self._wanted |= dict.fromkeys((data.item(index), place.stem), (index, place))
        finished = run.finished()
        self._read = {label.file for label in read_labels(run.labels) if label.cycle < finished} if finished else set()

    def take(self, source: Path, may_be_empty: bool) -> tuple[int, dict[str, str]]:
        """Takes what is good.

        Args:
            source: a folder of masks.
            may_be_empty: whether no mask is fine.

        Returns:
            The number of files, and by their names why some are refused.

        Raises:
            UserError: there are none, or another process takes masks into the same folder.
        """
        files = _files(source, may_be_empty)
        folders = {place.parent for _, place in self._wanted.values()}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            if not locks.lock(folder / _LOCK):  # other runs may have the same data
                raise UserError(f"Another process takes masks into {folder}. Wait for it, or end it.")
            remove_unfinished(folder, SUFFIXES)
        try:
            return len(files), {file.name: why for file in files if (why := self._refusal(file)) is not None}
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


def _queried(query: Path, data: PoolDataModule) -> list[int]:
    """The items whose images ``query`` has asked for, that are in the pool.

    Raises:
        UserError: there is no query, or none of its images is in the pool.
    """
    rows = read_table(query / "query.csv", {"path": TEXT}, {ANY: TEXT})
    pool = {data.image_and_label(index)[0].resolve(): index for index in range(len(data.pool.labeled))}
    found = [index for row in rows if (index := pool.get(Path(row["path"]).resolve())) is not None]
    if not found:
        raise UserError(f"Expected images of the run's pool in {query / 'query.csv'}, but none of {len(rows)} is there.")
    return found


def _files(folder: Path, may_be_empty: bool) -> list[Path]:
    """The files that may be masks, by name."""
    if not folder.is_dir():
        raise UserError(f"Expected a folder of masks, or a tool's export as JSON or ZIP, got {folder}, which is none.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not found and not may_be_empty:
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
        "source",
        type=Path,
        metavar="FROM",
        help="folder of masks, each with the name of its image; of classes a table (name,class), or a folder of images for each; or a "
        "tool's export: Label Studio's JSON, CVAT's Segmentation mask (a ZIP file, or unpacked), or annotations in COCO's format",
    )
    parser.add_argument("--query", type=Path, metavar="DIR", help="what query has written there was asked for, too")
    parser.add_argument(
        "--rest", metavar="CLASS", help="the class of pixels that no region of an export covers, or ignore; the data's by default"
    )
    parser.add_argument("--annotators", choices=["refuse", "latest"], default="refuse", help="of several annotations of one image")
    parser.add_argument(
        "--overlaps", choices=["refuse", "smaller"], default="refuse", help="of regions of several classes: the smaller one is on top"
    )
    parser.add_argument("--allow_empty", action="store_true", help="take masks whose pixels are all the same, too")
    parser.add_argument(
        "--replace", action="store_true", help="take what differs from a label that is there, which is kept beside it as *.old"
    )
    return parser
