"""The command line: one LightningCLI that knows the run directory."""

import argparse
import logging
import os
import sys
import tempfile
import uuid
import warnings
from collections.abc import Collection
from itertools import zip_longest
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
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.multiprocessing.spawn import ProcessExitedException

from al_lightning import data, settings, shipped, tasks
from al_lightning.analysis.drawings import plots
from al_lightning.callbacks import ActiveLearningCallback, CycleLogger, CycleProgressBar, ScenePictures
from al_lightning.callbacks.configured import is_as_it_was, refuse_other_weights, weights_known
from al_lightning.configuration_files import refuse_unfilled, refuse_variables
from al_lightning.errors import UserError
from al_lightning.loggers import hyperparameters, name_run, refuse_unreachable
from al_lightning.parsing import Parser
from al_lightning.processes import lost_processes, speak_for_the_observer
from al_lightning.refusals import GO_ON, WAITS_FOR_LABELS, lost_process, one_message
from al_lightning.run_files import MADE_IN_PYTHON
from al_lightning.runs import RunDirectory
from al_lightning.text import is_unicode
from al_lightning.trainer import Trainer

_USAGE = "python -m al_lightning fit --config CONFIG [--KEY VALUE ...]"
_WHAT_FIT_DOES = "Runs an experiment, or resumes one. Each KEY may be in the file CONFIG, too; the last value of a key counts."


