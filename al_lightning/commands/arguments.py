"""What the commands' parsers share."""

import argparse
import re
import sys
from typing import Any, NoReturn

import yaml

from al_lightning.configuration_files import refuse_variables
from al_lightning.errors import UserError

_MOST = 10_000


class CommandParser(argparse.ArgumentParser):
    """Says what is wrong in one message."""

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        sys.exit(f"al_lightning: error: {message}\nSee {self.prog} --help.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses arguments, none of which may be empty: a shell makes that of a variable that is not set."""
        if args is not None and any(argument == "" or re.fullmatch(r"--\w+=", argument) for argument in args):
            self.error("Expected a value in each argument, got an empty one. Is a variable of the shell not set?")
        return super().parse_known_args(args, namespace)


def setting(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``, with the value as YAML has it."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"Expected --set KEY=VALUE, got {text!r}.")
    refuse_variables([text])
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"Expected --set KEY=VALUE with a value in YAML, got {text!r}: {' '.join(str(error).split())}.") from error


def positive(text: str) -> int:
    """A number of at least 1, for argparse; of more than a machine could do nobody has asked."""
    if not text.isdigit() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1 and at most {_MOST:,}, got {text}")
    return int(text)
