"""Builds objects from what a run has stored: its model with the weights of a cycle, its data, its strategies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from al_lightning import seeds, sources
from al_lightning.acquisition import STRATEGIES, Aggregation, Strategy
from al_lightning.callbacks.oracles import HumanOracle
from al_lightning.callbacks.record import marked_weights
from al_lightning.configuration_files import read_settings, read_value
from al_lightning.data import PoolDataModule, SceneDataModule
from al_lightning.data.pool import Pool
from al_lightning.errors import UserError
from al_lightning.parser_messages import shortened
from al_lightning.refusals import user_error
from al_lightning.run_files import MADE_IN_PYTHON
from al_lightning.runs import RunDirectory
from al_lightning.states import network_weights
from al_lightning.tasks import SegmentationTask, Task


class StoredCycle(NamedTuple):
    """A cycle of a run, with its weights and data.

    Attributes:
        run: the run directory.
        cycle: number of the cycle.
        seed: seed of the run.
        task: the task with the weights of the cycle's checkpoint.
        data: the data, set up; the labeled items are those that the cycle was trained on.
    """

    run: RunDirectory
    cycle: int
    seed: int
    task: SegmentationTask
    data: SceneDataModule


class StoredModel(NamedTuple):
    """A trained model, without its data.

    Attributes:
        source: where the weights come from, for people.
        cycle: the cycle in which they were trained; 0 if unknown.
        seed: seed of the configuration.
        task: the task with the weights.
        data: the data module, not set up; its files may be missing.
        learning: the settings of ``active_learning``.
    """

    source: str
    cycle: int
    seed: int
    task: Task
    data: PoolDataModule
    learning: dict[str, Any]

    @property
    def scoring_seed(self) -> int:
        """The seed for random numbers in strategies, the same as in the run's own query after this cycle."""
        return seeds.derive(self.seed, "scoring", self.cycle)

    def strategies(self) -> list[Strategy]:
        """Builds the strategy of the configuration, and those whose scores it records, too. Empty if there is no strategy.

        Raises:
            UserError: a strategy can't be built.
        """
        if (strategy := self.learning.get("strategy")) is None:
            return []
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(Strategy, "strategy")
        parser.add_argument("--also_record", type=list[Strategy | Aggregation])
        given = {"strategy": strategy, "also_record": self.learning.get("also_record") or []}
        with one_error("Expected strategies that this version can build in the configuration's active_learning"):
            found = parser.instantiate(parser.parse_object(given))
        own: Strategy = found.strategy
        return [own, *(own.aggregated_by(each) if isinstance(each, Aggregation) else each for each in found.also_record)]


def load_run(run: RunDirectory) -> StoredModel:
    """Loads a run's model with the weights of its last checkpoint.

    Args:
        run: a run of ``fit``; it may be under way.

    Raises:
        UserError: the directory is not a run of ``fit``, no checkpoint was kept, or a file is damaged.
    """
    stored, cycle = _configuration(run), _cycle(run, None)
    task, data = _instantiate(stored)
    data.run = run  # which began with these classes, whatever has come since
    task.load_state_dict(marked_weights(run.checkpoint(cycle), run.read_environment().get("run"), cycle, task))
    return StoredModel(f"{run.path.name}, cycle {cycle}", cycle, stored["seed_everything"], task, data, _learning(stored))


def load_checkpoint(checkpoint: Path, config: Path) -> StoredModel:
    """Loads a model with the weights of a file.

    Args:
        checkpoint: the checkpoint of a cycle, or another file with the network's weights under ``network.``.
        config: a configuration of ``fit``, written by a person or stored by a run.

    Raises:
        UserError: a file is missing or damaged, or the weights do not fit the network.
    """
    content = read_settings(config)
    stored = _checked(content["fit"] if isinstance(content.get("fit"), dict) else content, config)
    task, data = _instantiate(stored)
    task.network.load_state_dict(network_weights(checkpoint, task.network))
    return StoredModel(str(checkpoint), 0, stored["seed_everything"], task, data, _learning(stored))


