"""Files that are whole at every instant, whenever the process dies, and tables in them."""

import csv
import io
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def as_csv(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def whole_rows(text: str) -> str:
    """Without what follows the last line end: a row that is not written to its end."""
    return text[: text.rfind("\n") + 1]


def columns_of(path: Path) -> list[str]:
    """The columns of a table; none of an empty one."""
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def keep_lines(path: Path, lines: int) -> None:
    """Keeps a file's first lines."""
    content = path.read_bytes()
    kept = b"".join(content.splitlines(keepends=True)[:lines])
    if kept != content:
        write_atomically(path, kept)


@contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for appending; where that fails (a full disk), the file gets its old length back."""
    with path.open("ab") as file:
        length = file.tell()
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            file.truncate(length)
            raise


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that at every instant its name stands for the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path, kinds: Sequence[str]) -> None:
    """Removes what killed processes left of files that they were writing; no other process may be writing there.

    Args:
        folder: whose own files are meant, not those below it.
        kinds: the files' suffixes.
    """
    for kind in kinds:
        for temporary in folder.glob(f"*{kind}.*.tmp"):
            temporary.unlink(missing_ok=True)
