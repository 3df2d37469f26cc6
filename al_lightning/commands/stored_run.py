"""A segmentation run as it lies on disk: its data, and its model with a cycle's weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from al_lightning import sources
from al_lightning.callbacks.oracles import Human
from al_lightning.callbacks.record import marked_weights
from al_lightning.data import PoolDataModule, SceneDataModule
from al_lightning.data.pool import Pool
from al_lightning.errors import UserError
from al_lightning.parser_messages import shortened
from al_lightning.refusals import user_error
from al_lightning.runs import RunDirectory
from al_lightning.tasks import SegmentationTask, Task


class StoredCycle(NamedTuple):
    """A finished training of a run.

    Attributes:
        run: where it lies.
        cycle: its number.
        seed: of the run.
        task: with the weights of the cycle's end.
        data: set up; labeled is what the cycle was trained on.
    """

    run: RunDirectory
    cycle: int
    seed: int
    task: SegmentationTask
    data: SceneDataModule


def load_cycle(run: RunDirectory, cycle: int | None = None, data_root: str | None = None) -> StoredCycle:
    """Builds a run's model and data from its configuration, as they were in a cycle. Nothing in the run is changed.

    Args:
        run: as ``fit`` leaves it.
        cycle: which; None for the last one with a checkpoint.
        data_root: where the data lie now; None for where the configuration says.

    Raises:
        UserError: it is no run, or not one of a segmentation of scenes, the checkpoint was not kept, or the data are not the run's.
    """
    stored = _configuration(run)
    cycle = _cycle(run, cycle)
    seed = stored["seed_everything"]
    # The command line linked the seed to the data's, and what is linked is not stored twice.
    settings = stored["data"]["init_args"] | {"seed": seed}
    if data_root is not None:
        if "root" not in settings:
            raise UserError(f"Expected data with a root for --data_root, got {stored['data']['class_path']}. Leave --data_root out.")
        settings["root"] = data_root
    network = stored["model"]["init_args"].get("network")
    if isinstance(network, dict) and isinstance(network.get("init_args"), dict) and "encoder_weights" in network["init_args"]:
        network["init_args"]["encoder_weights"] = "none"  # the checkpoint has them all
        network["init_args"].pop("freeze_encoder", None)  # nothing is trained here
    task, datamodule = _instantiate(stored["model"], {**stored["data"], "init_args": settings})
    task.load_state_dict(marked_weights(run.checkpoint(cycle), run.read_environment().get("run"), cycle, task))
    datamodule.run = run
    datamodule.prepare_data()
    datamodule.setup("fit")
    if run.images.is_file() and (changed := sources.changed_images(run.images, datamodule.sources())):
        print(f"The images are not as they were when {run.path} was started: {changed}.")
    datamodule.pool = _pool(run, cycle, datamodule)
    return StoredCycle(run, cycle, seed, task, datamodule)


def load_data(run: RunDirectory) -> PoolDataModule:
    """Builds a run's data from its configuration, as the run would find them now. Nothing is changed.

    Raises:
        UserError: the configuration is missing or damaged, or the data are.
    """
    stored = _configuration(run)
    settings = stored["data"]["init_args"] | {"seed": stored["seed_everything"]}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(PoolDataModule, "data")
    with one_error("Expected the configuration of a run that this version can build"):
        data: PoolDataModule = parser.instantiate(parser.parse_object({"data": {**stored["data"], "init_args": settings}})).data
    data.run = run
    data.prepare_data()
    data.setup("fit")
    return data


def labels_wanted(run: RunDirectory, data: PoolDataModule) -> str | None:
    """What a person is asked to do for a run, in a sentence; None where it waits for nobody."""
    settings = run.read_config().get("active_learning")
    enough = settings.get("enough", 1.0) if isinstance(settings, dict) else 1.0
    asked = run.awaited()
    return Human(enough).request(run, data, asked) if asked else None


def _configuration(run: RunDirectory) -> dict[str, Any]:
    if not run.config.exists():
        raise UserError(f"Expected {run.config}, the configuration of a run, but it is missing. Is it the directory of a run?")
    stored = run.read_config()
    for part in ("model", "data"):
        node = stored.get(part)
        if not isinstance(node, dict) or not isinstance(node.get("class_path"), str) or not isinstance(node.get("init_args"), dict):
            raise UserError(f"Expected {part} in {run.config} to be a class and its arguments, got {node!r:.60}. Was it changed?")
    if not isinstance(seed := stored.get("seed_everything"), int) or isinstance(seed, bool):
        raise UserError(f"Expected seed_everything in {run.config} to be an integer, got {seed!r:.60}. Was it changed?")
    return stored


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


def _instantiate(model: dict[str, Any], datamodule: dict[str, Any]) -> tuple[SegmentationTask, SceneDataModule]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Task, "model")
    parser.add_subclass_arguments(PoolDataModule, "data")
    with one_error("Expected the configuration of a run that this version can build"):
        objects = parser.instantiate(parser.parse_object({"model": model, "data": datamodule}))
    task, data = objects.model, objects.data
    if not isinstance(task, SegmentationTask) or not isinstance(data, SceneDataModule):
        raise UserError(f"Expected a run that segments scenes, got one of {type(task).__name__} on {type(data).__name__}.")
    return task, data


@contextmanager
def one_error(expected: str) -> Iterator[None]:
    """Makes a UserError of what a parser or a constructor refuses in here: the constructor's own words, or what was expected."""
    try:
        yield
    except (ArgumentError, ValueError, yaml.YAMLError) as error:
        cause = user_error(error)
        raise UserError(f"{expected}: {shortened(str(error))}" if cause is None else str(cause)) from error


def _pool(run: RunDirectory, cycle: int, datamodule: SceneDataModule) -> Pool:
    """The pool as the cycle was trained on it."""
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
