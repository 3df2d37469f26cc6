"""Reading files that may be damaged: whatever is wrong with one becomes a UserError that names it, what was expected and what came."""

import csv
import json
import math
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from al_lightning.errors import UserError
from al_lightning.files import whole_rows
from al_lightning.text import decoded, encoded

_LARGEST = 2**30  # bytes: no table of a run is so large, and reading it would fill the memory
_DEEPEST = 100  # levels of a nested file
_MOST = 1_000_000  # values of a nested file; what an alias repeats counts each time
_LONGEST_TAIL = 2**16  # bytes of a row that is being written, which may have a long name in it
_LARGEST_FLOAT32 = 3.5e38
_KINDS: Mapping[type, str] = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number", float: "a finite number"}
_T = TypeVar("_T")

# Text


def read_text(path: Path) -> str:
    """A file's text in UTF-8; bytes that are no UTF-8 become surrogate escapes, as in Python's file names (PEP 383).

    Raises:
        UserError: the file is missing, too large, no regular file (which could block or never end), or can't be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"Expected a file in {path}, got {'a directory' if stat.S_ISDIR(status.st_mode) else 'a special file'}.")
        if status.st_size > _LARGEST:
            raise UserError(f"Expected at most {_LARGEST:,} bytes in {path}, got {status.st_size:,}: it is damaged.")
        return decoded(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"Expected the file {path}, but it is missing.") from None
    except OSError as error:
        raise UserError(f"Expected to read {path}, but that fails: {error.strerror}.") from error


# Tables


class Kind(NamedTuple):
    """What the cells of a column hold.

    Attributes:
        expected: what that is, for people.
        value: from a cell's text to its value; raises ValueError for another text.
    """

    expected: str
    value: Callable[[str], Any]


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", text):
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    if not re.fullmatch(r"[-+]?([0-9.]+(e[-+]?[0-9]+)?|inf|nan)", text) or _LARGEST_FLOAT32 < abs(float(text)) < math.inf:
        raise ValueError
    return float(text)


def _finite(text: str) -> float:
    if not math.isfinite(value := _number(text)):
        raise ValueError
    return value


def _amount(text: str) -> float:
    if (value := _finite(text)) < 0:
        raise ValueError
    return value


def _whole(text: str) -> int:
    if not (value := _amount(text)).is_integer() or value > 1e15:
        raise ValueError
    return int(value)


def _share(text: str) -> float:
    if not 0 <= (value := _finite(text)) <= 1:
        raise ValueError
    return value


TEXT = Kind("text", str)
COUNT = Kind("a whole number of at least 0", _count)
WHOLE = Kind("a whole number of at least 0, maybe with a decimal point", _whole)
NUMBER = Kind("a number", _number)
FINITE = Kind("a finite number", _finite)
AMOUNT = Kind("a finite number of at least 0", _amount)
SHARE = Kind("a number from 0 to 1", _share)
ANY = "*"
"""In place of a column's name: any other column."""


def optional(kind: Kind, absent: Any = None) -> Kind:
    """A column whose cells may be empty."""
    return Kind(f"{kind.expected} or nothing", lambda text: kind.value(text) if text else absent)


def one_of(*words: str) -> Kind:
    """A column whose cells hold one of these words."""
    return Kind(" or ".join(words), lambda text: words[words.index(text)])


def read_table(
    path: Path, columns: Mapping[str, Kind], others: Mapping[str, Kind] | None = None, *, growing: bool = False
) -> list[dict[str, Any]]:
    """The rows of a CSV file, by column.

    Args:
        path: of the file; its first row has the names of the columns.
        columns: which it must have, and what their cells hold.
        others: which it may have besides; :data:`ANY` stands for all further names.
        growing: whether a last row that is not complete is left out; else it is refused.

    Raises:
        UserError: the file can't be read, or a column or a cell is not as it must be.
    """
    cells = _cells(path, next(iter(columns), "") if growing else None, lines_in_cells=TEXT in columns.values())
    if growing and not cells:
        return []
    header, *rows = cells or [[]]
    known = {**(others or {}), **columns}
    kinds = [(name, known.get(name, known.get(ANY))) for name in header]
    if not set(columns) <= set(header) or len(set(header)) < len(header) or any(kind is None for _, kind in kinds):
        wanted = ", ".join([*columns, *(["others"] if ANY in known else [])])
        raise UserError(f"Expected the columns {wanted} in {path}, each once, got {_shown(','.join(header))}.")
    return [_typed(path, number, kinds, row) for number, row in enumerate(rows, 1)]


def _cells(path: Path, begins: str | None, lines_in_cells: bool) -> list[list[str]]:
    """The cells of the complete rows.

    Args:
        path: of the file.
        begins: the begin of a table that may end with a part of a row; None if it may not.
        lines_in_cells: whether a cell may have several lines.
    """
    rows, tail = whole_rows(read_text(path))
    begun = begins is not None and (rows or tail[: len(begins)] == begins[: len(tail)])
    if tail and (not begun or len(tail) > _LONGEST_TAIL or ("\n" in tail and not lines_in_cells)):
        raise UserError(f"Expected whole rows in {path}, got {_shown(tail)} after row {max(0, len(rows) - 1)}: it is damaged.")
    try:
        return list(csv.reader(rows, strict=True))
    except csv.Error as error:
        raise UserError(f"Expected CSV in {path}, but it can't be read: {error}.") from error


