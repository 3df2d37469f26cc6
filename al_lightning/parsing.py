"""The parser of ``fit``: it says in one message what is wrong, and reads files of settings as all other code does."""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse import Namespace, get_loader, set_loader
from jsonargparse.typing import register_type
from lightning.pytorch import callbacks as pl_callbacks
from lightning.pytorch.cli import LightningArgumentParser

from al_lightning import acquisition, data, models, tasks
from al_lightning.class_changes import drop_replaced_defaults
from al_lightning.configuration_files import filled_in, refuse_repeated
from al_lightning.errors import UserError
from al_lightning.help_order import arranged
from al_lightning.parser_messages import shortened, with_nearest
from al_lightning.reading import holds_file_names, refuse_endless_yaml
from al_lightning.refusals import user_error

_load_settings = get_loader("yaml")


def _load(text: str) -> Any:
    """Loads settings as jsonargparse does, if the YAML has an end; also reads back the names of files that are no Unicode."""
    refuse_endless_yaml(text)
    refuse_repeated(text)
    return yaml.safe_load(text) if holds_file_names(text) else _load_settings(text)


set_loader("yaml", _load, (yaml.YAMLError,))
drop_replaced_defaults()


class Parser(LightningArgumentParser):
    """Says what is wrong in one message, without the usage of about a hundred options before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})  # a part of a key could mean another key in the next version

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parses the arguments; ``--optimizer`` and ``--lr_scheduler`` become arguments of the model, where all code reads them."""
        config = super().parse_args(*args, **kwargs)
        if "fit" in config:
            for part in ("optimizer", "lr_scheduler"):
                _hand_to_model(config.fit, part)
        return config

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """The configuration as text that can be read back.

        Raises:
            UserError: a setting is an object that can't be written as text.
        """
        text: str = super().dump(*args, **kwargs)
        if lost := re.search(r"([\w.]+): *['\"]?Unable to serialize instance (.*)", text):
            raise UserError(
                f"Expected settings that a configuration can hold, but {lost[1]} ({lost[2]}) can't be written into it, so that the "
                "run could not be repeated. Leave it out, or say it by text, numbers or an import path."
            )
        return text

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints one message and ends the program with status 2."""
        cause = user_error(ex)
        message = (_choices(message) or with_nearest(shortened(message), _keys(self))) if cause is None else str(cause)
        print(f"al_lightning: error: {message}\nSee python -m al_lightning fit --help.", file=sys.stderr)
        sys.exit(2)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """What ``--help`` prints."""
        groups = self._action_groups
        self._action_groups = arranged(groups)  # type: ignore[assignment]
        try:
            return super().format_help(*args, **kwargs)
        finally:
            self._action_groups = groups

    def parse_path(self, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Parses the settings of a file.

        Raises:
            UserError: the file is not UTF-8.
        """
        try:
            return super().parse_path(path, *args, **kwargs)  # type: ignore[no-any-return]
        except UnicodeDecodeError as error:
            raise UserError(f"Expected UTF-8 in {path}, but it can't be read: {error}.") from error

    def parse_string(self, content: str, path: str | os.PathLike[str] = "", *args: Any, **kwargs: Any) -> Namespace:
        """Parses settings; those of a file may name variables of the environment."""
        return super().parse_string(filled_in(content, path) if path else content, path, *args, **kwargs)  # type: ignore[no-any-return]


def _keys(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The keys that a parser and its commands take."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from _keys(command)
        else:
            yield action.dest


# Default values of Lightning's callbacks, which a configuration could not hold otherwise.
register_type(torch.device)
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_data(value.value))
# Numbers with a range, if another class takes over the argument without the range.
yaml.SafeDumper.add_multi_representer(int, lambda dumper, value: dumper.represent_int(int(value)))
yaml.SafeDumper.add_multi_representer(float, lambda dumper, value: dumper.represent_float(float(value)))


def _hand_to_model(config: Namespace, part: str) -> None:
    """Puts the top-level optimizer or scheduler in place of the model's, so that a task finds it in one place.

    Raises:
        UserError: the model has no such argument.
    """
    given, arguments = config.get(part), config.model.get("init_args", {})
    if given is None:
        return
    if part not in arguments:
        raise UserError(f"Expected a model with the argument {part} for --{part}, but {config.model.class_path} has none. Leave it out.")
    arguments[part], config[part] = given, None


def _choices(message: str) -> str | None:
    """The message for a misspelt name, with the names that there are; None if the message is about something else."""
    found = _MISSPELT.search(message)
    choices = _CHOICES.get(found[1]) if found else None
    if found is None or choices is None:
        return None
    return f"Expected {found[1]} to be one of {', '.join(choices)}, or the import path of one, got {found[2]}."


def _names(module: Any, kind: type) -> list[str]:
    found = {name for name, thing in vars(module).items() if isinstance(thing, type) and issubclass(thing, kind) and thing is not kind}
    return sorted(name for name in found if not name.startswith("_"))


_MISSPELT = re.compile(r'Parser key "(?:[\w.]*\.)?(\w+)".*?Expected a dot import path string: (\S+)', re.DOTALL)
_CHOICES = {
    "model": _names(tasks, tasks.Task),
    "data": _names(data, data.PoolDataModule),
    "network": _names(models, torch.nn.Module),
    "strategy": acquisition.STRATEGIES,
    "aggregation": acquisition.AGGREGATIONS,
    "also_record": [*acquisition.STRATEGIES, *acquisition.AGGREGATIONS],
    "optimizer": _names(torch.optim, torch.optim.Optimizer),
    "lr_scheduler": _names(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler),
    "callbacks": _names(pl_callbacks, pl_callbacks.Callback),
}
"""The names that the parser knows, by the last part of a key."""
