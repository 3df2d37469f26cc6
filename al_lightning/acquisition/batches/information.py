"""Batches and scores from the probabilities of K passes: joint information about the weights, and about predictions elsewhere."""

import math

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import refuse_not_finite, refuse_size
from al_lightning.acquisition.batches.lazy import LazyGreedy

_CONFIGURATIONS = 4096  # rows of the joint table, enumerated or drawn
_ENTRIES = 2**22  # numbers in a block of predictions
_NOISE = 1e-12  # information below it is rounding


def batch_bald(logits: Tensor, size: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Greedy maximum of the mutual information between the batch's labels and the weights.

    By the chain rule an item adds what its label tells of the weights once those of the batch are known, in the mean over what these may
    be. A table holds such configurations and how likely each makes each pass: all ``C ** size`` of them while they are at most 4,096, then
    as many drawn ones. Information is submodular, so an item is computed again only while what it added earlier could still win; with drawn
    configurations this holds but for their noise. With K passes the joint information is at most log K: when it is reached, nothing adds
    anything, and items come in the order of their positions.

    Source: Kirsch et al., BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active Learning, NeurIPS 2019.

    Args:
        logits: ``(K, n, C)`` of K passes, in each pass with the same weights for all items.
        size: how many to choose.
        generator: of the drawn configurations; None is one with seed 0.

    Returns:
        Positions ``(size,)``, and the joint information in nats after each choice, float64 ``(size,)``; it never falls.
    """
    passes, n, _ = logits.shape
    refuse_size(size, n)
    refuse_not_finite("unlabeled", logits.transpose(0, 1).where(logits.transpose(0, 1) != -torch.inf, 0.0))
    generator = generator or torch.Generator().manual_seed(0)
    table = _Table(passes, logits.device, generator)

    def gains(items: Tensor) -> Tensor:
        logs_KbC = logits[:, items].double().log_softmax(2)
        return torch.cat([table.information(part) for part in logs_KbC.split(_at_once(table, logits), dim=1)])

    greedy = LazyGreedy(gains, n, logits.device)
    chosen: list[int] = []
    information: list[float] = []
    for _ in range(size):
        item, gain = greedy.take()
        table.add(logits[:, item].double().log_softmax(1))
        chosen.append(item)
        information.append(min(gain + sum(information[-1:]), math.log(passes)))
    return torch.tensor(chosen, device=logits.device, dtype=torch.int64), torch.tensor(
        information, device=logits.device, dtype=torch.float64
    )


def _at_once(table: "_Table", logits: Tensor) -> int:
    return max(1, _ENTRIES // (len(table.weights_M) * logits.shape[2]))


class _Table:
    """Configurations of the labels chosen so far: how likely each is, and how likely each pass made it."""

    def __init__(self, passes: int, device: torch.device, generator: torch.Generator) -> None:
        self.generator = generator
        self.logs_MK = torch.zeros(1, passes, dtype=torch.float64, device=device)  # log p(configuration | pass)
        self.drawn_by: Tensor | None = None  # the pass that drew each configuration, once they are drawn
        self.chosen: list[Tensor] = []
        self._weigh()

    def _weigh(self) -> None:
        joint_M = self.logs_MK.logsumexp(1)
        self.posterior_MK = (self.logs_MK - joint_M.unsqueeze(1)).exp()
        self.weights_M = joint_M.softmax(0) if self.drawn_by is None else torch.full_like(joint_M, 1 / len(joint_M))

    def information(self, logs_KbC: Tensor) -> Tensor:
        """What items ``(K, b, C)`` add, float64 ``(b,)``."""
        passes, items, classes = logs_KbC.shape
        probabilities_KbC = logs_KbC.exp()
        predictions_MbC = (self.posterior_MK @ probabilities_KbC.reshape(passes, -1)).view(-1, items, classes)
        # Both entropies under the same posterior of the passes: then no configuration's information is negative, drawn or not.
        of_label = self.weights_M @ torch.special.entr(predictions_MbC).sum(2)
        given_pass = (self.weights_M @ self.posterior_MK) @ torch.special.entr(probabilities_KbC).sum(2)
        gained: Tensor = of_label - given_pass
        return gained.where(gained > _NOISE, 0.0)

    def add(self, logs_KC: Tensor) -> None:
        """Adds an item to the batch."""
        self.chosen.append(logs_KC)
        if self.drawn_by is None and len(self.logs_MK) * logs_KC.shape[1] <= _CONFIGURATIONS:
            self.logs_MK = (self.logs_MK.unsqueeze(1) + logs_KC.T).flatten(0, 1)
            self.logs_MK = self.logs_MK[self.logs_MK.amax(1) > -torch.inf]
        elif self.drawn_by is None:
            passes = self.logs_MK.shape[1]
            self.drawn_by = torch.arange(_CONFIGURATIONS, device=logs_KC.device) % passes
            self.logs_MK = sum((self._drawn(each) for each in self.chosen), torch.zeros(()).to(logs_KC))
        else:
            self.logs_MK = self.logs_MK + self._drawn(logs_KC)
        self._weigh()

    def _drawn(self, logs_KC: Tensor) -> Tensor:
        """Log-probabilities ``(M, K)`` of a label drawn for each configuration from the pass that draws it."""
        assert self.drawn_by is not None
        uniform = torch.rand(len(self.drawn_by), 1, generator=self.generator, dtype=torch.float64, device=self.generator.device)
        sums_MC = logs_KC.exp().cumsum(1)[self.drawn_by]
        labels = torch.searchsorted(sums_MC, uniform.to(logs_KC.device) * sums_MC[:, -1:], right=True)
        last = torch.searchsorted(sums_MC, sums_MC[:, -1:].contiguous())
        return logs_KC.T[labels.minimum(last).squeeze(1)]


def epig(pool: Tensor, targets: Tensor) -> Tensor:
    """Expected predictive information gain: the mutual information of an item's label and a target's, the mean over targets.

    Source: Bickford Smith et al., Prediction-Oriented Bayesian Active Learning, AISTATS 2023, eq. 6. Time n t K C ** 2.

    Args:
        pool: logits ``(K, n, C)`` of K passes.
        targets: logits ``(K, t, C)`` of the items whose predictions matter, from the same passes.

    Returns:
        float64 ``(n,)`` in nats, from 0 to log C.
    """
    refuse_not_finite("unlabeled", pool.transpose(0, 1).where(pool.transpose(0, 1) != -torch.inf, 0.0))
    refuse_not_finite("target", targets.transpose(0, 1).where(targets.transpose(0, 1) != -torch.inf, 0.0))
    passes, _, classes = pool.shape
    of_targets_KT = targets.double().softmax(2).reshape(passes, -1)
    entropy_of_targets = torch.special.entr(of_targets_KT.mean(0)).sum() / targets.shape[1]
    scores = []
    for part in pool.split(max(1, _ENTRIES // (classes * of_targets_KT.shape[1])), dim=1):
        of_pool_KbC = part.double().softmax(2)
        joint = of_pool_KbC.reshape(passes, -1).T @ of_targets_KT / passes
        joint_entropy = torch.special.entr(joint).view(part.shape[1], -1).sum(1) / targets.shape[1]
        scores.append(torch.special.entr(of_pool_KbC.mean(0)).sum(1) + entropy_of_targets - joint_entropy)
    return torch.cat(scores).clamp_min(0)
