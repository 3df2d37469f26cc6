"""Files that are complete at every instant, whenever the process dies, and tables in such files."""

import csv
import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

from al_lightning.text import decoded, encoded


def as_csv(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as CSV, each ended by a line feed."""
    lines: list[str] = []
    # The csv module quotes a cell that has a character of the line's end in it, and a carriage return in a name has to be quoted.
    csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n").writerows(rows)
    return "".join(f"{line.removesuffix(chr(13) + chr(10))}\n" for line in lines)


def whole_rows(text: str) -> tuple[list[str], str]:
    r"""The complete rows of CSV, each with its line end, and the rest of the text: a row that is not written to its end.

    Example:
        >>> whole_rows('item\n"a\nb"\nc')
        (['item\n', '"a\nb"\n'], 'c')
    """
    rows, start, end, quotes = [], 0, 0, 0
    for line in io.StringIO(text, newline="\n"):
        end += len(line)
        quotes += line.count('"')
        if line.endswith("\n") and quotes % 2 == 0:
            rows.append(text[start:end])
            start = end
    return rows, text[start:]


def columns_of(path: Path) -> list[str]:
    """The columns of a table; an empty list for an empty file."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return next(csv.reader(file), [])


def keep_rows(path: Path, rows: int) -> None:
    """Removes all but the first rows of a table; the row of column names counts."""
    text = decoded(path.read_bytes())
    kept = "".join(whole_rows(text)[0][:rows])
    if kept != text:
        write_atomically(path, encoded(kept))


@contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for appending; if writing fails (a full disk), the file gets its old length back."""
    file = path.open("ab")
    length = file.tell()
    try:
        with file:  # closing it writes once more what could not be written, and may fail again
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.truncate(path, length)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing, so that at every instant its name stands for either the old or the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file as :func:`replacing` does."""
    with replacing(path) as file:
        file.write(content)


def move_to_disk(written: Path, path: Path) -> None:
    """Renames a file when its content is on the disk, so that no crash of the machine leaves the name with a part of it."""
    with written.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(written, path)


def remove_unfinished(folder: Path, kinds: Sequence[str]) -> None:
    """Removes the temporary files of processes that were killed while writing; no other process may be writing there.

    Args:
        folder: where they are, without folders below it.
        kinds: suffixes of the files that were written.
    """
    for kind in kinds:
        for temporary in folder.glob(f"*{kind}.*.tmp"):
            temporary.unlink(missing_ok=True)


def require_regular(path: Path) -> None:
    """Refuses a path that is not a regular file, before it is opened: a FIFO waits for a writer for ever, a device has no end.

    Raises:
        OSError: there is no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
