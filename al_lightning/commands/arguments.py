"""What the parsers of the commands share."""

import argparse
import re
import sys
from typing import Any, NoReturn

import yaml

from al_lightning.configuration_files import read_value, refuse_variables
from al_lightning.errors import UserError

_MOST = 10_000  # the largest number that an option may have


class CommandParser(argparse.ArgumentParser):
    """A parser that reports a wrong argument in one message, without the usage of the command."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with a message and status 1."""
        sys.exit(f"al_lightning: error: {message}\nSee {self.prog} --help.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses arguments, and refuses empty ones: a shell makes an empty argument from a variable that is not set."""
        if args is not None and any(argument == "" or re.fullmatch(r"--\w+=", argument) for argument in args):
            self.error("Expected a value in each argument, got an empty one. Is a variable of the shell not set?")
        return super().parse_known_args(args, namespace)


def setting(text: str) -> tuple[str, Any]:
    """Parses ``KEY=VALUE``, with the value in YAML.

    Raises:
        UserError: there is no ``=``, the value is not YAML or has a key twice, or it has a variable that the shell did not replace.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"Expected --set KEY=VALUE, got {text!r}.")
    refuse_variables([text])
    try:
        return key, read_value(value)
    except yaml.YAMLError as error:
        raise UserError(f"Expected --set KEY=VALUE with a value in YAML, got {text!r}: {' '.join(str(error).split())}.") from error


def positive(text: str) -> int:
    """Parses an integer from 1 to 10,000, for argparse. A larger number is a mistake, as no machine could do it."""
    if not text.isdigit() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1 and at most {_MOST:,}, got {text}")
    return int(text)
