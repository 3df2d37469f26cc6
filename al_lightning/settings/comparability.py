"""Which settings must agree for a comparison. Pure functions of configurations."""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from al_lightning.settings.keys import (
    BUDGET,
    DATA,
    FILE_SUFFIXES,
    INITIAL_ITEMS,
    INITIAL_RUN,
    INITIAL_SIZE,
    INITIAL_STRATEGY,
    LATER_CYCLES,
    NETWORK,
    QUERY_SIZE,
    RANDOM_SHARE,
    SEED,
    STRATEGY,
    STRIDE,
)
from al_lightning.settings.naming import short
from al_lightning.settings.values import Settings, as_list, key_of, within

_CHOICE = (STRATEGY, STRIDE, INITIAL_STRATEGY, RANDOM_SHARE)
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
    *(f"active_learning.{name}" for name in ("seed", "keep", "checkpoint_minutes", "also_record", "resume", "initial_run")),
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
_FULL_POOL = (INITIAL_SIZE, INITIAL_ITEMS, INITIAL_RUN, "data.init_args.initial_draw", QUERY_SIZE)
_CALLBACKS = "trainer.callbacks"
_CALLBACKS_THAT_LOOK = ("ProgressBar", "ModelSummary", "ScenePictures")


def choice(settings: Settings, seed: int, common: Collection[str] = ()) -> dict[str, Any]:
    """Returns the settings that say how the initial set and queries are chosen. They are the same for all seeds of a strategy.

    Args:
        settings: of a run.
        seed: of the run. Its number in a path (``runs/full-seed3/last.ckpt``) becomes a placeholder.
        common: paths that do not belong to a seed, see :func:`common_paths`.
    """
    chosen = {key: value for key, value in settings.items() if within(key, _CHOICE) and not _is_mean(settings, key)}
    return {STRIDE: 1} | {key: _compared_as(key, value, seed, common) for key, value in chosen.items()}


def _is_mean(settings: Settings, key: str) -> bool:
    """Whether a setting says that one of our strategies takes our mean over pixels, which is its default."""
    of, found, after = key.rpartition(".init_args.aggregation.class_path")
    ours = str(settings.get(f"{of}.class_path")).startswith("al_lightning.")
    value = str(settings[key])
    return bool(found) and not after and ours and value.startswith("al_lightning.") and value.endswith(".Mean")


def comparable(settings: Settings, seed: int, common: Collection[str] = ()) -> dict[str, Any]:
    """Returns the settings that must agree for a comparison: all but strategy, seed, budget, and those that do not change a metric.

    The arguments are those of :func:`choice`.
    """
    kept = {key: value for key, value in settings.items() if not within(key, (*_CHOICE, *BUDGET, *_INDIFFERENT))}
    if _CALLBACKS in kept:
        kept[_CALLBACKS] = [each for each in as_list(kept[_CALLBACKS]) if not _only_looks(each)]
        if not kept[_CALLBACKS]:
            del kept[_CALLBACKS]
    return {key: _compared_as(key, value, seed, common) for key, value in kept.items()}


def common_paths(runs: Iterable[tuple[Settings, int]]) -> set[str]:
    """Returns the paths that runs of several seeds name: a number in these is not the run's seed.

    Args:
        runs: settings and seed of each run.
    """
    seeds: dict[str, set[int]] = {}
    for settings, seed in runs:
        for text in _texts([*settings.values()]):
            if _is_path(text):
                seeds.setdefault(text, set()).add(seed)
    return {path for path, its in seeds.items() if len(its) > 1}


def started_with(settings: Settings, seed: int, common: Collection[str] = ()) -> dict[str, Any]:
    """Returns the run whose cycle 0 is that of another one, as a setting. The arguments are those of :func:`choice`."""
    return {INITIAL_RUN: _compared_as(INITIAL_RUN, settings[INITIAL_RUN], seed, common)} if INITIAL_RUN in settings else {}


def without_later_cycles(settings: Settings) -> dict[str, Any]:
    """Returns the settings on which cycle 0 depends."""
    return {key: value for key, value in settings.items() if not within(key, (*LATER_CYCLES, INITIAL_RUN))}


def without_pool_size(settings: Settings) -> dict[str, Any]:
    """Returns the settings that a run on the whole pool shares with the runs whose curves are normalised by its metric."""
    return {key: value for key, value in settings.items() if key not in _FULL_POOL}


def group(settings: Settings, seed: int) -> str:
    """Names the group of runs that a run may be compared with: data, network, and eight hexadecimal digits of a hash of all settings."""
    same = hashlib.sha256(repr(key_of(comparable(settings, seed))).encode()).hexdigest()[:8]
    return f"{short(settings.get(DATA))}-{short(settings.get(NETWORK))}-{same}"


def _compared_as(key: str, value: Any, seed: int, common: Collection[str]) -> Any:
    """Returns a value as it is compared. Our classes get only the package's name, as they may be in other modules in other versions."""
    if key.endswith("class_path") and str(value).startswith("al_lightning."):
        return f"al_lightning.{str(value).rpartition('.')[2]}"
    return _without_seed(value, seed, common)


def _without_seed(value: Any, seed: int, common: Collection[str]) -> Any:
    """Replaces the run's seed in a path such as ``runs/full-seed3/last.ckpt`` by a placeholder; ``mobileone_s3`` is a network's name.

    The number may begin with zeros, as in ``items/seed_03.txt``.
    """
    if isinstance(value, Mapping):
        return {key: _without_seed(each, seed, common) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_seed(each, seed, common) for each in value]
    if not _is_path(value) or value in common:
        return value
    return re.sub(rf"(seed[-_=]?|(?<=[-_])s)0*{seed}(?!\d)", r"\1*", value)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or PurePath(value).suffix in FILE_SUFFIXES)


def _texts(value: Any) -> Iterator[str]:
    """Yields the texts in a value, however deep they are."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _only_looks(callback: Any) -> bool:
    name = callback.get("class_path", "") if isinstance(callback, Mapping) else str(callback)
    return any(str(name).endswith(known) for known in _CALLBACKS_THAT_LOOK)
