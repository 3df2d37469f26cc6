"""Configurations and sweeps that come with the program, by name: ``demo``, ``fashion_mnist/entropy``, ``sweeps/fashion_mnist/width``."""

from collections.abc import Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parent
FOLDER = next((folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir()), _PACKAGE / "configs")
"""The folder of both: in the installed package, or beside the package in a checkout."""

_OPTIONS = ("--config", "-c")


def names() -> list[str]:
    """All names, sorted."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))


def located(name: str, kind: str = "") -> str:
    """The path of a configuration: the name itself if there is such a file, else that of the program's own configuration of this name.

    Args:
        name: a path, or one of :func:`names`, with or without ``.yaml``. If there is neither, it is returned as it is.
        kind: a folder in :data:`FOLDER`, ``sweeps`` for example, that the name may leave out.
    """
    if Path(name).is_file():
        return name
    stem = name.removesuffix(".yaml")
    candidates = ([f"{kind}/{stem}"] if kind else []) + [stem]
    return next((str(FOLDER / f"{each}.yaml") for each in candidates if each in names()), name)


def located_in(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command; after ``--config``, the name of a configuration of the program is replaced by its path."""
    found = [*arguments]
    for position, argument in enumerate(found):
        option, equals, value = argument.partition("=")
        if option in _OPTIONS and equals:
            found[position] = f"{option}={located(value)}"
        elif position and found[position - 1] in _OPTIONS:
            found[position] = located(argument)
    return found
