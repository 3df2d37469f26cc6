"""What loggers are told about a run, and a check that they reach their server before anything is read or computed."""

import os
from collections.abc import Mapping
from typing import Any

from al_lightning import settings as names
from al_lightning.errors import UserError

# The settings by which people filter runs, under short names.
_HEADLINE = {
    "seed": names.SEED,
    "network": names.NETWORK,
    "data": names.DATA,
    "initial_size": names.INITIAL_SIZE,
    "query_size": names.QUERY_SIZE,
    "cycles": names.CYCLES,
    "max_epochs": "trainer.max_epochs",
    "max_steps": "trainer.max_steps",
}


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What runs are filtered and grouped by: a few settings under short names, then all settings by dotted key, except those of loggers.

    Args:
        settings: of the run, by dotted key.
    """
    headline = {name: _short(settings[key]) for name, key in _HEADLINE.items() if settings.get(key, -1) != -1}
    return {
        "strategy": _strategy(settings),
        **headline,
        **{key: value for key, value in settings.items() if not key.startswith("trainer.logger")},
    }


def name_run(logger: Any, settings: Mapping[str, Any]) -> None:
    """Names a run for Weights & Biases, if nobody has: by strategy and seed, in a group with the runs that can be compared with it.

    Its pages draw runs of one group and job type together, as a mean with a band: a strategy's seeds are such runs. A run's file can't
    ask for more, because it does not hold how panels look.

    Args:
        logger: the arguments of a Weights & Biases logger.
        settings: of the run, by dotted key.
    """
    seed, strategy = settings.get(names.SEED, 0), _strategy(settings)
    network, data = (names.short(settings.get(key)) for key in (names.NETWORK, names.DATA))
    logger.name = logger.name or f"{strategy}-seed{seed}"
    logger.group = logger.group or names.group(settings, seed)
    logger.job_type = logger.job_type or strategy
    logger.tags = logger.tags or [strategy[:_LONGEST_TAG], network, data]


_LONGEST_TAG = 64  # Weights & Biases takes no longer tags


def _strategy(settings: Mapping[str, Any]) -> str:
    return names.label(names.choice(settings, settings.get(names.SEED, 0)))


def _short(value: Any) -> Any:
    return names.short(value) if isinstance(value, str) else value


def refuse_unreachable(loggers: Any) -> None:
    """Makes sure that Weights & Biases accepts runs from this machine, if a logger is to send them.

    Args:
        loggers: of a configuration: one, a list of them, or none.

    Raises:
        UserError: there is no API key, it is not accepted, or there is no network.
    """
    given = loggers if isinstance(loggers, list) else [loggers]
    online = any(hasattr(logger, "get") and (logger.get("init_args") or {}).get("offline") is False for logger in given)
    if not online or os.environ.get("WANDB_MODE", "online") != "online":
        return
    import wandb

    try:
        wandb.login(verify=True)
    except wandb.Error as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"Expected to reach Weights & Biases, as the logger's offline is false, but: {why}. Log in (`wandb login`, or WANDB_API_KEY) "
            "where there is a network, or keep the log in the run (--trainer.logger.offline true, or WANDB_MODE=offline) and sync it later."
        ) from error
