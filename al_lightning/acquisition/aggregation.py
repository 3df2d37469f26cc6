"""Pixel scores to one score an image. Classification scores ``(B,)`` pass through unchanged."""

from torch import Tensor


def mean(scores: Tensor) -> Tensor:
    """Mean over everything but the batch: ``(B, *)`` to ``(B,)``."""
    return scores.flatten(1).mean(dim=1) if scores.ndim > 1 else scores


def count_above(scores: Tensor, threshold: float) -> Tensor:
    """Share of the pixels whose score is strictly greater than the threshold: ``(B, *)`` to ``(B,)``, in [0, 1]."""
    return mean((scores > threshold).to(scores.dtype))