def _typed(path: Path, number: int, kinds: list[tuple[str, Any]], row: list[str]) -> dict[str, Any]:
    if len(row) != len(kinds):
        raise UserError(f"Expected {len(kinds)} cells in row {number} of {path}, got {len(row)}: {_shown(','.join(row))}.")
    values = {}
    for (name, kind), cell in zip(kinds, row, strict=True):
        try:
            values[name] = kind.value(cell)
        except ValueError:
            raise UserError(f"Expected {kind.expected} for {name} in row {number} of {path}, got {_shown(cell)}.") from None
    return values


# Nested files


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        UserError: the file can't be read, is no mapping, or is nested too deeply.
    """
    return _mapping(path, read_any_json(path))


def read_any_json(path: Path) -> Any:
    """Whatever is in a JSON file; take its parts by :func:`field`, which checks them.

    Raises:
        UserError: the file can't be read.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Expected JSON in {path}, got {_shown(text)}: {_line(error)}.") from error


def field(holder: object, name: str, kind: type[_T], where: object) -> _T:
    """A part of what a JSON file holds.

    Args:
        holder: should be a mapping with this part.
        name: of the part.
        kind: what the part should be: dict, list, str, int or float. A float may be written as a whole number, and is finite.
        where: the place of the holder, for the error.

    Raises:
        UserError: there is no such part, or it is something else.
    """
    value = holder.get(name) if isinstance(holder, dict) else None
    if kind is float and type(value) is int and abs(value) < _LARGEST_FLOAT32:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        came = _shown(json.dumps(value)) if isinstance(holder, dict) and name in holder else "none"
        raise UserError(f"Expected {_KINDS[kind]} as {name} in {where}, got {came}.")
    return value


def fields(holder: object, name: str, kind: type[_T], where: object) -> list[_T]:
    """The parts of a list, each checked as by :func:`field`.

    Raises:
        UserError: there is no such list, or a part of it is something else.
    """
    return [field({name: each}, name, kind, where) for each in field(holder, name, list, where)]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file can't be read, is no mapping, refers to itself, or is nested too deeply.
    """
    text = read_text(path)
    try:
        return _mapping(path, load_yaml(text))
    except yaml.YAMLError as error:
        raise UserError(f"Expected YAML in {path}, but it can't be read: {_line(error)}.") from error


def load_yaml(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        yaml.YAMLError: it is no YAML, refers to itself, or has too many levels or values.
    """
    refuse_endless_yaml(text)
    loader = yaml.SafeLoader if holds_file_names(text) else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # PyYAML's constructors, which a tag calls, raise KeyError, AttributeError ...
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from error


def holds_file_names(text: str) -> bool:
    """Whether a YAML text has a file name that is no Unicode: PyYAML escapes its bytes, and libyaml can't read them back."""
    return "\\uDC" in text


def refuse_endless_yaml(text: str) -> None:
    """Makes sure that a YAML text can be loaded: deep recursion in libyaml kills the process, and a few lines can mean billions of values.

    Raises:
        yaml.YAMLError: it is no YAML, refers to itself, or has too many levels or values.
    """
    try:
        loader = yaml.SafeLoader if holds_file_names(text) else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _count_values(text, loader)
    except UnicodeEncodeError as error:  # a byte that is no UTF-8: a surrogate escape in the text, which libyaml does not take
        raise yaml.YAMLError(f"not UTF-8 at character {error.start}") from error


def _count_values(text: str, loader: Any) -> None:
    sizes: dict[str, int] = {}  # values of each anchor that was read to its end
    stack: list[tuple[str | None, int]] = [(None, 0)]  # anchor of each open collection, and its values so far
    for event in yaml.parse(text, Loader=loader):
        size = 0
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"*{event.anchor} stands inside itself, or for nothing")
            size = sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append((event.anchor, 0))
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionEndEvent):
            anchor, inside = (event.anchor, 0) if isinstance(event, yaml.ScalarEvent) else stack.pop()
            size = inside + 1
            if anchor is not None:
                sizes[anchor] = size
        stack[-1] = (stack[-1][0], stack[-1][1] + size)
        if len(stack) > _DEEPEST or stack[-1][1] > _MOST:
            raise yaml.YAMLError(f"more than {_DEEPEST} levels, or {_MOST:,} values")


def _mapping(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError(f"Expected a mapping in {path}, got {type(content).__name__}.")
    _check(path, content, 0)
    return content


def _check(path: Path, value: Any, depth: int) -> None:
    """Makes sure that a value has no more levels than recursion can walk, and that its texts can be written again."""
    if depth > _DEEPEST:
        raise UserError(f"Expected at most {_DEEPEST} levels in {path}, got more: it is damaged.")
    if isinstance(value, dict):
        for key, part in value.items():
            _check(path, key, depth + 1)
            _check(path, part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _check(path, part, depth + 1)
    elif isinstance(value, str):
        try:
            encoded(value)
        except UnicodeEncodeError:
            raise UserError(f"Expected text in {path}, got {_shown(value)}.") from None


# Words


def _shown(text: str) -> str:
    shown = repr(text[:60]).replace(r"\udc", r"\x")  # a byte that is no UTF-8
    return shown if len(text) <= 60 else f"{shown}..."


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
