"""Logits in, uncertainty scores out.

Axes: B items, C classes, ``*`` any further dimensions (none for classification, H W for segmentation), K passes. A higher score
is more uncertain. Logarithms are natural. The functions take logits because the probabilities of a confident network round to 0
and 1: everything is computed from the gaps to the largest logit, which stays exact where ``1 - max p`` rounds to 0. A class may
have probability 0 (logit -inf); NaN or +inf in gives NaN out. Scores of a single pass raise ValueError for fewer than 2 classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class _Gaps(NamedTuple):
    """Logits relative to the largest one. The largest itself is left out (-inf), so that sums don't round the others away."""

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
    # With Z = 1 + sum: H = log Z - sum_c p_c (logit_c - largest). The clamp turns 0 * -inf into 0, the limit of p log p.
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


def bald(logits: Tensor) -> Tensor:
    """Mutual information between prediction and weights: entropy of the mean softmax minus mean entropy of the softmaxes.

    Source: Houlsby et al., Bayesian Active Learning for Classification and Preference Learning, 2011; Gal et al., Deep Bayesian
    Active Learning with Image Data, 2017.

    Args:
        logits: ``(K, B, C, *)``, K stochastic passes.

    Returns:
        ``(B, *)``, in [0, log C].
    """
    sums = BaldSums()
    sums.add(logits)
    return sums.score()


def vote_entropy(logits: Tensor) -> Tensor:
    """Entropy of the distribution of predicted classes over passes (Dagan & Engelson, 1995).

    Args:
        logits: ``(K, B, C, *)``, K stochastic passes.

    Returns:
        ``(B, *)``, in [0, log min(C, K)].
    """
    sums = VoteSums()
    sums.add(logits)
    return sums.score()


def predicted(logits: Tensor) -> Tensor:
    """The predicted classes, ``(B, C, *)`` to int64 ``(B, *)``."""
    return logits.argmax(dim=1)


