"""How predictions are made where one plain pass is not enough: ODIN's perturbed pass, and dropout passes over a cached prefix.

Networks come in eval mode and leave as they came: dropout is made live by hooks on the dropout modules, so that no module's mode
changes, batch norm least of all.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from al_lightning.acquisition.hashing import keep_mask
from al_lightning.errors import UserError

# Passes are batched up to this many elements of the cached prefix: enough to fill a device, and a bound on memory that K can't move.
_ELEMENTS_AT_ONCE = 2**18


@runtime_checkable
class Staged(Protocol):
    """A network whose part before the first dropout can be computed once for all passes: ``forward(x) == tail(prefix(x))``."""

    def prefix(self, inputs: Tensor) -> Any:
        """Everything before the first dropout: a tensor, or a named tuple of tensors and other things."""

    def tail(self, features: Any) -> Tensor:
        """The rest, from the first dropout to the logits."""


def perturbed_logits(network: nn.Module, inputs: Tensor, temperature: float, epsilon: float) -> Tensor:
    """Tempered logits of ODIN's perturbed input, ``f(x - epsilon * sign(-grad_x log p_yhat(x; T))) / T``.

    Source: Liang et al., Enhancing the Reliability of Out-of-distribution Image Detection in Neural Networks, 2018.

    Args:
        network: in eval mode; its parameters get no gradients.
        inputs: ``(B, *)``, in the units that epsilon is given in.
        temperature: T > 0, divides the logits.
        epsilon: size of the step in every input value; 0 takes no gradient at all.

    Returns:
        ``(B, C, *)``.
    """
    if epsilon != 0:
        with torch.enable_grad():
            moved = inputs.detach().clone().requires_grad_()
            log_p = (network(moved).float() / temperature).log_softmax(dim=1).amax(dim=1).sum()
            (gradient,) = torch.autograd.grad(log_p, moved)
        inputs = inputs - epsilon * torch.sign(-gradient)
    logits: Tensor = network(inputs)
    return logits.float() / temperature


def _elements(features: Any) -> int:
    parts = [features] if isinstance(features, Tensor) else [part for part in features if isinstance(part, Tensor)]
    return max(1, sum(part.numel() for part in parts))


def _repeat(features: Any, times: int) -> Any:
    """The batch's features ``times`` times over, for as many passes in one."""
    if times == 1:
        return features
    if isinstance(features, Tensor):
        return features.repeat(times, *[1] * (features.ndim - 1))
    return type(features)(*(_repeat(part, times) if isinstance(part, Tensor) else part for part in features))


class _LiveDropout:
    """The hooks' shared knowledge: whose masks to draw, for which passes."""

    def __init__(self, drop: float | None, seed: int) -> None:
        self.drop = drop
        self.seed = seed
        self.indices = torch.empty(0, dtype=torch.int64)
        self.passes = torch.empty(0, dtype=torch.int64)

    def rate(self, module: _DropoutNd) -> float:
        return module.p if self.drop is None else self.drop

    def hook(self, layer: int) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def drop(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            assert isinstance(module, _DropoutNd)
            # (K * B, F, ...): Dropout draws for every element, Dropout1d/2d/3d for every channel.
            features = output.shape[1:] if isinstance(module, nn.Dropout) else output.shape[1:2]
            rate = self.rate(module)
            mask_KBF = keep_mask(self.seed + layer, self.indices, self.passes, features.numel(), rate)
            mask = mask_KBF.reshape(-1, *features, *[1] * (output.ndim - 1 - len(features)))
            return output * mask / (1 - rate)

        return drop


@contextmanager
def dropout_passes(
    network: nn.Module, passes: int, drop: float | None, seed: int
) -> Iterator[Callable[[Tensor, Tensor], Iterator[Tensor]]]:
    """Makes dropout live, and yields a function from (inputs, indices) to chunks of logits, ``(k, B, C, *)`` with sum of k = K.

    An item's masks depend on the seed, its index, the pass and the layer, so on nothing that batching or devices could change.

    Args:
        network: in eval mode. If it is :class:`Staged`, its prefix is computed once a batch.
        passes: K.
        drop: drop probability while querying, for every dropout layer; None keeps each layer's own.
        seed: of the masks.

    Raises:
        UserError: there is no dropout to make live, or no item's passes differed.
    """
    live = _LiveDropout(drop, seed)
    layers = [m for m in network.modules() if isinstance(m, _DropoutNd) and live.rate(m) > 0]
    if not layers:
        raise UserError(
            f"Expected a network with dropout for {passes} stochastic passes, but {type(network).__name__} has no dropout layer with "
            "a rate above 0: every pass would be the same. Give the network dropout, or set the strategy's query_p."
        )
    prefix, tail = (network.prefix, network.tail) if isinstance(network, Staged) else (lambda inputs: inputs, network)
    seen = varied = False

    def logits_of(inputs: Tensor, indices: Tensor) -> Iterator[Tensor]:
        nonlocal seen, varied
        features = prefix(inputs)
        live.indices = indices
        at_once = max(1, min(passes, _ELEMENTS_AT_ONCE // _elements(features)))
        first = None
        for chunk in torch.arange(passes, device=inputs.device).split(at_once):
            live.passes = chunk
            logits_KBC = tail(_repeat(features, len(chunk))).float().unflatten(0, (len(chunk), len(indices)))
            first = logits_KBC[:1] if first is None else first
            varied = varied or bool((logits_KBC != first).any())
            seen = True
            yield logits_KBC

    with ExitStack() as hooks:
        for layer, module in enumerate(layers):
            hooks.callback(module.register_forward_hook(live.hook(layer)).remove)
        yield logits_of
    if seen and not varied:
        raise UserError(
            f"Expected {passes} different passes, but all passes agree on every item: {type(network).__name__}'s dropout does not "
            "reach its logits. Use at least 2 passes, and a network whose forward runs its dropout layers."
        )
