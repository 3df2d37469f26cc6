"""Short names of settings, for people. Pure functions of configurations."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from al_lightning.settings.keys import CONTENT, FILE_SUFFIXES, RANDOM_SHARE, STRATEGY, STRIDE
from al_lightning.settings.values import Settings, differing, flat, nested, within

_KINDS = {
    "uncertainty": ("Entropy", "MaxSoftmax", "Margin"),
    "Bayesian": ("BALD", "VoteEntropy"),
    "ODIN": ("Odin",),
}
_ALWAYS_NAMED = ("strategy", "aggregation")


def short(value: Any) -> str:
    """Writes a value for people: a class without its module, a number without needless digits."""
    if isinstance(value, bool) or value is None:
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e6 else str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(short, value))
    if isinstance(value, Mapping):
        return _described(value, frozenset(), "", True) if "class_path" in value else "{" + ", ".join(map(str, value)) + "}"
    text = str(value)
    is_class = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text) and not text.endswith(FILE_SUFFIXES)
    return text.rpartition(".")[2] if is_class else text


def described(settings: Settings) -> str:
    """Writes settings in one line.

    Example:
        >>> described({"active_learning.strategy.class_path": "x.BALD", "active_learning.strategy.init_args.passes": 10})
        'strategy=BALD, strategy.passes=10'
    """
    words = {key: key.removesuffix(".class_path").replace(".init_args", "").removeprefix("active_learning.") for key in settings}
    return ", ".join(f"{words[key]}={short(value)}" for key, value in settings.items())


def strategy_class(choice: Settings) -> str:
    """Returns the name of the strategy's class."""
    return short(choice[f"{STRATEGY}.class_path"] if f"{STRATEGY}.class_path" in choice else choice.get(STRATEGY))


def aggregation(choice: Settings) -> tuple[Settings, Settings]:
    """Splits the settings of a strategy into those of its aggregation and the rest. The mean, which is the default, gives no settings.

    Example:
        >>> aggregation({"active_learning.strategy.init_args.aggregation.class_path": "x.Mean", "active_learning.stride": 1})
        ({}, {'active_learning.stride': 1})
    """
    found = {key: value for key, value in choice.items() if within(key, (STRATEGY,)) and ".aggregation" in key}
    rest = {key: value for key, value in choice.items() if key not in found}
    return {} if {short(value) for value in found.values()} <= {"Mean"} else found, rest


def kind(strategy: str) -> str:
    """Returns the kind of a strategy's class in the words of Chen's thesis (2020): uncertainty, Bayesian or ODIN. Else the class's name."""
    return next((kind for kind, classes in _KINDS.items() if strategy in classes), strategy)


def labels(choices: Sequence[Settings]) -> list[str]:
    """Names each of several strategies, like ``Odin(temperature=0.1), stride 4`` or ``Margin, random share 0.1``.

    Arguments that all strategies of a class share are left out. Paths are left out too, unless two names would be the same. What has
    chosen the initial set is named if it is not the same for all.
    """
    by_class: dict[str, list[Settings]] = {}
    for each in choices:
        by_class.setdefault(strategy_class(each), []).append(each)
    shared = {
        name: frozenset(key for key in members[0] if all(repr(each.get(key)) == repr(members[0][key]) for each in members))
        for name, members in by_class.items()
    }
    differ = len({first_set(each) for each in choices}) > 1

    def named(each: Settings, paths: bool = False) -> str:
        return label(each, shared[strategy_class(each)], paths) + (first_set(each) if differ else "")

    plain = [named(each) for each in choices]
    return _distinct([named(each, True) if plain.count(name) > 1 else name for each, name in zip(choices, plain, strict=True)])


def first_set(choice: Settings) -> str:
    """Says what has chosen the initial set, as ``, initial set by Order``; empty for the data module's draw."""
    node = nested(choice).get("active_learning", {}).get("initial_strategy")
    return f", initial set by {of_class(node) if isinstance(node, Mapping) else short(node)}" if node else ""


