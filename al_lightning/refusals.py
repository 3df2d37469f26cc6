"""How a command ends: what a user can mend becomes one message and an exit status, and this is the only place that makes them.

Status 1 or 2 means a refusal, 3 an answer from which something was left out (``query``), 75 a run that waits for a person's labels, 130
Ctrl-C, 143 SIGTERM. A fault of the program keeps its traceback. A refusal shows its traceback before the message if the environment has
AL_LIGHTNING_TRACEBACK.
"""

import errno
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from al_lightning.errors import UserError
from al_lightning.parser_messages import shortened

GO_ON = "go on with the same command and --resume"
WAITS_FOR_LABELS = 75
"""The exit status of a run that waits. In sysexits.h it means a temporary failure: try again later."""


class WaitsForLabels(SystemExit):
    """Ends a run before its first cycle, because a person is asked for labels that this cycle needs."""

    def __init__(self) -> None:
        super().__init__(WAITS_FOR_LABELS)


_TRACEBACK = "AL_LIGHTNING_TRACEBACK"
_MEMORY = "the memory is used up{where}. Ask for less at a time: smaller batches, fewer num_workers, fewer runs"
_SHARED = "the memory that loading processes share (/dev/shm) is full. Make it larger (docker run --shm-size), or set num_workers to 0"
_FILES = "this process has as many files open as it may{where}. Raise the limit (ulimit -n), or use fewer num_workers"

# What the machine lacks and what to do, by the number of the system's error.
_SHORTAGES = {
    errno.ENOSPC: "the disk is full{where}. Make room",
    errno.EDQUOT: "your quota on the disk is used up{where}. Make room, or have it raised",
    errno.EFBIG: "a file would be larger than one may be{where}. Raise the limit (ulimit -f), or write to another file system",
    errno.EROFS: "the file system can only be read{where}. Write to another one",
    errno.EIO: "the disk failed{where}. Look into the system's log",
    errno.EMFILE: _FILES,
    errno.ENOMEM: _MEMORY,
}
# The same by the words of libraries; the first pattern that matches counts.
_SIGNS = {
    r"shared memory.*Too many open files": _FILES,
    r"shared memory|/dev/shm|</torch_|signal: Bus error": _SHARED,
    r"DataLoader worker .*killed by signal": f"a loading process was killed, most often because {_MEMORY}",
    r"DataLoader worker .*exited unexpectedly": "a loading process has ended; what it printed tells why. Mend that",
    r"Too many open files|items of ancdata": _FILES,
    r"PytorchStreamWriter|inline_container|unexpected pos \d": "a checkpoint could not be written whole. Look for room on the disk and "
    "for limits (ulimit -f)",
    r"CUDA out of memory": "the GPU's memory is used up. Use smaller batches (data.init_args.batch_size)",
    r"(out of|[Cc]an(not|'t) allocate|not enough) memory": _MEMORY,
}
_LOST = re.compile(
    r"[Cc]onnection (closed|reset) by peer|Timed out waiting \d+ms|[Bb]roken pipe|remote process exited|process \d+ terminated with"
)
# Libraries whose words about wrong input become the message: for their own kinds of errors, and for these kinds if their code raises them.
_REFUSERS: dict[str, tuple[type[Exception], ...]] = {
    "jsonargparse": (ValueError, TypeError),
    "lightning": (ValueError, TypeError, RuntimeError, ImportError, NotImplementedError),
    "torch.optim": (ValueError,),
    "wandb": (),
    "pydantic": (ValueError,),  # it checks wandb's variables in the environment
}


@contextmanager
def one_message(then: str = "") -> Iterator[None]:
    """A context, also a decorator: what a user can mend, raised inside, ends the program with one message.

    Args:
        then: how to go on, for the end of a message that says what the machine lacks.

    Raises:
        SystemExit: with a message, which means status 1, or with a status.
    """
    try:
        yield
    except KeyboardInterrupt:
        _end_by_ctrl_c()
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):  # Lightning turns it into status 1
            _end_by_ctrl_c()
        if type(end).__name__ == "SIGTERMException":  # of Lightning, with status 0
            print(f"al_lightning: stopped by SIGTERM. {then[:1].upper()}{then[1:]}.", file=sys.stderr)
            sys.exit(128 + signal.SIGTERM)
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _standard_output_is_gone():  # the reader (head, for example) has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(128 + signal.SIGPIPE)
        if (message := refusal(error, then)) is None:
            raise
        if os.environ.get(_TRACEBACK):
            traceback.print_exc()
        sys.unraisablehook = lambda _: None  # the error may cause others while the program ends
        sys.exit(f"al_lightning: error: {message}")


