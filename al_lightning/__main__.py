"""The program: ``python -m al_lightning COMMAND ...``, or ``al-lightning COMMAND ...``."""

import os
import sys
from typing import NoReturn

from al_lightning.commands import main
from al_lightning.interpreter import run_and_leave


def program() -> NoReturn:
    """Runs a command and ends the process."""
    if sys.getfilesystemencoding() != "utf-8":  # under LC_ALL=C, for example: files and what is printed are UTF-8 all the same
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    if "" not in sys.path and os.getcwd() not in sys.path:  # where a person's own classes are; `python -m` has put it there already
        sys.path.insert(0, os.getcwd())
    run_and_leave(main)


if __name__ == "__main__":
    program()
