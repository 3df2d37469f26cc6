"""Checks before training that data, task and network fit together."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.trainer.states import RunningStage
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from al_lightning.acquisition.inference import for_network, staged
from al_lightning.errors import UserError
from al_lightning.labels import IGNORED
from al_lightning.layer_settings import unchanged
from al_lightning.text import listed

_TOO_FEW = "Expected more than 1 value per channel when training"  # torch's batch norm


def agreed_classes(stated: Sequence[str] | int | None, data: Sequence[str] | None, setting: str) -> list[str]:
    """Names of the classes, which the data know; a task may only repeat them.

    Args:
        stated: names or number of the classes, as given to the task; None if they are not given.
        data: names, as the data module has them; None if it has none.
        setting: the argument of the task, for the error.

    Raises:
        UserError: the two differ, or neither has classes.
    """
    names = [str(number) for number in range(stated)] if isinstance(stated, int) else stated
    if names is None or data is None:
        known = data if names is None else names
        if known is None:
            raise UserError(f"Expected data that know their classes (class_names), or model.init_args.{setting}, got neither.")
        return list(known)
    if isinstance(stated, int) and stated == len(data):
        return list(data)
    # Other names are fine, but not the data's name of another class.
    if len(names) != len(data) or any(theirs in names and theirs != ours for ours, theirs in zip(names, data, strict=True)):
        raise UserError(
            f"Expected the {len(data)} classes of the data ({listed(data)}), got model.init_args.{setting} for {len(names)} "
            f"({listed(names)}). Leave it out: the data know their classes."
        )
    return list(names)


def refuse_other_network(network: nn.Module, example: Tensor, classes: Sequence[str], dense: bool) -> None:
    """Makes sure that a network gives logits of the right shape for one item; it and the random generators are left as they were.

    Args:
        network: on any device.
        example: inputs ``(1, *)``.
        classes: of the data.
        dense: whether each pixel has logits of its own.

    Raises:
        UserError: it can't take the inputs, or its logits are not ``(1, C)``; ``(1, C, H, W)``, if dense.
    """
    shape = "x".join(map(str, example.shape[1:]))
    if lazy := [name for name, parameter in network.named_parameters() if is_lazy(parameter)]:
        raise UserError(
            f"Expected a network whose layers know their sizes, as its weights are drawn anew in each cycle, but {lazy[0]} of "
            f"{type(network).__name__} is lazy. Name the sizes in your network."
        )
    parts, by_parts = staged(network), None
    try:
        with unchanged(network):
            logits = _outcome(network.eval(), example)
            if parts is not None:
                by_parts = _outcome(network, example, lambda inputs: parts.tail(parts.prefix(inputs)))
    except Exception as error:  # a network may raise anything for inputs that it was not written for
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(
            f"Expected a network for inputs of {shape}, as the data have, but {type(network).__name__} can't take them: {said}. "
            "Change model.init_args.network."
        ) from error
    expected = (1, len(classes), *(example.shape[2:] if dense else ()))
    if not isinstance(logits, Tensor) or logits.shape != expected:
        found = "x".join(map(str, logits.shape[1:])) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"Expected {'x'.join(map(str, expected[1:]))} outputs of {type(network).__name__} for an input of {shape}, one for each of the "
            f"{len(classes)} classes of the data ({listed(classes)}), got {found}. Set model.init_args.network.init_args.num_classes, or "
            "what says so in your network."
        )
    if by_parts is not None and not (isinstance(by_parts, Tensor) and _close(by_parts, logits)):
        name = type(network).__name__
        raise UserError(f"Expected forward of {name} to be tail(prefix(inputs)), by which it is scored, but it gives other logits.")


def overrides(owner: object, method: str, base: type) -> bool:
    """Whether an object has a method of its own in the place of a base class's; Lightning's own test takes no built-in functions."""
    own = getattr(owner, method)
    return getattr(own, "__func__", own) is not getattr(base, method)


def refuse_other_forward(task: LightningModule, network: nn.Module, example: Tensor, dense: bool) -> None:
    """Makes sure that what a task validates is its network alone, as images are scored by that.

    Args:
        task: may have a ``forward`` and hooks for batches of its own, and so may its trainer's data module.
        network: of the task, in which ``example`` fits.
        example: inputs ``(1, *)``.
        dense: whether each pixel has a class.

    Raises:
        UserError: the task gives other logits than the network, or its hooks other inputs than they get outside of training.
    """
    remedy = "Images are scored by the network alone: put it into the network."
    if example.is_floating_point():  # of nothing but zeros much comes out alike
        example = torch.rand(example.shape, generator=torch.Generator().manual_seed(0))
    with unchanged(task), _validating(task):
        if not type(task).forward.__module__.startswith("al_lightning."):
            own, logits = _if_it_can(lambda: _outcome(task, example)), _outcome(network, example)
            if isinstance(own, Tensor) and isinstance(logits, Tensor) and not _close(own, logits):
                raise UserError(f"Expected forward of {type(task).__name__} to be network(inputs), but it gives other logits. {remedy}")
        batch: Any = (example.clone(), torch.zeros(1, *(example.shape[2:] if dense else ()), dtype=torch.int64), torch.zeros(1).long())
        called = []
        for hook in ("on_before_batch_transfer", "on_after_batch_transfer"):
            for owner, base in ((task, LightningModule), (task.trainer.datamodule, LightningDataModule)):  # type: ignore[attr-defined]
                if overrides(owner, hook, base):
                    batch = _if_it_can(partial(getattr(owner, hook), batch, 0))
                    called.append(f"{hook} of {type(owner).__name__}")
                    break
        inputs = batch[0] if isinstance(batch, tuple | list) and batch else None
        if isinstance(inputs, Tensor) and not _close(inputs.cpu(), example):
            raise UserError(f"Expected {' and '.join(called)} to change inputs in training alone, if at all. {remedy}")


@contextmanager
def _validating(task: LightningModule) -> Iterator[None]:
    """What a task sees while its trainer validates; it is :func:`unchanged` that puts back the mode of its layers."""
    stage, task.trainer.state.stage = task.trainer.state.stage, RunningStage.VALIDATING
    task.eval()
    try:
        yield
    finally:
        task.trainer.state.stage = stage


def _if_it_can(call: Callable[[], object]) -> object:
    """What a user's code gives; None where it needs more of a trainer than there is before a fit."""
    try:
        return call()
    except Exception:  # a user's code may raise anything
        return None


