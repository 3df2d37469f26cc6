"""Files of settings: YAML in which each key occurs once, and ``${NAME}`` in a value stands for a variable of the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from al_lightning.errors import UserError
from al_lightning.reading import holds_file_names, load_yaml, read_text, refuse_endless_yaml
from al_lightning.text import shortened

_VARIABLE = re.compile(r"\$\{(\w+)\}")
# Characters that nobody uses stand for the braces of a variable, as braces have a meaning in YAML's {flow} style.
_MARKED = re.compile("\ue0f0(\\w+)\ue0f1")


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a file, nested.

    Raises:
        UserError: the file can't be read, is no mapping, has a key twice, or a variable is not set.
    """
    try:
        settings: dict[str, Any] = load_yaml(filled_in(read_text(Path(path)), path))
    except yaml.YAMLError as error:
        raise UserError(f"Expected settings in {path}, but YAML says: {' '.join(str(error).split())}.") from error
    return settings


def filled_in(text: str, path: str | os.PathLike[str]) -> str:
    """The YAML of a file, with the values of variables in place of their names.

    Args:
        text: of the file.
        path: of the file, for messages.

    Raises:
        UserError: the text is no YAML or no mapping, has a key twice, or a variable is not set.
    """
    marked = _VARIABLE.sub("\ue0f0\\1\ue0f1", text)
    try:
        refuse_endless_yaml(marked)
        content = yaml.compose(marked, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise UserError(f"Expected YAML in {path}{line}, but {error.problem}.") from error
    except yaml.YAMLError as error:
        raise UserError(f"Expected YAML in {path}, but {' '.join(str(error).split())}.") from error
    if not isinstance(content, yaml.MappingNode):
        found = "nothing" if content is None else "a list" if isinstance(content, yaml.SequenceNode) else "a value"
        raise UserError(f"Expected settings in {path}, each as `key: value`, got {found}.")
    _fill_in(content, path, set())
    filled: str = yaml.serialize(content, Dumper=yaml.SafeDumper, allow_unicode=True, width=float("inf"))
    return filled


def read_value(text: str) -> Any:
    """The value of an option of a command, in YAML.

    Raises:
        yaml.YAMLError: it is no YAML.
        UserError: a mapping has a key twice.
    """
    value = load_yaml(text)
    refuse_repeated(text)
    return value


def refuse_variables(arguments: list[str]) -> None:
    """Makes sure that no argument of a command has a variable that the shell did not fill in.

    Raises:
        UserError: an argument has one.
    """
    for argument in arguments:
        if found := _VARIABLE.search(argument):
            raise UserError(f"Expected {found[0]} in {argument!r} to be filled in by the shell. Write it without single quotes.")


def refuse_unfilled(settings: Mapping[str, Any]) -> None:
    """Makes sure that no setting has a variable in it: files that a setting names (``--trainer FILE``) are not filled in.

    Args:
        settings: by dotted key.

    Raises:
        UserError: a setting has one.
    """
    for key, value in settings.items():
        if found := _VARIABLE.search(str(value)):
            raise UserError(f"Expected {found[0]} in {key} to be filled in, which is done in files of --config alone. Write {key} there.")


def refuse_repeated(text: str) -> None:
    """Makes sure that a value of a command, or a file that it names, has each key once.

    Args:
        text: YAML that ends, see :func:`~al_lightning.reading.refuse_endless_yaml`.

    Raises:
        UserError: a mapping has a key twice.
    """
    loader = yaml.SafeLoader if holds_file_names(text) else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    nodes = [yaml.compose(text, Loader=loader)] if ":" in text else []
    while nodes:
        node = nodes.pop()
        if twice := _twice(node):
            raise UserError(f"Expected each key once in {shortened(' '.join(text.split()), 60)!r}, got {twice} twice.")
        if isinstance(node, yaml.MappingNode):
            nodes += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value


def _fill_in(node: yaml.Node, path: str | os.PathLike[str], done: set[yaml.Node]) -> None:
    if node in done:  # an alias of a node that was filled in before
        return
    done.add(node)
    where = f"line {node.start_mark.line + 1} of {path}"
    if isinstance(node, yaml.ScalarNode):
        if _MARKED.search(node.value):
            node.value = _MARKED.sub(lambda found: _value(found[1], where), node.value)
            if node.style is None:  # a value without quotes may be a number
                node.tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        return
    if twice := _twice(node):
        raise UserError(f"Expected each key once in what begins in {where}, got {twice} twice.")
    for part in node.value:
        for child in part if isinstance(part, tuple) else (part,):
            _fill_in(child, path, done)


def _twice(node: yaml.Node | None) -> str | None:
    """A key that a mapping has twice; None if there is none."""
    if not isinstance(node, yaml.MappingNode):
        return None
    said = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    return next((key for number, key in enumerate(said) if key in said[:number]), None)


def _value(name: str, where: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise UserError(f"Expected the environment to have {name}, for {where}, but it is not set. Set it, or write the value.")
    if _VARIABLE.search(value):
        raise UserError(f"Expected no variable inside the value of {name}, for {where}, got {value}.")
    return value