class ActiveLearningCLI(LightningCLI):
    """LightningCLI with ``active_learning``, ``run_dir`` and ``resume`` at the top level."""

    def __init__(self, args: ArgsType = None) -> None:
        self.run: RunDirectory | None = None  # None with fast_dev_run, which leaves no run behind
        try:
            super().__init__(
                model_class=tasks.Task,
                datamodule_class=data.PoolDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                trainer_class=Trainer,
                save_config_callback=None,
                parser_class=Parser,
                parser_kwargs={"fit": {"usage": _USAGE, "description": _WHAT_FIT_DOES}},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                trainer_defaults={"max_epochs": 20},
                args=args,
            )
        finally:
            if self.run is not None:
                self.run.release()

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """``fit`` alone. A run goes on with ``resume``, not from a single checkpoint."""
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "ckpt_path", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the project's own keys, and one seed for everything."""
        parser.add_argument("--run_dir", type=str | None, help="The run's directory; runs/<config>-<strategy>-seed<seed> by default.")
        parser.add_argument("--resume", action="store_true", help="Go on with the run, if it has begun.")
        parser.add_lightning_class_args(ActiveLearningCallback, "active_learning")
        parser.add_lightning_class_args(CycleLogger, "cycle_logger")
        parser.add_optimizer_args()
        parser.add_lr_scheduler_args()
        parser.link_arguments("resume", "active_learning.resume")
        parser.link_arguments("seed_everything", "active_learning.seed", compute_fn=_integer_seed)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=_integer_seed)
        offline = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"project": "al_lightning", "offline": True}}
        parser.set_defaults({"trainer.logger": offline})

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses the arguments. With ``--resume``, if they have no configuration, that of the run comes first."""
        arguments = sys.argv[1:] if args is None else args
        assert isinstance(arguments, list)
        refuse_variables(arguments)
        arguments = shipped.located_in(arguments)
        known, _ = _RESUME_PARSER.parse_known_args(arguments)
        if known.resume and not known.config and known.model is None:
            if known.run_dir is None:
                raise UserError("Expected --run_dir or --config with --resume: it says which run to go on with.")
            stored = RunDirectory(known.run_dir).config
            if not stored.exists():
                raise UserError(f"Expected {stored}, the configuration of the run to resume, but it is missing. Is --run_dir right?")
            _refuse_script(RunDirectory(known.run_dir))
            arguments = [arguments[0], f"--config={stored}", *arguments[1:]]
        self.config = parser.parse_args(arguments)

    def _refuse_other_config(self, parser: LightningArgumentParser, stored: Path, whose: str, *parts: str) -> None:
        """Refuses a run whose configuration is missing, or differs in keys that begin with one of ``parts``, or that a script has made."""
        if not stored.exists():
            raise UserError(f"Expected {stored}, the configuration of {whose}, but it is missing. Is the directory right?")
        _refuse_script(RunDirectory(stored.parent))
        then, now = (self.resolved(config) for config in (parser.parse_args(["fit", f"--config={stored}"]), self.config))
        known = weights_known(RunDirectory(stored.parent))
        changed = differences(then, now, settings.renewed(then, now, known))
        if changed := [line for line in changed if line.startswith(parts)]:
            raise UserError(f"Expected the configuration of {whose}, {stored}, but it differs: {'; '.join(changed)}.")
        refuse_other_weights(RunDirectory(stored.parent), whose, now)

    def resolved(self, config: Namespace) -> dict[str, Any]:
        """All settings of a parsed configuration, by dotted key; those that are null are left out."""
        return settings.flat(yaml.safe_load(self._parser("fit").dump(config.fit, skip_unset=False, skip_validation=True, format="yaml")))

    def before_instantiate_classes(self) -> None:
        """Decides where the run lies, and opens it."""
        config = self.config.fit
        refuse_unfilled(self.resolved(self.config))
        if config.run_dir is None:
            config.run_dir = _default_run_dir(config)
        if not config.run_dir.strip():
            raise UserError(
                "Expected --run_dir to name the run's directory, got nothing. Leave it out for runs/<config>-<strategy>-seed<seed>."
            )
        if config.trainer.default_root_dir is not None:
            raise UserError(f"Expected no trainer.default_root_dir, got {config.trainer.default_root_dir}: a run lies in its --run_dir.")
        if _rank() == 0 and not config.trainer.fast_dev_run:
            refuse_unreachable(config.trainer.logger)
        if config.trainer.fast_dev_run:  # a check of the code leaves no run behind
            self._scratch = tempfile.TemporaryDirectory()
            config.trainer.default_root_dir = self._scratch.name
            self._refuse_other_initial_run(config)
        else:
            self.run = RunDirectory(config.run_dir)
            loggers = config.trainer.logger if isinstance(config.trainer.logger, list) else [config.trainer.logger]
            self._open_run(self.run, config, loggers)
            # After the configuration is written, which has loggers' paths within the run, so that it can be moved.
            described = self.resolved(self.config)
            for logger in loggers:
                _place_logger(logger, self.run)
                if (arguments := _arguments(logger)) is not None and "group" in arguments:
                    name_run(arguments, described)
            config.trainer.default_root_dir = str(self.run.path)

    def _open_run(self, run: RunDirectory, config: Namespace, loggers: list[Any]) -> None:
        """Opens the run in its directory if it has this configuration, or begins it.

        Raises:
            UserError: another process writes there, the run there has another configuration, or it is not to be resumed.
        """
        _refuse_bytes(run, loggers)
        if not run.holds_run():
            self._refuse_other_initial_run(config)
        if _rank() == 0:
            run.hold()
        if not config.resume:
            run.refuse_run()
        stored = _stored_settings(run)
        # A start that was killed, with other settings: it is another run for Weights & Biases.
        trainer = stored.get("trainer") if run.holds_run() or self._is_the_same_but_for_loggers(stored) else None
        for logger, known in zip_longest(loggers, _listed(trainer.get("logger") if isinstance(trainer, dict) else None)):
            _identify_logger(logger, known)
        if run.holds_run():
            self._refuse_edited_config(run, stored)
            self._refuse_other_config(self.parser, run.config, "the run to resume", "")
            now = self.resolved(self.config)
            if _rank() == 0 and settings.renewed(settings.flat(stored), now):
                run.follow(now)
        elif _rank() == 0 and (not stored or differences(settings.flat(stored), self.resolved(self.config))):
            if config.resume and not stored:
                print(f"There is no run in {run.path} to go on with: it begins now.", flush=True)
            run.write_config(self._to_store(config))

    def _is_the_same_but_for_loggers(self, stored: dict[str, Any]) -> bool:
        changed = differences(settings.flat(stored), self.resolved(self.config))
        return all(line.startswith("trainer.logger") for line in changed)

    def _to_store(self, config: Namespace) -> str:
        begun = config.clone()
        begun.resume = False
        return str(self._parser("fit").dump(begun, skip_unset=False, format="yaml"))

    def _refuse_edited_config(self, run: RunDirectory, stored: dict[str, Any]) -> None:
        """Refuses a run if somebody has changed the file of its configuration since it began."""
        if not stored or is_as_it_was(run):
            return
        changed = differences(settings.flat(stored), self.resolved(self.config))
        raise UserError(
            f"Expected {run.config} as it was when the run began, but the file was changed after that. Undo the change, or begin another "
            f"run with it in another --run_dir.{' The configuration given differs from it: ' if changed else ''}{'; '.join(changed)}"
        )

    def _refuse_other_initial_run(self, config: Namespace) -> None:
        if initial_run := config.active_learning.initial_run:
            parts = ("model.", *(["active_learning.initial_strategy"] if config.active_learning.initial_strategy else []))
            self._refuse_other_config(self.parser, RunDirectory(initial_run).config, "the initial run", *parts)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Adds a progress bar and pictures if there are none. If nobody asks for checkpoints, there are only those of cycles."""
        trainer = self.config_init.fit.trainer
        self.config_init.fit.cycle_logger.hyperparameters = hyperparameters(self.resolved(self.config))
        if self.run is not None:  # it is opened and held, so that what is there can be resumed
            learning = self.config_init.fit.active_learning
            learning.run, learning.resume = self.run, True
        callbacks = trainer.callbacks if isinstance(trainer.callbacks, list) else [trainer.callbacks] if trainer.callbacks else []
        if trainer.enable_progress_bar is not False and not any(isinstance(callback, ProgressBar) for callback in callbacks):
            callbacks = [*callbacks, CycleProgressBar()]
        scenes = isinstance(self.config_init.fit.data, data.SceneDataModule)
        if scenes and not any(isinstance(callback, ScenePictures) for callback in callbacks):
            callbacks = [*callbacks, ScenePictures()]
        if trainer.enable_checkpointing is None and not any(isinstance(callback, Checkpoint) for callback in callbacks):
            kwargs["enable_checkpointing"] = False
        return super().instantiate_trainer(**kwargs, callbacks=callbacks)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> pl.Trainer:
        # The experiment's callback comes first, so that it sees the others before they change.
        return self.trainer_class(**{**config, "callbacks": [*callbacks, *config["callbacks"]]})

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except ProcessExitedException as error:
            if error.exit_code != WAITS_FOR_LABELS:
                raise
            sys.exit(WAITS_FOR_LABELS)  # forked processes have printed why
        except RuntimeError as error:
            if lost_process(error) and self.trainer.received_sigterm:
                raise SIGTERMException from error
            if not lost_process(error) or (who := lost_processes(self.trainer)) is None:
                raise
            raise UserError(who) from error

    def after_fit(self) -> None:
        """Draws the learning curve; ends the program with a status of its own if the run waits for labels."""
        if self.trainer.is_global_zero and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            assert self.run is not None
            print(f"Learning curve: {plots.draw_learning_curve(self.run)}")
            if self.run.awaited():  # read from its files, as forked processes may have run it
                sys.exit(WAITS_FOR_LABELS)


