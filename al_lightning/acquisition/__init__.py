"""What is worth labeling: logits to scores, scores to a query. Imports torch only."""

from al_lightning.acquisition.aggregation import Aggregation, CountAbove, Max, Mean, PatchMax, Sum, TopMean
from al_lightning.acquisition.strategies import (
    BALD,
    Entropy,
    Expert,
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

__all__ = [
    "BALD",
    "Aggregation",
    "CountAbove",
    "Entropy",
    "Expert",
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

STRATEGIES = [name for name in __all__ if issubclass(globals()[name], Strategy) and name != "Strategy"]
AGGREGATIONS = [name for name in __all__ if issubclass(globals()[name], Aggregation) and name != "Aggregation"]
