"""Query strategies: how predictions are made, and what score they give. Higher = query first, for every strategy.

A strategy turns batches into ranking keys. The key is the score itself, or, where the score would underflow, something that orders
items in the same way (see :meth:`Strategy.score`). Most are a prediction, a measure of its logits, and an aggregation of the measured
pixels; :func:`joint_scorer` makes each prediction and each measurement once, however many strategies share it.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from al_lightning.acquisition import functional
from al_lightning.acquisition.aggregation import Aggregation, Mean
from al_lightning.acquisition.description import described
from al_lightning.acquisition.functional import PassSums, Tiled
from al_lightning.acquisition.hashing import uniform
from al_lightning.acquisition.inference import Batch, ByExpert, DropoutPasses, PerturbedPass, PlainPass, Prediction
from al_lightning.errors import UserError
from al_lightning.item_lists import read_items
from al_lightning.numbers import IntFrom2, NonNegativeFloat, OpenUnitInterval, PositiveFloat, checked

Measure = Callable[[], PassSums]
"""Makes what takes the logits of all passes and gives one score a prediction. The same object measures the same."""


class Strategy(ABC):
    """How a query is chosen.

    Attributes:
        prediction: how logits are made; None where items are ranked without looking at them.
        measure: what is made of the logits, if there are any.
        reads_labels: whether it looks at labels that nobody has given yet: it can be simulated, and is of no use to people who label.
    """

    prediction: Prediction | None = None
    measure: Measure | None = None
    reads_labels: bool = False

    @abstractmethod
    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """Ranking keys ``(B,)``.

        Args:
            measured: ``(B, *)`` what the measure gave; None without a prediction.
            indices: ``(B,)`` dataset indices.
            seed: of whatever is random in the strategy.
        """

    def meet(self, size: int, item: Callable[[int], str], peek: Callable[[Tensor], Tensor]) -> None:  # noqa: B027  most need nothing of it
        """Told of the data set before the first cycle.

        Args:
            size: number of items.
            item: the name of an index.
            peek: the labels of items, ``(B,)`` indices to ``(B, *)`` classes, whether anybody has labeled them or not. An oracle cheats
                with it, to show what a strategy could reach; others leave it alone.

        Raises:
            UserError: the strategy does not fit the data.
        """

    def readable(self, measured: Tensor) -> Tensor:
        """The scores that a person reads, pixel by pixel, from what was measured; higher = more worth labeling."""
        return measured

    def score(self, keys: Tensor) -> Tensor:
        """The score that a person reads, from ranking keys: float64, in the same order."""
        return keys.double()

    def aggregated_by(self, aggregation: Aggregation) -> "Strategy":
        """The same strategy with another aggregation.

        Raises:
            UserError: it has none.
        """
        raise UserError(f"Expected a strategy with pixel scores for the aggregation {aggregation}, got {self}.")

    def __str__(self) -> str:
        return described(self)


class Random(Strategy):
    """Uniformly at random: the baseline."""

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        return uniform(seed, indices)


class Order(Strategy):
    """In the order of the listing."""

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        return -indices.double()


class FromFile(Strategy):
    """In the order of a file: a query order that somebody published. Its score is minus the line's number.

    Args:
        order: path of a text file with one item a line, by name or by index, each once. What is labeled already is left out; items that are
            not in it come after it, in random order.
    """

    def __init__(self, order: str) -> None:
        self.order = order

    def meet(self, size: int, item: Callable[[int], str], peek: Callable[[Tensor], Tensor]) -> None:
        """Reads the file.

        Raises:
            UserError: it is missing, or its lines are not items of the data set, each once.
        """
        listed = read_items(self.order, size, item, "a query order")
        self._places = torch.full((size,), len(listed))
        self._places[listed] = torch.arange(len(listed))
        self._listed = len(listed)

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        places = self._places.to(indices.device)[indices].double()
        return -torch.where(places < self._listed, places, places + uniform(seed, indices))


class _Uncertainty(Strategy):
    """A score for each prediction, one an item or one a pixel, and what makes one of an image's pixels.

    Args:
        aggregation: of the pixels of a segmented image; their mean by default.
    """

    logarithmic: bool = False  # whether what is measured are logarithms of the scores

    def __init__(self, aggregation: Aggregation | None = None) -> None:
        self.aggregation = aggregation

    @property
    def _aggregate(self) -> Aggregation:
        return self.aggregation or Mean()

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        assert measured is not None
        if self.aggregation is not None and measured.ndim == 1:
            raise UserError(f"Expected images whose pixels are scored for {self}, but each item has one score. Leave the aggregation out.")
        return self._aggregate.of_logarithms(measured) if self.logarithmic else self._aggregate(measured)

    def readable(self, measured: Tensor) -> Tensor:
        """See :meth:`Strategy.readable`."""
        return measured.exp() if self.logarithmic else measured

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return keys.double().exp() if self.logarithmic and self._aggregate.scales else keys.double()

    def aggregated_by(self, aggregation: Aggregation) -> Strategy:
        """See :meth:`Strategy.aggregated_by`."""
        other = copy.copy(self)
        other.aggregation = aggregation
        return other


class Entropy(_Uncertainty):
    """Entropy of the softmax."""

    prediction = PlainPass()
    measure = partial(functional.OnePass, functional.entropy)


class Margin(_Uncertainty):
    """1 - (p1 - p2), with the two largest probabilities."""

    prediction = PlainPass()
    measure = partial(functional.OnePass, functional.margin)


class MaxSoftmax(_Uncertainty):
    """1 - max p. Ranked by its logarithm, which keeps the order where 1 - max p rounds to 0."""

    prediction: Prediction = PlainPass()
    measure = partial(functional.OnePass, functional.log_max_softmax)
    logarithmic = True


class Odin(MaxSoftmax):
    """1 - max p at a temperature, of an input moved towards its prediction. T = 1, epsilon = 0 is :class:`MaxSoftmax`.

    Args:
        temperature: divides the logits; > 0.
        epsilon: step in the network's input space, in its units; >= 0.
        aggregation: of the pixels of a segmented image; their mean by default.
    """

    @checked
    def __init__(
        self, temperature: PositiveFloat = 1000.0, epsilon: NonNegativeFloat = 0.0014, aggregation: Aggregation | None = None
    ) -> None:
        super().__init__(aggregation)
        self.temperature = temperature
        self.epsilon = epsilon
        self.prediction = PerturbedPass(temperature, epsilon)


class _DropoutPasses(_Uncertainty):
    """A function of K passes with live dropout.

    Args:
        passes: K, at least 2.
        query_p: drop probability while querying; None keeps the rate that the network trains with. A *keep* probability of 0.5 is 0.5,
            one of 0.9 is 0.1; kept units are scaled by 1 / (1 - query_p), as in training.
        aggregation: of the pixels of a segmented image; their mean by default.
    """

    @checked
    def __init__(self, passes: IntFrom2 = 10, query_p: OpenUnitInterval | None = None, aggregation: Aggregation | None = None) -> None:
        super().__init__(aggregation)
        self.passes = passes
        self.query_p = query_p
        self.prediction = DropoutPasses(passes, query_p)


class BALD(_DropoutPasses):
    """Mutual information between prediction and weights, by MC dropout."""

    measure = functional.BaldSums


class VoteEntropy(_DropoutPasses):
    """Entropy of the classes that K dropout passes vote for."""

    measure = functional.VoteSums


class _Oracle(Strategy):
    """Knows the labels: no strategy for real annotation, but a bound for those that are."""

    prediction = PlainPass()
    measure = partial(functional.OnePass, functional.predicted)
    reads_labels = True

    def meet(self, size: int, item: Callable[[int], str], peek: Callable[[Tensor], Tensor]) -> None:
        """See :meth:`Strategy.meet`."""
        self._peek = peek

    def _targets(self, indices: Tensor) -> Tensor:
        return self._peek(indices.cpu()).to(indices.device)


class MostIncorrect(_Oracle):
    """An oracle for classification: the wrongly predicted first, in random order, then the rest in random order."""

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        if measured is None or measured.ndim != 1:
            raise UserError("Expected a classification for MostIncorrect. For segmentation use LowestMiou.")
        return (measured != self._targets(indices)).double() + uniform(seed, indices)


class LowestMiou(_Oracle):
    """An oracle for segmentation: the images whose prediction is worst first. Its score is 1 - the image's mean IoU."""

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        if measured is None or measured.ndim != 3:
            raise UserError("Expected a segmentation for LowestMiou. For classification use MostIncorrect.")
        return 1 - functional.image_miou(measured, self._targets(indices))


