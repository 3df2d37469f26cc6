"""Reads what ``fit`` would be told, without running it."""

import os
from collections.abc import Sequence
from typing import Any

from al_lightning.cli import ActiveLearningCLI
from al_lightning.runs import RunDirectory


class ConfigReader:
    """Reads the settings that ``fit`` would use, and runs nothing."""

    def __init__(self) -> None:
        self._cli: _ParsingCLI | None = None

    def read(self, arguments: Sequence[str]) -> dict[str, Any]:
        """All settings, by dotted key.

        Args:
            arguments: of ``fit``, the command's name first.

        Raises:
            SystemExit: they are refused; the reason is printed.
        """
        if self._cli is None:
            self._cli = _ParsingCLI(list(arguments))
        return self._cli.resolved(self._cli.parser.parse_args(list(arguments)))

    def stored(self, run_dir: str | os.PathLike[str]) -> dict[str, Any]:
        """All settings of a run, as it has stored them. A UserError says if they are missing or damaged; else as :meth:`read`."""
        run = RunDirectory(run_dir)
        run.read_config()  # refuses a damaged one with a message
        return self.read(["fit", f"--config={run.config}"])


class _ParsingCLI(ActiveLearningCLI):
    """Parses the arguments, and does nothing else."""

    def _set_seed(self) -> None:
        pass

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass
