"""What the commands' parsers share."""

import argparse
import sys
from typing import Any, NoReturn

import yaml

from al_lightning.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """Says what is wrong in one message."""

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        sys.exit(f"al_lightning: error: {message}\nSee {self.prog} --help.")


def setting(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``, with the value as YAML has it."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"Expected --set KEY=VALUE, got {text!r}.")
    return key, yaml.safe_load(value)


def positive(text: str) -> int:
    """A number of at least 1, for argparse."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return int(text)
