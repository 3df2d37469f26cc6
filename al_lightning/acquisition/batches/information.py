"""Batches and scores from the logits of K passes: joint information about the weights, and about predictions elsewhere."""

import math

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import NotFinite, refuse_size
from al_lightning.acquisition.batches.lazy import LazyGreedy
from al_lightning.acquisition.batches.precision import float32_products

_ENUMERATED = 4096  # configurations of labels, at most
_DRAWN = 2048  # configurations where there would be more
_ENTRIES = 2**20  # probabilities held at once
_ROUNDING = 1e-12  # nats that count as rounding
_SETTLED = 1e-9  # nats: a configuration that is so sure about the pass has nothing more to say
_USED_UP = 1e-3  # share of log K: if no more is left to learn, drawn configurations tell little but noise


@float32_products()
def batch_bald(logits: Tensor, size: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Greedy maximum of the mutual information between the batch's labels and the weights.

    By the chain rule, an item adds what its label tells about the weights when the labels of the batch are known, averaged over the
    configurations that those labels may have. A table holds the configurations, and how likely each makes each pass: all ``C ** size`` of
    them while they are at most 4,096, then 2,048 drawn ones. Information is submodular, so an item is computed again only while what it
    added earlier could still win; with drawn configurations, this is true up to their noise.

    With K passes, the joint information is at most log K. Once nothing of that is left to learn, or less than a thousandth where
    configurations are drawn, the rest of the batch are the items with the most information of their own (BALD), and the joint information
    stays as it is.

    Source: Kirsch et al., BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active Learning, NeurIPS 2019.

    Args:
        logits: ``(K, n, C)`` of K passes, in each pass with the same weights for all items. Log-probabilities are logits.
        size: how many to choose.
        generator: of the drawn configurations; None for one with seed 0.

    Returns:
        Positions ``(size,)``, and the joint information in nats after each choice, float64 ``(size,)``; it never falls.

    Raises:
        NotFinite: an item has NaN, +infinity, or -infinity for all classes, in some pass.
    """
    passes, n, classes = logits.shape
    refuse_size(size, n)
    _refuse("unlabeled", logits)
    table = _Table(passes, logits.device, generator or torch.Generator().manual_seed(0))

    def gains(items: Tensor) -> Tensor:
        at_once = max(1, _ENTRIES // (classes * max(passes, table.rows)))
        parts = [table.information(_log_probabilities(logits[:, part])) for part in items.split(at_once)]
        return torch.cat(parts)

    greedy = LazyGreedy(gains, n, logits.device)
    alone = greedy.bounds.clone()
    chosen: list[int] = []
    information: list[float] = []
    while len(chosen) < size and not table.used_up:
        item, gain = greedy.take()
        table.add(_log_probabilities(logits[:, item : item + 1]).squeeze(2))
        chosen.append(item)
        information.append(min(gain + sum(information[-1:]), math.log(passes)))
    alone[chosen] = -torch.inf
    rest = alone.argsort(descending=True, stable=True)[: size - len(chosen)]
    information += (information[-1:] or [0.0]) * len(rest)
    return torch.cat([rest.new_tensor(chosen), rest]), torch.tensor(information, dtype=torch.float64, device=logits.device)


def _refuse(which: str, logits: Tensor) -> None:
    for start in range(0, logits.shape[1], _ENTRIES):
        wrong = ~logits[:, start : start + _ENTRIES].amax(2).isfinite().all(0)
        if bool(wrong.any()):
            raise NotFinite(which, start + int(wrong.nonzero()[0]))


def _log_probabilities(logits: Tensor) -> Tensor:
    """``(K, b, C)`` to float64 ``(K, C, b)``: sums over a short last axis are slow."""
    return logits.detach().transpose(1, 2).double().contiguous().log_softmax(1)


def _entropies(probabilities: Tensor) -> Tensor:
    """The terms ``-p log p``, in half the time of ``torch.special.entr``."""
    return probabilities.log().clamp_min_(-1e3).mul_(probabilities).neg_()


class _Table:
    """Configurations of the labels chosen so far: how likely each is, and how likely it makes each pass."""

    def __init__(self, passes: int, device: torch.device, generator: torch.Generator) -> None:
        self.generator = generator
        self.logs_MK = torch.zeros(1, passes, dtype=torch.float64, device=device)  # log p(configuration | pass)
        self.drawn_by: Tensor | None = None  # the pass that drew each configuration, once they are drawn
        self.chosen: list[Tensor] = []
        self._weigh()

    def _weigh(self) -> None:
        joint_M = self.logs_MK.logsumexp(1)
        posterior_MK = (self.logs_MK - joint_M.unsqueeze(1)).exp()
        weights_M = joint_M.softmax(0) if self.drawn_by is None else torch.full_like(joint_M, 1 / len(joint_M))
        unsure_M = _entropies(posterior_MK).sum(1)
        self.left = float(weights_M @ unsure_M)  # nats that are not known about the pass
        unsettled = unsure_M > _SETTLED
        self.precision = torch.float64 if self.drawn_by is None else torch.float32  # drawing is less exact than float32
        self.posterior_MK, self.weights_M = posterior_MK[unsettled].to(self.precision), weights_M[unsettled].to(self.precision)

    @property
    def rows(self) -> int:
        """How many configurations have something to say."""
        return len(self.weights_M)

    @property
    def used_up(self) -> bool:
        """Whether nothing is left to learn, or less than drawn configurations can tell."""
        return not self.rows or (self.drawn_by is not None and self.left <= _USED_UP * math.log(self.logs_MK.shape[1]))

    def information(self, logs_KCb: Tensor) -> Tensor:
        """What items ``(K, C, b)`` add to the joint information, in nats, float64 ``(b,)``."""
        passes, classes, items = logs_KCb.shape
        probabilities_KCb = logs_KCb.exp().to(self.precision)
        predictions = (self.posterior_MK @ probabilities_KCb.view(passes, -1)).view(-1, items)
        # Both entropies use the same posterior of the passes, so that no configuration's information is negative, drawn or not.
        of_label = self.weights_M.repeat_interleave(classes) @ _entropies(predictions)
        given_pass = (self.weights_M @ self.posterior_MK) @ _entropies(probabilities_KCb).sum(1)
        gained = (of_label - given_pass).double()
        return gained.where(gained > _ROUNDING, 0.0)

    def add(self, logs_KC: Tensor) -> None:
        """Adds an item to the batch."""
        self.chosen.append(logs_KC)
        if self.drawn_by is None and len(self.logs_MK) * logs_KC.shape[1] <= _ENUMERATED:
            joint_MK = (self.logs_MK.unsqueeze(1) + logs_KC.T).flatten(0, 1)
            self.logs_MK = joint_MK[joint_MK.amax(1) > -torch.inf]
        elif self.drawn_by is None:
            self.drawn_by = torch.arange(_DRAWN, device=logs_KC.device) % len(logs_KC)
            self.logs_MK = torch.stack([self._drawn(each, self.drawn_by) for each in self.chosen]).sum(0)
        else:
            self.logs_MK = self.logs_MK + self._drawn(logs_KC, self.drawn_by)
        self._weigh()

    def _drawn(self, logs_KC: Tensor, by: Tensor) -> Tensor:
        """Log-probabilities ``(M, K)`` of a label that is drawn for each configuration by its pass ``(M,)``."""
        uniform = torch.rand(len(by), 1, generator=self.generator, dtype=torch.float64, device=self.generator.device)
        sums_MC = logs_KC.exp().cumsum(1)[by]
        label_M1 = torch.searchsorted(sums_MC, uniform.to(by.device) * sums_MC[:, -1:], right=True)
        last_M1 = torch.searchsorted(sums_MC, sums_MC[:, -1:].contiguous())  # a draw that rounds up to the whole sum
        return logs_KC.T[label_M1.minimum(last_M1).squeeze(1)]


def epig(pool: Tensor, targets: Tensor) -> Tensor:
    """Expected predictive information gain: the mutual information of an item's label and a target's label, averaged over targets.

    Time: ``n t K C ** 2``; memory beside the arguments: ``K t C``, and a few times a million numbers, or ``C ** 2`` if that is more.

    Source: Bickford Smith et al., Prediction-Oriented Bayesian Active Learning, AISTATS 2023, equations 5 and 7.

    Args:
        pool: logits ``(K, n, C)`` of K passes. Log-probabilities are logits.
        targets: logits ``(K, t, C)`` of the items whose predictions matter, from the same passes; t at least 1.

    Returns:
        float64 ``(n,)`` in nats, from 0 to log C.

    Raises:
        NotFinite: an item has NaN, +infinity, or -infinity for all classes, in some pass.
    """
    _refuse("unlabeled", pool)
    _refuse("target", targets)
    passes, count, classes = targets.shape
    targets_KT = _log_probabilities(targets).exp().transpose(1, 2).reshape(passes, -1)  # the classes of a target side by side
    of_targets = _entropies(targets_KT.mean(0)).sum() / count
    targets_at_once = classes * max(1, _ENTRIES // classes**2)
    scores = [torch.zeros(0, dtype=torch.float64, device=pool.device)]
    for part in pool.split(max(1, _ENTRIES // (classes * targets_KT.shape[1])), dim=1):
        pool_KCb = _log_probabilities(part).exp()
        joint_MB = (some.T @ pool_KCb.view(passes, -1) / passes for some in targets_KT.split(targets_at_once, dim=1))
        joint = torch.stack([_entropies(each).sum(0).view(classes, -1).sum(0) for each in joint_MB]).sum(0) / count
        scores.append(_entropies(pool_KCb.mean(0)).sum(0) + of_targets - joint)
    return torch.cat(scores).clamp_min(0)
