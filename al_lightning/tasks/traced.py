"""A training step traced once into plain tensor operations: autograd's numbers to the last bit, without its bookkeeping.

Autograd records every step anew, and an optimizer looks at every parameter anew. For a network of some thousand weights that takes
longer than the arithmetic.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.optim.adam import adam

Loss = Callable[[Tensor, Tensor], Tensor]
"""From inputs and targets of a mini-batch to its loss, a scalar."""

_COPIES = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)  # of the handle, not of the numbers
_TRANSPOSES = torch.ops.aten.t.default
_FUSED_OPTIONS = ("fused", "amsgrad", "lr", "weight_decay", "eps", "maximize", "decoupled_weight_decay")


class TracedLoss:
    """Loss and gradients of mini-batches of one shape, by a network that does the same at each of them.

    Args:
        loss: of a mini-batch.
        network: that it runs; left as it is.
        parameters: to take gradients by.
        inputs: of a mini-batch, as an example.
        targets: likewise.

    Raises:
        RuntimeError: the network decides something by numbers or by Python's chance, or the loss does not depend on a parameter.
    """

    def __init__(self, loss: Loss, network: nn.Module, parameters: Sequence[nn.Parameter], inputs: Tensor, targets: Tensor) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx

        def loss_and_gradients(inputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
            value = loss(inputs, targets)
            return value.detach(), *torch.autograd.grad(value, parameters)

        self._parameters = list(parameters)
        self._shape = inputs.shape
        with _unchanged(network, inputs.device):
            self._compute, self._constants = _as_function(make_fx(loss_and_gradients)(inputs, targets))

    def fits(self, parameters: Sequence[nn.Parameter], inputs: Tensor) -> bool:
        """Whether it is the trace for these parameters and for such a mini-batch."""
        return inputs.shape == self._shape and list(map(id, parameters)) == list(map(id, self._parameters))

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The loss, and the gradient by each parameter."""
        with torch.no_grad():
            loss, *gradients = self._compute(inputs, targets, *self._constants)
        return loss, gradients


def step(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """A step of an optimizer with given gradients; a fused Adam's goes to its arithmetic without the detour.

    Args:
        optimizer: of the parameters.
        parameters: all that it trains.
        gradients: by each of them.
    """
    group = optimizer.param_groups[0]
    states: list[Any] = [optimizer.state.get(parameter) for parameter in parameters]
    if not (_is_fused_adam(optimizer) and all(states)):  # it makes its state in its first step
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        return
    beta1, beta2 = group["betas"]
    with torch.no_grad():
        adam(
            list(parameters),
            list(gradients),
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else [],
            [state["step"] for state in states],
            beta1=beta1,
            beta2=beta2,
            **{name: group[name] for name in _FUSED_OPTIONS},
        )


def _is_fused_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its step is that of :func:`torch.optim.adam.adam` and nothing else."""
    groups = optimizer.param_groups
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return type(optimizer) in (torch.optim.Adam, torch.optim.AdamW) and len(groups) == 1 and bool(groups[0]["fused"]) and not hooked


@contextmanager
def _unchanged(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Takes back what a forward pass changes: buffers, and torch's chance.

    Raises:
        RuntimeError: it used Python's or numpy's chance, which no trace repeats.
    """
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    chance = _foreign_chance()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
    if _foreign_chance() != chance:
        raise RuntimeError("Expected a network that draws random numbers by torch alone.")


def _foreign_chance() -> Any:
    _, keys, position, *_ = np.random.get_state(legacy=True)
    return random.getstate(), bytes(keys), position  # type: ignore[arg-type]


def _as_function(module: GraphModule) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """A trace as a function of inputs, targets and of what it took from the network, without operations that do nothing."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _COPIES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target == _TRANSPOSES and node.args[0].target == _TRANSPOSES:
            node.replace_all_uses_with(node.args[0].args[0])
            graph.erase_node(node)
    taken: dict[str, Any] = {}
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        if node.target not in taken:
            with graph.inserting_after(last):
                last = taken[node.target] = graph.placeholder(node.target)
        node.replace_all_uses_with(taken[node.target])
        graph.erase_node(node)
    graph.eliminate_dead_code()
    module.recompile()
    return module.forward, [getattr(module, name) for name in taken]
