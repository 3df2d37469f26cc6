"""A training step traced once into plain tensor operations: autograd's numbers to the last bit, without its bookkeeping.

Autograd records every step anew, and an optimizer looks at every parameter anew. For a network of some thousand weights, that takes longer
than the arithmetic.
"""

import copy
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import BuiltinFunctionType, MethodDescriptorType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import GraphModule
from torch.optim.adam import adam

if TYPE_CHECKING:
    from al_lightning.tasks.base import Task

_COPIES = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)  # of the tensor object, not of its numbers
_TRANSPOSES = torch.ops.aten.t.default
_PLAIN = (bool, int, float, complex, str, bytes, set, frozenset, type(None))
_FUSED_OPTIONS = ("fused", "amsgrad", "lr", "weight_decay", "eps", "maximize", "decoupled_weight_decay")


class TracedLoss:
    """Loss and gradients of mini-batches of one form, for a task that computes the same with each of them.

    Attributes:
        constants: the task's parameters and buffers that it reads or writes.

    Args:
        task: whose loss it is; left as it is.
        parameters: of the task, by which gradients are taken.
        inputs: of a mini-batch, as an example.
        targets: of the same mini-batch.

    Raises:
        RuntimeError: the task branches on numbers, draws random numbers of another library, keeps more of a mini-batch than its buffers
            hold, depends on tensors that are not its own, or does not depend on all of these parameters.
        Exception: of any kind, for what else the tracer does not know.
    """

    def __init__(self, task: "Task", parameters: Sequence[nn.Parameter], inputs: Tensor, targets: Tensor) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx

        tried, untried = copy.deepcopy(task), copy.deepcopy(task)
        copies = dict(zip(_tensors(task), _tensors(tried), strict=True))
        wanted = [copies[parameter] for parameter in parameters]

        def loss_and_gradients(inputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
            value = tried.loss(inputs, targets)
            return value.detach(), *map(_laid_out_as, torch.autograd.grad(value, wanted), wanted)

        with _random_state_kept(inputs.device), warnings.catch_warnings():
            warnings.simplefilter("error")  # a trace would not repeat a warning
            self._compute, constants = _as_function(make_fx(loss_and_gradients)(inputs.clone(), targets.clone()))
        own = {id(copied): tensor for tensor, copied in copies.items()}
        if not {id(constant) for constant in constants} <= own.keys() or not _alike(tried, untried, set(own)):
            raise RuntimeError("Expected a loss that depends on parameters and buffers, and leaves everything else as it was.")
        self.constants = [own[id(constant)] for constant in constants]

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The loss of a mini-batch, and its gradient by each parameter."""
        with torch.no_grad():
            loss, *gradients = self._compute(inputs, targets, *self.constants)
        return loss, gradients


def step(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """A step of an optimizer with given gradients; for a fused Adam, torch's function is called without the optimizer's bookkeeping.

    Args:
        optimizer: of the parameters.
        parameters: all that it trains.
        gradients: by each of them.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    group = optimizer.param_groups[0]
    states: list[Any] = [optimizer.state.get(parameter) for parameter in parameters]
    if not (is_fused_adam(optimizer) and all(states)):  # the first step makes the optimizer's state
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


def is_fused_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its step is that of :func:`torch.optim.adam.adam` and nothing else."""
    groups = optimizer.param_groups
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return type(optimizer) in (torch.optim.Adam, torch.optim.AdamW) and len(groups) == 1 and bool(groups[0]["fused"]) and not hooked


def _tensors(task: nn.Module) -> list[Tensor]:
    return [*task.parameters(), *task.buffers()]


def _laid_out_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    """A gradient with the memory layout of the parameter, as autograd leaves it."""
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


def _alike(one: Any, other: Any, seen: set[int]) -> bool:
    """Whether two copies of an object hold the same. Parts of ``one`` whose id is in ``seen`` are not compared again."""
    if type(one) is not type(other):
        return False
    if isinstance(one, _PLAIN) or one is other:
        return bool(one is other or one == other)
    if id(one) in seen:
        return True
    seen.add(id(one))
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_alike(value, other[name], seen) for name, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(_alike(a, b, seen) for a, b in zip(one, other, strict=True))
    return not hasattr(one, "__dict__") or _alike(vars(one), vars(other), seen)


@contextmanager
def _random_state_kept(device: torch.device) -> Iterator[None]:
    """Restores the random generators afterwards.

    Raises:
        RuntimeError: a number was drawn by Python's or NumPy's generator, which no trace repeats.
    """
    pythons, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        drawn = [random.getstate(), *np.random.get_state()]
        random.setstate(pythons)
        np.random.set_state(numpys)
    if not _alike([pythons, *numpys], drawn, set()):
        raise RuntimeError("Expected a network that draws random numbers by torch alone.")


def _as_function(module: GraphModule) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """A trace as a function of inputs, targets, and the tensors that it took from the network (returned, too); no-op operations removed."""
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
    for node in graph.nodes:
        node.target = _direct(node.target)
    module.recompile()
    return module.forward, [getattr(module, name) for name in taken]


def _direct(target: Any) -> Any:
    """Torch's direct Python binding of an operation, if there is one: the same arithmetic, called in half the time."""
    if not isinstance(target, OpOverload) or target.namespace != "aten":
        return target
    name = target.overloadpacket.__name__
    function, method = getattr(torch, name, None), getattr(Tensor, name, None)
    if isinstance(function, BuiltinFunctionType):
        return function
    return method if isinstance(method, MethodDescriptorType) else target
