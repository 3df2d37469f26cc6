"""Data sets and their pools: which items are labeled, and loaders for them."""

from al_lightning.data.datamodule import PoolDataModule
from al_lightning.data.images.datamodule import ResidentDataModule
from al_lightning.data.images.folders import FolderClassificationDataModule
from al_lightning.data.images.mnist import FashionMNISTDataModule, FashionMNISTSampleDataModule, MNISTDataModule
from al_lightning.data.images.resident import ResidentImages
from al_lightning.data.pool import Pool
from al_lightning.data.scenes.cityscapes import CityscapesDataModule
from al_lightning.data.scenes.datamodule import SceneDataModule
from al_lightning.data.scenes.folders import FolderSegmentationDataModule
from al_lightning.data.scenes.synthetic import SyntheticScenesDataModule

__all__ = [
    "CityscapesDataModule",
    "FashionMNISTDataModule",
    "FashionMNISTSampleDataModule",
    "FolderClassificationDataModule",
    "FolderSegmentationDataModule",
    "MNISTDataModule",
    "Pool",
    "PoolDataModule",
    "ResidentDataModule",
    "ResidentImages",
    "SceneDataModule",
    "SyntheticScenesDataModule",
]
