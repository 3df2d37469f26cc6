"""The command ``python -m al_lightning fit --config configs/....yaml``."""

from al_lightning.cli import main

main()
