"""How predictions are made where one plain pass is not enough: ODIN's perturbed pass, and dropout passes over a cached prefix.

A network comes in eval mode and is left unchanged: hooks on the dropout layers make dropout live, so that no module, batch norm
included, changes its mode.
"""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from al_lightning.acquisition.dropout import LiveDropout, droppable, refuse_hidden
from al_lightning.errors import UserError
from al_lightning.states import network_weights
from al_lightning.text import listed

# Several passes run as one batch of up to so many elements of the cached prefix: this keeps a device busy, and memory does not grow with K.
_ELEMENTS_AT_ONCE = 2**18


@runtime_checkable
class Staged(Protocol):
    """A network whose part before the first dropout can be computed once for all passes: ``forward(x) == tail(prefix(x))``."""

    def prefix(self, inputs: Tensor) -> Any:
        """Everything before the first dropout: a tensor, or a named tuple of tensors, tuples of them, and other things."""

    def tail(self, features: Any) -> Tensor:
        """The rest, from the first dropout to the logits."""


def staged(network: nn.Module) -> Staged | None:
    """A network whose ``prefix`` and ``tail`` stand for it: both are methods of the class that its ``forward`` is of.

    Parts of a network may have these names for another reason, and a class that changes ``forward`` alone means what it says there.
    """
    own = next(kind for kind in type(network).__mro__ if "forward" in vars(kind))
    stands = "forward" not in vars(network) and all(callable(vars(own).get(name)) for name in ("prefix", "tail"))
    return network if stands and isinstance(network, Staged) else None


class Watcher(Protocol):
    """Observes what happens inside a network."""

    def attach(self, network: nn.Module) -> None:
        """Observes a network from now on."""


class Batch:
    """A batch of items and the network that they pass through. The part before its first dropout is computed once, for all inferences.

    Args:
        network: in eval mode.
        inputs: ``(B, *)``; converted to the network's floating type, as in training.
        indices: ``(B,)`` dataset indices.
        watchers: are attached to the network.
    """

    def __init__(self, network: nn.Module, inputs: Tensor, indices: Tensor, watchers: Sequence[Watcher] = ()) -> None:
        self.network, self.inputs, self.indices, self.watchers = network, for_network(network, inputs), indices, watchers
        self._staged = staged(network)
        for watcher in watchers:
            watcher.attach(network)

    @cached_property
    def features(self) -> Any:
        """The prefix's output; the inputs themselves where the network is not :class:`Staged`."""
        if self._staged is None:
            return self.inputs
        features = self._staged.prefix(self.inputs)
        # On a CPU, a convolutional tail takes half the time if the channels are the innermost axis in memory.
        return _each(features, _channels_last) if self.inputs.device.type == "cpu" else features

    def logits(self, features: Any = None) -> Tensor:
        """Logits ``(B, C, *)`` of these features, or of the batch's own features, in float32 or float64."""
        tail = self._staged.tail if self._staged is not None else self.network
        return _precise(tail(self.features if features is None else features))


LogitsOf = Callable[[Batch], Iterator[Tensor]]
"""From a batch to chunks of logits, ``(k, B, C, *)``, with the sum of k = K passes."""


class Inference(ABC):
    """How logits are made. Inferences that compare equal run once, for all strategies that ask for them.

    Attributes:
        needs_grad: whether it takes a gradient, for which torch's inference mode has to be off.
    """

    needs_grad: bool = False

    @abstractmethod
    def logits(self, network: nn.Module, seed: int) -> AbstractContextManager[LogitsOf]:
        """A context that gives a function from batches to logits, valid inside it.

        Args:
            network: in eval mode.
            seed: of what is random in the inference.
        """


@dataclass(frozen=True)
class PlainPass(Inference):
    """One pass, without dropout."""

    def logits(self, network: nn.Module, seed: int) -> AbstractContextManager[LogitsOf]:
        """See :meth:`Inference.logits`."""
        return nullcontext(lambda batch: iter([batch.logits().unsqueeze(0)]))


@dataclass(frozen=True)
class PerturbedPass(Inference):
    """ODIN's pass, see :func:`perturbed_logits`."""

    temperature: float
    epsilon: float

    @property
    def needs_grad(self) -> bool:  # type: ignore[override]
        """Whether the input is moved at all."""
        return self.epsilon != 0

    def logits(self, network: nn.Module, seed: int) -> AbstractContextManager[LogitsOf]:
        """See :meth:`Inference.logits`."""
        return nullcontext(lambda batch: iter([perturbed_logits(batch, self.temperature, self.epsilon).unsqueeze(0)]))


@dataclass(frozen=True)
class DropoutPasses(Inference):
    """Passes with live dropout, see :func:`dropout_passes`."""

    passes: int
    drop: float | None
    shared_masks: bool = False

    def logits(self, network: nn.Module, seed: int) -> AbstractContextManager[LogitsOf]:
        """See :meth:`Inference.logits`."""
        return dropout_passes(network, self.passes, self.drop, seed, self.shared_masks)


@dataclass(frozen=True)
class ByExpert(Inference):
    """Another inference, made with the weights of a checkpoint in place of the network's own."""

    checkpoint: str
    inference: Inference

    @property
    def needs_grad(self) -> bool:  # type: ignore[override]
        """Whether the other inference does."""
        return self.inference.needs_grad

    @contextmanager
    def logits(self, network: nn.Module, seed: int) -> Iterator[LogitsOf]:
        """See :meth:`Inference.logits`."""
        expert = copy.deepcopy(network)
        expert.load_state_dict(network_weights(self.checkpoint, network))
        with self.inference.logits(expert, seed) as logits_of:
            yield lambda batch: logits_of(Batch(expert, batch.inputs, batch.indices, batch.watchers))


