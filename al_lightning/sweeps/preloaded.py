"""What the process has imported that the runs of a sweep are forked from."""

import atexit
import gc

from al_lightning.interpreter import importing

with importing():
    import wandb.sdk.launch  # noqa: F401  which W&B imports when a run begins: a third of a second

    from al_lightning import cli  # noqa: F401

atexit.register(gc.unfreeze)  # or libraries speak of leaks when it ends
