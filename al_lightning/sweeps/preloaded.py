"""The imports of the process from which the runs of a sweep are forked."""

import atexit
import gc

from al_lightning.interpreter import importing

with importing():
    import wandb.sdk.launch  # noqa: F401  W&B imports it when a run begins, which takes a third of a second

    from al_lightning import cli  # noqa: F401

atexit.register(gc.unfreeze)  # else libraries report leaks when the process ends