def perturbed_logits(batch: Batch, temperature: float, epsilon: float) -> Tensor:
    """Tempered logits of ODIN's perturbed input, ``f(x - epsilon * sign(-grad_x log p_yhat(x; T))) / T``.

    Source: Liang et al., Enhancing the Reliability of Out-of-distribution Image Detection in Neural Networks, 2018.

    Args:
        batch: its network's parameters get no gradients.
        temperature: T > 0, divides the logits.
        epsilon: size of the step in every input value, in the units of the network's inputs; 0 takes no gradient at all.

    Returns:
        ``(B, C, *)``.
    """
    if epsilon == 0:
        return batch.logits() / temperature
    network, inputs = batch.network, batch.inputs
    with torch.enable_grad():
        moved = inputs.detach().clone().requires_grad_()
        log_p = (_precise(network(moved)) / temperature).log_softmax(dim=1).amax(dim=1).sum()
        (gradient,) = torch.autograd.grad(log_p, moved)
    return _precise(network(inputs - epsilon * torch.sign(-gradient))) / temperature


def for_network(network: nn.Module, inputs: Tensor) -> Tensor:
    """Inputs in the network's floating type, as it takes no other under ``bf16-true`` or ``64-true``.

    Integers stay as they are, and so do inputs of a network whose parameters have several types: it converts them itself.
    """
    numbers = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    return inputs.to(numbers.pop()) if inputs.is_floating_point() and len(numbers) == 1 else inputs


def _precise(logits: Tensor) -> Tensor:
    """Logits in float64 if they are, else in float32."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _each(features: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The features, each tensor of them changed by a function, also those in tuples of theirs."""
    if isinstance(features, Tensor):
        return change(features)
    if not isinstance(features, tuple):
        return features
    parts = (_each(part, change) for part in features)
    return type(features)(*parts) if hasattr(features, "_fields") else tuple(parts)


def _channels_last(part: Tensor) -> Tensor:
    return part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part


def _elements(features: Any) -> int:
    if isinstance(features, Tensor):
        return max(1, features.numel())
    return sum(map(_elements, features)) if isinstance(features, tuple) else 0


def _repeat(features: Any, times: int) -> Any:
    """The batch's features repeated, to run so many passes as one."""
    return features if times == 1 else _each(features, lambda part: part.repeat(times, *[1] * (part.ndim - 1)))


@contextmanager
def dropout_passes(network: nn.Module, passes: int, drop: float | None, seed: int, shared_masks: bool = False) -> Iterator[LogitsOf]:
    """Makes dropout live, and yields a function from a batch to chunks of logits, ``(k, B, C, *)`` with sum of k = K.

    An item's masks depend on the seed, its index, the pass, the layer, and how often the layer has run in that pass: on nothing that
    batching or devices could change.

    Args:
        network: in eval mode. If it is :class:`Staged`, its prefix is computed once per batch.
        passes: K.
        drop: drop probability while querying, for every dropout layer; None keeps each layer's own.
        seed: of the masks.
        shared_masks: whether all items have the same masks in a pass. Then each pass is one network, as joint predictions need it.

    Raises:
        UserError: the network has no dropout, or some that can't be made live, or all passes gave the same logits for every item.
    """
    layers = droppable(network, drop)
    if not layers:
        raise UserError(
            f"Expected a network with dropout for {passes} stochastic passes, but {type(network).__name__} has no dropout layer with "
            "a rate above 0: every pass would be the same. Give the network dropout, or set the strategy's query_p."
        )
    refuse_hidden(network, layers)
    live = LiveDropout(layers, drop, seed, shared_masks)
    seen = varied = False

    def logits_of(batch: Batch) -> Iterator[Tensor]:
        nonlocal seen, varied
        features = batch.features
        if not (elements := _elements(features)):
            raise UserError(
                f"Expected the prefix of {type(network).__name__} to return a tensor, or a tuple with tensors in it, got "
                f"{type(features).__name__}."
            )
        at_once = max(1, min(passes, _ELEMENTS_AT_ONCE // elements))
        numbers, first = torch.arange(max(passes, 3), device=batch.inputs.device), None
        if not seen:  # A trial with another number of rows: an axis that is not the batch can't have both sizes by chance.
            rows = 2 if at_once * len(batch.indices) != 2 else 3
            with live.drawing(batch.indices[:1], numbers[:rows]):
                batch.logits(_repeat(_each(features, lambda part: part[:1]), rows))
            live.varied = None
        for chunk in numbers[:passes].split(at_once):
            with live.drawing(batch.indices, chunk):
                logits_KBC = batch.logits(_repeat(features, len(chunk))).unflatten(0, (len(chunk), len(batch.indices)))
            if not varied:
                first = logits_KBC[:1] if first is None else first
                varied = bool((logits_KBC != first).any())
            seen = True
            yield logits_KBC

    with ExitStack() as hooks:
        for number, (name, layer) in enumerate(layers.items()):
            hooks.callback(layer.register_forward_hook(live.hook(number, name)).remove)
        yield logits_of
    if varied and live.idle:
        warnings.warn(
            f"{listed(sorted(live.idle))}: these dropout layers of {type(network).__name__} did not run in the passes, in which nothing is "
            "dropped there. Attention that is fused, for example, takes a layer's rate and not the layer.",
            stacklevel=2,
        )
    if seen and not varied and (live.varied is not False or passes == 1):  # if all masks are the same by chance, so are the logits
        raise UserError(
            f"Expected {passes} different passes, but all passes agree on every item: {type(network).__name__}'s dropout does not "
            "reach its logits. Use at least 2 passes, and a network whose forward runs its dropout layers."
        )
