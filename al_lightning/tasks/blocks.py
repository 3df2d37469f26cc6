"""The optimizer steps of a block of mini-batches: by autograd, or by a trace that was checked to compute the same."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.optim import Optimizer

from al_lightning.tasks.recorded import Recorder
from al_lightning.tasks.traced import TracedLoss

if TYPE_CHECKING:
    from al_lightning.tasks.base import Batch, Task

# Making a trace takes about the time that it saves in so many steps of a tiny model, on any machine. If it is made after so many steps, the
# extra time is never more than twice the least possible, however many steps follow.
PAYS_AFTER = 300

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOKS_OF_PARAMETERS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class BlockSteps:
    """Makes a task's optimizer steps, block after block.

    Autograd makes the first step of a block. A trace makes the others, if for that first mini-batch it gives the same to the last bit:
    loss, gradients, buffers, and the states of random generators. So whatever has changed since the trace was made (a callback sets a drop
    probability, a loss depends on the epoch) is noticed. A task that can't be traced faithfully uses autograd from then on.
    """

    def __init__(self) -> None:
        self._traces: dict[Hashable, TracedLoss] = {}  # by parameters and form of the mini-batches
        self._made: Counter[Hashable] = Counter()  # number of steps, by the same
        self._recorder = Recorder()
        self._faithful = True

    def take(self, task: "Task", optimizer: Optimizer, block: Sequence["Batch"]) -> Iterator[Tensor]:
        """Makes a step with each mini-batch, at the time its loss is asked for.

        Args:
            task: whose loss it is.
            optimizer: of the task's parameters.
            block: at least one mini-batch.

        Yields:
            The losses: scalars without a gradient.
        """
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        (inputs, targets, _), *others = block
        form = _form(inputs, targets)
        trace, expected = self._tried_trace(task, parameters, inputs, targets)
        yield (loss := _step_by_autograd(task, optimizer, inputs, targets))
        if trace is not None and not _same(expected, _outcome(task, loss, [parameter.grad for parameter in parameters])):
            trace, self._faithful = None, False
        traced_step = self._recorder.step_of(trace, optimizer, parameters, inputs, targets) if trace is not None and others else None
        for inputs, targets, _ in others:
            if traced_step is not None and _form(inputs, targets) == form:
                yield traced_step(inputs, targets)
            else:
                yield _step_by_autograd(task, optimizer, inputs, targets)
        self._made[*map(id, parameters), form] += len(block)

    def _tried_trace(
        self, task: "Task", parameters: Sequence[nn.Parameter], inputs: Tensor, targets: Tensor
    ) -> tuple[TracedLoss | None, list[Tensor | None]]:
        """The trace for mini-batches of this form, if there is one, and its outcome for this mini-batch. Nothing else changes."""
        if not self._faithful or _is_watched(task, parameters) or inputs.device.type not in ("cpu", "cuda"):
            return None, []
        key = (*map(id, parameters), _form(inputs, targets))
        try:
            if (trace := self._traces.get(key)) is not None:
                return trace, _trial(trace, task, inputs, targets)
            if self._made[key] >= PAYS_AFTER:  # for later blocks, which try it first: what it takes for constant may change in between
                self._traces[key] = TracedLoss(task, parameters, inputs, targets)
        except Exception:  # a tracer raises anything for what it does not know; a fault of the network itself shows under autograd
            self._faithful = False
        return None, []


def _form(*tensors: Tensor) -> Hashable:
    return tuple((tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in tensors)


def _step_by_autograd(task: "Task", optimizer: Optimizer, inputs: Tensor, targets: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss = task.loss(inputs, targets)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _is_watched(task: nn.Module, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether autograd has to do more than compute gradients: call hooks, or look for anomalies."""
    of_modules = any(getattr(part, hooks) for part in task.modules() for hooks in _HOOKS)
    of_parameters = any(getattr(parameter, hooks) for parameter in parameters for hooks in _HOOKS_OF_PARAMETERS)
    return of_modules or of_parameters or bool(_has_any_global_hook()) or torch.is_anomaly_enabled()


def _trial(trace: TracedLoss, task: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor | None]:
    """The outcome of a trace for a mini-batch; buffers and random generators are restored."""
    buffers = [(buffer, buffer.clone()) for buffer in task.buffers()]
    try:
        with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
            return _outcome(task, *trace(inputs.clone(), targets.clone()))
    finally:
        for buffer, value in buffers:
            buffer.copy_(value)


def _outcome(task: nn.Module, loss: Tensor, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """All that a forward and a backward pass leave behind: loss, gradients, buffers, and the states of random generators."""
    random_states = [torch.get_rng_state(), *([torch.cuda.get_rng_state(loss.device)] if loss.is_cuda else [])]
    return [loss, *gradients, *(buffer.clone() for buffer in task.buffers()), *random_states]


def _same(some: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> bool:
    pairs = zip(some, others, strict=True)
    return all(one is not None and other is not None and one.shape == other.shape and torch.equal(one, other) for one, other in pairs)
