"""The command line: one LightningCLI that knows the run directory."""

import argparse
import logging
import os
import sys
import tempfile
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger  # noqa: F401  bare names in configs
from lightning.pytorch.utilities import rank_zero_only

from al_lightning import acquisition, data, models, tasks  # noqa: F401  bare names in configs
from al_lightning.analysis import plots, settings
from al_lightning.callbacks import ActiveLearningCallback, CycleLogger, CycleProgressBar, ScenePictures
from al_lightning.configuration_files import refuse_variables
from al_lightning.errors import UserError
from al_lightning.loggers import refuse_unreachable
from al_lightning.parsing import Parser
from al_lightning.refusals import one_message
from al_lightning.runs import RunDirectory
from al_lightning.trainer import Trainer

# Where a run lies and whether it goes on is not part of what it computes.
_NOT_COMPARED = {"config", "run_dir", "resume"}


class ActiveLearningCLI(LightningCLI):
    """LightningCLI with ``active_learning``, ``run_dir`` and ``resume`` at the top level."""

    def __init__(self, args: ArgsType = None) -> None:
        super().__init__(
            model_class=tasks.Task,
            datamodule_class=data.PoolDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=Trainer,
            save_config_callback=None,
            parser_class=Parser,
            seed_everything_default=0,
            trainer_defaults={"max_epochs": 20},
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """``fit`` alone; a run goes on by ``resume``, not from a single checkpoint."""
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "ckpt_path", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the project's own keys, and one seed for everything."""
        parser.add_argument("--run_dir", type=str | None, help="The run's directory; runs/<config>-<strategy>-seed<seed> by default.")
        parser.add_argument("--resume", action="store_true", help="Go on with the run in run_dir, with its configuration.")
        parser.add_lightning_class_args(ActiveLearningCallback, "active_learning")
        parser.add_lightning_class_args(CycleLogger, "cycle_logger")
        parser.link_arguments("resume", "active_learning.resume")
        parser.link_arguments("seed_everything", "active_learning.seed", compute_fn=_integer_seed)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=_integer_seed)
        offline = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"project": "al_lightning", "offline": True}}
        parser.set_defaults({"trainer.logger": offline})

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Puts a resumed run's own configuration before the other arguments."""
        arguments = sys.argv[1:] if args is None else args
        assert isinstance(arguments, list)
        refuse_variables(arguments)
        known, _ = _RESUME_PARSER.parse_known_args(arguments)
        stored: Path | None = None
        if known.resume:
            if known.run_dir is None:
                raise UserError("Expected --run_dir with --resume: it says which run to go on with.")
            stored = RunDirectory(known.run_dir).config
            if not stored.is_file():
                raise UserError(f"Expected {stored}, the configuration of the run to resume, but it is missing. Is --run_dir right?")
            arguments = [arguments[0], f"--config={stored}", *arguments[1:]]
        self.config = parser.parse_args(arguments)
        if stored is not None:
            self._refuse_other_config(parser, stored, "the run to resume", "")

    def _refuse_other_config(self, parser: LightningArgumentParser, stored: Path, whose: str, part: str) -> None:
        """Compares the keys that begin with ``part``."""
        if not stored.is_file():
            raise UserError(f"Expected {stored}, the configuration of {whose}, but it is missing. Is the directory right?")
        then, now = (self.resolved(config) for config in (parser.parse_args(["fit", f"--config={stored}"]), self.config))
        if changed := [line for line in differences(then, now) if line.startswith(part)]:
            raise UserError(f"Expected the configuration of {whose}, {stored}, but it differs: {'; '.join(changed)}.")

    def resolved(self, config: Namespace) -> dict[str, Any]:
        """All settings of a parsed configuration, by dotted key; what is null is left out."""
        return settings.flat(yaml.safe_load(self._parser("fit").dump(config.fit, skip_unset=False, format="yaml")))

    def before_instantiate_classes(self) -> None:
        """Decides where the run lies, and writes its configuration."""
        config = self.config.fit
        if config.run_dir is None:
            config.run_dir = _default_run_dir(config)
        if (initial_run := config.active_learning.initial_run) and not config.resume:
            self._refuse_other_config(self.parser, RunDirectory(initial_run).config, "the initial run", "model.")
        self.run = RunDirectory(config.run_dir)
        if _rank() == 0 and not config.trainer.fast_dev_run:
            refuse_unreachable(config.trainer.logger)
        if config.trainer.fast_dev_run:  # a check of the code leaves no run behind
            self._scratch = tempfile.TemporaryDirectory()
            config.trainer.default_root_dir = self._scratch.name
        else:
            loggers = config.trainer.logger if isinstance(config.trainer.logger, list) else [config.trainer.logger]
            for logger in loggers:
                _identify_logger(logger)
            if _rank() == 0 and not config.resume:
                self.run.refuse_held()
                self.run.refuse_run()
                self.run.write_config(self._parser("fit").dump(config, skip_unset=False, format="yaml"))
            # After the configuration is written: it says where a logger lies in its run, wherever that is moved.
            for logger in loggers:
                self._place_logger(logger)
            config.trainer.default_root_dir = str(self.run.path)

    def _place_logger(self, logger: Any) -> None:
        """Takes a logger's relative directory inside the run."""
        arguments = logger.get("init_args") if isinstance(logger, Namespace) else None
        if arguments is not None and "save_dir" in arguments:
            arguments.save_dir = str(self.run.path / (arguments.save_dir or "."))

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Adds progress bar and pictures where there are none, and no checkpoints but the cycle's own where none are asked for."""
        trainer = self.config_init.fit.trainer
        callbacks = trainer.callbacks if isinstance(trainer.callbacks, list) else [trainer.callbacks] if trainer.callbacks else []
        if trainer.enable_progress_bar is not False and not any(isinstance(callback, ProgressBar) for callback in callbacks):
            callbacks = [*callbacks, CycleProgressBar()]
        scenes = isinstance(self.config_init.fit.data, data.CityscapesDataModule)
        if scenes and not any(isinstance(callback, ScenePictures) for callback in callbacks):
            callbacks = [*callbacks, ScenePictures()]
        if trainer.enable_checkpointing is None and not any(isinstance(callback, Checkpoint) for callback in callbacks):
            kwargs["enable_checkpointing"] = False
        return super().instantiate_trainer(**kwargs, callbacks=callbacks)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> pl.Trainer:
        # The experiment's callback comes first, so that it knows the others as they were made.
        return self.trainer_class(**{**config, "callbacks": [*callbacks, *config["callbacks"]]})

    def after_fit(self) -> None:
        """Draws the learning curve."""
        if self.trainer.is_global_zero and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            print(f"Learning curve: {plots.draw_learning_curve(self.run)}")


