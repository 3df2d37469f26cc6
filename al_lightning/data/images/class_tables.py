"""A person's own tables of image names and classes: read, and extended such that everything that stands there stays."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from al_lightning.errors import UserError
from al_lightning.files import as_csv
from al_lightning.reading import read_text

HEADER = "name,class\n"
_MARK = "\ufeff"  # the byte order mark, with which spreadsheets begin a file


class Spellings:
    """Finds the name of an image from the spellings that a person may use: with or without suffix and folder.

    Args:
        images: the file of each image, by its name.
        also: file names that images were given elsewhere, with the images' names. They mean these images alone.
    """

    def __init__(self, images: Mapping[str, Path], also: Mapping[str, str] | None = None) -> None:
        self._names: dict[str, set[str]] = {}
        for name, path in images.items():
            for spelling in (path.stem, path.name, f"{name}{path.suffix}"):
                self._names.setdefault(spelling, set()).add(name)
        stems: dict[str, set[str]] = {}
        for file, name in (also or {}).items():
            stems.setdefault(Path(file).stem, set()).add(name)
        self._names |= stems | {file: {name} for file, name in (also or {}).items()} | {name: {name} for name in images}

    def all_of(self, spelling: str) -> set[str]:
        """The names of the images that a spelling may mean: none, one or several. Spaces around it may be part of a name, or not."""
        return self._names.get(spelling) or self._names.get(spelling.strip(), set())


def read_classes(path: Path, spellings: Spellings) -> dict[str, str | None]:
    """The class of each image in a table, by the image's name; None if the table has no class for it.

    Args:
        path: CSV with the columns ``name`` and ``class``, and maybe others.
        spellings: the spellings of the images that it may name.

    Raises:
        UserError: the table is damaged, or a name in it is no image's, is that of several images, or comes twice.
    """
    classes: dict[str, str | None] = {}
    for number, (given, label) in enumerate(given_classes(path), 1):
        names = spellings.all_of(given)
        if len(names) != 1 or names & classes.keys():
            why = "is named twice" if len(names) == 1 else f"may be any of {', '.join(sorted(names))}" if names else "is no image"
            raise UserError(f"Expected the names of images in {path}, each once, but {given} in row {number} {why}.")
        classes[next(iter(names))] = label or None
    return classes


def given_classes(path: Path) -> list[tuple[str, str]]:
    """The names and classes in a table, as they are written there.

    Raises:
        UserError: the table can't be read, or lacks one of these columns.
    """
    rows = csv.DictReader(io.StringIO(read_text(path).removeprefix(_MARK), newline=""), strict=True)  # an open quote is an error
    try:
        if not {"name", "class"} <= set(rows.fieldnames or ()):
            raise UserError(f"Expected the columns name and class in the first row of {path}, got {','.join(rows.fieldnames or ())!r}.")
        return [(row["name"] or "", (row["class"] or "").strip()) for row in rows]
    except csv.Error as error:
        raise UserError(f"Expected CSV in {path}, but it can't be read: {error}.") from error


def with_classes(text: str, classes: Mapping[str, str], spellings: Spellings) -> str:
    """The text of a table with further classes: rows of these images are changed or added, everything else stays as it is.

    Args:
        text: the table's text; :data:`HEADER` for a new table.
        classes: the classes, by name of the image.
        spellings: the spellings of the images that the table may name.
    """
    mark, text = (_MARK, text.removeprefix(_MARK)) if text.startswith(_MARK) else ("", text)
    first, *others = _rows(text)
    written, header = first
    end = written[len(written.rstrip("\r\n")) :] or "\n"
    name, label = header.index("name"), header.index("class")

    def line(cells: Iterable[str]) -> str:
        return as_csv([[*cells]]).removesuffix("\n") + end

    left, rows = dict(classes), [written]
    for row, cells in others:
        meant = spellings.all_of(cells[name]) & left.keys() if len(cells) > name else set()
        if meant:
            cells += [""] * (len(header) - len(cells))
            cells[label] = left.pop(meant.pop())
            row = line(cells)
        rows.append(row)
    rows[-1] = rows[-1].rstrip("\r\n") + end
    rows += [line({name: item, label: its}.get(place, "") for place in range(len(header))) for item, its in left.items()]
    return mark + "".join(rows)


def _rows(text: str) -> Iterator[tuple[str, list[str]]]:
    """The rows of a table, each as it is written, and its cells."""
    lines = [*io.StringIO(text, newline="")]
    reader, start = csv.reader(lines), 0
    for cells in reader:
        yield "".join(lines[start : reader.line_num]), cells
        start = reader.line_num