def image_miou(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean IoU of each image, over the classes that occur in its target or its prediction.

    Args:
        prediction: ``(B, H, W)`` classes.
        target: ``(B, H, W)`` classes; negative ones and those from 255 on are ignored.

    Returns:
        float64 ``(B,)``, in [0, 1]; 1 for an image in which all pixels are ignored, because nothing in it is wrong.
    """
    scores = []
    for its_prediction, its_target in zip(prediction, target, strict=True):
        counts = (its_target >= 0) & (its_target < 255)
        p, t = its_prediction[counts], its_target[counts]
        classes = int(torch.cat([p, t]).max()) + 1 if len(t) else 0
        hits, predicted_, true = (x.bincount(minlength=classes).double() for x in (t[p == t], p, t))
        unions = predicted_ + true - hits
        scores.append((hits / unions)[unions > 0].mean() if len(t) else torch.ones((), dtype=torch.float64, device=t.device))
    return torch.stack(scores)


class PassSums(ABC):
    """Running sums over stochastic passes: :meth:`add` passes, then take the :meth:`score`. Their memory does not grow with K."""

    def __init__(self) -> None:
        self.passes = 0

    def add(self, logits: Tensor) -> None:
        """Adds one or more passes, ``(K, B, C, *)``.

        Raises:
            ValueError: the logits have fewer than 3 axes.
        """
        if logits.ndim < 3:
            raise ValueError(f"Expected logits of shape (K, B, C, *), got {tuple(logits.shape)}.")
        self.passes += len(logits)
        self._add(logits)

    @abstractmethod
    def _add(self, logits: Tensor) -> None: ...

    @abstractmethod
    def score(self) -> Tensor:
        """The score ``(B, *)`` of all passes that were added."""


class OnePass(PassSums):
    """The score of a single pass, in the form of sums that take exactly one pass.

    Args:
        function: from logits ``(B, C, *)`` to ``(B, *)``.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def _add(self, logits: Tensor) -> None:
        if self.passes != 1:
            raise ValueError(f"Expected one pass, got {self.passes}.")
        self._score = self.function(logits[0])

    def score(self) -> Tensor:
        """``(B, *)``."""
        return self._score


def _by_logarithm(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities ``(K, B, C, *)``, and their entropies summed over the passes, ``(B, *)``: the fastest way on a CPU."""
    # Classification as (K, C, B): a softmax over a short last axis takes several times as long as one over another axis.
    logs_KBC = logits.transpose(1, 2).contiguous().log_softmax(1).transpose(1, 2) if logits.ndim == 3 else logits.log_softmax(2)
    probabilities_KBC = logs_KBC.exp()
    # p log p, without a logarithm of p; the clamp turns 0 * -inf into 0, the limit of p log p.
    weighted_KBC = logs_KBC.clamp_min_(torch.finfo(logits.dtype).min).mul_(probabilities_KBC)
    return probabilities_KBC, -weighted_KBC.sum(dim=(0, 2))


def _by_entr(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The same with two tensors fewer to read and to write, which is what takes the time on a GPU."""
    probabilities_KBC = logits.softmax(2)
    return probabilities_KBC, torch.special.entr(probabilities_KBC).sum(dim=(0, 2))


class BaldSums(PassSums):
    """The sums of :func:`bald`."""

    probabilities_BC: Tensor | float = 0.0
    entropies_B: Tensor | float = 0.0

    def _add(self, logits: Tensor) -> None:
        probabilities_KBC, entropies_B = (_by_entr if logits.is_cuda else _by_logarithm)(logits)
        self.entropies_B = self.entropies_B + entropies_B
        self.probabilities_BC = _added(self.probabilities_BC, probabilities_KBC)

    def score(self) -> Tensor:
        """See :func:`bald`."""
        assert isinstance(self.probabilities_BC, Tensor)
        entropy_of_mean_B = torch.special.entr(self.probabilities_BC / self.passes).sum(dim=1)
        # Rounding can leave a difference of -1e-8 where the passes agree; mutual information is never negative.
        return torch.clamp_min(entropy_of_mean_B - self.entropies_B / self.passes, 0)


def _won(logits: Tensor) -> Tensor | None:
    """1 for the class that a pass votes for, 0 for the others; None if classes tie or logits are NaN.

    On a CPU it takes a fifth of the time of :func:`torch.argmax`.
    """
    largest_KB1 = logits.amax(dim=2, keepdim=True)
    won_KBC = (logits - largest_KB1).sign_().add_(1)
    return won_KBC if float(won_KBC.sum(dtype=torch.float64)) == largest_KB1.numel() else None


class VoteSums(PassSums):
    """The sums of :func:`vote_entropy`."""

    votes_BC: Tensor | float = 0.0

    def _add(self, logits: Tensor) -> None:
        won_KBC = None if logits.is_cuda else _won(logits)
        if won_KBC is not None:
            self.votes_BC = _added(self.votes_BC, won_KBC)
            return
        if not isinstance(self.votes_BC, Tensor):
            self.votes_BC = torch.zeros_like(logits[0])
        for logits_BC in logits:
            largest_B1, class_B1 = logits_BC.max(dim=1, keepdim=True)
            self.votes_BC.scatter_add_(1, class_B1, 1 + 0 * largest_B1)  # 1, or NaN where the logits are NaN

    def score(self) -> Tensor:
        """See :func:`vote_entropy`."""
        assert isinstance(self.votes_BC, Tensor)
        return torch.sum(torch.special.entr(self.votes_BC / self.passes), dim=1)


def _added(total_BC: Tensor | float, values_KBC: Tensor) -> Tensor:
    """The total plus the sum over passes; in place if there is a total already."""
    if not isinstance(total_BC, Tensor):
        return values_KBC.sum(dim=0)
    for values_BC in values_KBC:
        total_BC += values_BC
    return total_BC


# So many elements of the logits fit into one core's cache, together with the intermediate results.
_TILE = 2**18


class Tiled(PassSums):
    """Sums of dense logits, strip by strip of pixel rows: strips that fit into one core's cache are summed three times as fast.

    Args:
        new_sums: makes the sums of one strip.
    """

    def __init__(self, new_sums: Callable[[], PassSums]) -> None:
        super().__init__()
        self.new_sums = new_sums
        self.strips: list[PassSums] = []
        self.height: int | None = None

    def _add(self, logits: Tensor) -> None:
        if self.height is None and logits.ndim > 4 and logits.device.type == "cpu":
            self.height = max(1, _TILE * logits.shape[3] // logits.numel())  # the first chunk of passes decides
        # Contiguous strips, because the maximum over classes is slow where classes are the innermost axis.
        parts = [part.contiguous() for part in ((logits,) if self.height is None else logits.split(self.height, dim=3))]
        self.strips = self.strips or [self.new_sums() for _ in parts]
        for strip, part in zip(self.strips, parts, strict=True):
            strip.add(part)

    def score(self) -> Tensor:
        """``(B, *)``."""
        scores = [strip.score() for strip in self.strips]
        return torch.cat(scores, dim=1) if len(scores) > 1 else scores[0]