class _Wrapped(Strategy):
    """Another strategy, changed in something."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.prediction = strategy.prediction
        self.measure = strategy.measure
        self.reads_labels = strategy.reads_labels

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        return self.strategy.keys(measured, indices, seed)

    def readable(self, measured: Tensor) -> Tensor:
        """See :meth:`Strategy.readable`."""
        return self.strategy.readable(measured)

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return self.strategy.score(keys)

    def meet(self, size: int, item: Callable[[int], str], peek: Callable[[Tensor], Tensor]) -> None:
        """See :meth:`Strategy.meet`."""
        self.strategy.meet(size, item, peek)

    def aggregated_by(self, aggregation: Aggregation) -> Strategy:
        """See :meth:`Strategy.aggregated_by`."""
        other = copy.copy(self)
        other.strategy = self.strategy.aggregated_by(aggregation)
        return other


class Expert(_Wrapped):
    """Another strategy with the scores of a given model instead of the current one, for example of one trained on the whole pool.

    Args:
        checkpoint: of a cycle (``cycles/NNN/last.ckpt``) of a run with the same network.
        strategy: what is made of the expert's predictions.
    """

    def __init__(self, checkpoint: str, strategy: Strategy) -> None:
        super().__init__(strategy)
        if strategy.prediction is None:
            raise UserError(f"Expected a strategy that looks at predictions for an expert to make, got {strategy}.")
        self.checkpoint = checkpoint
        self.prediction = ByExpert(checkpoint, strategy.prediction)


class Inverse(_Wrapped):
    """Another strategy, lowest first.

    Args:
        strategy: the one to turn round.
    """

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(strategy)

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        return -self.strategy.keys(measured, indices, seed)

    def readable(self, measured: Tensor) -> Tensor:
        """See :meth:`Strategy.readable`."""
        return -self.strategy.readable(measured)

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return -self.strategy.score(-keys)


Measurer = Callable[[Tensor, Tensor], list[Tensor | None]]
Scorer = Callable[[Tensor, Tensor], list[Tensor]]
"""From inputs ``(B, *)`` and dataset indices ``(B,)`` to each strategy's tensor."""


