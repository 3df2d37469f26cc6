"""A traced training step as one recording of a GPU's work (a CUDA graph): launching its operations one by one takes a tiny model longer."""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from al_lightning.tasks.traced import TracedLoss, is_fused_adam, step

Step = Callable[[Tensor, Tensor], Tensor]
"""Makes an optimizer step with a mini-batch, inputs and targets; returns its loss."""


class Recorder:
    """Makes steps of a trace. The last recording is kept, and replayed as long as tensors and settings are the same."""

    def __init__(self) -> None:
        self._recording: Step | None = None
        self._key: Hashable = None
        self._able = True

    def step_of(self, trace: TracedLoss, optimizer: Optimizer, parameters: Sequence[nn.Parameter], inputs: Tensor, targets: Tensor) -> Step:
        """A step for mini-batches of one form.

        Args:
            trace: of loss and gradients.
            optimizer: of the parameters; it has made a step before.
            parameters: all that it trains.
            inputs: of a mini-batch, as an example.
            targets: likewise.
        """

        def traced(inputs: Tensor, targets: Tensor) -> Tensor:
            loss, gradients = trace(inputs, targets)
            step(optimizer, parameters, gradients)
            return loss

        # A recording takes numbers on the CPU for constants, and optimizers other than fused Adam count their steps there.
        if not (self._able and inputs.is_cuda and is_fused_adam(optimizer)):
            return traced
        key = _what_it_depends_on(trace, optimizer, parameters)
        if self._recording is None or key != self._key:
            try:
                self._recording, self._key = _Recording(traced, parameters, inputs, targets), key
            except RuntimeError:  # an operation waits for a result on the CPU, which a recording does not have
                self._able = False
                return traced
        return self._recording


class _Recording:
    """The recorded kernels, with the memory that they read and write."""

    def __init__(self, make_step: Step, parameters: Sequence[nn.Parameter], inputs: Tensor, targets: Tensor) -> None:
        self._inputs, self._targets = inputs.clone(), targets.clone()
        self._graph = torch.cuda.CUDAGraph()
        # Data loaders pin memory in threads of their own: the recording must allow that.
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
    """The addresses of all numbers that a step reads and writes, and what it takes for constant."""
    settings = [(name, value) for name, value in optimizer.param_groups[0].items() if name != "params"]
    tensors = [tensor for parameter in parameters for tensor in (parameter, *optimizer.state[parameter].values())]
    return id(trace), tuple(settings), tuple(tensor.data_ptr() for tensor in (*tensors, *trace.constants))
