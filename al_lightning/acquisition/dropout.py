"""Live dropout: it drops while the network is in eval mode, with masks that belong to items.

Hooks on the dropout layers apply the masks, so that no module changes its mode: batch norm stays in eval mode. Dropout that the hooks can't
repeat as it is in training is refused, as far as a network shows it: what is no layer (functional dropout, stochastic depth) stays off.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from al_lightning.acquisition.hashing import keep_mask
from al_lightning.errors import UserError

# The layers that can be made live. A layer that drops channels takes the second axis for channels only if its input has so many axes.
_KINDS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_AXES: dict[type[nn.Module], tuple[int, ...]] = {nn.Dropout1d: (3,), nn.Dropout2d: (3, 4), nn.Dropout3d: (5,)}
_ALPHA = -1.7580993408473766  # the limit of SELU at minus infinity


def _rate(module: _DropoutNd, drop: float | None) -> float:
    return module.p if drop is None else drop


class _Unfused:
    """While any thread is in this context, torch does not fuse transformer layers: fused ones skip their dropout layers."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._fused = True

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._fused = torch.backends.mha.get_fastpath_enabled()
                torch.backends.mha.set_fastpath_enabled(False)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.mha.set_fastpath_enabled(self._fused)


_UNFUSED = _Unfused()


class LiveDropout:
    """What the hooks share: for which items and passes they draw masks, and whether they draw at all.

    Args:
        layers: the dropout layers that are made live, by name.
        drop: drop probability; None keeps each layer's own.
        seed: of the masks.
        shared: whether all items have the same masks in a pass.

    Attributes:
        varied: whether passes had different masks; False may be chance, None says that no layer has run.
        idle: the names of layers that have not run.
    """

    def __init__(self, layers: dict[str, _DropoutNd], drop: float | None, seed: int, shared: bool = False) -> None:
        self.layers, self.drop, self.seed, self.shared = layers, drop, seed, shared
        self.active = False
        self.varied: bool | None = None
        self.idle = {*layers}
        self._first: dict[int, Tensor] = {}  # the masks of a batch's first pass, by draw
        self.indices = self.passes = torch.empty(0, dtype=torch.int64)
        self.calls: Counter[int] = Counter()

    @contextmanager
    def drawing(self, indices: Tensor, passes: Tensor) -> Iterator[None]:
        """Makes dropout live for one forward pass of ``K * B`` rows.

        Args:
            indices: ``(B,)`` dataset indices.
            passes: ``(K,)`` numbers of passes.
        """
        self.indices, self.passes, self.active = torch.zeros_like(indices) if self.shared else indices, passes, True
        self.calls.clear()
        try:
            with _UNFUSED:
                yield
        finally:
            self.active = False

    def hook(self, number: int, name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        """The forward hook of a layer."""

        def drop(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            if not self.active:
                return output
            assert isinstance(module, _DropoutNd)
            features = self._mask_shape(name, module, output.shape)
            # A layer that is run again in the same pass draws again, as it does in training.
            draw = number + len(self.layers) * self.calls[number]
            self.calls[number] += 1
            self.idle.discard(name)
            rate = _rate(module, self.drop)
            mask_KBF = keep_mask(self.seed + draw, self.indices, self.passes, features.numel(), rate)
            self._compare(draw, mask_KBF)
            mask = mask_KBF.reshape(-1, *features, *[1] * (output.ndim - 1 - len(features)))
            return _dropped(module, output, mask, rate)

        return drop

    def _compare(self, draw: int, mask_KBF: Tensor) -> None:
        if self.varied:
            return
        if int(self.passes[0]) == 0:
            self._first[draw] = mask_KBF[:1]
        self.varied = bool((mask_KBF != self._first.setdefault(draw, mask_KBF[:1])).any())
        if self.varied:
            self._first.clear()

    def _mask_shape(self, name: str, module: _DropoutNd, shape: torch.Size) -> torch.Size:
        """The shape of one item's mask, for an output ``(K * B, F, ...)``: ``(F, ...)``, or ``(F,)`` where channels are dropped."""
        if any(isinstance(module, kind) and len(shape) not in axes for kind, axes in _AXES.items()):
            raise UserError(
                f"Expected a batch as the first axis of what {type(module).__name__} gets, but the layer {name} gets {tuple(shape)} and "
                "takes it for one item with channels first. Use Dropout there."
            )
        if shape[0] != len(self.passes) * len(self.indices):
            raise UserError(
                f"Expected dropout of tensors whose first axis is the batch, but the layer {name} gets {tuple(shape)} for "
                f"{len(self.passes) * len(self.indices)} items: it can't be told which item's mask a value belongs to. Put the batch first "
                "where the layer is."
            )
        return shape[1:] if isinstance(module, nn.Dropout | nn.AlphaDropout) else shape[1:2]


def _dropped(module: _DropoutNd, output: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Drops as torch does: to 0, or to the value that keeps mean and variance of SELU's output (Klambauer et al., 2017)."""
    if not isinstance(module, nn.AlphaDropout | nn.FeatureAlphaDropout):
        return output * mask / (1 - rate)
    scale: float = ((1 - rate) * (1 + rate * _ALPHA**2)) ** -0.5
    return torch.where(mask, output, _ALPHA) * scale - scale * _ALPHA * rate


def droppable(network: nn.Module, drop: float | None) -> dict[str, _DropoutNd]:
    """The network's dropout layers with a rate above 0, by name.

    Args:
        network: in any mode.
        drop: drop probability for every layer; None keeps each layer's own.
    """
    return {name: part for name, part in network.named_modules() if isinstance(part, _DropoutNd) and _rate(part, drop) > 0}


def refuse_hidden(network: nn.Module, layers: dict[str, _DropoutNd]) -> None:
    """Refuses dropout that hooks can't make behave as in training: the passes would differ, but not in the right way.

    Args:
        network: in any mode.
        layers: those of :func:`droppable`.

    Raises:
        UserError: the network has such dropout.
    """
    for name, part in network.named_modules():
        if isinstance(part, nn.MultiheadAttention | nn.RNNBase) and part.dropout > 0:
            raise UserError(
                f"Expected dropout in layers of its own, but {name}, a {type(part).__name__}, drops inside of itself, where no item's mask "
                "reaches. Make it with dropout 0."
            )
    known = {kind.forward for kind in _KINDS}
    for name, layer in layers.items():
        if type(layer).forward not in known or layer.p == 1:
            kinds = ", ".join(kind.__name__ for kind in _KINDS)
            raise UserError(f"Expected a dropout layer of torch ({kinds}) with a rate below 1, but {name} is {layer!r}.")
