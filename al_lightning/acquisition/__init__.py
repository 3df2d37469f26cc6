"""What is worth labeling: logits to scores, scores to a query. Imports torch only."""

from al_lightning.acquisition.aggregation import Aggregation, CountAbove, Max, Mean, PatchMax, Sum, TopMean
from al_lightning.acquisition.strategies import (
    BALD,
    Entropy,
    FromFile,
    Inverse,
    LowestMiou,
    Margin,
    MaxSoftmax,
    MostIncorrect,
    Odin,
    Order,
    Random,
    Strategy,
    VoteEntropy,
)

STRATEGIES = [
    "BALD",
    "Entropy",
    "FromFile",
    "Inverse",
    "LowestMiou",
    "Margin",
    "MaxSoftmax",
    "MostIncorrect",
    "Odin",
    "Order",
    "Random",
    "VoteEntropy",
]

__all__ = [
    "BALD",
    "STRATEGIES",
    "Aggregation",
    "CountAbove",
    "Entropy",
    "FromFile",
    "Inverse",
    "LowestMiou",
    "Margin",
    "Max",
    "MaxSoftmax",
    "Mean",
    "MostIncorrect",
    "Odin",
    "Order",
    "PatchMax",
    "Random",
    "Strategy",
    "Sum",
    "TopMean",
    "VoteEntropy",
]
