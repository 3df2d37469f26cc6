"""A class that replaces another in a configuration begins with its own defaults.

jsonargparse lets the new class take over every argument that both classes have, also those with default values: an AdamW in place of the
default SGD would train with SGD's learning rate and weight decay. Arguments that somebody gave for the old class still stay, as
jsonargparse documents; but one that was given with the very value that is its default counts as not given, as both look the same here.
"""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any

from jsonargparse import Namespace, _typehints

_Argument: Any = _typehints.ActionTypeHint
_UNSET = object()
_default: ContextVar[Any] = ContextVar("_default", default=None)
"""The default of the argument that is being parsed."""


def drop_replaced_defaults() -> None:
    """Patches jsonargparse, once per process, so that default values are not taken over."""
    if hasattr(_Argument._check_type, "__wrapped__"):
        return
    library: Any = _typehints
    check, discard = _Argument._check_type, library.discard_init_args_on_class_path_change

    @wraps(check)
    def check_type(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _default.set(self.default)
        try:
            return check(self, *args, **kwargs)
        finally:
            _default.reset(token)

    @wraps(discard)
    def discard_init_args(parser_or_action: Any, before: Any, after: Any) -> None:
        if before and "init_args" in before and before["class_path"] != after["class_path"]:
            default = parser_or_action.default if isinstance(parser_or_action, _Argument) else _default.get()
            for key in _defaults_among(before, default, getattr(parser_or_action, "sub_add_kwargs", {})):
                del before["init_args"][key]
        discard(parser_or_action, before, after)

    _Argument._check_type = check_type
    library.discard_init_args_on_class_path_change = discard_init_args


def _defaults_among(spec: Any, default: Any, options: Mapping[str, Any]) -> Iterator[str]:
    """The arguments of a class that have default values, so that nobody needs to have given them.

    Args:
        spec: the class and its arguments.
        default: of the setting that holds the class.
        options: for the parser of the class.
    """
    path, given = spec["class_path"], _flat(spec["init_args"])
    of_class = _flat(_Argument.get_class_parser(path, dict(options)).get_defaults())
    replaced = _flat(default.get("init_args", {})) if isinstance(default, dict | Namespace) and default.get("class_path") == path else {}
    for key, value in given.items():
        if value in (of_class.get(key, _UNSET), replaced.get(key, _UNSET)):
            yield key


def _flat(arguments: Any) -> dict[str, Any]:
    return dict(arguments.items(branches=True, nested=False)) if isinstance(arguments, Namespace) else dict(arguments)
