"""Strategies for classification that choose a query by gradients, or by the joint predictions of several dropout passes."""

import torch
from torch import Tensor

from al_lightning.acquisition import batches
from al_lightning.acquisition.inference import DropoutPasses, PlainPass
from al_lightning.acquisition.representations import GradientEmbedding, PassProbabilities, Represented
from al_lightning.acquisition.strategies.base import Choice, Scored, Strategy, top
from al_lightning.acquisition.strategies.features import chosen
from al_lightning.numbers import IntFrom2, OpenUnitInterval, PositiveInt, checked


class BADGE(Strategy):
    """k-means++ on the gradients of the last layer, as if each prediction were true: uncertain items, in different directions.

    The first item has the largest gradient. Each further one is drawn in proportion to its squared distance from the nearest chosen item.
    Its score is that distance. Classification only: a scene's gradient is a sum over pixels, which does not split into two factors.

    Source: Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, 2020.

    Args:
        layer: name of the last layer, which makes the logits; None for the last one with weights.
    """

    scores_items = False
    ranks = False

    def __init__(self, layer: str | None = None) -> None:
        self.layer = layer
        self.represented = Represented(PlainPass(), GradientEmbedding(layer))

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        probabilities, features = scored.unlabeled.rows
        return chosen(scored, batches.scored_badge(probabilities, features, size, generator))


class _OfPasses(Strategy):
    """Looks at the probabilities of K passes with live dropout, each with one mask for all items: a joint prediction needs one network.

    Args:
        passes: K, at least 2.
        query_p: drop probability while querying, as of :class:`BALD`; None keeps the rate that the network trains with.
    """

    scores_items = False
    ranks = False

    @checked
    def __init__(self, passes: IntFrom2 = 10, query_p: OpenUnitInterval | None = None) -> None:
        self.passes = passes
        self.query_p = query_p
        self.represented = Represented(DropoutPasses(passes, query_p, shared_masks=True), PassProbabilities())


class BatchBALD(_OfPasses):
    """Greedy maximum of the mutual information between the weights and the labels of the batch, by MC dropout.

    The score of an item is the information of the query up to this item, in nats. It is at most log K. Once that is nearly reached, items
    are ranked by their own BALD, so use more passes for larger queries. The information is exact while the table of all labels that the
    query may have is small; then it is sampled. Classification only.

    Source: Kirsch et al., BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active Learning, 2019.

    Args:
        passes: K, at least 2.
        query_p: drop probability while querying, as of :class:`BALD`; None keeps the rate that the network trains with.
    """

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        (logs_NKC,) = scored.unlabeled.rows
        positions, information = batches.batch_bald(logs_NKC.transpose(0, 1), size, generator)
        return Choice(scored.unlabeled.indices[positions.cpu()], information)


class EPIG(_OfPasses):
    """How much an item's label tells about the predictions for items of the pool: mutual information, by MC dropout.

    The score, in nats, is the mean over a sample of all unlabeled items, which may hold the item itself. The items with the highest scores
    are taken. Classification only.

    Source: Bickford Smith et al., Prediction-Oriented Bayesian Active Learning, 2023.

    Args:
        targets: how many unlabeled items are sampled, with the run's seed, anew in each cycle.
        passes: K, at least 2.
        query_p: drop probability while querying, as of :class:`BALD`; None keeps the rate that the network trains with.
    """

    @checked
    def __init__(self, targets: PositiveInt = 100, passes: IntFrom2 = 10, query_p: OpenUnitInterval | None = None) -> None:
        super().__init__(passes, query_p)
        self.targets = targets

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        (logs_NKC,) = scored.unlabeled.rows
        sample = torch.randperm(len(logs_NKC), generator=generator)[: self.targets]
        scores: Tensor = batches.epig(logs_NKC.transpose(0, 1), logs_NKC[sample.to(logs_NKC.device)].transpose(0, 1)).cpu()
        best = top(scores, size)
        return Choice(scored.unlabeled.indices[best], scores[best])
