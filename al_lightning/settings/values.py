"""Values of settings by dotted key. Pure functions of configurations."""

from collections.abc import Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]
"""Values of settings by dotted key. A setting that is null is left out, like one that an older version did not have."""


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens a nested configuration to dotted keys, and leaves out what is null.

    Example:
        >>> flat({"trainer": {"max_epochs": 20, "logger": None}, "resume": False})
        {'trainer.max_epochs': 20, 'resume': False}
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value
    return found


def nested(settings: Settings) -> dict[str, Any]:
    """Makes a nested configuration of dotted keys, the opposite of :func:`flat`.

    Example:
        >>> nested({"trainer.max_epochs": 20, "resume": False})
        {'trainer': {'max_epochs': 20}, 'resume': False}
    """
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        *path, last = key.split(".")
        node = tree
        for name in path:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def value(settings: Settings, name: str) -> Any:
    """Returns the value of a setting; a mapping of one level, if it has settings below it; None, if there is neither.

    Example:
        >>> value({"active_learning.target.val/accuracy": 0.9}, "active_learning.target")
        {'val/accuracy': 0.9}
    """
    below = {key.removeprefix(f"{name}."): each for key, each in settings.items() if key.startswith(f"{name}.")}
    return below or settings.get(name)


def within(key: str, names: Sequence[str]) -> bool:
    """Whether a dotted key is one of these names, or below one of them."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def key_of(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Returns settings as a hashable key."""
    return tuple(sorted((key, repr(value)) for key, value in settings.items()))


def differing(all_settings: Sequence[Settings]) -> list[str]:
    """Returns the keys whose values differ between settings, in the order of their first appearance."""
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    return [key for key in keys if len({repr(settings.get(key)) for settings in all_settings}) > 1]


def as_list(value: Any) -> list[Any]:
    """Returns a list as it is, and any other value as a list with this value only."""
    return value if isinstance(value, list) else [value]


def is_number(value: Any) -> bool:
    """Whether a value is a number that an axis can show."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
