"""The parser of ``fit``: one message for what is wrong, and files of settings as they are read everywhere."""

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from al_lightning import acquisition
from al_lightning.configuration_files import filled_in
from al_lightning.errors import UserError
from al_lightning.parser_messages import shortened, with_nearest
from al_lightning.refusals import user_error


class Parser(LightningArgumentParser):
    """Says what is wrong in one message, without the usage of some hundred options before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})  # part of a key is another key tomorrow

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the program."""
        cause = user_error(ex)
        message = with_nearest(shortened(message), _keys(self)) if cause is None else str(cause)
        if message.startswith("Expected active_learning.strategy"):
            message += f" Strategies are {', '.join(acquisition.STRATEGIES)}, or the import path of one."
        print(f"al_lightning: error: {message}\nSee python -m al_lightning fit --help.", file=sys.stderr)
        sys.exit(2)

    def parse_path(self, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Parses the settings of a file."""
        try:
            return super().parse_path(path, *args, **kwargs)  # type: ignore[no-any-return]
        except UnicodeDecodeError as error:
            raise UserError(f"Expected UTF-8 in {path}, but it can't be read: {error}.") from error

    def parse_string(self, content: str, path: str | os.PathLike[str] = "", *args: Any, **kwargs: Any) -> Namespace:
        """Parses settings; those of a file may name variables of the environment."""
        return super().parse_string(filled_in(content, path) if path else content, path, *args, **kwargs)  # type: ignore[no-any-return]


def _keys(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The keys that a parser takes, and those of its commands."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from _keys(command)
        else:
            yield action.dest
