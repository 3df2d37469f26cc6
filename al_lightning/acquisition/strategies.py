"""Query strategies: how predictions are made, and what score they give. Higher = query first, for every strategy.

A strategy turns batches into ranking keys. The key is the score itself, or, where the score would underflow, something that orders
items in the same way (see :meth:`Strategy.score`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn

from al_lightning.acquisition import functional
from al_lightning.acquisition.aggregation import Aggregation, Mean
from al_lightning.acquisition.hashing import uniform
from al_lightning.acquisition.inference import dropout_passes, perturbed_logits
from al_lightning.errors import UserError

Scorer = Callable[[Tensor, Tensor], Tensor]
"""From inputs ``(B, *)`` and dataset indices ``(B,)`` to ranking keys ``(B,)``."""


class Strategy(ABC):
    """How a query is chosen.

    Attributes:
        needs_inputs: False where items are ranked without looking at them; the scorer then gets empty inputs.
        needs_grad: True where scoring takes a gradient.
    """

    needs_inputs: bool = True
    needs_grad: bool = False

    @abstractmethod
    def scorer(self, network: nn.Module, seed: int) -> AbstractContextManager[Scorer]:
        """A scorer for one pass over the pool, valid inside the context.

        Args:
            network: in eval mode, on its device.
            seed: of whatever is random in the strategy.
        """

    def score(self, keys: Tensor) -> Tensor:
        """The score that a person reads, from ranking keys: float64, in the same order."""
        return keys.double()


class Random(Strategy):
    """Uniformly at random: the baseline."""

    needs_inputs = False

    def scorer(self, network: nn.Module, seed: int) -> AbstractContextManager[Scorer]:
        """See :meth:`Strategy.scorer`."""
        return nullcontext(lambda inputs, indices: uniform(seed, indices))


class Order(Strategy):
    """In the order of the listing."""

    needs_inputs = False

    def scorer(self, network: nn.Module, seed: int) -> AbstractContextManager[Scorer]:
        """See :meth:`Strategy.scorer`."""
        return nullcontext(lambda inputs, indices: -indices.double())


class _Uncertainty(Strategy):
    """A score for each prediction, one an item or one a pixel, and what makes one of an image's pixels.

    Args:
        aggregation: of the pixels of a segmented image; their mean by default.
    """

    logarithmic: bool = False  # whether `keys` are logarithms of the scores

    def __init__(self, aggregation: Aggregation | None = None) -> None:
        self.aggregation = aggregation or Mean()

    def aggregated(self, keys: Tensor) -> Tensor:
        """``(B, *)`` to ``(B,)``."""
        return self.aggregation.of_logarithms(keys) if self.logarithmic else self.aggregation(keys)

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return keys.double().exp() if self.logarithmic and self.aggregation.scales else keys.double()


class _SinglePass(_Uncertainty):
    """A function of the logits of one pass."""

    @abstractmethod
    def keys(self, logits: Tensor) -> Tensor:
        """``(B, C, *)`` to ``(B, *)``."""

    def logits(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Logits in float32 or better."""
        logits: Tensor = network(inputs)
        return logits.float()

    def scorer(self, network: nn.Module, seed: int) -> AbstractContextManager[Scorer]:
        """See :meth:`Strategy.scorer`."""
        return nullcontext(lambda inputs, indices: self.aggregated(self.keys(self.logits(network, inputs))))


class Entropy(_SinglePass):
    """Entropy of the softmax."""

    def keys(self, logits: Tensor) -> Tensor:
        """See :func:`functional.entropy`."""
        return functional.entropy(logits)


class Margin(_SinglePass):
    """1 - (p1 - p2), with the two largest probabilities."""

    def keys(self, logits: Tensor) -> Tensor:
        """See :func:`functional.margin`."""
        return functional.margin(logits)


class MaxSoftmax(_SinglePass):
    """1 - max p. Ranked by its logarithm, which keeps the order where 1 - max p rounds to 0."""

    logarithmic = True

    def keys(self, logits: Tensor) -> Tensor:
        """See :func:`functional.log_max_softmax`."""
        return functional.log_max_softmax(logits)


class Odin(MaxSoftmax):
    """1 - max p at a temperature, of an input moved towards its prediction. T = 1, epsilon = 0 is :class:`MaxSoftmax`.

    Args:
        temperature: divides the logits; > 0.
        epsilon: step in the network's input space, in its units; >= 0.
        aggregation: of the pixels of a segmented image; their mean by default.
    """

    def __init__(self, temperature: float = 1000.0, epsilon: float = 0.0014, aggregation: Aggregation | None = None) -> None:
        super().__init__(aggregation)
        if temperature <= 0 or epsilon < 0:
            raise UserError(f"Expected temperature > 0 and epsilon >= 0, got temperature={temperature}, epsilon={epsilon}.")
        self.temperature = temperature
        self.epsilon = epsilon
        self.needs_grad = epsilon != 0

    def logits(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """See :func:`~al_lightning.acquisition.inference.perturbed_logits`."""
        return perturbed_logits(network, inputs, self.temperature, self.epsilon)


class _DropoutPasses(_Uncertainty):
    """A function of K passes with live dropout.

    Args:
        passes: K, at least 2.
        query_p: drop probability while querying; None keeps the rate that the network trains with. A *keep* probability of 0.5 is 0.5,
            one of 0.9 is 0.1; kept units are scaled by 1 / (1 - query_p), as in training.
        aggregation: of the pixels of a segmented image; their mean by default.
    """

    new_sums: type[functional.PassSums]

    def __init__(self, passes: int = 10, query_p: float | None = None, aggregation: Aggregation | None = None) -> None:
        super().__init__(aggregation)
        if passes < 2:
            raise UserError(f"Expected at least 2 passes, got {passes}: one pass has no disagreement to measure.")
        if query_p is not None and not 0 < query_p < 1:
            raise UserError(f"Expected a drop probability query_p between 0 and 1, got {query_p}.")
        self.passes = passes
        self.query_p = query_p

    @contextmanager
    def scorer(self, network: nn.Module, seed: int) -> Iterator[Scorer]:
        """See :meth:`Strategy.scorer`."""
        with dropout_passes(network, self.passes, self.query_p, seed) as logits_of:

            def score(inputs: Tensor, indices: Tensor) -> Tensor:
                sums = self.new_sums()
                for logits in logits_of(inputs, indices):
                    sums.add(logits)
                return self.aggregated(sums.score())

            yield score


class BALD(_DropoutPasses):
    """Mutual information between prediction and weights, by MC dropout."""

    new_sums = functional.BaldSums


class VoteEntropy(_DropoutPasses):
    """Entropy of the classes that K dropout passes vote for."""

    new_sums = functional.VoteSums


class Inverse(Strategy):
    """Another strategy, lowest first.

    Args:
        strategy: the one to turn round.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.needs_inputs = strategy.needs_inputs
        self.needs_grad = strategy.needs_grad

    @contextmanager
    def scorer(self, network: nn.Module, seed: int) -> Iterator[Scorer]:
        """See :meth:`Strategy.scorer`."""
        with self.strategy.scorer(network, seed) as score:
            yield lambda inputs, indices: -score(inputs, indices)

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return -self.strategy.score(-keys)
