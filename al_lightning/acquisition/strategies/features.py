"""Strategies that choose a batch by how like each other items are: by their features."""

import torch
from torch import Tensor

from al_lightning.acquisition import batches
from al_lightning.acquisition.aggregation import Aggregation
from al_lightning.acquisition.batches import Batch
from al_lightning.acquisition.inference import PlainPass
from al_lightning.acquisition.representations import Features, Represented
from al_lightning.acquisition.strategies.base import Choice, Scored, Strategy, refuse_together, top
from al_lightning.acquisition.strategies.scores import Margin
from al_lightning.acquisition.strategies.wrapped import Wrapped
from al_lightning.numbers import NonNegativeFloat, PositiveFloat, PositiveInt, checked

_MEAN = Features()


def chosen(scored: Scored, batch: Batch) -> Choice:
    """A batch's positions as indices."""
    return Choice(scored.unlabeled.indices[batch.indices.cpu()], batch.scores)


class OfFeatures(Strategy):
    """Looks at nothing but features, of the unlabeled and the labeled items, so that it needs no trained head.

    Args:
        features: what they are.
    """

    scores_items = False
    ranks = False
    sees_labeled = True

    def __init__(self, features: Features = _MEAN) -> None:
        self.features = features
        self.represented = Represented(PlainPass(), features)


class CoreSet(OfFeatures):
    """Greedy k-center: each is the item farthest, by its features, from all that is labeled or chosen. Its score is that distance.

    Where nothing is labeled, the first is the item nearest the mean. The radius within which an item is near a chosen one is at most twice
    the smallest that is possible.

    Source: Sener & Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, 2018.

    Args:
        features: what is near.
    """

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        (unlabeled,), (labeled,) = scored.unlabeled.rows, scored.labeled.rows
        return chosen(scored, batches.scored_k_center(unlabeled, labeled, size))


class TypiClust(OfFeatures):
    """The most typical item of each cluster in which nothing is labeled; for small budgets. Its score is the typicality.

    k-means makes as many clusters as will be labeled, 500 at most; those without labeled items come first, the largest of them before
    others. Typicality is 1 / the mean distance to the 20 nearest in the cluster.

    Source: Hacohen et al., Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, 2022.

    Args:
        features: what is near.
    """

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        (unlabeled,), (labeled,) = scored.unlabeled.rows, scored.labeled.rows
        return chosen(scored, batches.scored_typiclust(unlabeled, labeled, size, generator))


class ProbCover(OfFeatures):
    """Each covers the most items that are not covered yet, of those within a radius; for small budgets. Its score is how many it covers.

    Source: Yehuda et al., Active Learning Through a Covering Lens, 2022.

    Args:
        delta: the radius, in the features' units; None for the radius of balls that would hold an equal share of all items each, were there
            one for every labeled and queried item: see :func:`~al_lightning.acquisition.batches.coverage_radius`.
        features: what is near.
    """

    @checked
    def __init__(self, delta: NonNegativeFloat | None = None, features: Features = _MEAN) -> None:
        super().__init__(features)
        self.delta = delta

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        (unlabeled,), (labeled,) = scored.unlabeled.rows, scored.labeled.rows
        return chosen(scored, batches.scored_prob_cover(unlabeled, labeled, size, self.delta))


class MaxHerding(OfFeatures):
    """Greedy maximum of the mean likeness of an item to the nearest that is labeled or chosen: a soft :class:`ProbCover`.

    The likeness of x and y is exp(-|x - y|^2 / sigma^2). Its score is what it adds to that mean.

    Source: Bae et al., Generalized Coverage for More Robust Low-Budget Active Learning, 2024.

    Args:
        sigma: in the features' units; None for the root of their mean squared distance from their mean.
        features: what is near.
    """

    @checked
    def __init__(self, sigma: PositiveFloat | None = None, features: Features = _MEAN) -> None:
        super().__init__(features)
        self.sigma = sigma

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        (unlabeled,), (labeled,) = scored.unlabeled.rows, scored.labeled.rows
        return chosen(scored, batches.scored_max_herding(unlabeled, labeled, size, self.sigma))


