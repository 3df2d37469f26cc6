"""``python -m al_lightning ingest RUN FROM``: checks masks or classes that a person has given, and copies them into the data of a run.

A mask is copied as a whole or not at all, and no label in the data is lost, even if the process dies. The same command continues then.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from al_lightning import locks
from al_lightning.annotation.items import Rules
from al_lightning.callbacks.oracles import refuse_other_items
from al_lightning.commands.arguments import CommandParser
from al_lightning.commands.from_tools import as_folder_or_table
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
"""An item that a run has asked for: its index, and the path of its mask in the data."""


def main(arguments: Sequence[str]) -> None:
    """Takes the good labels, and says why each other label is refused.

    Args:
        arguments: the command's name first.

    Raises:
        UserError: the run has not asked a person, another process writes into the run or its data, or the source has no labels.
        SystemExit: with status 1 if a label was refused.
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
        with as_folder_or_table(options.source, data, asked, Rules(options.annotators, options.overlaps), options.rest) as (source, unread):
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
    """Returns the indices of the items that the run asked a person to label, and of those that ``query`` asked for.

    Raises:
        UserError: there are none, or they are not items of these data.
    """
    refuse_other_items(data, asked := run.read_asked())
    found = sorted({row.index for row in asked} | {*([] if queried is None else _queried(queried, data))})
    if not found:
        raise UserError(f"Expected a run that has asked a person for labels (active_learning.oracle=human), but {run.path} has not.")
    return found


class Intake:
    """Takes masks for a run. This process must hold the lock of the run directory.

    Args:
        run: the run.
        data: the data of the run.
        asked: indices of the items that were asked for.
        allow_empty: whether all pixels of a mask may have the same class.
        replace: whether a mask may replace another one, which is kept beside it.

    Attributes:
        taken: the paths of the masks that were written.
    """

    what, where = "masks", "files"

    def __init__(self, run: RunDirectory, data: PoolDataModule, asked: Sequence[int], allow_empty: bool, replace: bool) -> None:
        self.data = data
        self.allow_empty, self.replace = allow_empty, replace
        self.taken: list[Path] = []
        self._written: dict[int, Path] = {}
        self._wanted: dict[str, _Wanted] = {}
        files = {index: data.image_and_label(index) for index in asked}
        self._wanted |= {image.stem: (index, place) for index, (image, place) in files.items()}
        for index, (_, place) in files.items():
            self._wanted |= dict.fromkeys((data.item(index), place.stem), (index, place))
        finished = run.finished()
        self._read = {label.file for label in read_labels(run.labels) if label.cycle < finished} if finished else set()

    def take(self, source: Path, may_be_empty: bool) -> tuple[int, dict[str, str]]:
        """Takes the good masks.

        Args:
            source: a folder of masks.
            may_be_empty: whether the folder may have no masks.

        Returns:
            The number of files, and for the name of each refused file the reason.

        Raises:
            UserError: there are no masks, or another process takes masks into the same folder.
        """
        files = _files(source, may_be_empty)
        with ExitStack() as held:
            for folder in {place.parent for _, place in self._wanted.values()}:
                folder.mkdir(parents=True, exist_ok=True)
                if not locks.lock(folder / _LOCK):  # other runs may have the same data
                    raise UserError(f"Another process takes masks into {folder}. Wait for it, or end it.")
                held.callback(locks.unlock, folder / _LOCK)
                remove_unfinished(folder, SUFFIXES)
            return len(files), {file.name: why for file in files if (why := self._take_or_refuse(file)) is not None}

    def _take_or_refuse(self, file: Path) -> str | None:
        """Takes a mask, or returns the reason why it is refused."""
        if (wanted := self._wanted.get(file.stem)) is None:
            return "it was not asked for"
        index, place = wanted
        if file.suffix.lower() not in (suffixes := self.data.mask_suffixes(index)):
            return f"expected a {' or '.join(suffixes)} file, to be put at {place}"
        if file.suffix.lower() != place.suffix.lower():
            place = place.with_suffix(file.suffix.lower())
        if (other := self._written.get(index, file)) != file:
            return f"{other.name} is a mask of the same image"
        try:
            classes = self.data.label_in(index, file)
        except UserError as error:
            return str(error)
        if bool((classes == classes[0, 0]).all()) and not self.allow_empty:
            return "it is empty: all its pixels have the same class. If that is right, use --allow_empty"
        if place.exists():
            if self._is_same(index, place, classes):
                return None
            if (why := self._refusal_to_replace(index, f"another mask is at {place}")) is not None:
                return why
            old = place.read_bytes()
            write_atomically(place.with_name(f"{place.name}.{hashlib.sha256(old).hexdigest()[:8]}.old"), old)
        elif self.data.is_drawn(index) and (why := self._refusal_to_replace(index, "annotations have its regions")) is not None:
            return why
        write_atomically(place, file.read_bytes())
        self._written[index] = file
        self.taken.append(place)
        return None

    def _is_same(self, index: int, place: Path, classes: torch.Tensor) -> bool:
        try:
            return torch.equal(self.data.label_in(index, place), classes)
        except UserError:  # the file in the data is not a mask of this image
            return False

    def _refusal_to_replace(self, index: int, there: str) -> str | None:
        if self.data.label_files([index])[0] in self._read:
            return f"{there}, and a finished cycle has used it: to change it, begin another run"
        if not self.replace:
            return f"{there}. To replace it, and keep the old one beside the new one, use --replace"
        return None


def _queried(query: Path, data: PoolDataModule) -> list[int]:
    """Returns the indices of the pool's items whose images are in the table of a ``query``.

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
    """Returns the files that may be masks, sorted by name.

    Raises:
        UserError: there is no such folder, or it has no masks.
    """
    if not folder.is_dir():
        raise UserError(f"Expected a folder of masks, or a tool's export as JSON or ZIP, got {folder}, which is none.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not found and not may_be_empty:
        raise UserError(f"Expected masks ({', '.join(SUFFIXES)}) in {folder}, found none.")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m al_lightning ingest",
        description="Takes masks or classes that a run has asked for into its data: checks each, copies the good ones, and says why the "
        "others are refused. Images are not changed. Running the command again changes nothing.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's directory")
    parser.add_argument(
        "source",
        type=Path,
        metavar="FROM",
        help="a folder of masks, each with the name of its image; for classes a table (name,class), or a folder of images for each class; "
        "or a tool's export: Label Studio's JSON, CVAT's Segmentation mask (a ZIP file, or unpacked), or annotations in COCO's format",
    )
    parser.add_argument("--query", type=Path, metavar="DIR", help="folder that query has written: take labels of its images, too")
    parser.add_argument(
        "--rest",
        metavar="CLASS",
        help="the class of pixels that no region of an export covers, or ignore; the setting of the data by default",
    )
    parser.add_argument(
        "--annotators",
        choices=["refuse", "latest"],
        default="refuse",
        help="if an image has several annotations: refuse it (default), or take the latest",
    )
    parser.add_argument(
        "--overlaps",
        choices=["refuse", "smaller"],
        default="refuse",
        help="if regions of different classes overlap: refuse the image (default), or put the smaller region on top",
    )
    parser.add_argument("--allow_empty", action="store_true", help="take masks whose pixels all have the same class, too")
    parser.add_argument("--replace", action="store_true", help="replace labels in the data that differ; the old ones are kept as *.old")
    return parser
