"""Files of settings: YAML in which each key is said once, and ``${NAME}`` in a value is a variable of the environment."""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from al_lightning.errors import UserError
from al_lightning.reading import load_yaml, read_text

_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a file, nested.

    Raises:
        UserError: it can't be read, is no mapping, says a key twice, or a variable is not set.
    """
    settings: dict[str, Any] = load_yaml(filled_in(read_text(Path(path)), path))
    return settings


def filled_in(text: str, path: str | os.PathLike[str]) -> str:
    """The YAML of a file, with the values of variables in place of their names.

    Args:
        text: the file's.
        path: of the file, for messages.

    Raises:
        UserError: likewise.
    """
    try:
        content = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise UserError(f"Expected YAML in {path}{line}, but {error.problem}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"Expected YAML in {path}, but {' '.join(str(error).split())}.") from error
    if not isinstance(content, yaml.MappingNode):
        found = "nothing" if content is None else "a list" if isinstance(content, yaml.SequenceNode) else "a value"
        raise UserError(f"Expected settings in {path}, each as `key: value`, got {found}.")
    _fill_in(content, path, [], set())
    filled: str = yaml.serialize(content, Dumper=yaml.SafeDumper, allow_unicode=True, width=float("inf"))
    return filled


def refuse_variables(arguments: list[str]) -> None:
    """Makes sure that no argument of a command has a variable that the shell has left alone.

    Raises:
        UserError: one has.
    """
    for argument in arguments:
        if found := _VARIABLE.search(argument):
            raise UserError(f"Expected {found[0]} in {argument!r} to be filled in by the shell. Write it without single quotes.")


def _fill_in(node: yaml.Node, path: str | os.PathLike[str], above: list[yaml.Node], done: set[yaml.Node]) -> None:
    line = f"line {node.start_mark.line + 1} of {path}"
    if node in above:
        raise UserError(f"Expected {line} to end, but it stands inside itself.")
    if node in done:  # what is repeated by reference, maybe billions of times
        return
    done.add(node)
    if isinstance(node, yaml.ScalarNode) and "${" in node.value:
        node.value = _VARIABLE.sub(lambda found: _value(found[1], line), node.value)
        if node.style is None:  # what is not in quotes may be a number
            node.tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
    elif isinstance(node, yaml.MappingNode):
        said = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for number, key in enumerate(said) if key in said[:number]]:
            raise UserError(f"Expected each key once in what begins in {line}, got {twice[0]} twice.")
    if not isinstance(node, yaml.ScalarNode):
        for part in node.value:
            _fill_in(part[1] if isinstance(part, tuple) else part, path, [*above, node], done)


def _value(name: str, line: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise UserError(f"Expected the environment to have {name}, for {line}, but it is not set. Set it, or write the value.")
    if "${" in value:
        raise UserError(f"Expected no variable inside the value of {name}, for {line}, got {value}.")
    return value
