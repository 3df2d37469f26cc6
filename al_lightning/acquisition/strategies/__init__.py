"""Query strategies: what they need of each item, and how they choose."""

from al_lightning.acquisition.joint import joint_looker, joint_measurer, joint_scorer
from al_lightning.acquisition.strategies.apart import Apart
from al_lightning.acquisition.strategies.base import Choice, Items, Measure, Scored, Strategy
from al_lightning.acquisition.strategies.features import ClusterMargin, CoreSet, Diverse, MaxHerding, ProbCover, TypiClust, UHerding
from al_lightning.acquisition.strategies.oracles import ClassAwareRandom, LowestMiou, MostIncorrect
from al_lightning.acquisition.strategies.passes import BADGE, EPIG, BatchBALD
from al_lightning.acquisition.strategies.scores import BALD, Entropy, FromFile, Margin, MaxSoftmax, Odin, Order, Random, VoteEntropy
from al_lightning.acquisition.strategies.wrapped import ClassStratified, Expert, Inverse, Power

__all__ = [
    "BADGE",
    "BALD",
    "EPIG",
    "Apart",
    "BatchBALD",
    "Choice",
    "ClassAwareRandom",
    "ClassStratified",
    "ClusterMargin",
    "CoreSet",
    "Diverse",
    "Entropy",
    "Expert",
    "FromFile",
    "Inverse",
    "Items",
    "LowestMiou",
    "Margin",
    "MaxHerding",
    "MaxSoftmax",
    "Measure",
    "MostIncorrect",
    "Odin",
    "Order",
    "Power",
    "ProbCover",
    "Random",
    "Scored",
    "Strategy",
    "TypiClust",
    "UHerding",
    "VoteEntropy",
    "joint_looker",
    "joint_measurer",
    "joint_scorer",
]
