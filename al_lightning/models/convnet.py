"""A small convolutional network for small images."""

from collections.abc import Sequence

from torch import Tensor, nn

from al_lightning.errors import UserError
from al_lightning.numbers import DropRate, PositiveInt, checked


class ConvNet(nn.Module):
    """Two 3x3 convolutions, each with ReLU and 2x2 max pooling; then dense, ReLU, dropout, dense.

    Args:
        width: channels of the first convolution; the second one has twice as many.
        hidden: units of the dense layer.
        dropout: drop probability in training. The rate while querying is the strategy's ``query_p``.
        num_classes: number of logits.
        input_shape: channels, height and width of one item; height and width are at least 4 pixels.

    Raises:
        UserError: the input_shape is another.
    """

    @checked
    def __init__(
        self,
        width: PositiveInt = 16,
        hidden: PositiveInt = 64,
        dropout: DropRate = 0.0,
        num_classes: PositiveInt = 10,
        input_shape: Sequence[PositiveInt] = (1, 28, 28),
    ) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 4:
            raise UserError(f"Expected an input_shape of channels, height and width, at least 4 pixels each, got {list(input_shape)}.")
        channels, height, across = input_shape
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(2 * width * (height // 4) * (across // 4), hidden), nn.ReLU()),
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, num_classes)

    def prefix(self, inputs: Tensor) -> Tensor:
        """Everything before the dropout: ``(B, channels, H, W)`` in [0, 1] to ``(B, hidden)``."""
        hidden: Tensor = self.features(inputs)
        return hidden

    def tail(self, features: Tensor) -> Tensor:
        """From the dropout on: ``(B, hidden)`` to ``(B, num_classes)``."""
        logits: Tensor = self.output(self.dropout(features))
        return logits

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, channels, H, W)`` in [0, 1] to logits ``(B, num_classes)``."""
        return self.tail(self.prefix(inputs))
