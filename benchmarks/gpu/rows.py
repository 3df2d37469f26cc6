"""Rows of the table, and how they are measured: in parts that may fail, and in processes that may exceed their time limit."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

HEAD = "| measured | value | wanted | met |\n|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """The result of a measurement, or of its failure.

    Attributes:
        what: says what was measured.
        value: the result; None if it failed, and the note says why.
        unit: unit of the value; empty for a ratio.
        wanted: the target in words; empty if there is none.
        met: whether the value meets the target; None if there is no target or no value.
        note: what else a reader should know.
    """

    what: str
    value: float | None
    unit: str = ""
    wanted: str = ""
    met: bool | None = None
    note: str = ""

    def line(self) -> str:
        """The row in Markdown."""
        value = "-" if self.value is None else f"{_digits(self.value)} {self.unit}".rstrip()
        note = f" ({self.note})" if self.note else ""
        mark = {None: "failed" if self.value is None else "", True: "yes", False: "NO"}[self.met]
        return f"| {self.what} | {value}{note} | {self.wanted} | {mark} |"


Part = Callable[[], Sequence[Row]]
"""A measurement that returns its rows."""


def at_least(what: str, value: float, least: float, note: str = "") -> Row:
    """A row for a ratio with a lower bound."""
    return Row(what, value, "", f">= {least:g}", value >= least, note)


def at_most(what: str, value: float, most: float, note: str = "") -> Row:
    """A row for a ratio with an upper bound."""
    return Row(what, value, "", f"<= {most:g}", value <= most, note)


def collect(parts: Mapping[str, Part], say: Callable[[Row], None]) -> None:
    """Measures each part. A part that fails gives a row with the reason, and the other parts are still measured."""
    for name, measure in parts.items():
        try:
            for row in measure():
                say(row)
        except Exception as error:  # a driver, a compiler or a network may raise anything on a machine that nobody has tried yet
            say(Row(name, None, note=f"{type(error).__name__}: {_first_line(str(error))}"))


def rows_of_process(name: str, command: Sequence[str], limit: float, folder: Path) -> Iterator[Row]:
    """Runs a command that appends rows to a file, and yields the rows. At the time limit the command and its child processes are killed.

    Args:
        name: name of the row that says if the command failed.
        command: the command without its last argument, which is the file.
        limit: the time limit in seconds.
        folder: where the file and the output of the command are written.
    """
    file, log = folder / f"{name}.jsonl", folder / f"{name}.log"
    file.touch()
    with log.open("wb") as printed:
        process = subprocess.Popen([*command, str(file)], stdout=printed, stderr=printed, start_new_session=True)
    try:
        yield from _followed(file, process, time.monotonic() + limit)
        if process.poll() is None:
            yield Row(name, None, note=f"ended after {limit:.0f} s, which is its time")
        elif process.returncode:
            said = log.read_text(errors="replace").strip().splitlines() or [""]
            yield Row(name, None, note=f"exit status {process.returncode}: {said[-1][:200]}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # includes its loading processes
        process.wait()


def _followed(file: Path, process: "subprocess.Popen[bytes]", end: float) -> Iterator[Row]:
    """Yields rows as they are written, until the process or its time ends."""
    seen, runs = 0, True
    while runs:
        runs = process.poll() is None and time.monotonic() < end
        lines = file.read_text(encoding="utf-8").split("\n")[:-1]
        yield from (Row(**json.loads(line)) for line in lines[seen:])
        seen = len(lines)
        if runs:
            time.sleep(0.1)


def write_row(file: Path) -> Callable[[Row], None]:
    """Returns a function that appends a row to a file at once."""

    def write(row: Row) -> None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(row)) + "\n")

    return write


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:200]


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
