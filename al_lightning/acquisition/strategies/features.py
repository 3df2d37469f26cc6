"""Strategies that choose a query by how similar items are, measured by their features."""

import torch
from torch import Tensor

from al_lightning.acquisition import batches
from al_lightning.acquisition.aggregation import Aggregation
from al_lightning.acquisition.batches import Batch
from al_lightning.acquisition.inference import PlainPass
from al_lightning.acquisition.representations import Features, Represented
from al_lightning.acquisition.strategies.base import Choice, Scored, Strategy, refuse_unranked, top
from al_lightning.acquisition.strategies.scores import Margin
from al_lightning.acquisition.strategies.wrapped import Wrapped
from al_lightning.numbers import NonNegativeFloat, PositiveFloat, PositiveInt, checked

_MEAN = Features()


def chosen(scored: Scored, batch: Batch) -> Choice:
    """The positions of a batch as dataset indices, with their scores."""
    return Choice(scored.unlabeled.indices[batch.indices.cpu()], batch.scores)


class OfFeatures(Strategy):
    """Looks at nothing but the features of unlabeled and labeled items, so that it needs no trained head.

    Args:
        features: which features are compared.
    """

    scores_items = False
    ranks = False
    sees_labeled = True

    def __init__(self, features: Features = _MEAN) -> None:
        self.features = features
        self.represented = Represented(PlainPass(), features)


class CoreSet(OfFeatures):
    """Greedy k-center: each choice is the item farthest, by features, from all labeled and chosen ones. Its score is that distance.

    If nothing is labeled, the first choice is the item nearest the mean. The largest distance of any item from the nearest labeled or
    chosen one is at most twice the smallest possible.

    Source: Sener & Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, 2018.

    Args:
        features: which features are compared.
    """

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        (unlabeled,), (labeled,) = scored.unlabeled.rows, scored.labeled.rows
        return chosen(scored, batches.scored_k_center(unlabeled, labeled, size))


class TypiClust(OfFeatures):
    """The most typical item of each cluster in which nothing is labeled; for small budgets. Its score is the typicality.

    k-means makes as many clusters as there will be labeled items, at most 500. Clusters without labeled items come first, the largest
    before the others. The typicality of an item is 1 / its mean distance to the 20 nearest in its cluster.

    Source: Hacohen et al., Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, 2022.

    Args:
        features: which features are compared.
    """

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """See :meth:`Strategy.select`."""
        (unlabeled,), (labeled,) = scored.unlabeled.rows, scored.labeled.rows
        return chosen(scored, batches.scored_typiclust(unlabeled, labeled, size, generator))


class ProbCover(OfFeatures):
    """Each choice covers the most items that are not covered yet, within a radius; for small budgets. Its score is their number.

    Source: Yehuda et al., Active Learning Through a Covering Lens, 2022.

    Args:
        delta: the radius, in the units of the features. None for a radius within which a typical item has N / L of all N items, where L are
            labeled after the query: see :func:`~al_lightning.acquisition.batches.coverage_radius`.
        features: which features are compared.
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
    """Greedy maximum of the mean similarity of items to the nearest labeled or chosen one: a soft :class:`ProbCover`.

    The similarity of x and y is exp(-|x - y|^2 / sigma^2). The score of an item is what it adds to that mean.

    Source: Bae et al., Generalized Coverage for More Robust Low-Budget Active Learning, 2024.

    Args:
        sigma: width, in the units of the features; None for the root of the mean squared distance of unlabeled items from their mean.
        features: which features are compared.
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
    """:class:`MaxHerding` of items weighted by their :class:`Margin`: typical items at first, uncertain ones later.

    The score of an item is what it adds to the weighted mean similarity. The source's temperature, fitted to held-out labels, is left out.

    Source: Bae et al., Uncertainty Herding: One Active Learning Method for All Label Budgets, 2025.

    Args:
        sigma: width, in the units of the features; None for the smallest distance between two labeled items, but at most MaxHerding's.
        features: which features are compared.
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
    """The most uncertain items by :class:`Margin`, from clusters in turn. The score is that of Margin.

    The most uncertain items, ``candidates`` times the query's size, are clustered by k-means on their features, into as many clusters as
    the query has items. Clusters take turns, the smallest first; each gives a random one of its items. The source clusters the whole pool
    once, hierarchically.

    Source: Citovsky et al., Batch Active Learning at Scale, 2021.

    Args:
        candidates: number of candidates, as a multiple of the query's size.
        features: which features are compared.
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
    """Greedy k-center, by features, among another strategy's best items: uncertain items, no two of them alike. For pools of video.

    The candidates are the best items of the strategy's ranking, ``candidates`` times the query's size. Each choice is the candidate
    farthest from all labeled and chosen items, as in :class:`CoreSet`. The score is the strategy's.

    Source: candidates as in Zhdanov, Diverse mini-batch Active Learning, 2019; the choice among them is Sener & Savarese's, 2018.

    Args:
        strategy: ranks the items.
        candidates: number of candidates, as a multiple of the query's size; 1 is the strategy's own query in another order.
        features: which features are compared.

    Raises:
        UserError: the strategy does not rank items.
    """

    ranks = False
    sees_labeled = True

    @checked
    def __init__(self, strategy: Strategy, candidates: PositiveInt = 10, features: Features = _MEAN) -> None:
        refuse_unranked(strategy, "Diverse")
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
        except batches.NotFinite as error:  # its position is one among the candidates
            raise batches.NotFinite(error.which, int(best[error.position]) if error.which == "unlabeled" else error.position) from None
        return scored.unlabeled.indices[among]