def refuse_other_weights(task: nn.Module) -> None:
    """Makes sure that all weights that are trained are the network's.

    Raises:
        UserError: others are, too.
    """
    others = [name for name, weight in task.named_parameters() if weight.requires_grad and not name.startswith(("network.", "criterion."))]
    if others:
        raise UserError(
            f"Expected all weights of {type(task).__name__} that are trained in its network, got {listed(others)}: nobody would draw them "
            "anew in each cycle. Make them a part of the network; what is not trained has requires_grad=False."
        )


def refuse_other_hyperparameters(owner: LightningModule | LightningDataModule) -> None:
    """Makes sure that checkpoints can be read again, in which Lightning puts what ``save_hyperparameters`` was given.

    Raises:
        UserError: it was given classes, functions or other objects: a file that holds such could run code, and is not opened.
    """
    if others := [name for name, value in owner.hparams.items() if not _is_plain(value)]:
        raise UserError(
            f"Expected numbers, text and tensors as hyperparameters of {type(owner).__name__}, got other values for {listed(others)}: a "
            f"checkpoint that holds such could run code, and is not opened. Leave them out: save_hyperparameters(ignore={others})."
        )


def _is_plain(value: Any) -> bool:
    file = io.BytesIO()
    try:
        torch.save(value, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception:  # what can't be pickled, or unpickled, says so in many ways
        return False
    return True


def refuse_other_loss(loss: nn.Module, classes: int, dense: bool) -> None:
    """Makes sure that a loss gives a value and a gradient that are fit to train with, for a few logits.

    Args:
        loss: of logits and classes.
        classes: number of classes, C.
        dense: whether each pixel has logits of its own; then some pixels are ignored.

    Raises:
        UserError: it has parameters, can't take such logits, gives no finite number, or learns from ignored pixels.
    """
    name = type(loss).__name__
    if any(parameter.requires_grad for parameter in loss.parameters()):
        raise UserError(f"Expected a loss without parameters to train, got {name}: nobody would draw them anew in each cycle.")
    generator = torch.Generator().manual_seed(0)
    grid = (2, 9, 16) if dense else (4,)
    targets = torch.arange(math.prod(grid)).view(grid) % classes
    logits = torch.randn(grid[0], classes, *grid[1:], generator=generator)
    logits = logits.scatter_add(
        1, targets.unsqueeze(1), torch.full_like(logits, 3.0)
    ).requires_grad_()  # mostly right: some losses look at no others
    ignored = torch.zeros(targets.shape, dtype=torch.bool)
    if dense:
        ignored[:, 5:, 3:] = True
        targets[ignored] = IGNORED
    try:
        device = next(loss.buffers(), logits).device
        with unchanged(loss):
            value = loss(logits.to(device), targets.to(device))
            (gradient,) = torch.autograd.grad(value, logits)
    except Exception as error:  # a loss may raise anything for arguments that it was not written for
        hint = f" Ignored pixels have the class {IGNORED}: many losses take ignore_index: {IGNORED}." if dense else ""
        raise UserError(f"Expected a loss of logits and classes, but {name} says: {' '.join(str(error).split())}{hint}") from error
    if not bool(value.isfinite()) or not bool(gradient.isfinite().all()):
        raise UserError(f"Expected a finite loss, but {name} gives {value.item()} for logits between -4 and 7.")
    if bool((gradient.movedim(1, -1)[ignored] != 0).any()):
        raise UserError(
            f"Expected a loss that leaves out ignored pixels, of class {IGNORED}, but {name} learns from them. Give it "
            f"ignore_index: {IGNORED}."
        )


def needs_two_items(network: nn.Module, example: Tensor) -> bool:
    """Whether the network, with its modules' current modes, can't train on one item: batch norm needs several values for a variance.

    Args:
        network: it and the random generators are left as they were.
        example: inputs ``(1, *)``.
    """
    if not any(isinstance(part, _BatchNorm) and part.training for part in network.modules()):
        return False
    try:
        with unchanged(network):
            _outcome(network, example)
    except ValueError as error:
        if _TOO_FEW not in str(error):
            raise
        return True
    return False


def depends_on_others(network: nn.Module, example: Tensor) -> bool:
    """Whether an item's logits change by more than 5 %, in evaluation mode, when another item is beside it in the batch.

    Args:
        network: gives logits for such inputs; it and the random generators are left as they were.
        example: inputs ``(1, *)``; numbers in their place are tried, none if they are integers.
    """
    if not example.is_floating_point():
        return False
    items = torch.randn(2, *example.shape[1:], generator=torch.Generator().manual_seed(0))
    items[0] = 1 + 3 * items[0]  # other statistics
    try:
        with unchanged(network):
            network.eval()
            alone, beside = (torch.as_tensor(_outcome(network, batch))[-1:].float() for batch in (items[1:], items))
    except Exception:  # a network may take no numbers but those of its images; what it says to these is asked elsewhere
        return False
    return bool((alone - beside).abs().amax() > 0.05 * torch.maximum(alone.abs(), beside.abs()).amax())


def _close(one: Tensor, other: Tensor) -> bool:
    one, other = one.float(), other.float()
    return one.shape == other.shape and bool(((one - other).abs().nan_to_num() <= 1e-2 * other.abs().nan_to_num().amax()).all())


def _outcome(network: nn.Module, example: Tensor, run: Callable[[Tensor], object] | None = None) -> object:
    device = next(network.parameters(), example).device
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return (run or network)(for_network(network, example.to(device)))
