"""What a strategy that chooses a query as a whole knows of each item: features, a gradient, the probabilities of several passes.

A representation is computed from the logits of a pass, and from the input of a layer in that pass. Strategies that score items can share
the pass. It works for any network: the layer is found while the network runs.
"""

import difflib
import math
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from al_lightning.acquisition.description import described
from al_lightning.acquisition.inference import Inference
from al_lightning.errors import UserError

_IMPOSSIBLE = -1e30  # in place of -inf, the logarithm of 0, as rows have to be finite

# Layers that say on which axis features lie where there are three.
_LAST_NORMS = (nn.LayerNorm, nn.RMSNorm)
_FEATURES_LAST = (nn.Linear, *_LAST_NORMS)
_FEATURES_SECOND = (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.SyncBatchNorm, nn.InstanceNorm1d, nn.GroupNorm)

Rows = tuple[Tensor, ...]
"""The parts of a representation, each ``(n, *)``: one row is one item."""


class Entered(NamedTuple):
    """The input of a layer.

    Attributes:
        values: ``(B, D)``, or with further axes, of pixels or tokens.
        layer: the layer.
        leaving: number of channels of its output; 0 if that is not a tensor with channels.
    """

    values: Tensor
    layer: nn.Module
    leaving: int = 0

    def pixels(self) -> Tensor:
        """The input as ``(B, D, P)`` of P pixels or tokens, in float32 or float64.

        Raises:
            UserError: the input has three axes, and the layer does not say which of them are features.
        """
        values = self.values if self.values.dtype == torch.float64 else self.values.float()
        if values.ndim == 3 and not isinstance(self.layer, (*_FEATURES_LAST, *_FEATURES_SECOND)):
            raise UserError(
                f"Expected a linear, convolutional or norm layer, which says which axis of {tuple(values.shape)} are features, got a "
                f"{type(self.layer).__name__}. Name another layer."
            )
        return values.movedim(_channels(self.layer, values), 1).flatten(2) if values.ndim > 2 else values.flatten(1).unsqueeze(2)


