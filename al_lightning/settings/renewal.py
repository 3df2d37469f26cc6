"""Which settings of a run may have changed when it goes on. Pure functions of configurations."""

import copy
import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from al_lightning.settings.keys import BUDGET, ENCODER_WEIGHTS, EVALUATION, ROOT
from al_lightning.settings.values import Settings, flat, key_of, value, within

PLACES = (ROOT, EVALUATION, ENCODER_WEIGHTS)  # where files of the user lie, if their values are paths; see `places`
# These don't change what a run computes.
NOT_COMPARED = ("config", "run_dir", "resume")


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
        if repr(then.get(key)) != repr(now.get(key))  # 1 is one batch, 1.0 is all of them
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
    further = [key for key in sorted({*then, *now}) if within(key, extended(then, now))]
    return [*moved(then, now, weights_known), *further]


def with_renewed(stored: Mapping[str, Any], now: Settings, budget: bool = True) -> dict[str, Any]:
    """Returns a nested configuration with the places, and maybe the budget, that it has now; all else is as it was stored.

    Args:
        stored: a nested configuration.
        now: the present one, by dotted key.
        budget: whether the budget is taken, too.
    """
    result, then = copy.deepcopy(dict(stored)), flat(stored)
    for name in [*moved(then, now), *(extended(then, now) if budget else [])]:
        *path, last = name.split(".")
        node = result
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value(now, name)
    return result


def fingerprint(settings: Settings, weights_known: bool = True) -> str:
    """Returns a hash of the settings that say what a run computes, but for :func:`places`, and for how far it goes."""
    free = {*NOT_COMPARED, *places(settings, weights_known)}
    kept = {key: value for key, value in settings.items() if key not in free and not within(key, BUDGET)}
    return hashlib.sha256(repr(key_of(kept)).encode(errors="surrogateescape")).hexdigest()
