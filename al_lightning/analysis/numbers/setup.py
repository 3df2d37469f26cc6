"""Describes what was run, so that a reader can judge and repeat it: data, network, recipe, labels, seeds and versions."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Any

from al_lightning import settings as names
from al_lightning.analysis.numbers.recorded import Run

NOT_RECORDED = "not recorded"
_DATA, _NETWORK, _OPTIMIZER = "data.class_path", "model.init_args.network", "model.init_args.optimizer"
_OF_AN_OPTIMIZER = ("lr", "momentum", "weight_decay")  # other arguments are hardly ever changed
_PACKAGES = ("al_lightning", "torch", "lightning")
_DIFFERENT = 4  # the most values of a fact that are listed


def what_was_run(runs: Sequence[Run]) -> dict[str, str]:
    """Describes runs by facts with headings. If runs differ in a fact, its different values are listed.

    Args:
        runs: at least one.
    """
    facts: dict[str, Callable[[Run], str]] = {
        "data set": _data,
        "pool": _pool,
        "evaluation": _evaluation,
        "validation": _validation,
        "network": lambda run: _class(run, _NETWORK),
        "recipe": _recipe,
        "first training set": lambda run: f"{run.rows[0].labeled:,} labels",
        "query size": lambda run: _numbers(run.settings.get(names.QUERY_SIZE)),
        "versions": _versions,
    }
    told = {heading: _all_of(map(fact, runs)) for heading, fact in facts.items()}
    return {**told, "seeds": seeds([run.seed for run in runs])}


def in_a_line(runs: Sequence[Run]) -> str:
    """Describes runs in one line, which fits under a figure.

    Args:
        runs: at least one.
    """
    sizes = _all_of(f"{run.rows[0].labeled:,} labels and {_numbers(run.settings.get(names.QUERY_SIZE))} a query" for run in runs)
    network = _all_of(_class(run, _NETWORK).partition("(")[0] for run in runs)
    return "; ".join(
        [
            f"{_all_of(map(_data, runs))}, pool {_all_of(map(_pool, runs))}, evaluation {_all_of(map(_evaluation, runs))}",
            network,
            _all_of(map(_recipe, runs)),
            sizes,
            f"seeds {seeds([run.seed for run in runs])}",
        ]
    )


def seeds(numbers: Iterable[int]) -> str:
    """Writes seeds as ranges.

    Example:
        >>> seeds([3, 0, 1, 2, 7, 7])
        '0-3, 7'
    """
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return ", ".join(str(each[0]) if len(each) == 1 else f"{each[0]}-{each[-1]}" for each in ranges)


def _all_of(values: Iterable[str]) -> str:
    """Joins the different values in the order of their first appearance. Of many, only the first few are listed."""
    found = [*dict.fromkeys(values)]
    more = f" / and {len(found) - _DIFFERENT} more" if len(found) > _DIFFERENT else ""
    return " / ".join(found[:_DIFFERENT]) + more


def _data(run: Run) -> str:
    name = names.short(run.settings.get(_DATA, NOT_RECORDED)).removesuffix("DataModule")
    root = run.settings.get("data.init_args.root")
    return f"{name} ({os.sep.join(PurePath(root).parts[-2:])})" if name.startswith("Folder") and isinstance(root, str) else name


def _items(run: Run) -> int | None:
    return _whole(run.environment.get("data", {}).get("items"))


def _pool(run: Run) -> str:
    crop = run.settings.get("data.init_args.query_crop")
    size = run.settings.get("data.init_args.pool_size")  # the other items of the data set are not used
    copies = _whole(run.settings.get("data.init_args.pool_repeat.copies")) or 0
    items = size + copies if isinstance(size, int) else _items(run)  # the record counts the copies, too
    return _count(items, "images" if crop is None else f"crops of {_numbers(crop)} pixels")


def _evaluation(run: Run) -> str:
    return _count(run.evaluation, "images")


def _validation(run: Run) -> str:
    return f"{run.validation:,} of the pool, labeled and held out" if run.validation else "on the evaluation set"


def _class(run: Run, key: str) -> str:
    """Writes a class of the configuration with its arguments."""
    node: Any = names.nested({name: value for name, value in run.settings.items() if name.startswith(key)})
    for part in key.split("."):
        node = node.get(part, {}) if isinstance(node, dict) else {}
    if isinstance(node, dict):
        return names.of_class(node) if "class_path" in node else NOT_RECORDED
    return names.short(node)


def _recipe(run: Run) -> str:
    """Describes how a cycle trains, like ``AdamW (lr=0.001), 600 steps, batches of 8, each cycle from scratch``."""
    settings = run.settings
    optimizer = _class(run, _OPTIMIZER).partition("(")[0]
    given = [f"{name}={names.short(settings[key])}" for name in _OF_AN_OPTIMIZER if (key := f"{_OPTIMIZER}.init_args.{name}") in settings]
    steps, batch = settings.get("trainer.max_steps", -1), settings.get("data.init_args.batch_size")
    length = f"{_numbers(steps)} steps" if steps != -1 else f"{_numbers(settings.get('trainer.max_epochs', NOT_RECORDED))} epochs"
    retrain = settings.get("active_learning.retrain", "scratch")
    return ", ".join(
        [
            f"{optimizer} ({', '.join(given)})" if given else optimizer,
            length + (f", batches of {batch}" if batch is not None else ""),
            "each cycle from scratch" if retrain == "scratch" else f"retrain: {retrain}",
        ]
    )


def _versions(run: Run) -> str:
    known = run.environment
    packages = [f"{name} {version}" for name, version in known.get("versions", {}).items() if name in _PACKAGES]
    commit = [f"commit {known['git_commit'][:10]}"] if isinstance(known.get("git_commit"), str) else []
    device = [f"on {known['device']}"] if "device" in known else []
    return ", ".join([*packages, *commit, *device]) or NOT_RECORDED


def _numbers(value: Any) -> str:
    return NOT_RECORDED if value is None else names.short(value)


def _count(number: int | None, what: str) -> str:
    return f"{number:,} {what}" if number else NOT_RECORDED


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
