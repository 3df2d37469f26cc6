"""Query strategies: what they need of each item, and how they choose."""

from al_lightning.acquisition.joint import joint_looker, joint_measurer, joint_scorer
from al_lightning.acquisition.strategies.base import Choice, Items, Measure, Scored, Strategy
from al_lightning.acquisition.strategies.oracles import LowestMiou, MostIncorrect
from al_lightning.acquisition.strategies.scores import BALD, Entropy, FromFile, Margin, MaxSoftmax, Odin, Order, Random, VoteEntropy
from al_lightning.acquisition.strategies.wrapped import Expert, Inverse

__all__ = [
    "BALD",
    "Choice",
    "Entropy",
    "Expert",
    "FromFile",
    "Inverse",
    "Items",
    "LowestMiou",
    "Margin",
    "MaxSoftmax",
    "Measure",
    "MostIncorrect",
    "Odin",
    "Order",
    "Random",
    "Scored",
    "Strategy",
    "VoteEntropy",
    "joint_looker",
    "joint_measurer",
    "joint_scorer",
]
