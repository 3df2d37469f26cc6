"""What a strategy that chooses items together knows of each: features, gradients, the probabilities of several passes.

A representation is made of the logits of a pass, and of what entered a layer on the way to them; the pass is that of whoever needs it
besides. It works for any network: the layer is found while the network runs.
"""

import difflib
import math
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from al_lightning.acquisition.description import described
from al_lightning.acquisition.inference import Inference
from al_lightning.errors import UserError

_IMPOSSIBLE = -1e30  # a finite logarithm of 0

Rows = tuple[Tensor, ...]
"""The parts of a representation, each ``(n, *)`` with a row an item."""


class Entered(NamedTuple):
    """What came into a layer.

    Attributes:
        values: ``(B, D)``, or with further axes, of pixels or tokens.
        layer: what it came into.
    """

    values: Tensor
    layer: nn.Module

    def pixels(self) -> Tensor:
        """As float32 or better, ``(B, D, P)``: a layer's channels are its second axis, but the last one of a linear layer."""
        values = self.values if self.values.dtype == torch.float64 else self.values.float()
        if isinstance(self.layer, nn.Linear):
            values = values.movedim(-1, 1)
        return values.flatten(2) if values.ndim > 2 else values.flatten(1).unsqueeze(2)


class Tap:
    """Notes what enters a layer, in whichever network runs.

    Args:
        layer: its name; None for the last one with weights, which the first pass shows.
    """

    def __init__(self, layer: str | None) -> None:
        self.layer = layer
        self._networks: list[nn.Module] = []
        self._entered: Entered | None = None
        self._handles = ExitStack()

    def attach(self, network: nn.Module) -> None:
        """Watches a network too, till :meth:`close`; one that is watched already is left as it is."""
        if any(network is known for known in self._networks):
            return
        self._networks.append(network)
        parts = dict(network.named_modules())
        if self.layer is not None and self.layer not in parts:
            near = ", ".join(difflib.get_close_matches(self.layer, [name for name in parts if name], n=5, cutoff=0))
            raise UserError(f"Expected the name of a layer of {type(network).__name__}, like {near}, got {self.layer}.")
        for part in [parts[self.layer]] if self.layer is not None else filter(has_weights, parts.values()):
            self._handles.callback(part.register_forward_pre_hook(self._note, with_kwargs=True).remove)

    def take(self, items: int) -> Entered:
        """What entered in the pass that is just over; it is forgotten here.

        Args:
            items: that passed.

        Raises:
            UserError: nothing did, or something without an item in each row.
        """
        entered, self._entered = self._entered, None
        if entered is None:
            raise UserError(
                f"Expected a network that runs {'a layer with weights' if self.layer is None else f'its layer {self.layer}'} on the way "
                "to its logits, but it never did. Name another one as features.layer."
            )
        if not entered.values.ndim or len(entered.values) != items:
            raise UserError(
                f"Expected items along the first axis of what enters {self._name_of(entered.layer)}, but that is "
                f"{tuple(entered.values.shape)} for {items} items. Name another layer as features.layer."
            )
        if self.layer is None:  # from now on the others are not looked at
            self.layer = self._name_of(entered.layer)
            networks, self._networks = self._networks, []
            self.close()
            for network in networks:
                self.attach(network)
        return entered

    def close(self) -> None:
        """Leaves the networks as they came."""
        self._handles.close()

    def _note(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if values is not None:
            self._entered = Entered(values.detach(), layer)

    def _name_of(self, layer: nn.Module) -> str:
        names: list[str] = [name for network in self._networks for name, part in network.named_modules() if part is layer]
        return names[0]


def has_weights(part: nn.Module) -> bool:
    """Whether it is a layer that mixes channels; norms, whose weights are vectors, only scale them."""
    return any(parameter.ndim > 1 for parameter in part.parameters(recurse=False))


class Representation(ABC):
    """What is known of each item. What compares equal is made once.

    Attributes:
        layer: whose input is looked at; None for the last one with weights.
        taps: whether any layer's input is looked at.
    """

    layer: str | None = None
    taps: bool = True

    @abstractmethod
    def of(self, logits: Tensor, entered: Entered | None) -> Rows:
        """The rows of a batch.

        Args:
            logits: ``(k, B, C, *)`` of k passes; parts of further passes are joined along the second axis.
            entered: the layer in them, of a single pass; None where it is not looked at.

        Raises:
            UserError: such logits have none.
        """


@dataclass(frozen=True)
class Features(Representation):
    """What enters the network's last layer that has weights, ``(n, D)``; pooled over the pixels of a scene.

    A million items with 512 features are 2 GB in the first process, or 1 GB by halves. Halves keep 3 digits: items that are nearer to each
    other than that become alike, and a feature from 65,520 on is refused.

    Args:
        layer: the name of another layer, whose input is taken.
        pool: over pixels, their ``mean``, or ``mean_and_max``: twice as many features.
        half: whether they are kept in half precision; else in single.
    """

    layer: str | None = None
    pool: Literal["mean", "mean_and_max"] = "mean"
    half: bool = False

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
    """The gradient of the last layer's weights, as if the predicted class were true, in its two factors; of classification.

    It is the outer product of the probabilities less 1 at the predicted class, and of the features: ``(n, C)`` probabilities and
    ``(n, D)`` features are kept, float32, and never multiplied out.

    Source: Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, 2020.

    Args:
        layer: the name of the last layer, where another one than the last with weights is meant.
    """

    layer: str | None = None

    def of(self, logits: Tensor, entered: Entered | None) -> Rows:
        """See :meth:`Representation.of`."""
        assert entered is not None
        _refuse_scenes(logits, "a scene's gradient is a sum over its pixels, which has no two factors. For scenes take CoreSet or Diverse")
        return logits[0].softmax(dim=1).float(), entered.pixels().mean(dim=2).float()


@dataclass(frozen=True)
class PassProbabilities(Representation):
    """The log-probabilities of K passes, ``(n, K, C)``, float32; of classification."""

    taps = False

    def of(self, logits: Tensor, entered: Entered | None) -> Rows:
        """See :meth:`Representation.of`."""
        _refuse_scenes(logits, "the joint predictions of all pixels of several scenes can't be enumerated. For scenes take BALD or Power")
        # -inf is no fault in a class without probability.
        return (logits.transpose(0, 1).log_softmax(dim=2).float().clamp_min(_IMPOSSIBLE),)


@dataclass(frozen=True)
class PredictedShares(Representation):
    """The share of each class in the prediction, ``(n, C)``, float32: of an image's pixels; 1 for the predicted class in classification."""

    taps = False

    def of(self, logits: Tensor, entered: Entered | None) -> Rows:
        """See :meth:`Representation.of`."""
        items, classes = logits.shape[1:3]
        pixels = math.prod(logits.shape[3:])
        largest, predicted = (part.reshape(items, pixels) for part in logits[0].max(dim=1))
        votes = 1 + 0 * largest.float()  # NaN, where there is no number
        return (torch.zeros(items, classes, device=logits.device).scatter_add_(1, predicted, votes) / pixels,)


def _refuse_scenes(logits: Tensor, why: str) -> None:
    if logits.ndim > 3:
        raise UserError(f"Expected a classification for this strategy, got scenes: {why}.")


class Represented(NamedTuple):
    """What is made of which logits, or layers.

    Attributes:
        inference: whose logits, and whose layers.
        kind: what is made of them.
    """

    inference: Inference
    kind: Representation
