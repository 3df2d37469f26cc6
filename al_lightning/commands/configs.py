"""``python -m al_lightning configs``: lists, shows and copies the configurations that come with the program."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from al_lightning import shipped
from al_lightning.commands.arguments import CommandParser
from al_lightning.configuration_files import read_settings
from al_lightning.errors import UserError
from al_lightning.files import write_atomically


def main(arguments: Sequence[str]) -> None:
    """Runs the command.

    Args:
        arguments: the command's name first.

    Raises:
        UserError: no configuration of that name comes with the program, or a different file would be overwritten.
    """
    options = _parser().parse_args(arguments[1:])
    if options.what == "list":
        print(*shipped.names(), sep="\n")
    elif options.what == "show":
        print(_file(options.name).read_text(encoding="utf-8"), end="")
    else:
        print(*(copied(file, options.to) for file in _with_bases(options.names)), sep="\n")


def copied(file: Path, folder: Path) -> Path:
    """Copies a configuration into a folder, under its own name.

    Args:
        file: a file in the program's folder of configurations.
        folder: where it is copied to.

    Returns:
        The path of the copy.

    Raises:
        UserError: a file with this name and other content is there.
    """
    place = folder / file.relative_to(shipped.FOLDER)
    content = file.read_bytes()
    if place.exists() and place.read_bytes() != content:
        raise UserError(f"Expected no other file at {place}, but there is one. It is not overwritten; name another folder: --to DIR.")
    write_atomically(place, content)
    return place


def _with_bases(names: Sequence[str]) -> list[Path]:
    """Returns the files of these names, each sweep followed by its base configuration."""
    files: dict[Path, None] = {}
    for name in names:
        file = _file(name)
        files[file] = None
        if isinstance(base := read_settings(file).get("base"), str):
            files[(file.parent / base).resolve()] = None
    return [*files]


def _file(name: str) -> Path:
    stem = name.removesuffix(".yaml")
    if stem not in (known := shipped.names()):
        raise UserError(f"Expected the name of a configuration that comes with the program, got {name!r}. There are {', '.join(known)}.")
    return shipped.FOLDER.resolve() / f"{stem}.yaml"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m al_lightning configs",
        description="The configurations that come with the program. `fit --config NAME` and `sweep NAME` take the name, too.",
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="list | show | copy")
    commands.add_parser("list", help="all names")
    show = commands.add_parser("show", help="print one")
    show.add_argument("name", metavar="NAME")
    copy = commands.add_parser("copy", help="copy some into a folder, to change them; a sweep together with its base configuration")
    copy.add_argument("names", nargs="+", metavar="NAME")
    copy.add_argument("--to", type=Path, default=Path("configs"), metavar="DIR", help="configs by default")
    return parser
