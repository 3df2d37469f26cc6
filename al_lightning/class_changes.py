"""A class in the place of another begins with its own defaults.

jsonargparse lets it take over every argument that both classes know, defaults too: an AdamW in the place of the default SGD would train at
SGD's rate and decay weights as SGD does. What somebody gave for the other class still stays, as jsonargparse says.
"""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any

from jsonargparse import Namespace, _typehints

_Argument: Any = _typehints.ActionTypeHint
_UNSET = object()
_default: ContextVar[Any] = ContextVar("_default", default=None)
"""Of the argument that is being read."""


def drop_replaced_defaults() -> None:
    """Teaches jsonargparse so, once a process."""
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
    """The arguments of a class that are what they are without anybody's word.

    Args:
        spec: class and arguments.
        default: what stands there if nobody says anything.
        options: of the class's parser.
    """
    path, given = spec["class_path"], _flat(spec["init_args"])
    of_class = _flat(_Argument.get_class_parser(path, dict(options)).get_defaults())
    replaced = _flat(default.get("init_args", {})) if isinstance(default, dict | Namespace) and default.get("class_path") == path else {}
    for key, value in given.items():
        if value in (of_class.get(key, _UNSET), replaced.get(key, _UNSET)):
            yield key


def _flat(arguments: Any) -> dict[str, Any]:
    return dict(arguments.items(branches=True, nested=False)) if isinstance(arguments, Namespace) else dict(arguments)
