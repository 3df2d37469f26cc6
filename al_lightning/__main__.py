"""The program: ``python -m al_lightning COMMAND ...``."""

from al_lightning.commands import main

main()
