"""What layers keep besides weights: switches, numbers and text as plain attributes, and buffers that no checkpoint has."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

SCALARS = (type(None), bool, int, float, str)

Buffers = dict[str, tuple[Tensor | None, bool]]
"""A layer's buffers by name, each with whether it is part of the ``state_dict``."""


def settings(part: nn.Module) -> dict[str, Any]:
    """A layer's public attributes that are switches, numbers or text, such as ``training``, a momentum or a dropout probability."""
    return {name: value for name, value in vars(part).items() if not name.startswith("_") and type(value) in SCALARS}


class LayerSettings:
    """Remembers the :func:`settings` and buffers of all layers of a module.

    Args:
        module: the module.
        persistent: whether to remember buffers that are part of the ``state_dict``, too.
    """

    def __init__(self, module: nn.Module, persistent: bool) -> None:
        left_out = () if persistent else module.state_dict()
        self._layers = [(part, settings(part), _buffers(part, name, left_out)) for name, part in module.named_modules()]

    def restore(self) -> None:
        """Gives the layers what they had."""
        for part, values, buffers in self._layers:
            vars(part).update(values)
            for name, (value, persistent) in buffers.items():
                put_back(part, name, value, persistent)


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Within the block, settings and buffers of a module may change; after it they are as they were."""
    kept = LayerSettings(module, persistent=True)
    try:
        yield
    finally:
        kept.restore()


def hooks(module: nn.Module) -> int:
    """The number of hooks of all layers and weights, by torch's own records, which have no public names."""
    count = 0
    for owner in (*module.modules(), *module.parameters()):
        names = ("_backward_hooks", "_post_accumulate_grad_hooks") if isinstance(owner, Tensor) else vars(owner)
        count += sum(len(found) for name in names if "_hooks" in name and isinstance(found := getattr(owner, name), dict))
    return count


def _buffers(part: nn.Module, prefix: str, left_out: Collection[str]) -> Buffers:
    """A layer's own buffers. One that is None until a forward pass fills it is in no ``state_dict``."""
    own = {name: buffer for name, buffer in part._buffers.items() if (f"{prefix}.{name}" if prefix else name) not in left_out}
    fleeting = part._non_persistent_buffers_set
    return {name: (None if buffer is None else buffer.clone(), name not in fleeting) for name, buffer in own.items()}


def put_back(part: nn.Module, name: str, value: Tensor | None, persistent: bool) -> None:
    """Gives a layer's buffer a value, whatever became of the buffer."""
    if name not in part._buffers:  # the network has deleted it, or put something else in its place
        vars(part).pop(name, None)
        part.register_buffer(name, None, persistent)
    buffer = part._buffers[name]
    if buffer is None or value is None or buffer.shape != value.shape:
        setattr(part, name, None if value is None else value.clone())
        return
    with torch.no_grad():
        buffer.copy_(value)  # in place: DDP and recorded steps know the tensor
