"""A traced training step as one recording of a graphics card's work: a tiny model waits there for each operation to be launched."""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from al_lightning.tasks.traced import TracedLoss, is_fused_adam, step

Step = Callable[[Tensor, Tensor], Tensor]
"""Makes an optimizer step with a mini-batch, inputs and targets; returns its loss."""


class Recorder:
    """Makes steps of a trace; the last recording is kept, and played as long as it is of the same tensors and settings."""

    def __init__(self) -> None:
        self._recording: Step | None = None
        self._key: Hashable = None
        self._able = True

    def step_of(self, trace: TracedLoss, optimizer: Optimizer, parameters: Sequence[nn.Parameter], inputs: Tensor, targets: Tensor) -> Step:
        """A step for mini-batches of one form.

        Args:
            trace: of loss and gradients.
            optimizer: of the parameters; it has made a step.
            parameters: all that it trains.
            inputs: of a mini-batch, as an example.
            targets: likewise.
        """

        def traced(inputs: Tensor, targets: Tensor) -> Tensor:
            loss, gradients = trace(inputs, targets)
            step(optimizer, parameters, gradients)
            return loss

        # A recording knows numbers that are on the processor as they were: other optimizers count their steps there.
        if not (self._able and inputs.is_cuda and is_fused_adam(optimizer)):
            return traced
        key = _what_it_depends_on(trace, optimizer, parameters)
        if self._recording is None or key != self._key:
            try:
                self._recording, self._key = _Recording(traced, parameters, inputs, targets), key
            except RuntimeError:  # an operation waits for its result, which is not there while it is recorded
                self._able = False
                return traced
        return self._recording


class _Recording:
    """Kernels with the memory that they read and write."""

    def __init__(self, make_step: Step, parameters: Sequence[nn.Parameter], inputs: Tensor, targets: Tensor) -> None:
        self._inputs, self._targets = inputs.clone(), targets.clone()
        self._graph = torch.cuda.CUDAGraph()
        # Loaders pin memory in threads of their own, which a recording must not forbid.
        with torch.random.fork_rng(devices=[inputs.device]), torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._loss = make_step(self._inputs, self._targets)
        self._gradients = [(parameter, parameter.grad) for parameter in parameters]

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._loss.clone()


def _what_it_depends_on(trace: TracedLoss, optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> Hashable:
    """Where the numbers are that a step reads and writes, and what it takes for constant."""
    settings = [(name, value) for name, value in optimizer.param_groups[0].items() if name != "params"]
    tensors = [tensor for parameter in parameters for tensor in (parameter, *optimizer.state[parameter].values())]
    return id(trace), tuple(settings), tuple(tensor.data_ptr() for tensor in (*tensors, *trace.constants))
