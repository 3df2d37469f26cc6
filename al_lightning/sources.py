"""The files that a run was made from, so that later changes can be named: two tables of the run directory.

    images.csv  split, file, identity: the files that items are taken from, in their order. The split says whether a file is of the pool
                (with or without a label), held out of the pool for validation, or for evaluation. The table is written when the run begins;
                files that come into the folder later are added at the end. All rows that are not for evaluation are items
    labels.csv  cycle, split, file, sha256: the labels that are read item by item, each with the cycle that was the first to read it

The rows of a cycle in labels.csv are written before it reads the labels; if the cycle begins anew, they are made from the files once more.
The rows of a finished cycle stay: its labels must not change any more. Labels that nobody has read yet may change.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from al_lightning.errors import UserError
from al_lightning.files import as_csv, write_atomically
from al_lightning.reading import COUNT, TEXT, Kind, read_table
from al_lightning.text import encoded, listed

POOL, UNLABELED, VALIDATION, EVALUATION, ADDED = "pool", "unlabeled", "validation", "evaluation", "added"
_IMAGE_COLUMNS = {"split": TEXT, "file": TEXT, "identity": TEXT}
_LABEL_COLUMNS = {"cycle": COUNT, "split": TEXT, "file": TEXT, "sha256": TEXT}
_SHOWN = 5


class Source(NamedTuple):
    """A file that items are taken from.

    Attributes:
        split: ``pool``, ``unlabeled`` (of the pool, without a label), ``validation`` (held out of the pool), ``evaluation``, or ``added``
            (of the pool, but it came after the run had begun, so a label of it does not count).
        file: its name, which does not depend on where the data lie.
        identity: what identifies its content, as text for people: its size, or a hash.
    """

    split: str
    file: str
    identity: str


class ReadLabel(NamedTuple):
    """A label that a cycle was the first to read.

    Attributes:
        cycle: number of the cycle.
        split: ``pool``, ``validation`` or ``evaluation``.
        file: the data module's name of the label.
        sha256: of the label's content.
    """

    cycle: int
    split: str
    file: str
    sha256: str


def sha256_of(parts: Iterable[object]) -> str:
    """One hash of several objects, from their ``repr``."""
    return hashlib.sha256("".join(map(repr, parts)).encode()).hexdigest()


def sha256_of_file(path: Path) -> str | None:
    """Hash of a file's content; None if there is no such file.

    Raises:
        UserError: the file can't be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"Expected to read {path}, but: {error.strerror}.") from error


def pixels_of(source: Source) -> int | None:
    """Number of pixels of an image, from its identity; None if that does not tell."""
    found = re.search(r"(\d+)x(\d+) pixels", source.identity)
    return int(found[1]) * int(found[2]) if found else None


def write_images(path: Path, sources: Sequence[Source]) -> None:
    """Writes images.csv."""
    _write(path, [*_IMAGE_COLUMNS], sources)


def read_images(path: Path) -> list[Source]:
    """Reads images.csv.

    Raises:
        UserError: it is missing or damaged.
    """
    return [Source(**row) for row in _read(path, _IMAGE_COLUMNS)]


def changed_images(path: Path, now: Sequence[Source]) -> str:
    """What has changed since images.csv was written, in words; see :func:`differences`."""
    then = read_images(path)
    return differences(*({source.file: (source.split, source.identity) for source in listing} for listing in (then, now)))


def write_labels(path: Path, labels: Sequence[ReadLabel]) -> None:
    """Writes labels.csv."""
    _write(path, [*_LABEL_COLUMNS], labels)


def read_labels(path: Path) -> list[ReadLabel]:
    """Reads labels.csv.

    Raises:
        UserError: it is missing or damaged.
    """
    return [ReadLabel(**row) for row in _read(path, _LABEL_COLUMNS)]


def evaluated_on(sha256: str, labels: Path) -> str:
    """One hash of the data and of the evaluation labels; that of the data alone, if no such labels were recorded.

    Args:
        sha256: of the data.
        labels: path of labels.csv.
    """
    found = [label.sha256 for label in read_labels(labels) if label.split == EVALUATION] if os.path.lexists(labels) else []
    return sha256_of([sha256, *found]) if found else sha256


def pool_labels(labels: Path) -> dict[str, str]:
    """The hash of each file of labels that was read, but for those of the evaluation set, by name; empty if none was recorded.

    Args:
        labels: path of labels.csv.
    """
    return {label.file: label.sha256 for label in read_labels(labels) if label.split != EVALUATION} if os.path.lexists(labels) else {}


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> str:
    """The differences of two listings, in words: ``2 changed: a, b; 7 missing: c, d, e, f, g and 2 more; 1 new: h``.

    Args:
        then: what identified each file.
        now: what identifies each file; None for a file that does not exist.
    """
    there = {file: identity for file, identity in now.items() if identity is not None}
    kinds = {
        "changed": [file for file in then if file in there and then[file] != there[file]],
        "missing": [file for file in then if file not in there],
        "new": [file for file in there if file not in then],
    }
    return "; ".join(f"{len(files)} {kind}: {_named(files)}" for kind, files in kinds.items() if files)


def _named(files: Sequence[str]) -> str:
    return listed([file if file.isprintable() else repr(file) for file in files], _SHOWN)


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    write_atomically(path, encoded(as_csv([columns, *rows])))


def _read(path: Path, columns: Mapping[str, Kind]) -> list[dict[str, Any]]:
    if not os.path.lexists(path):
        raise UserError(
            f"Expected {path}, by which a run recognises its data, but it is missing. A run of an earlier version has none: it can be "
            "read (report, figures, maps), but not resumed."
        )
    return read_table(path, columns)