def read_strategy(text: str) -> Strategy:
    """Builds the strategy of an option ``--strategy``.

    Args:
        text: name of the strategy, or its class and arguments in YAML.

    Raises:
        UserError: there is no such strategy, or it does not take these arguments.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Strategy, "strategy")
    with one_error(f"Expected a strategy for --strategy, one of {', '.join(STRATEGIES)}, got {text!r}"):
        strategy: Strategy = parser.instantiate(parser.parse_object({"strategy": read_value(text)})).strategy
        if strategy is None:
            raise ValueError("it is none")
    return strategy


def load_cycle(run: RunDirectory, cycle: int | None = None, data_root: str | None = None) -> StoredCycle:
    """Builds a run's model and data from its configuration, as they were in a cycle. Nothing in the run is changed.

    Args:
        run: a run of ``fit``.
        cycle: number of the cycle; None for the last one with a checkpoint.
        data_root: the folder of the data; None for the one in the configuration.

    Raises:
        UserError: the directory is not a run of ``fit`` that segments scenes, the checkpoint was not kept, or the data are not the run's.
    """
    stored = _configuration(run)
    cycle = _cycle(run, cycle)
    task, datamodule = _instantiate(stored, data_root)
    if not isinstance(task, SegmentationTask) or not isinstance(datamodule, SceneDataModule):
        raise UserError(f"Expected a run that segments scenes, got one of {type(task).__name__} on {type(datamodule).__name__}.")
    task.load_state_dict(marked_weights(run.checkpoint(cycle), run.read_environment().get("run"), cycle, task))
    datamodule.run = run
    datamodule.prepare_data()
    datamodule.setup("fit")
    if run.images.is_file() and (changed := sources.changed_images(run.images, datamodule.sources())):
        print(f"The images are not as they were when {run.path} was started: {changed}.")
    datamodule.pool = _pool(run, cycle, datamodule)
    return StoredCycle(run, cycle, stored["seed_everything"], task, datamodule)


def load_data(run: RunDirectory) -> PoolDataModule:
    """Builds a run's data from its configuration, as the run would find them now. Nothing is changed.

    Raises:
        UserError: the configuration or the data are missing or damaged.
    """
    _, data = _instantiate(_configuration(run))
    data.run = run
    data.prepare_data()
    data.setup("fit")
    return data


def labels_wanted(run: RunDirectory, data: PoolDataModule) -> str | None:
    """Says in a sentence which labels a run waits for; None if it does not wait for labels."""
    settings = run.read_config().get("active_learning")
    enough = settings.get("enough", 1.0) if isinstance(settings, dict) else 1.0
    asked = run.awaited()
    return HumanOracle(enough).request(run, data, asked) if asked else None


def _configuration(run: RunDirectory) -> dict[str, Any]:
    if not run.config.exists():
        raise UserError(f"Expected {run.config}, the configuration of a run, but it is missing. Is it the directory of a run?")
    return _checked(run.read_config(), run.config)


def _checked(stored: dict[str, Any], path: Path) -> dict[str, Any]:
    """Makes sure that a configuration has a model, data and a seed, and returns it.

    Raises:
        UserError: it lacks one of them, or belongs to a run that was made in Python.
    """
    if stored.get(MADE_IN_PYTHON):
        raise UserError(
            f"Expected a run of `fit`, but {path} belongs to a run that was made by a Python script. Only this script can build its model "
            "and data. If a configuration of `fit` builds the same network, `query --checkpoint CKPT --config CONFIG` takes its weights."
        )
    for part in ("model", "data"):
        node = stored.get(part)
        if not isinstance(node, dict) or not isinstance(node.get("class_path"), str) or not isinstance(node.get("init_args", {}), dict):
            raise UserError(f"Expected {part} in {path} to be a class and its arguments, got {node!r:.60}. Was it changed?")
    if not isinstance(seed := stored.setdefault("seed_everything", 0), int) or isinstance(seed, bool):
        raise UserError(f"Expected seed_everything in {path} to be an integer, got {seed!r:.60}. Was it changed?")
    return stored


def _learning(stored: dict[str, Any]) -> dict[str, Any]:
    found = stored.get("active_learning")
    return found if isinstance(found, dict) else {}


def _cycle(run: RunDirectory, cycle: int | None) -> int:
    kept = run.checkpoints()
    if not kept:
        raise UserError(
            f"Expected a checkpoint cycles/NNN/last.ckpt in {run.path}, found none. Make the run with active_learning.keep=all."
        )
    if cycle is not None and cycle not in kept:
        shown = ", ".join(map(str, kept))
        raise UserError(f"Expected a cycle whose checkpoint was kept, got {cycle}: {run.path} has those of {shown} (active_learning.keep).")
    return kept[-1] if cycle is None else cycle


def _instantiate(stored: dict[str, Any], data_root: str | None = None) -> tuple[Task, PoolDataModule]:
    """Builds the task without the weights of a checkpoint, and the data module, which is not set up."""
    model, data = stored["model"], stored["data"]
    # The command line links the seed of the data to seed_everything, and a linked value is not stored.
    settings = data.get("init_args", {}) | {"seed": stored["seed_everything"]}
    if data_root is not None:
        if "root" not in settings:
            raise UserError(f"Expected data with a root for --data_root, got {data['class_path']}. Leave --data_root out.")
        settings["root"] = data_root
    network = model.get("init_args", {}).get("network")
    if isinstance(network, dict) and isinstance(network.get("init_args"), dict) and "encoder_weights" in network["init_args"]:
        network["init_args"]["encoder_weights"] = "none"  # the checkpoint has all weights
        network["init_args"].pop("freeze_encoder", None)  # nothing is trained
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Task, "model")
    parser.add_subclass_arguments(PoolDataModule, "data")
    with one_error("Expected the configuration of a run that this version can build"):
        objects = parser.instantiate(parser.parse_object({"model": model, "data": {**data, "init_args": settings}}))
    return objects.model, objects.data


@contextmanager
def one_error(expected: str) -> Iterator[None]:
    """Turns errors of parsers and constructors within a ``with`` block into a UserError.

    Args:
        expected: begins the message, unless the constructor raised a UserError itself, whose message is kept.

    Raises:
        UserError: a parser or a constructor raised.
    """
    try:
        yield
    except (ArgumentError, ValueError, yaml.YAMLError) as error:
        cause = user_error(error)
        raise UserError(f"{expected}: {shortened(str(error))}" if cause is None else str(cause)) from error


def _pool(run: RunDirectory, cycle: int, datamodule: SceneDataModule) -> Pool:
    """Builds the pool with the labeled items of a cycle.

    Raises:
        UserError: the items of the data are not those of the run.
    """
    rows = [row for row in run.read_labeled()[1] if row.cycle <= cycle]
    size = len(datamodule.pool.labeled)
    for row in rows:
        if row.index >= size or datamodule.item(row.index) != row.item:
            found = datamodule.item(row.index) if row.index < size else f"only {size} items"
            raise UserError(
                f"Expected the data of the run, with {row.item} at index {row.index}, got {found}. Name their folder by --data_root."
            )
    pool = Pool(size)
    for number in range(cycle + 1):
        pool.label(torch.tensor([row.index for row in rows if row.cycle == number], dtype=torch.int64))
    return pool
