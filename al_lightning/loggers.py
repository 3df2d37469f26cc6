"""Whether loggers reach what they log to, before anything is read or computed."""

import os
from typing import Any

from al_lightning.errors import UserError


def refuse_unreachable(loggers: Any) -> None:
    """Makes sure that Weights & Biases takes this machine's runs, where a logger is to send them.

    Args:
        loggers: of a configuration: one, a list of them, or none.

    Raises:
        UserError: there is no key, it is not taken, or there is no network.
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
