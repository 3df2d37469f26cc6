"""LightningModules: losses, metrics and optimizers around a network; they define no layers."""

from al_lightning.tasks.base import Task
from al_lightning.tasks.classification import ClassificationTask
from al_lightning.tasks.segmentation import SegmentationTask

__all__ = ["ClassificationTask", "SegmentationTask", "Task"]