_RESUME_PARSER = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
_RESUME_PARSER.add_argument("--resume", action="store_true")
_RESUME_PARSER.add_argument("--run_dir")
_RESUME_PARSER.add_argument("-c", "--config", action="append")
_RESUME_PARSER.add_argument("--model")


def _refuse_script(run: RunDirectory) -> None:
    """Makes sure that a run's configuration can be read, and that ``fit`` has made the run.

    Raises:
        UserError: the configuration can't be read, or a Python script has made the run.
    """
    if run.read_config().get(MADE_IN_PYTHON):
        raise UserError(
            f"Expected a run of `fit`, but {run.path} was made by a Python script, which alone can build its model and data again. Go on "
            "with that script and ActiveLearningCallback(..., resume=True)."
        )


def _rank() -> int:
    """This process's number, before a trainer exists."""
    return getattr(rank_zero_only, "rank", 0) or int(os.environ.get("NODE_RANK", 0))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _stored_settings(run: RunDirectory) -> dict[str, Any]:
    """A run's stored configuration, nested; empty if there is none that can be read."""
    try:
        return run.read_config()
    except UserError:
        return {}


def _refuse_bytes(run: RunDirectory, loggers: list[Any]) -> None:
    """Makes sure that Weights & Biases, if it is a logger, can write into the run.

    Raises:
        UserError: the directory's name is not UTF-8.
    """
    if not is_unicode(str(run.path)) and any("offline" in (_arguments(logger) or ()) for logger in loggers):
        raise UserError(
            f"Expected a --run_dir in UTF-8 for Weights & Biases, got {str(run.path)!r}. Name another one, or leave the logger out "
            "(--trainer.logger false)."
        )