class Tap:
    """Records the input of a layer, in whichever of the watched networks runs.

    Args:
        layer: its name; None for the last one with weights that runs, which the first pass shows.
        option: what that name is called in the settings of a strategy.
    """

    def __init__(self, layer: str | None, option: str) -> None:
        self.layer = layer
        self.option = option
        self._networks: list[nn.Module] = []
        self._entered: Entered | None = None
        self._handles = ExitStack()

    def attach(self, network: nn.Module) -> None:
        """Watches one more network, until :meth:`close`; one that is watched already is left as it is.

        Raises:
            UserError: it has no layer of that name.
        """
        if any(network is known for known in self._networks):
            return
        self._networks.append(network)
        parts = dict(network.named_modules())
        if self.layer is not None and self.layer not in parts:
            near = ", ".join(difflib.get_close_matches(self.layer, [name for name in parts if name], n=5, cutoff=0))
            raise UserError(f"Expected the name of a layer of {type(network).__name__}, like {near}, got {self.layer}.")
        for part in [parts[self.layer]] if self.layer is not None else filter(has_weights, parts.values()):
            self._handles.callback(part.register_forward_pre_hook(self._note, with_kwargs=True).remove)
            self._handles.callback(part.register_forward_hook(self._note_output).remove)

    def take(self, items: int) -> Entered:
        """Returns the layer's input in the last pass, and forgets it.

        Args:
            items: number of items in that pass.

        Raises:
            UserError: the layer did not run, or its input does not have one row for each item.
        """
        entered, self._entered = self._entered, None
        if entered is None:
            raise UserError(
                f"Expected a network that runs {'a layer with weights' if self.layer is None else f'its layer {self.layer}'} on the way "
                f"to its logits, but it never did. Name another one as {self.option}."
            )
        if not entered.values.ndim or len(entered.values) != items:
            raise UserError(
                f"Expected items along the first axis of what enters {self._name_of(entered.layer)}, but that is "
                f"{tuple(entered.values.shape)} for {items} items. Name another layer as {self.option}."
            )
        if self.layer is None:  # the layer is known now: the others are not watched any more
            self.layer = self._name_of(entered.layer)
            networks, self._networks = self._networks, []
            self.close()
            for network in networks:
                self.attach(network)
        return entered

    def close(self) -> None:
        """Removes the hooks from the networks."""
        self._handles.close()

    def _note(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if (values := first_tensor(args, kwargs)) is not None:
            values = values.detach()
            self._entered = Entered(values.clone() if getattr(layer, "inplace", False) else values, layer)

    def _note_output(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._entered is not None and self._entered.layer is layer and isinstance(output, Tensor) and output.ndim > 1:
            self._entered = self._entered._replace(leaving=output.shape[_channels(layer, output)])

    def _name_of(self, layer: nn.Module) -> str:
        names: list[str] = [name for network in self._networks for name, part in network.named_modules() if part is layer]
        return names[0]


def _channels(layer: nn.Module, values: Tensor) -> int:
    """The axis of a layer's input or output on which features lie.

    Norms of images (``LayerNorm2d`` of torchvision and timm, or a ``LayerNorm`` of several axes) have them second, as convolutions do.
    """
    if isinstance(layer, _LAST_NORMS) and values.ndim > 3:
        is_last = type(layer) in _LAST_NORMS or values.shape[1] != layer.normalized_shape[0]
        return -1 if is_last and len(layer.normalized_shape) == 1 else 1
    return -1 if isinstance(layer, _FEATURES_LAST) else 1


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The first tensor that enters a layer."""
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)


def own_parameters(part: nn.Module) -> list[nn.Parameter]:
    """A module's own parameters, with those that its weights are computed from (``torch.nn.utils.parametrizations``)."""
    return [*part.parameters(recurse=False), *(part.get_submodule("parametrizations").parameters() if is_parametrized(part) else ())]


def has_weights(part: nn.Module) -> bool:
    """Whether a module itself mixes channels, by weights of 2 or more axes. The weights of norms are vectors, and only scale channels."""
    return not isinstance(part, ParametrizationList) and any(parameter.ndim > 1 for parameter in own_parameters(part))


class Representation(ABC):
    """What is known of each item.

    Attributes:
        layer: name of the layer whose input is used; None for the last one with weights.
        taps: whether the input of a layer is used at all.
        option: what the layer's name is called in the settings of a strategy.
    """

    layer: str | None = None
    taps: bool = True
    option: str = "layer"

    @abstractmethod
    def of(self, logits: Tensor, entered: Entered | None) -> Rows:
        """The rows of a batch.

        Args:
            logits: ``(k, B, C, *)`` of k passes; the caller joins parts of further passes along the second axis.
            entered: the layer's input in them, where k is 1; None if the representation uses none.

        Raises:
            UserError: it can't be made of such logits.
        """


@dataclass(frozen=True)
class Features(Representation):
    """The input of the network's last layer with weights, ``(n, D)``; of a scene, pooled over its pixels.

    A million items with 512 features take 2 GB in the first process, or 1 GB in half precision. Half precision keeps 3 digits: items that
    differ by less become equal, and a feature of 65,520 or more is refused.

    Args:
        layer: name of another layer, whose input is taken instead. Features are its second axis, for a linear layer and ``LayerNorm`` the
            last (a ``LayerNorm2d`` has the second).
        pool: how the pixels of a scene are pooled: their ``mean``, or ``mean_and_max``, which gives twice as many features.
        half: whether features are kept in half precision; else in single precision.
    """

    layer: str | None = None
    pool: Literal["mean", "mean_and_max"] = "mean"
    half: bool = False

    option = "features.layer"

    def of(self, logits: Tensor, entered: Entered | None) -> Rows:
        """See :meth:`Representation.of`."""
        assert entered is not None
        pixels_BDP = entered.pixels()
        pooled = pixels_BDP.mean(dim=2)
        if self.pool == "mean_and_max":
            pooled = torch.cat([pooled, pixels_BDP.amax(dim=2)], dim=1)
        return (pooled.half() if self.half else pooled.float(),)

    def __str__(self) -> str:
        return described(self)


@dataclass(frozen=True)
class GradientEmbedding(Representation):
    """The gradient of the loss by the last layer's weights, as if the predicted class were true, in two factors. For classification.

    The gradient is the outer product of two vectors: the probabilities, less 1 at the predicted class, and the features. ``(n, C)``
    probabilities and ``(n, D)`` features are kept in float32; their product is never computed.

    Source: Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, 2020.

    Args:
        layer: name of the last layer, which makes the logits; None for the last one with weights.
    """

    layer: str | None = None

    def of(self, logits: Tensor, entered: Entered | None) -> Rows:
        """See :meth:`Representation.of`."""
        assert entered is not None
        _refuse_scenes(logits, "a scene's gradient is a sum over its pixels, which has no two factors. For scenes take CoreSet or Diverse")
        if entered.leaving != (classes := logits.shape[2]):
            raise UserError(
                f"Expected the last layer, which makes the {classes} logits of an item for its gradient, got "
                f"{self.layer or type(entered.layer).__name__}, whose output has {entered.leaving} channels. "
                "Name the layer that makes them as layer; a network without one has no such gradient."
            )
        return logits[0].softmax(dim=1).float(), entered.pixels().mean(dim=2).float()


@dataclass(frozen=True)
class PassProbabilities(Representation):
    """The log-probabilities of K passes, ``(n, K, C)``, float32. For classification."""

    taps = False

    def of(self, logits: Tensor, entered: Entered | None) -> Rows:
        """See :meth:`Representation.of`."""
        _refuse_scenes(logits, "the joint predictions of all pixels of several scenes can't be enumerated. For scenes take BALD or Power")
        # A class of probability 0 is no fault, so its -inf becomes a finite number.
        return (logits.transpose(0, 1).log_softmax(dim=2).float().clamp_min(_IMPOSSIBLE),)


@dataclass(frozen=True)
class PredictedShares(Representation):
    """The share of an image's pixels that is predicted as each class, ``(n, C)``, float32. In classification, 1 for the predicted class."""

    taps = False

    def of(self, logits: Tensor, entered: Entered | None) -> Rows:
        """See :meth:`Representation.of`."""
        items, classes = logits.shape[1:3]
        pixels = math.prod(logits.shape[3:])
        largest, predicted = (part.reshape(items, pixels) for part in logits[0].max(dim=1))
        votes = 1 + 0 * largest.float()  # 1, or NaN where the logits are NaN
        return (votes.new_zeros(items, classes).scatter_add_(1, predicted, votes).div_(pixels),)


def _refuse_scenes(logits: Tensor, why: str) -> None:
    if logits.ndim > 3:
        raise UserError(f"Expected a classification for this strategy, got scenes: {why}.")


class Represented(NamedTuple):
    """A representation, and the passes that it is computed from.

    Attributes:
        inference: makes the passes.
        kind: the representation.
    """

    inference: Inference
    kind: Representation
