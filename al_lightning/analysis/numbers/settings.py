"""Settings of runs: which of them must agree for a comparison, and short names for them. Pure functions of configurations."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]
"""Values of settings by dotted key. A setting that is null is left out, like one that an older version did not have."""

SEED = "seed_everything"
STRATEGY = "active_learning.strategy"
STRIDE = "active_learning.stride"
QUERY_SIZE = "active_learning.query_size"
CYCLES = "active_learning.cycles"
INITIAL_SIZE = "data.init_args.initial_size"
INITIAL_ITEMS = "data.init_args.initial_items"
INITIAL_STRATEGY = "active_learning.initial_strategy"
NETWORK = "model.init_args.network.class_path"
DATA = "data.class_path"
CONTENT = "data content"  # a hash, which comes with the settings that are compared
ROOT = "data.init_args.root"
EVALUATION = "data.init_args.evaluation"
ENCODER_WEIGHTS = "model.init_args.network.init_args.encoder_weights"
PLACES = (ROOT, EVALUATION, ENCODER_WEIGHTS)  # where files of the user lie, if their values are paths; see `places`

# These don't change what a run computes.
NOT_COMPARED = ("config", "run_dir", "resume")

_CHOICE = (STRATEGY, STRIDE, INITIAL_STRATEGY, "active_learning.random_share")
# How far a run goes. This may differ, as the comparison uses only the range that all runs have reached; and a run may go further.
BUDGET = (CYCLES, "active_learning.label_budget", "active_learning.target")
# Where a run is stored, what it shows and keeps, and how fast it is. None of these settings changes a metric.
_INDIFFERENT = (
    "config",
    "run_dir",
    "resume",
    SEED,
    "initial_run",
    "cycle_logger",
    "trainer.logger",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.default_root_dir",
    "trainer.log_every_n_steps",
    "trainer.profiler",
    *(f"active_learning.{name}" for name in ("seed", "keep", "checkpoint_minutes", "also_record", "resume", "initial_run", "unanswered")),
    *(
        f"data.init_args.{name}"
        for name in (
            "seed",
            "root",
            "evaluation",
            "num_workers",
            "decoded_cache",
            "cache_folder",
            "eval_batch_size",
            "score_batch_size",
        )
    ),
)
# A run on the whole pool may differ in these settings from the runs whose curves are normalised by its metric.
_FULL_POOL = (INITIAL_SIZE, INITIAL_ITEMS, "data.init_args.initial_draw", QUERY_SIZE)
_KINDS = {
    "uncertainty": ("Entropy", "MaxSoftmax", "Margin"),
    "Bayesian": ("BALD", "VoteEntropy"),
    "ODIN": ("Odin",),
}
_CALLBACKS = "trainer.callbacks"
_CALLBACKS_THAT_LOOK = ("ProgressBar", "ModelSummary", "ScenePictures")


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


def differences(then: Settings, now: Settings, indifferent: Collection[str] = ()) -> list[str]:
    """Describes how two configurations differ, with one line for each dotted key.

    Args:
        then: the earlier configuration.
        now: the present configuration.
        indifferent: keys that are not compared.
    """
    return [
        f"{key} was {then.get(key)!r} and is {now.get(key)!r}"
        for key in sorted({*then, *now} - {*indifferent})
        if then.get(key) != now.get(key)
    ]


def places(settings: Settings, weights_known: bool = True) -> list[str]:
    """Returns the keys that say where files of the user lie. They may be moved, as what they hold is compared.

    Args:
        settings: of a run.
        weights_known: whether it is known what the file of an encoder's weights holds.
    """
    files = [key for key in (EVALUATION, *([ENCODER_WEIGHTS] if weights_known else [])) if isinstance(settings.get(key), str)]
    return [ROOT, *(key for key in files if settings[key].lower() not in ("imagenet", "none", "null"))]


def moved(then: Settings, now: Settings, weights_known: bool = True) -> list[str]:
    """Returns the keys of files and folders that are in another place now; see :func:`places`."""
    both = {*places(then, weights_known)} & {*places(now, weights_known)}
    return [key for key in PLACES if key in both and then.get(key) != now.get(key)]


def extended(then: Settings, now: Settings) -> list[str]:
    """Returns the names of the settings that say how far a run goes and say something else now."""
    return [name for name in BUDGET if value(then, name) != value(now, name)]


def renewed(then: Settings, now: Settings, weights_known: bool = True) -> list[str]:
    """Returns the keys that have other values now, and may have, when a run goes on; see :func:`moved` and :func:`extended`."""
    further = [key for key in sorted({*then, *now}) if _within(key, extended(then, now))]
    return [*moved(then, now, weights_known), *further]


def value(settings: Settings, name: str) -> Any:
    """Returns the value of a setting; a mapping, if it has settings below it; None, if there is neither.

    Example:
        >>> value({"active_learning.target.val/accuracy": 0.9}, "active_learning.target")
        {'val/accuracy': 0.9}
    """
    below = {key.removeprefix(f"{name}."): each for key, each in settings.items() if key.startswith(f"{name}.")}
    return nested(below) if below else settings.get(name)


def fingerprint(settings: Settings, weights_known: bool = True) -> str:
    """Returns a hash of the settings that say what a run computes, but for :func:`places`, and for how far it goes."""
    free = {*NOT_COMPARED, *places(settings, weights_known)}
    kept = {key: value for key, value in settings.items() if key not in free and not _within(key, BUDGET)}
    return hashlib.sha256(repr(key_of(kept)).encode(errors="surrogateescape")).hexdigest()


def choice(settings: Settings, seed: int) -> dict[str, Any]:
    """Returns the settings that say how the initial set and queries are chosen. They are the same for all seeds of a strategy."""
    return {STRIDE: 1} | {key: _compared_as(key, value, seed) for key, value in settings.items() if _within(key, _CHOICE)}


def comparable(settings: Settings, seed: int) -> dict[str, Any]:
    """Returns the settings that must agree for a comparison: all but strategy, seed, budget, and those that do not change a metric."""
    kept = {key: value for key, value in settings.items() if not _within(key, (*_CHOICE, *BUDGET, *_INDIFFERENT))}
    if _CALLBACKS in kept:
        kept[_CALLBACKS] = [each for each in as_list(kept[_CALLBACKS]) if not _only_looks(each)]
        if not kept[_CALLBACKS]:
            del kept[_CALLBACKS]
    return {key: _compared_as(key, value, seed) for key, value in kept.items()}


def group(settings: Settings, seed: int) -> str:
    """Names the group of runs that a run may be compared with: data, network, and eight hexadecimal digits of a hash of all settings."""
    same = hashlib.sha256(repr(key_of(comparable(settings, seed))).encode()).hexdigest()[:8]
    return f"{short(settings.get(DATA))}-{short(settings.get(NETWORK))}-{same}"


def without_pool_size(settings: Settings) -> dict[str, Any]:
    """Returns the settings that a run on the whole pool shares with the runs whose curves are normalised by its metric."""
    return {key: value for key, value in settings.items() if key not in _FULL_POOL}


def key_of(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Returns settings as a hashable key."""
    return tuple(sorted((key, repr(value)) for key, value in settings.items()))