def _arguments(logger: Any) -> Any:
    return logger.get("init_args") if isinstance(logger, Namespace) else None


def _identify_logger(logger: Any, stored: Any) -> None:
    """Gives Weights & Biases an id that a resumed run keeps."""
    arguments = _arguments(logger)
    if arguments is not None and "offline" in arguments and arguments.id is None and arguments.version is None:
        known = stored.get("init_args") if isinstance(stored, dict) else None
        arguments.id = (known.get("id") if isinstance(known, dict) else None) or uuid.uuid4().hex[:8]


def _place_logger(logger: Any, run: RunDirectory) -> None:
    """Moves a logger's directory, if it is relative, into the run."""
    arguments = _arguments(logger)
    if arguments is not None and "save_dir" in arguments:
        arguments.save_dir = str(run.path / (arguments.save_dir or "."))


def _integer_seed(seed: bool | int | None) -> int:
    if seed is None or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise UserError(f"Expected seed_everything to be an integer from 0 to {2**32 - 1}, got {seed}.")
    return seed


def _default_run_dir(config: Namespace) -> str:
    """``runs/<config's stem>-<strategy>-seed<seed>``."""
    stem = Path(str(config.config[0])).stem if config.config else "fit"
    strategy = config.active_learning.strategy.class_path.rsplit(".", 1)[-1]
    return f"runs/{stem}-{strategy}-seed{config.seed_everything}"


def differences(then: dict[str, Any], now: dict[str, Any], renewed: Collection[str] = ()) -> list[str]:
    """The differences of two configurations, one line for each dotted key.

    Args:
        then: the earlier one, by dotted key.
        now: the present one.
        renewed: keys that may have other values. Keys that don't change what is computed are left out, too.
    """
    return settings.differences(then, now, (*settings.NOT_COMPARED, *renewed))


def _quiet_lightning() -> None:
    """Silences what Lightning says in every cycle and a person reads only once."""
    warnings.filterwarnings("ignore", message=r"The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")  # a frozen encoder
    warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: not _is_chatter(record.getMessage()))


def _is_chatter(message: str) -> bool:
    return "`Trainer.fit` stopped" in message or "Tip:" in message


def hide_absent_gpus() -> None:
    """Tells torch once that there is no GPU; else it looks for a driver in every optimizer step (a third of a tiny model's step)."""
    if not torch.cuda.is_available():
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@one_message(then=GO_ON)
def main(args: ArgsType = None) -> None:
    """Runs ``fit``; what the user can mend is printed as one line, and the exit status is 1 or 2.

    Args:
        args: arguments in place of those of the process.

    Raises:
        SystemExit: something was refused, the run waits for labels, or the process got a signal.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("al_lightning").setLevel(logging.INFO)
    _quiet_lightning()
    speak_for_the_observer()
    hide_absent_gpus()
    ActiveLearningCLI(args)