class UHerding(Margin):
    """:class:`MaxHerding` of items weighed by their :class:`Margin`: typical ones at first, uncertain ones later.

    Its score is what it adds to the weighed mean likeness. The source's temperature, fitted to held-out labels, is left out.

    Source: Bae et al., Uncertainty Herding: One Active Learning Method for All Label Budgets, 2025.

    Args:
        sigma: in the features' units; None for the smallest distance between two labeled items, and at most what MaxHerding takes.
        features: what is near.
        aggregation: of the pixels' margins of a segmented image; their mean by default.
    """

    ranks = False
    sees_labeled = True

    @checked
    def __init__(self, sigma: PositiveFloat | None = None, features: Features = _MEAN, aggregation: Aggregation | None = None) -> None:
        super().__init__(aggregation)
        self.sigma = sigma
        self.features = features
        self.represented = Represented(PlainPass(), features)

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        (unlabeled,), (labeled,), keys = scored.unlabeled.rows, scored.labeled.rows, scored.unlabeled.ranking_keys
        assert keys is not None
        weights = self.score(keys).to(unlabeled.device)
        return chosen(scored, batches.scored_uncertainty_herding(unlabeled, labeled, size, weights, self.sigma))


class ClusterMargin(Margin):
    """The most uncertain by :class:`Margin`, from each cluster in turn. Its score is the margin.

    The best ``candidates`` x size items are clustered by k-means of their features into as many clusters as items are wanted; the clusters
    take turns, the smallest first, and give a random one of theirs. The source clusters the whole pool once, hierarchically.

    Source: Citovsky et al., Batch Active Learning at Scale, 2021.

    Args:
        candidates: how many times more items than are wanted.
        features: what is near.
        aggregation: of the pixels' margins of a segmented image; their mean by default.
    """

    ranks = False

    @checked
    def __init__(self, candidates: PositiveInt = 10, features: Features = _MEAN, aggregation: Aggregation | None = None) -> None:
        super().__init__(aggregation)
        self.candidates = candidates
        self.features = features
        self.represented = Represented(PlainPass(), features)

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor:
        """See :meth:`Strategy.select`."""
        (unlabeled,), keys = scored.unlabeled.rows, scored.unlabeled.ranking_keys
        assert keys is not None
        positions = batches.cluster_margin(keys.to(unlabeled.device), unlabeled, size, generator, self.candidates)
        return scored.unlabeled.indices[positions.cpu()]


class Diverse(Wrapped):
    """Of another strategy's best candidates, greedy k-center by features: uncertain items, and no two of them alike. For pools of video.

    The best ``candidates`` x size items by the strategy's ranking are the candidates; each is the one of them farthest from all that is
    labeled or chosen, as in :class:`CoreSet`. Its score is the strategy's.

    Source: candidates as in Zhdanov, Diverse mini-batch Active Learning, 2019; the choice among them is Sener & Savarese's, 2018.

    Args:
        strategy: which ranks.
        candidates: how many times more items than are wanted; 1 is the strategy's own query in another order.
        features: what is near.
    """

    ranks = False
    sees_labeled = True

    @checked
    def __init__(self, strategy: Strategy, candidates: PositiveInt = 10, features: Features = _MEAN) -> None:
        refuse_together(strategy, "Diverse")
        super().__init__(strategy)
        self.candidates = candidates
        self.features = features
        self.represented = Represented(PlainPass(), features)

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor:
        """See :meth:`Strategy.select`."""
        (unlabeled,), (labeled,), keys = scored.unlabeled.rows, scored.labeled.rows, scored.unlabeled.ranking_keys
        assert keys is not None
        best = top(keys, self.candidates * size)
        try:
            among = best[batches.k_center(unlabeled[best.to(unlabeled.device)], labeled, size).cpu()]
        except batches.NotFinite as error:  # whose position is one among the best
            raise batches.NotFinite(error.which, int(best[error.position]) if error.which == "unlabeled" else error.position) from None
        return scored.unlabeled.indices[among]