@contextmanager
def joint_measurer(strategies: Sequence[Strategy], network: nn.Module, seed: int) -> Iterator[Measurer]:
    """What each strategy measures, ``(B, *)``, one an item or one a pixel; None for those that make no prediction.

    Args:
        strategies: of which several may share predictions and measurements; each of these is made once.
        network: in eval mode, on its device.
        seed: of dropout masks.
    """
    wanted: dict[Prediction, list[Measure]] = {}
    for strategy in strategies:
        if strategy.prediction is not None and strategy.measure is not None:
            measures = wanted.setdefault(strategy.prediction, [])
            if strategy.measure not in measures:
                measures.append(strategy.measure)

    with ExitStack() as stack:
        logits_of = {prediction: stack.enter_context(prediction.logits(network, seed)) for prediction in wanted}

        def measure(inputs: Tensor, indices: Tensor) -> list[Tensor | None]:
            batch = Batch(network, inputs, indices)
            found: dict[tuple[Prediction | None, Measure | None], Tensor] = {}
            for prediction, measures in wanted.items():
                sums = [Tiled(new_sums) for new_sums in measures]
                for logits in logits_of[prediction](batch):
                    for each in sums:
                        each.add(logits)
                found |= {(prediction, of): each.score() for of, each in zip(measures, sums, strict=True)}
            return [found.get((strategy.prediction, strategy.measure)) for strategy in strategies]

        yield measure


@contextmanager
def joint_scorer(strategies: Sequence[Strategy], network: nn.Module, seed: int) -> Iterator[Scorer]:
    """Ranking keys ``(B,)`` of each strategy. Arguments as of :func:`joint_measurer`."""
    with joint_measurer(strategies, network, seed) as measure:
        yield lambda inputs, indices: [
            strategy.keys(measured, indices, seed) for strategy, measured in zip(strategies, measure(inputs, indices), strict=True)
        ]
