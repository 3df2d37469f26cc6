"""The settings of an experiment that a Python script makes, written as a configuration, so that runs can be compared."""

import functools
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch import nn

from al_lightning.callbacks.budget import Budget
from al_lightning.data import PoolDataModule
from al_lightning.run_files import MADE_IN_PYTHON
from al_lightning.tasks import Task

_TRAINER = ("max_epochs", "max_steps", "precision", "gradient_clip_val", "accumulate_grad_batches")
# Left out where they are as the trainer has them by default.
_DEFAULTS = {
    "min_epochs": None,
    "min_steps": None,
    "limit_train_batches": 1.0,
    "limit_val_batches": 1.0,
    "limit_test_batches": 1.0,
    "overfit_batches": 0.0,
    "val_check_interval": 1.0,
    "check_val_every_n_epoch": 1,
    "gradient_clip_algorithm": None,
    "reload_dataloaders_every_n_epochs": 0,
}
_CHANGING = (
    BaseFinetuning,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
# Where a callback's files lie, and what it says.
_APART = (
    "auto_insert_metric_name",
    "device",
    "dirpath",
    "enable_version_counter",
    "filename",
    "log_rank_zero_only",
    "save_last",
    "verbose",
)
_PLAIN = (bool, int, float, str, type(None))
_DEEPEST = 4  # levels of objects in objects that are described


def settings_of(trainer: Trainer, task: Task, data: PoolDataModule, learning: Any) -> str:
    """A run's settings in YAML, as far as they can be read from its objects.

    An object's arguments are its attributes of the same names. A network's arguments are those of the ``functools.partial`` that makes it;
    without a partial, a hash of its layers stands for them.

    Args:
        trainer: the trainer that runs the experiment.
        task: the module that it trains.
        data: the data module.
        learning: the experiment's callback.
    """
    model = _class(task)
    model["init_args"].pop("loss", None)  # the method
    if task.criterion is not None:
        model["init_args"]["loss"] = _loss(task.criterion)
    if task.make_lr_scheduler is not None:
        model["init_args"]["lr_scheduler"] = _made_by(task.make_lr_scheduler.factory)
    model["init_args"] |= {"network": _made_by(task.make_network.factory, task.network), "optimizer": _made_by(task.make_optimizer.factory)}
    budget: Budget = learning.budget
    experiment = _class(learning)["init_args"] | {
        "query_size": _one_or_all(budget.query_sizes),
        "stride": _one_or_all(budget.strides),
        "cycles": budget.cycles,
        "label_budget": budget.labels,
        "target": _as_yaml(budget.target),
        "oracle": "human" if learning.oracle.asks else "dataset",
        "initial_run": None if learning.initial_run is None else str(learning.initial_run.path),
    }
    settings = {
        MADE_IN_PYTHON: True,
        "seed_everything": learning.seed,
        "trainer": _trainer(trainer),
        "model": model,
        "data": _data(data),
        "active_learning": {name: value for name, value in experiment.items() if name not in ("seed", "resume")},
    }
    return yaml.safe_dump(settings, sort_keys=False)


def _trainer(trainer: Trainer) -> dict[str, Any]:
    told = {name: _as_yaml(getattr(trainer, name, None)) for name in _TRAINER}
    told |= {
        name: _as_yaml(its)
        for name, default in _DEFAULTS.items()
        if (type(its := getattr(trainer, name, default)), its) != (type(default), default)  # 1 is one batch, 1.0 all of them
    }
    callbacks = [callback for callback in trainer.callbacks if _counts(callback)]  # type: ignore[attr-defined]
    return told | ({"callbacks": [*map(_callback, callbacks)]} if callbacks else {})


def _counts(callback: Callback) -> bool:
    """Whether a callback is one of Lightning's that change a training, or choose its weights. What other callbacks do is not known."""
    return isinstance(callback, _CHANGING) or (isinstance(callback, ModelCheckpoint) and callback.monitor is not None)


def _callback(callback: Callback) -> dict[str, Any]:
    """As :func:`_class`; Lightning's callbacks keep many arguments with an underscore in front."""
    told = _class(callback)
    hidden = {name: _as_yaml(vars(callback).get(f"_{name}", _UNKNOWN)) for name in _arguments(type(callback))}
    if isinstance(callback, WeightAveraging):
        hidden |= {name: _function(value) for name, value in callback._kwargs.items()}
    known = told["init_args"] | {name: value for name, value in hidden.items() if value is not _UNKNOWN}
    return told | {"init_args": {name: value for name, value in known.items() if name not in _APART}}


def _function(function: Any) -> Any:
    """A function's name, and the numbers that it was made with, such as the decay of an average; a plain value as it is."""
    if not isinstance(function, FunctionType):
        return _as_yaml(function)
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    made_with = inspect.getclosurevars(function).nonlocals
    return {"class_path": _path(function), "init_args": {name: value for name, value in made_with.items() if isinstance(value, _PLAIN)}}


def _loss(loss: nn.Module) -> dict[str, Any]:
    """As :func:`_class`, with a hash of its tensors, such as weights of classes."""
    told, tensors = _class(loss), {name: value.tolist() for name, value in loss.state_dict().items()}
    if tensors:
        told["init_args"]["tensors"] = hashlib.sha256(repr(tensors).encode()).hexdigest()[:8]
    return told


def _class(thing: Any, depth: int = 0) -> dict[str, Any]:
    """The path of an object's class, and those of its arguments that it keeps as attributes."""
    missing = object()
    kept = {name: getattr(thing, name, missing) for name in _arguments(type(thing))}
    told = {name: _as_yaml(value, depth + 1) for name, value in kept.items() if value is not missing}
    return {"class_path": _path(type(thing)), "init_args": {name: value for name, value in told.items() if value is not _UNKNOWN}}


def _data(data: PoolDataModule) -> dict[str, Any]:
    described = _class(data)
    described["init_args"] |= data.given_seeds  # not what they come to: that is another number for each seed of the run
    return described


def _one_or_all(values: Sequence[int]) -> int | list[int]:
    return values[0] if len(values) == 1 else [*values]


_UNKNOWN = object()


def _as_yaml(value: Any, depth: int = 0) -> Any:
    """A value as YAML can hold it, or ``_UNKNOWN`` if YAML can't."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        parts = [_as_yaml(part, depth) for part in value]
        return _UNKNOWN if any(part is _UNKNOWN for part in parts) else parts
    if isinstance(value, Mapping):
        entries = {str(key): _as_yaml(part, depth) for key, part in value.items()}
        return _UNKNOWN if any(part is _UNKNOWN for part in entries.values()) else entries
    if type(value).__module__.partition(".")[0] in ("builtins", "torch", "numpy") or callable(value) or depth > _DEEPEST:
        return _UNKNOWN
    return _class(value, depth)


def _arguments(kind: type) -> list[str]:
    """Names of a constructor's arguments, with those that it passes to its base class as ``**kwargs``."""
    names: dict[str, None] = {}
    for each in kind.__mro__:
        if "__init__" in vars(each):
            parameters = list(inspect.signature(each.__init__).parameters.values())[1:]  # type: ignore[misc]
            names |= dict.fromkeys(each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))
            if not any(each.kind is each.VAR_KEYWORD for each in parameters):
                break
    return [*names]


