"""Strategies that score each item alone. Higher = query first, for every strategy.

A strategy turns batches into ranking keys. The key is the score itself, or, where the score would underflow, something that orders
items in the same way (see :meth:`Strategy.score`). Most strategies consist of an inference, which makes logits, a measure of the logits,
and an aggregation of the measured pixel values.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from al_lightning.acquisition import functional
from al_lightning.acquisition.aggregation import Aggregation, Mean
from al_lightning.acquisition.hashing import uniform
from al_lightning.acquisition.inference import DropoutPasses, Inference, PerturbedPass, PlainPass
from al_lightning.acquisition.strategies.base import Strategy
from al_lightning.errors import UserError
from al_lightning.item_lists import read_items
from al_lightning.numbers import IntFrom2, NonNegativeFloat, OpenUnitInterval, PositiveFloat, checked


class Random(Strategy):
    """Uniformly at random: the baseline."""

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        return uniform(seed, indices)


class Order(Strategy):
    """In the order of the listing."""

    below_zero = True

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        return -indices.double()


class FromFile(Strategy):
    """In the order of a file, such as a published query order. The score is minus the line's number, from 0.

    Args:
        order: path of a text file with one item a line, by name or by index, each once. Items that are labeled already are skipped; items
            that are not in the file come after it, in random order.
    """

    below_zero = True

    def __init__(self, order: str) -> None:
        self.order = order

    def prepare(self, size: int, item: Callable[[int], str], oracle_labels: Callable[[Tensor], Tensor]) -> None:
        """Reads the file.

        Raises:
            UserError: the file is missing, or its lines are not items of the data set, each once.
        """
        listed = read_items(self.order, size, item, "a query order")
        self._places = torch.full((size,), len(listed))
        self._places[listed] = torch.arange(len(listed))
        self._listed = len(listed)

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        places = self._places.to(indices.device)[indices].double()
        return -torch.where(places < self._listed, places, places + uniform(seed, indices))


class Uncertainty(Strategy):
    """A score of each item, or of each of its pixels, which an aggregation makes one score of the image.

    Args:
        aggregation: of the pixels of a segmented image; their mean by default.
    """

    logarithmic: bool = False  # whether ``measure`` gives the logarithms of the scores

    def __init__(self, aggregation: Aggregation | None = None) -> None:
        self.aggregation = aggregation

    @property
    def _aggregate(self) -> Aggregation:
        return self.aggregation or Mean()

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        assert values is not None
        if self.aggregation is not None and values.ndim == 1:
            raise UserError(f"Expected images whose pixels are scored for {self}, but each item has one score. Leave the aggregation out.")
        return self._aggregate.of_logarithms(values) if self.logarithmic else self._aggregate(values)

    def readable(self, values: Tensor) -> Tensor:
        """See :meth:`Strategy.readable`."""
        return values.exp() if self.logarithmic else values

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return keys.double().exp() if self._keys_are_logarithms else keys.double()

    def logarithms(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.logarithms`."""
        return keys.double() if self._keys_are_logarithms else super().logarithms(keys)

    @property
    def _keys_are_logarithms(self) -> bool:
        return self.logarithmic and self._aggregate.scales

    def aggregated_by(self, aggregation: Aggregation) -> Strategy:
        """See :meth:`Strategy.aggregated_by`."""
        other = copy.copy(self)
        other.aggregation = aggregation
        return other


class Entropy(Uncertainty):
    """Entropy of the softmax."""

    inference = PlainPass()
    measure = partial(functional.OnePass, functional.entropy)


class Margin(Uncertainty):
    """1 - (p1 - p2), with the two largest probabilities."""

    inference = PlainPass()
    measure = partial(functional.OnePass, functional.margin)


class MaxSoftmax(Uncertainty):
    """1 - max p. Ranked by its logarithm, which keeps the order where 1 - max p rounds to 0."""

    inference: Inference = PlainPass()
    measure = partial(functional.OnePass, functional.log_max_softmax)
    logarithmic = True


class Odin(MaxSoftmax):
    """1 - max p at a temperature, for an input that is moved towards its prediction. With T = 1 and epsilon = 0, it is :class:`MaxSoftmax`.

    Source: Liang et al., Enhancing the Reliability of Out-of-distribution Image Detection in Neural Networks, 2018.

    Args:
        temperature: T, which divides the logits; > 0.
        epsilon: size of the step in every input value, in the units of the network's inputs; >= 0.
        aggregation: of the pixels of a segmented image; their mean by default.
    """

    @checked
    def __init__(
        self, temperature: PositiveFloat = 1000.0, epsilon: NonNegativeFloat = 0.0014, aggregation: Aggregation | None = None
    ) -> None:
        super().__init__(aggregation)
        self.temperature = temperature
        self.epsilon = epsilon
        self.inference = PerturbedPass(temperature, epsilon)


class OfDropoutPasses(Uncertainty):
    """A function of K passes with live dropout.

    Args:
        passes: K, at least 2.
        query_p: drop probability while querying; None keeps the rate that the network trains with. It is 1 - the *keep* probability: 0.1
            for one of 0.9. Kept units are scaled by 1 / (1 - query_p), as in training.
        aggregation: of the pixels of a segmented image; their mean by default.
    """

    @checked
    def __init__(self, passes: IntFrom2 = 10, query_p: OpenUnitInterval | None = None, aggregation: Aggregation | None = None) -> None:
        super().__init__(aggregation)
        self.passes = passes
        self.query_p = query_p
        self.inference = DropoutPasses(passes, query_p)


class BALD(OfDropoutPasses):
    """Mutual information between prediction and weights, by MC dropout. Source: see :func:`~al_lightning.acquisition.functional.bald`."""

    measure = functional.BaldSums


class VoteEntropy(OfDropoutPasses):
    """Entropy of the classes that K dropout passes vote for."""

    measure = functional.VoteSums
