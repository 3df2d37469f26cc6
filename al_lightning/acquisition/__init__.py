"""What is worth labeling: logits to scores, scores to a query. Imports torch only."""

from al_lightning.acquisition.strategies import (
    BALD,
    Entropy,
    Inverse,
    Margin,
    MaxSoftmax,
    Odin,
    Order,
    Random,
    Strategy,
    VoteEntropy,
)

__all__ = [
    "BALD",
    "Entropy",
    "Inverse",
    "Margin",
    "MaxSoftmax",
    "Odin",
    "Order",
    "Random",
    "Strategy",
    "VoteEntropy",
]