class ConfigReader:
    """Reads what ``fit`` would be told, and runs nothing."""

    def __init__(self) -> None:
        self._cli: _ParsingCLI | None = None

    def read(self, arguments: Sequence[str]) -> dict[str, Any]:
        """All settings, by dotted key.

        Args:
            arguments: of ``fit``, the command's name first.

        Raises:
            SystemExit: they are refused; why was printed.
        """
        if self._cli is None:
            self._cli = _ParsingCLI(list(arguments))
        return self._cli.resolved(self._cli.parser.parse_args(list(arguments)))

    def stored(self, run_dir: str | os.PathLike[str]) -> dict[str, Any]:
        """All settings of a run, as it has stored them."""
        return self.read(["fit", f"--config={RunDirectory(run_dir).config}"])


class _ParsingCLI(ActiveLearningCLI):
    """Ends with its arguments parsed."""

    def _set_seed(self) -> None:
        pass

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


_RESUME_PARSER = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
_RESUME_PARSER.add_argument("--resume", action="store_true")
_RESUME_PARSER.add_argument("--run_dir")


def _rank() -> int:
    """This process's number, before a trainer exists."""
    return getattr(rank_zero_only, "rank", 0)


def _identify_logger(logger: Any) -> None:
    """Gives Weights & Biases an id that a resumed run keeps."""
    arguments = logger.get("init_args") if isinstance(logger, Namespace) else None
    if arguments is not None and "offline" in arguments and arguments.id is None and arguments.version is None:
        arguments.id = uuid.uuid4().hex[:8]


def _integer_seed(seed: bool | int) -> int:
    if isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise UserError(f"Expected seed_everything to be an integer from 0 to {2**32 - 1}, got {seed}.")
    return seed


def _default_run_dir(config: Namespace) -> str:
    """``runs/<config's stem>-<strategy>-seed<seed>``."""
    stem = Path(str(config.config[0])).stem if config.config else "fit"
    strategy = config.active_learning.strategy.class_path.rsplit(".", 1)[-1]
    return f"runs/{stem}-{strategy}-seed{config.seed_everything}"


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is not the same in two configurations, a line a dotted key; where a run lies and whether it goes on does not count."""
    return [
        f"{key} was {then.get(key)!r} and is {now.get(key)!r}"
        for key in sorted({*then, *now} - _NOT_COMPARED)
        if then.get(key) != now.get(key)
    ]


def _quiet_lightning() -> None:
    """Silences what Lightning says once a cycle and a person reads once."""
    warnings.filterwarnings("ignore", message=r"The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: not _is_chatter(record.getMessage()))


def _is_chatter(message: str) -> bool:
    return "`Trainer.fit` stopped" in message or "Tip:" in message


def hide_absent_gpus() -> None:
    """Tells torch once that there is no GPU; unasked, it looks for a driver in every optimizer step (a third of a tiny model's step)."""
    if not torch.cuda.is_available():
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@one_message(then="go on with the same command and --resume")
def main(args: ArgsType = None) -> None:
    """Runs the command line; what the user can mend is printed as one line, with exit status 1.

    Args:
        args: arguments to use instead of the process's own.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("al_lightning").setLevel(logging.INFO)
    _quiet_lightning()
    hide_absent_gpus()
    ActiveLearningCLI(args)
