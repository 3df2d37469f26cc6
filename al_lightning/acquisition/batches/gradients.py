"""BADGE: k-means++ on gradient embeddings that are never multiplied out."""

import math

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import Batch, drawn, refuse_not_finite, refuse_other_length, refuse_size
from al_lightning.acquisition.batches.distances import RESOLUTION, TILE, first_largest


def badge(probabilities: Tensor, features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Seeds of k-means++ on the gradients of the last layer's weights, with the predicted class as the label.

    An item's gradient is the outer product of ``q = p - onehot(argmax p)`` and its features v, so ``<g, g'> = <q, q'> <v, v'>``: the C x D
    numbers are never computed. The first choice is the item with the largest gradient, as in the authors' code. Each next one is drawn in
    proportion to its squared distance from the nearest chosen item; uniformly, if all distances are 0.

    Time: n (C + D) per choice. Memory: 8 bytes per item besides the arguments.

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
        self.predicted = probabilities.argmax(1)
        largest = probabilities.gather(1, self.predicted.unsqueeze(1)).squeeze(1).float()
        of_errors = _times(probabilities, None) - 2 * largest + 1
        of_features = _times(features, None)
        for each in (of_errors, of_features):
            refuse_not_finite("unlabeled", each)
        self.norms = of_errors.clamp_min(0) * of_features

    def squared_distances(self, item: int) -> Tensor:
        """Squared distances from one item to each, float32 ``(n,)``; what products can't tell from 0 is 0."""
        error = self.probabilities[item].float().clone()
        error[self.predicted[item]] -= 1
        errors = _times(self.probabilities, error) - error[self.predicted]
        products = errors * _times(self.features, self.features[item].float())
        norms = (self.norms + self.norms[item]) * (1 - RESOLUTION)
        return (norms - 2 * products).clamp_min_(0)


def _times(matrix: Tensor, vector: Tensor | None) -> Tensor:
    """Products of rows ``(n, D)`` with a vector ``(D,)``, or with themselves, in float32: ``(n,)``."""
    step = max(1, TILE // matrix.shape[1])
    parts = (part.float() for part in matrix.split(step)) if matrix.dtype != torch.float32 else matrix.split(step)
    return torch.cat([part.square().sum(1) if vector is None else part @ vector for part in parts])