def refusal(error: BaseException, then: str = "") -> str | None:
    """What to tell a user who can mend what was raised; None for a fault of the program.

    Args:
        error: what was raised.
        then: how to go on.
    """
    refuser = _refuser(error)
    if (said := _our_words(error, refuser)) is not None:
        return said
    of_machine = isinstance(error, OSError | RuntimeError | MemoryError) or refuser is not None
    if of_machine and (lacking := _shortage(error)) is not None:
        return f"{lacking}{_and(then)}."
    if lost_process(error):
        return f"another process of this run has ended; what it printed may tell why. Mend that{_and(then)}."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename2 or error.filename}"
    if refuser == "jsonargparse":
        return shortened(str(error))
    if refuser is not None:
        return f"{refuser.capitalize()} refuses: {' '.join(str(error).split())} ({_TRACEBACK}=1 shows where.)"
    return None


def _our_words(error: BaseException, refuser: str | None) -> str | None:
    """The message of a UserError, also of one inside a library's error, or from another process: torch puts that behind a traceback."""
    ours = error if refuser is None else user_error(error) or error
    before, *said = re.split(rf"^(?:\w+\.)*{UserError.__name__}: ", str(ours), flags=re.MULTILINE)
    if said and "Traceback (most recent call last)" in before:
        return said[-1].strip()
    return str(ours) if isinstance(ours, UserError) else None


def user_error(error: BaseException | None) -> UserError | None:
    """The UserError of a constructor, among the causes of a parser's error; None if there is none."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def lost_process(error: BaseException) -> bool:
    """Whether an error means that another process of the run is gone, by the words of the libraries that connect processes."""
    from_torch = _within(type(error).__module__, "torch") or isinstance(error, RuntimeError | BrokenPipeError)
    return from_torch and _LOST.search(str(error)) is not None


def _end_by_ctrl_c() -> NoReturn:
    """Ends the program without a message, as whoever pressed Ctrl-C knows why; pressing it again changes nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(128 + signal.SIGINT)


def _shortage(error: BaseException | None) -> str | None:
    """What the machine lacks, by the number or the words of an error, or of the errors that caused it; None if that is not the matter."""
    if error is None:
        return None
    said = str(error)
    numbers = [getattr(error, "errno", None) or 0, *map(int, re.findall(r"\[Errno (\d+)\]", said))]
    found = [sentence for sign, sentence in _SIGNS.items() if re.search(sign, said)]
    found += [_SHARED] * (errno.ENOSPC in numbers and _within(_raised_in(error), "multiprocessing"))  # semaphores are in shared memory, too
    found += [_SHORTAGES[number] for number in numbers if number in _SHORTAGES] + [_MEMORY] * isinstance(error, MemoryError)
    file = getattr(error, "filename2", None) or getattr(error, "filename", None)
    where = f" ({file})" if file else ""
    return found[0].format(where=where) if found else _shortage(error.__cause__ or error.__context__)


def _refuser(error: BaseException) -> str | None:
    """The library that raised an error about its input, if one did."""
    for name, kinds in _REFUSERS.items():
        if _within(type(error).__module__, name) or (_within(_raised_in(error), name) and isinstance(error, kinds)):
            return name
    return None


def _raised_in(error: BaseException) -> str:
    """The module whose code raised an error."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else str(frame.tb_frame.f_globals.get("__name__"))


def _within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def _and(then: str) -> str:
    return f", then {then}" if then else ""


def _standard_output_is_gone() -> bool:
    """Whether nobody reads standard output any more: another broken pipe leads to another process of the run."""
    poll = select.poll()
    poll.register(1, 0)
    return any(happened & (select.POLLERR | select.POLLHUP) for _, happened in poll.poll(0))
