"""The program's commands: ``python -m al_lightning COMMAND ...``."""

import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any

from al_lightning.interpreter import all_is_imported, name_the_import_system
from al_lightning.refusals import one_message
from al_lightning.text import print_any_name

COMMANDS = {
    "fit": ("al_lightning.cli", "run an experiment, or go on with one"),
    "initial": ("al_lightning.commands.initial", "train a common cycle 0 for many runs"),
    "status": ("al_lightning.commands.status", "say how far runs are, and what they wait for"),
    "ingest": ("al_lightning.commands.ingest", "take masks or classes from a person into the data of a run"),
    "sweep": ("al_lightning.commands.sweep", "run many experiments, several at a time"),
    "report": ("al_lightning.commands.report", "compare runs: figures, tables and one page"),
    "configs": ("al_lightning.commands.configs", "list, show and copy the configurations that come with the program"),
    "figures": ("al_lightning.commands.figures", "draw figures of uncertainty measures, or of one run"),
    "query": ("al_lightning.commands.query", "rank the images of a folder by what to label next"),
    "maps": ("al_lightning.commands.maps", "draw the score maps of all methods for images of a segmentation run"),
}
"""For each command: its module, and what it does. The module is imported when the command is called.

The function ``main(arguments)`` of the module runs the command; the first argument is the command's name.
"""


@one_message()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command. An error that the user can mend is printed as one message, with exit status 1 or 2. Ctrl-C ends with status 130.

    Args:
        arguments: the command's name and its arguments; None for those of the process.
    """
    print_any_name()
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or given[0] in {"-h", "--help"}:
        print(_usage())
        return
    if given[0] not in COMMANDS:
        sys.exit(f"al_lightning: error: Expected one of {', '.join(COMMANDS)}, got {given[0]!r}.\n{_usage()}")
    command = _imported(COMMANDS[given[0]][0])
    all_is_imported()
    name_the_import_system()
    command.main(given)


def _imported(module: str) -> Any:
    """Imports a command's module. During the import Ctrl-C ends the process at once, as partly imported libraries fail in strange ways."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return importlib.import_module(module)
    finally:
        signal.signal(signal.SIGINT, before)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join(["python -m al_lightning COMMAND ...", "", *lines, "", "COMMAND --help tells more."])
