"""From pixel scores to one score of each image. Classification scores ``(B,)`` pass through unchanged."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from al_lightning.acquisition.description import described
from al_lightning.numbers import NonNegativeFloat, PositiveInt, Share, checked


def mean(scores: Tensor) -> Tensor:
    """Mean over everything but the batch: ``(B, *)`` to ``(B,)``."""
    return scores.flatten(1).mean(dim=1) if scores.ndim > 1 else scores


def count_above(scores: Tensor, threshold: float) -> Tensor:
    """Share of the pixels whose score is strictly greater than the threshold: ``(B, *)`` to ``(B,)``, in [0, 1]."""
    return mean((scores > threshold).to(scores.dtype))


class Aggregation(ABC):
    """How the scores of an image's pixels become one score of the image.

    Attributes:
        scales: whether doubling the scores doubles the result. Then the aggregation also works on logarithms of scores, however small the
            scores are.
    """

    scales: bool = True

    @abstractmethod
    def __call__(self, scores: Tensor) -> Tensor:
        """``(B, *)`` to ``(B,)``."""

    def __str__(self) -> str:
        return described(self)

    def of_logarithms(self, logs: Tensor) -> Tensor:
        """Ranking keys of images, from the logarithms of pixel scores.

        Args:
            logs: ``(B, *)``.

        Returns:
            ``(B,)`` in the order of the aggregated scores: their logarithms if the aggregation :attr:`scales` (for a score of 0 the lowest
            finite number), else the scores themselves.
        """
        lowest = torch.finfo(logs.dtype).min
        logs = logs.clamp_min(lowest)  # keys are finite, and a score of 0 has none that is
        if logs.ndim == 1:
            return logs
        if not self.scales:
            return self(logs.exp())
        largest_B1 = logs.flatten(1).amax(dim=1, keepdim=True)
        relative = (logs - largest_B1.reshape(-1, *[1] * (logs.ndim - 1))).exp()
        return (self(relative).log() + largest_B1.squeeze(1)).clamp_min(lowest)


class Mean(Aggregation):
    """Mean over the pixels."""

    def __call__(self, scores: Tensor) -> Tensor:
        """See :func:`mean`."""
        return mean(scores)


class Sum(Aggregation):
    """Sum over the pixels: larger images count for more."""

    def __call__(self, scores: Tensor) -> Tensor:
        """``(B, *)`` to ``(B,)``."""
        return scores.flatten(1).sum(dim=1) if scores.ndim > 1 else scores


class Max(Aggregation):
    """The largest pixel score."""

    def __call__(self, scores: Tensor) -> Tensor:
        """``(B, *)`` to ``(B,)``."""
        return scores.flatten(1).amax(dim=1) if scores.ndim > 1 else scores


class CountAbove(Aggregation):
    """Share of the pixels whose score is strictly greater than a threshold.

    Args:
        threshold: in the units of the score. Chen (2020) takes log 2 = 0.6931 for entropy, 0.5 for max-softmax and 0.8 for margin.
    """

    scales = False

    @checked
    def __init__(self, threshold: NonNegativeFloat) -> None:
        self.threshold = threshold

    def __call__(self, scores: Tensor) -> Tensor:
        """See :func:`count_above`."""
        return count_above(scores, self.threshold)


class TopMean(Aggregation):
    """Mean of the largest pixel scores.

    Args:
        share: of the pixels that are averaged, in (0, 1]; at least one pixel is.
    """

    @checked
    def __init__(self, share: Share = 0.1) -> None:
        self.share = share

    def __call__(self, scores: Tensor) -> Tensor:
        """``(B, *)`` to ``(B,)``."""
        if scores.ndim == 1:
            return scores
        pixels = scores.flatten(1)
        return pixels.topk(max(1, round(self.share * pixels.shape[1])), dim=1).values.mean(dim=1)


class PatchMax(Aggregation):
    """The largest mean over a square patch: an image is as interesting as its most interesting place.

    Args:
        size: edge of a patch in pixels. Neighbouring patches overlap by half. A smaller image is one patch.
    """

    @checked
    def __init__(self, size: PositiveInt = 64) -> None:
        self.size = size

    def __call__(self, scores: Tensor) -> Tensor:
        """``(B, H, W)`` to ``(B,)``."""
        if scores.ndim == 1:
            return scores
        patch = [min(self.size, edge) for edge in scores.shape[1:]]
        stride = [max(1, edge // 2) for edge in patch]
        # ceil_mode keeps the pixels at the far edges; patches that reach over the edge average what is there.
        means = avg_pool2d(scores.unsqueeze(1), patch, stride, ceil_mode=True, count_include_pad=False)
        return torch.flatten(means, 1).amax(dim=1)
