"""Logits in, uncertainty scores out.

Axes: B items, C classes, ``*`` any further dimensions (none for classification, H W for segmentation), K passes. A higher score
is more uncertain. Logarithms are natural. The functions take logits because probabilities lose what a confident network still
says: everything is computed from the gaps to the largest logit, which stays exact where ``1 - max p`` rounds to 0. A class may
have probability 0 (logit -inf); NaN or +inf in gives NaN out.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class _Gaps(NamedTuple):
    """Logits relative to the largest one, which is itself taken out (-inf) so that it can't swallow the others."""

    others_BC: Tensor  # logit minus largest logit, <= 0; -inf in the largest one's place
    odds_BC: Tensor  # exp(others): probability relative to the largest one's
    sum_B1: Tensor  # sum of odds over the classes; max p = 1 / (1 + sum)


def _gaps(logits: Tensor) -> _Gaps:
    if logits.ndim < 2 or logits.shape[1] < 2:
        raise ValueError(f"Expected logits of shape (B, C, *) with at least 2 classes, got {tuple(logits.shape)}.")
    top_B1 = logits.max(dim=1, keepdim=True)
    others_BC = (logits - top_B1.values).scatter(1, top_B1.indices, -torch.inf)
    odds_BC = others_BC.exp()
    return _Gaps(others_BC, odds_BC, odds_BC.sum(dim=1, keepdim=True))


def entropy(logits: Tensor) -> Tensor:
    """Shannon entropy of the softmax, ``-sum_c p_c log p_c``, in nats.

    Args:
        logits: ``(B, C, *)``.

    Returns:
        ``(B, *)``, in [0, log C].

    Example:
        >>> entropy(torch.tensor([[0.0, 0.0], [3.0, 3.0]]))
        tensor([0.6931, 0.6931])
    """
    gaps = _gaps(logits)
    # With Z = 1 + sum: H = log Z - sum_c p_c (logit_c - largest). The clamp makes 0 * -inf the 0 that it means.
    lowest = torch.finfo(logits.dtype).min
    weighted_B1 = (gaps.odds_BC * gaps.others_BC.clamp_min(lowest)).sum(dim=1, keepdim=True)
    return (gaps.sum_B1.log1p() - weighted_B1 / (1 + gaps.sum_B1)).squeeze(1)


def max_softmax(logits: Tensor) -> Tensor:
    """``1 - max_c p_c``, also called least confidence.

    Args:
        logits: ``(B, C, *)``.

    Returns:
        ``(B, *)``, in [0, 1 - 1/C].
    """
    sum_B1 = _gaps(logits).sum_B1
    return (sum_B1 / (1 + sum_B1)).squeeze(1)


def log_max_softmax(logits: Tensor) -> Tensor:
    """``log(1 - max_c p_c)``: the same order as :func:`max_softmax`, also where that underflows (low temperatures).

    Args:
        logits: ``(B, C, *)``.

    Returns:
        ``(B, *)``, at most log(1 - 1/C); -inf only where every other class has probability exactly 0.
    """
    gaps = _gaps(logits)
    return torch.logsumexp(gaps.others_BC, dim=1) - gaps.sum_B1.log1p().squeeze(1)


def margin(logits: Tensor) -> Tensor:
    """``1 - (p_1 - p_2)`` with the two largest probabilities.

    Args:
        logits: ``(B, C, *)``.

    Returns:
        ``(B, *)``, in [0, 1].
    """
    gaps = _gaps(logits)
    second_B1 = gaps.odds_BC.amax(dim=1, keepdim=True)
    return ((gaps.sum_B1 + second_B1) / (1 + gaps.sum_B1)).squeeze(1)


class PassSums(NamedTuple):
    """Running sums over stochastic passes: all that BALD and vote entropy need, in memory independent of K."""

    probabilities: Tensor  # (B, C, *), sum over passes of the softmax
    entropies: Tensor  # (B, *), sum over passes of the softmax's entropy
    votes: Tensor  # (B, C, *), how many passes predict the class
    passes: int


def add_passes(sums: PassSums | None, logits: Tensor) -> PassSums:
    """Adds passes to running sums.

    Args:
        sums: what was summed before; None to begin.
        logits: ``(K, B, C, *)``, one or more further passes.
    """
    if logits.ndim < 3:
        raise ValueError(f"Expected logits of shape (K, B, C, *), got {tuple(logits.shape)}.")
    probabilities_KBC = logits.softmax(dim=2)
    entropies_B = entropy(logits.flatten(0, 1)).unflatten(0, logits.shape[:2]).sum(dim=0)
    winner_KB1 = logits.argmax(dim=2, keepdim=True)
    votes_BC = torch.zeros_like(probabilities_KBC).scatter_(2, winner_KB1, 1.0).sum(dim=0)
    added = PassSums(probabilities_KBC.sum(dim=0), entropies_B, votes_BC, logits.shape[0])
    if sums is None:
        return added
    return PassSums(*(old + new for old, new in zip(sums, added, strict=True)))


def bald_from_sums(sums: PassSums) -> Tensor:
    """:func:`bald` of passes that were added up by :func:`add_passes`."""
    mean_BC = sums.probabilities / sums.passes
    # Rounding can leave a difference of -1e-8 where the passes agree; mutual information is never negative.
    return (torch.special.entr(mean_BC).sum(dim=1) - sums.entropies / sums.passes).clamp_min(0)


def vote_entropy_from_sums(sums: PassSums) -> Tensor:
    """:func:`vote_entropy` of passes that were added up by :func:`add_passes`."""
    return torch.special.entr(sums.votes / sums.passes).sum(dim=1)


def bald(logits: Tensor) -> Tensor:
    """Mutual information between prediction and weights: entropy of the mean softmax minus mean entropy of the softmaxes.

    Source: Houlsby et al., Bayesian Active Learning for Classification and Preference Learning, 2011; Gal et al., Deep Bayesian
    Active Learning with Image Data, 2017.

    Args:
        logits: ``(K, B, C, *)``, K stochastic passes.

    Returns:
        ``(B, *)``, in [0, log C].
    """
    return bald_from_sums(add_passes(None, logits))


def vote_entropy(logits: Tensor) -> Tensor:
    """Entropy of the distribution of predicted classes over passes (Dagan & Engelson, 1995).

    Args:
        logits: ``(K, B, C, *)``, K stochastic passes.

    Returns:
        ``(B, *)``, in [0, log min(C, K)].
    """
    return vote_entropy_from_sums(add_passes(None, logits))
