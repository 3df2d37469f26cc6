"""BADGE: k-means++ on gradient embeddings that are never multiplied out."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import Batch, drawn, refuse_not_finite, refuse_other_length, refuse_size
from al_lightning.acquisition.batches.distances import RESOLUTION, TILE, first_largest
from al_lightning.acquisition.batches.precision import float32_products


def badge(probabilities: Tensor, features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Seeds of k-means++ on the gradients of the last layer's weights, with the predicted class as the label.

    An item's gradient is the outer product of ``q = p - onehot(argmax p)`` and its features v, so ``<g, g'> = <q, q'> <v, v'>``: the C x D
    numbers are never computed. The first choice is the item with the largest gradient, as in the authors' code. Each next one is drawn in
    proportion to its squared distance from the nearest chosen item; uniformly, if all distances are 0.

    Time: n (C + D) per choice. Memory: a few numbers per item besides the arguments. Distances are computed from products in float32: those
    below a thousandth of the two gradients' norms count as 0.

    Source: Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, ICLR 2020.

    Args:
        probabilities: ``(n, C)``.
        features: ``(n, D)``, what enters the last layer.
        size: how many to choose.
        generator: of the draws, one number for each choice.

    Returns:
        ``(size,)`` positions.

    Raises:
        NotFinite: NaN or infinity in a row of either.
        ValueError: they have different numbers of rows.
    """
    return scored_badge(probabilities, features, size, generator).indices


@float32_products()
def scored_badge(probabilities: Tensor, features: Tensor, size: int, generator: torch.Generator) -> Batch:
    """See :func:`badge`; the scores are distances from the nearest item chosen before; for the first choice, from 0."""
    refuse_size(size, len(features))
    refuse_other_length("probabilities", probabilities, len(features))
    gradients = Gradients(probabilities.detach(), features.detach())
    squared = gradients.norms  # distances from the nearest chosen item, or from 0
    left = torch.ones_like(squared, dtype=torch.bool)
    indices: list[int] = []
    scores: list[float] = []
    while len(indices) < size:
        chosen = int(drawn(squared if bool(squared.any()) else left, 1, generator)) if indices else first_largest(squared)
        from_chosen = gradients.squared_distances(chosen)
        left[chosen] = False
        scores.append(math.sqrt(squared[chosen]))
        squared = (torch.minimum(squared, from_chosen) if indices else from_chosen).mul_(left)
        indices.append(chosen)
    return Batch.of(indices, scores, features.device)


class Gradients:
    """Gradient embeddings, kept as their two factors.

    Attributes:
        norms: squared norms, float32 ``(n,)``.
    """

    def __init__(self, probabilities: Tensor, features: Tensor) -> None:
        self.probabilities = probabilities
        self.features = features
        largest, self.predicted = probabilities.max(1)
        refuse_not_finite("unlabeled", largest)  # the errors do not hold it
        of_errors, of_features = (torch.cat([part.square().sum(1) for part in parts]) for parts in (self._errors(), _parts(features)))
        for each in (of_errors, of_features):
            refuse_not_finite("unlabeled", each)
        self.norms = of_errors * of_features

    def squared_distances(self, item: int) -> Tensor:
        """Squared distances from one item to each, float32 ``(n,)``; what products can't tell from 0, relative to both norms, is 0."""
        which = slice(item, item + 1)
        error, feature = _errors(self.probabilities[which], self.predicted[which])[0], self.features[item].float()
        products = torch.cat([part @ error for part in self._errors()]) * torch.cat([part @ feature for part in _parts(self.features)])
        norms = (self.norms + self.norms[item]) * (1 - RESOLUTION)
        return (norms - 2 * products).clamp_min_(0)

    def _errors(self) -> Iterator[Tensor]:
        step = _step(self.probabilities)
        return map(_errors, self.probabilities.split(step), self.predicted.split(step))


def _errors(probabilities: Tensor, predicted: Tensor) -> Tensor:
    """``p - onehot(predicted)``, float32 ``(b, C)``. ``1 - p_max`` is the sum of the others: a p_max near 1 has lost its digits."""
    errors, place = probabilities.to(torch.float32, copy=True), predicted.unsqueeze(1)
    others = errors.scatter_(1, place, 0.0).sum(1, keepdim=True)
    return errors.scatter_(1, place, -others)


def _parts(matrix: Tensor) -> Iterator[Tensor]:
    return (part.float() for part in matrix.split(_step(matrix)))


def _step(matrix: Tensor) -> int:
    return max(1, TILE // matrix.shape[1])
