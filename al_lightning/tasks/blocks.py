"""The optimizer steps of a block of mini-batches: by autograd, or by a trace that was seen to compute the same."""

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

# A trace costs about what it saves in so many steps of a tiny model, on any machine. To make it when they are done is never worse than
# twice the best, however many will follow.
PAYS_AFTER = 300

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOKS_OF_PARAMETERS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class BlockSteps:
    """Makes a task's steps, block after block.

    The first step of a block is autograd's, and a trace makes the others if it has computed the same of that mini-batch, to the last bit:
    loss, gradients, buffers, and how far chance is used up. So nothing that has changed since it was made (a callback set a drop
    probability, a loss knows the epoch) can pass unseen. A task that can't be traced, or not faithfully, keeps to autograd for good.
    """

    def __init__(self) -> None:
        self._traces: dict[Hashable, TracedLoss] = {}  # by parameters and form of the mini-batches
        self._made: Counter[Hashable] = Counter()  # steps, likewise
        self._recorder = Recorder()
        self._faithful = True

    def take(self, task: "Task", optimizer: Optimizer, block: Sequence["Batch"]) -> Iterator[Tensor]:
        """Makes a step with each mini-batch, when its loss is asked for.

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
        trace, foreseen = self._foreseen(task, parameters, inputs, targets)
        yield (loss := _step_by_autograd(task, optimizer, inputs, targets))
        if trace is not None and not _same(foreseen, _outcome(task, loss, [parameter.grad for parameter in parameters])):
            trace, self._faithful = None, False
        traced_step = self._recorder.step_of(trace, optimizer, parameters, inputs, targets) if trace is not None and others else None
        for inputs, targets, _ in others:
            if traced_step is not None and _form(inputs, targets) == form:
                yield traced_step(inputs, targets)
            else:
                yield _step_by_autograd(task, optimizer, inputs, targets)
        self._made[*map(id, parameters), form] += len(block)

    def _foreseen(
        self, task: "Task", parameters: Sequence[nn.Parameter], inputs: Tensor, targets: Tensor
    ) -> tuple[TracedLoss | None, list[Tensor | None]]:
        """A trace for mini-batches like this one, if there is any, and what it makes of this one; all else stays as it is."""
        if not self._faithful or _is_watched(task, parameters) or inputs.device.type not in ("cpu", "cuda"):
            return None, []
        key = (*map(id, parameters), _form(inputs, targets))
        try:
            if (trace := self._traces.get(key)) is not None:
                return trace, _trial(trace, task, inputs, targets)
            if self._made[key] >= PAYS_AFTER:  # for later blocks: what it takes for constant may change from step to step
                self._traces[key] = TracedLoss(task, parameters, inputs, targets)
        except Exception:  # a tracer raises anything at what it does not know; what is wrong with a network, autograd says
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
    """Whether autograd is asked for more than gradients: to call hooks, or to look for anomalies."""
    listened = any(getattr(part, hooks) for part in task.modules() for hooks in _HOOKS)
    changed = any(getattr(parameter, hooks) for parameter in parameters for hooks in _HOOKS_OF_PARAMETERS)
    return listened or changed or bool(_has_any_global_hook()) or torch.is_anomaly_enabled()


def _trial(trace: TracedLoss, task: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor | None]:
    """What a step of a trace would come to; buffers and chance are put back."""
    buffers = [(buffer, buffer.clone()) for buffer in task.buffers()]
    try:
        with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
            return _outcome(task, *trace(inputs.clone(), targets.clone()))
    finally:
        for buffer, value in buffers:
            buffer.copy_(value)


def _outcome(task: nn.Module, loss: Tensor, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """All that a forward and a backward pass leave behind."""
    chance = [torch.get_rng_state(), *([torch.cuda.get_rng_state(loss.device)] if loss.is_cuda else [])]
    return [loss, *gradients, *(buffer.clone() for buffer in task.buffers()), *chance]


def _same(some: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> bool:
    pairs = zip(some, others, strict=True)
    return all(one is not None and other is not None and one.shape == other.shape and torch.equal(one, other) for one, other in pairs)