def _made_by(factory: Any, made: nn.Module | None = None) -> dict[str, Any]:
    """The class and arguments of a factory (a class, or a partial of one); otherwise the made object's class and a hash of its layers."""
    arguments: dict[str, Any] = {}
    while isinstance(factory, functools.partial):
        arguments = inspect.signature(factory.func).bind_partial(*factory.args, **factory.keywords).arguments | arguments
        factory = factory.func
    if isinstance(factory, type) or made is None:
        told = {name: _as_yaml(value) for name, value in arguments.items()}
        if isinstance(factory, FunctionType):
            told |= {"code": _code(factory), **_function(factory)["init_args"]}
        return {"class_path": _path(factory), "init_args": {name: value for name, value in told.items() if value is not _UNKNOWN}}
    return {"class_path": _path(type(made)), "init_args": {"layers": hashlib.sha256(repr(made).encode()).hexdigest()[:8]}}


def _code(function: FunctionType) -> str:
    """A hash of what a function does, which a name such as ``<lambda>`` does not say."""
    code, by_name = function.__code__, function.__kwdefaults__ or {}
    values = [[*map(_plain, part)] for part in (code.co_consts, function.__defaults__ or (), by_name, by_name.values())]
    return hashlib.sha256(repr((code.co_code, code.co_names, values)).encode()).hexdigest()[:8]


def _plain(constant: Any) -> Any:
    """A value that is the same in every process; of an object, which may show its address, the class."""
    return constant if isinstance(constant, _PLAIN) else type(constant).__name__


def _path(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
