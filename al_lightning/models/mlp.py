"""A multilayer perceptron with one hidden layer."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from al_lightning.numbers import DropRate, PositiveInt, checked


class MLP(nn.Module):
    """Flatten, dense, ReLU, dropout, dense; Glorot-uniform weights and zero biases.

    Args:
        width: units in the hidden layer.
        dropout: drop probability in training (``train_p``). A *keep* probability of 0.9 is ``dropout=0.1``. The rate while querying is
            the strategy's ``query_p``.
        num_classes: number of logits.
        input_shape: of one item, without the batch.
    """

    @checked
    def __init__(
        self,
        width: PositiveInt = 16,
        dropout: DropRate = 0.0,
        num_classes: PositiveInt = 10,
        input_shape: Sequence[PositiveInt] = (1, 28, 28),
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(math.prod(input_shape), width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, num_classes)
        for layer in (self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def prefix(self, inputs: Tensor) -> Tensor:
        """Everything before the dropout: ``(B, *)`` in [0, 1] to ``(B, width)``."""
        hidden: Tensor = self.hidden(inputs.flatten(1)).relu()
        return hidden

    def tail(self, features: Tensor) -> Tensor:
        """From the dropout on: ``(B, width)`` to ``(B, num_classes)``."""
        logits: Tensor = self.output(self.dropout(features))
        return logits

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, *)`` in [0, 1] to logits ``(B, num_classes)``."""
        return self.tail(self.prefix(inputs))
