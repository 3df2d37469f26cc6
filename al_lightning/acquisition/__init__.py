"""What is worth labeling: logits to scores, scores to a query. Imports torch only."""

from al_lightning.acquisition.aggregation import Aggregation, CountAbove, Max, Mean, PatchMax, Sum, TopMean
from al_lightning.acquisition.strategies import (
    BALD,
    Choice,
    Entropy,
    Expert,
    FromFile,
    Inverse,
    Items,
    LowestMiou,
    Margin,
    MaxSoftmax,
    MostIncorrect,
    Odin,
    Order,
    Random,
    Scored,
    Strategy,
    VoteEntropy,
)

__all__ = [
    "BALD",
    "Aggregation",
    "Choice",
    "CountAbove",
    "Entropy",
    "Expert",
    "FromFile",
    "Inverse",
    "Items",
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
    "Scored",
    "Strategy",
    "Sum",
    "TopMean",
    "VoteEntropy",
]

STRATEGIES = [name for name in __all__ if issubclass(globals()[name], Strategy) and name != "Strategy"]
AGGREGATIONS = [name for name in __all__ if issubclass(globals()[name], Aggregation) and name != "Aggregation"]
