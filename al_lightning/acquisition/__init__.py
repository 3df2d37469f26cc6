"""What is worth labeling: logits to scores, scores to a query. Imports torch only."""

from al_lightning.acquisition.aggregation import Aggregation, CountAbove, Max, Mean, PatchMax, Sum, TopMean
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

STRATEGIES = ["BALD", "Entropy", "Inverse", "Margin", "MaxSoftmax", "Odin", "Order", "Random", "VoteEntropy"]

__all__ = [
    "BALD",
    "STRATEGIES",
    "Aggregation",
    "CountAbove",
    "Entropy",
    "Inverse",
    "Margin",
    "Max",
    "MaxSoftmax",
    "Mean",
    "Odin",
    "Order",
    "PatchMax",
    "Random",
    "Strategy",
    "Sum",
    "TopMean",
    "VoteEntropy",
]
