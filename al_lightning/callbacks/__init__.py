"""The experiment's loop, and callbacks that only watch it."""

from al_lightning.callbacks.active_learning import ActiveLearningCallback
from al_lightning.callbacks.cycle import FinishedCycle, Query
from al_lightning.callbacks.cycle_logger import CycleLogger
from al_lightning.callbacks.pictures import ScenePictures
from al_lightning.callbacks.progress import CycleProgressBar

__all__ = ["ActiveLearningCallback", "CycleLogger", "CycleProgressBar", "FinishedCycle", "Query", "ScenePictures"]