def differing(all_settings: Sequence[Settings]) -> list[str]:
    """Returns the keys whose values differ between settings, in the order of their first appearance."""
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    return [key for key in keys if len({repr(settings.get(key)) for settings in all_settings}) > 1]


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
    return text.rpartition(".")[2] if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text) else text


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
    found = {key: value for key, value in choice.items() if _within(key, (STRATEGY,)) and ".aggregation" in key}
    rest = {key: value for key, value in choice.items() if key not in found}
    return {} if {short(value) for value in found.values()} <= {"Mean"} else found, rest


def kind(strategy: str) -> str:
    """Returns the kind of a strategy's class in the words of Chen's thesis (2020): uncertainty, Bayesian or ODIN. Else the class's name."""
    return next((kind for kind, classes in _KINDS.items() if strategy in classes), strategy)


def labels(choices: Sequence[Settings]) -> list[str]:
    """Names each of several strategies, like ``Odin(temperature=0.1), stride 4``.

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
    stride = choice.get(STRIDE, 1)
    return name if stride == 1 else f"{name}, stride {short(stride)}"


def of_class(node: Mapping[str, Any]) -> str:
    """Writes a class of a configuration with its arguments. Paths are left out.

    Example:
        >>> of_class({"class_path": "x.MLP", "init_args": {"width": 16}})
        'MLP(width=16)'
    """
    return _described(node, frozenset(), "", False)


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


def natural(text: str) -> list[tuple[float, str]]:
    """Returns a key that sorts names by the numbers in them.

    Example:
        >>> sorted(["width=1024", "width=16"], key=natural)
        ['width=16', 'width=1024']
    """
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)
    return [(float(part), "") if place % 2 else (-1.0, part) for place, part in enumerate(parts)]


def as_list(value: Any) -> list[Any]:
    """Returns a list as it is, and any other value as a list with this value only."""
    return value if isinstance(value, list) else [value]


def is_number(value: Any) -> bool:
    """Whether a value is a number that an axis can show."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


_ALWAYS_NAMED = ("strategy", "aggregation")


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


def _within(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _compared_as(key: str, value: Any, seed: int) -> Any:
    """Returns a value as it is compared. Our classes get only the package's name, as they may be in other modules in other versions."""
    if key.endswith("class_path") and str(value).startswith("al_lightning."):
        return f"al_lightning.{str(value).rpartition('.')[2]}"
    return _without_seed(value, seed)


def _without_seed(value: Any, seed: int) -> Any:
    """Replaces the run's seed in a text such as ``seed3`` or ``-s3`` by a placeholder."""
    if not isinstance(value, str):
        return value
    return re.sub(rf"(seed[-_=]?|(?<=[-_])s){seed}(?!\d)", r"\1*", value)


def _only_looks(callback: Any) -> bool:
    name = callback.get("class_path", "") if isinstance(callback, Mapping) else str(callback)
    return any(str(name).endswith(known) for known in _CALLBACKS_THAT_LOOK)


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
