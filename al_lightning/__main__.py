"""The program: ``python -m al_lightning COMMAND ...``."""

import os
import sys

if sys.getfilesystemencoding() != "utf-8":  # under LC_ALL=C, for example: files and what is printed are UTF-8 all the same
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])

from al_lightning.commands import main
from al_lightning.interpreter import run_and_leave

run_and_leave(main)