def label(choice: Settings, shared: frozenset[str] = frozenset(), paths: bool = False) -> str:
    """Names a strategy.

    Args:
        choice: its settings.
        shared: dotted keys of arguments that are left out.
        paths: whether arguments that are paths are named.
    """
    node = nested(choice).get("active_learning", {}).get("strategy")
    name = _described(node, shared, STRATEGY, paths) if isinstance(node, Mapping) else short(node)
    if (stride := choice.get(STRIDE, 1)) != 1:
        name += f", stride {short(stride)}"
    if share := choice.get(RANDOM_SHARE):
        name += f", random share {short(share)}"
    return name


def of_class(node: Mapping[str, Any]) -> str:
    """Writes a class of a configuration with its arguments. Paths are left out.

    Example:
        >>> of_class({"class_path": "x.MLP", "init_args": {"width": 16}})
        'MLP(width=16)'
    """
    return _described(node, frozenset(), "", False)


def short_names(all_settings: Sequence[Settings]) -> list[str]:
    """Names each configuration by the settings in which it differs from the others, like ``width=16, query_size=500``.

    A setting that only some configurations have (an argument of a class that the others don't use) is named only if the other settings
    do not distinguish all configurations; the hash of the data, which tells a person nothing, only if no setting does.
    """
    keys = sorted(differing(all_settings), key=lambda key: key == CONTENT)
    everywhere = [key for key in keys if key != CONTENT and all(key in settings for settings in all_settings)]
    named = list(everywhere)
    for key in keys:
        if key not in named and _distinguished(all_settings, [*named, key]) > _distinguished(all_settings, named):
            named.append(key)
    last = _last_parts(named)
    return _distinct([", ".join(f"{last[key]}={short(settings.get(key))}" for key in named) for settings in all_settings])


def natural(text: str) -> list[tuple[float, str]]:
    """Returns a key that sorts names by the numbers in them.

    Example:
        >>> sorted(["width=1024", "width=16"], key=natural)
        ['width=16', 'width=1024']
    """
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)
    return [(float(part), "") if place % 2 else (-1.0, part) for place, part in enumerate(parts)]


def _described(node: Mapping[str, Any], shared: frozenset[str], prefix: str, paths: bool) -> str:
    """Writes a class with its arguments. Strategies and aggregations among them are always named, others only if they are not shared."""
    arguments = []
    for name, value in node.get("init_args", {}).items():
        key = f"{prefix}.init_args.{name}"
        if isinstance(value, Mapping) and "class_path" in value:
            if name not in _ALWAYS_NAMED and shared.issuperset(f"{key}.{part}" for part in flat(value)):
                continue
            arguments.append(_described(value, shared, key, paths))
        elif key not in shared and (paths or not (isinstance(value, str) and "/" in value)):
            arguments.append(f"{name}={short(value)}")
    name = short(node.get("class_path"))
    return f"{name}({', '.join(arguments)})" if arguments else name


def _distinct(names: Sequence[str]) -> list[str]:
    """Appends a number to names that occur before, as short names may hide a difference."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct


def _distinguished(all_settings: Sequence[Settings], keys: Sequence[str]) -> int:
    """How many configurations these keys tell apart."""
    return len({tuple(repr(settings.get(key)) for key in keys) for settings in all_settings})


def _last_parts(keys: Sequence[str]) -> dict[str, str]:
    """Shortens each key to its last part, or to an argument and its entry, as ``pool_repeat.copies``.

    A key whose last part is also that of another key keeps two parts.
    """

    def end(key: str, parts: int) -> str:
        key = key.removesuffix(".class_path")
        argument = key.rpartition(".init_args.")[2].split(".") if ".init_args." in key else []
        words = [word for word in key.split(".") if word != "init_args"]
        return ".".join(words[-max(parts, len(argument)) :])

    last = [end(key, 1) for key in keys]
    return {key: end(key, 2) if last.count(name) > 1 else name for key, name in zip(keys, last, strict=True)}
