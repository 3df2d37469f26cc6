"""What layers keep besides weights: switches, numbers and text as plain attributes, and buffers that no checkpoint has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

SCALARS = (type(None), bool, int, float, str)


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
        self._layers = [(part, settings(part), _buffers(part, persistent)) for part in module.modules()]

    def restore(self) -> None:
        """Gives the layers what they had."""
        for part, values, buffers in self._layers:
            vars(part).update(values)
            for name, value in buffers.items():
                _put_back(part, name, value)


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Within the block, settings and buffers of a module may change; after it they are as they were."""
    kept = LayerSettings(module, persistent=True)
    try:
        yield
    finally:
        kept.restore()


def _buffers(part: nn.Module, persistent: bool) -> dict[str, Tensor]:
    names = part._buffers if persistent else part._non_persistent_buffers_set
    return {name: buffer.clone() for name in names if (buffer := part._buffers.get(name)) is not None}


def _put_back(part: nn.Module, name: str, value: Tensor) -> None:
    buffer = part._buffers.get(name)
    if buffer is None or buffer.shape != value.shape:
        part._buffers[name] = value.clone()
        return
    with torch.no_grad():
        buffer.copy_(value)  # in place: DDP and recorded steps know the tensor
