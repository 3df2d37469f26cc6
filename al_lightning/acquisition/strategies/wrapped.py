"""Strategies that change one thing about another strategy."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from al_lightning.acquisition import batches, selection
from al_lightning.acquisition.aggregation import Aggregation
from al_lightning.acquisition.inference import ByExpert, PlainPass
from al_lightning.acquisition.representations import PredictedShares, Represented
from al_lightning.acquisition.strategies.base import Choice, Scored, Strategy, refuse_unranked, top
from al_lightning.errors import UserError
from al_lightning.numbers import ClosedUnitInterval, PositiveFloat, checked


class Wrapped(Strategy):
    """Another strategy, with something about it changed."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.inference = strategy.inference
        self.measure = strategy.measure
        self.below_zero = strategy.below_zero
        self.reads_labels = strategy.reads_labels

    @property
    def depends_on_labeled(self) -> bool:
        """See :attr:`Strategy.depends_on_labeled`."""
        return self.sees_labeled or self.strategy.depends_on_labeled

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        return self.strategy.ranking_keys(values, indices, seed)

    def readable(self, values: Tensor) -> Tensor | None:
        """See :meth:`Strategy.readable`."""
        return self.strategy.readable(values)

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return self.strategy.score(keys)

    def prepare(self, size: int, item: Callable[[int], str], oracle_labels: Callable[[Tensor], Tensor]) -> None:
        """See :meth:`Strategy.prepare`."""
        self.strategy.prepare(size, item, oracle_labels)

    def logarithms(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.logarithms`."""
        return self.strategy.logarithms(keys)

    def aggregated_by(self, aggregation: Aggregation) -> Strategy:
        """See :meth:`Strategy.aggregated_by`."""
        other = copy.copy(self)
        other.strategy = self.strategy.aggregated_by(aggregation)
        return other


class Expert(Wrapped):
    """Another strategy that looks at the predictions of a given model, not of the current one: of one trained on all items, for example.

    Args:
        checkpoint: of a cycle (``cycles/NNN/last.ckpt``) of a run with the same network.
        strategy: looks at predictions or features, which here are the given model's.

    Raises:
        UserError: the strategy looks at no predictions.
    """

    def __init__(self, checkpoint: str, strategy: Strategy) -> None:
        super().__init__(strategy)
        if not strategy.inferences:
            raise UserError(f"Expected a strategy that looks at predictions, which Expert makes with another model, got {strategy}.")
        self.checkpoint = checkpoint
        self.scores_items, self.ranks, self.sees_labeled = strategy.scores_items, strategy.ranks, strategy.sees_labeled
        if strategy.inference is not None:
            self.inference = ByExpert(checkpoint, strategy.inference)
        if strategy.represented is not None:
            self.represented = Represented(ByExpert(checkpoint, strategy.represented.inference), strategy.represented.kind)

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor | Choice:
        """See :meth:`Strategy.select`; the other strategy chooses, from what the given model says of the items."""
        return self.strategy.select(scored, size, generator)


class Inverse(Wrapped):
    """Another strategy turned round: the lowest score is queried first.

    Args:
        strategy: the one to turn round; it must rank items.

    Raises:
        UserError: the strategy does not rank items.
    """

    def __init__(self, strategy: Strategy) -> None:
        refuse_unranked(strategy, "Inverse")
        super().__init__(strategy)
        self.below_zero = True

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        return -self.strategy.ranking_keys(values, indices, seed)

    def readable(self, values: Tensor) -> Tensor | None:
        """See :meth:`Strategy.readable`."""
        return None if (scores := self.strategy.readable(values)) is None else -scores

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return -self.strategy.score(-keys)


class Power(Wrapped):
    """A stochastic batch of another strategy: items are drawn, without replacement, in proportion to their score to the power of beta.

    Items are ranked by log score + Gumbel noise / beta: PowerBALD, PowerEntropy, ... An item of score 0 comes after all others. Scores
    that are measured as logarithms (``MaxSoftmax``, ``Odin``) keep their order where they round to 0. The score is the other strategy's.

    Source: Kirsch et al., Stochastic Batch Acquisition: A Simple Baseline for Deep Active Learning, 2021.

    Args:
        strategy: ranks items by scores of at least 0. ``Inverse``, ``Order`` and ``FromFile`` have scores below 0, which have no logarithm.
        beta: 1 draws in proportion to the scores; a larger one is greedier, and near 0 all items are equally likely.

    Raises:
        UserError: the strategy does not rank items, or its scores can be below 0.
    """

    ranks = False

    @checked
    def __init__(self, strategy: Strategy, beta: PositiveFloat = 1.0) -> None:
        _refuse_below_zero(strategy, "Power")
        super().__init__(strategy)
        self.beta = beta

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor:
        """See :meth:`Strategy.select`."""
        return scored.unlabeled.indices[top(_power_keys(self.strategy, scored, self.beta, generator), size)]


class ClassStratified(Wrapped):
    """A share of the query is spread over predicted classes; items are ranked by another strategy's scores, with noise that decays.

    The classes take turns, each giving its best item. The rest of the query are the best of all items that are left. Items are ranked by
    the keys of :class:`Power`. An image counts for the class of which it would add most, relative to how much of it is labeled: the class
    with the largest u / (a + l), where u is the share of the image's pixels that is predicted as the class, a the mean of these shares
    over the unlabeled images, and l their sum over the labeled ones. (In classification, that is the predicted class.) No label is read.

    Source: Lüth et al., Finally Outshining the Random Baseline: ClaSP PE, 2026.

    Args:
        strategy: ranks items by scores of at least 0; the source takes Entropy.
        share: of the query that is spread over classes, in [0, 1].
        schedule: beta of :class:`Power` in each cycle; the last one is also that of all later cycles. ``[1, 3, 10, 30, 100]`` by default.

    Raises:
        UserError: the strategy does not rank items, its scores can be below 0, or the schedule is empty.
    """

    ranks = False
    sees_labeled = True

    @checked
    def __init__(self, strategy: Strategy, share: ClosedUnitInterval = 0.66, schedule: list[PositiveFloat] | None = None) -> None:
        _refuse_below_zero(strategy, "ClassStratified")
        if schedule is not None and not schedule:
            raise UserError("Expected the schedule of ClassStratified to have at least one beta, got an empty list.")
        super().__init__(strategy)
        self.share = share
        self.schedule = schedule
        self.represented = Represented(PlainPass(), PredictedShares())

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor:
        """See :meth:`Strategy.select`."""
        (unlabeled,), (labeled,) = scored.unlabeled.rows, scored.labeled.rows
        beta = selection.of_cycle(self.schedule or _SCHEDULE, scored.cycle)
        keys = _power_keys(self.strategy, scored, beta, generator)
        classes = batches.most_added_class(unlabeled, labeled).cpu()
        return scored.unlabeled.indices[batches.class_stratified(keys, classes, size, self.share)]


def _refuse_below_zero(strategy: Strategy, wrapper: str) -> None:
    refuse_unranked(strategy, wrapper)
    if strategy.below_zero:
        raise UserError(f"Expected a strategy whose scores are at least 0 for {wrapper}, which draws by their powers, got {strategy}.")


def _power_keys(strategy: Strategy, scored: Scored, beta: float, generator: torch.Generator) -> Tensor:
    """The keys ``(n,)`` of the unlabeled items, with noise.

    Raises:
        UserError: a score is below 0.
    """
    assert scored.unlabeled.ranking_keys is not None
    logarithms = strategy.logarithms(scored.unlabeled.ranking_keys)
    if bool(logarithms.isnan().any()):
        lowest = float(strategy.score(scored.unlabeled.ranking_keys).min())
        raise UserError(f"Expected scores of at least 0 of {strategy}, by whose powers items are drawn, got {lowest:g}.")
    return batches.power_keys(logarithms, beta, generator, logarithmic=True)


_SCHEDULE = (1.0, 3.0, 10.0, 30.0, 100.0)
