"""Start and end of a process in which the garbage collector does not walk through all that was imported.

Torch and Lightning make about a million objects that live as long as the process. Python's collector walks through them again and again
while they are imported, and several times more when the interpreter ends: a third of a short command's time.
"""

import atexit
import gc
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn


def all_is_imported() -> None:
    """Begins to collect garbage in a process of :func:`run_and_leave`; the collector never looks at the objects that exist by now."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def name_the_import_system() -> None:
    """Lets ``inspect.getmodule`` find the module of those frames of the import system that have no file.

    Otherwise it searches all modules for each such frame, in vain. Pydantic asks for every frame above a class that it makes. Weights &
    Biases makes sixty such classes when a run begins, and with torch and Lightning four thousand modules are loaded by then: without this,
    the search is three quarters of the time of that import.
    """
    for module in ("importlib._bootstrap", "importlib._bootstrap_external"):
        file = f"<frozen {module}>"
        inspect.modulesbyfile |= {file: module, os.path.abspath(file): module}


@contextmanager
def importing() -> Iterator[None]:
    """Collects no garbage while something is imported, and goes on as :func:`all_is_imported` does."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            all_is_imported()


def run_and_leave(main: Callable[[], None]) -> NoReturn:
    """Runs a program, then ends the process as Python does, but leaves it to the system to free the memory.

    It waits for threads, runs exit handlers and flushes what was printed.

    Args:
        main: the program; it calls :func:`all_is_imported` when it has imported what it needs.
    """
    gc.disable()
    try:
        main()
        status = 0
    except SystemExit as ended:
        status = _status(ended)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):  # nobody reads it any more
            stream.flush()
    os._exit(status)


def _status(ended: SystemExit) -> int:
    """The exit status of a SystemExit; a message is printed, and its status is 1."""
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1
