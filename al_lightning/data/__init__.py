"""Data sets and their pools: which items are labeled, and loaders over them."""

from al_lightning.data.cityscapes import CityscapesDataModule
from al_lightning.data.class_folders import FolderClassificationDataModule
from al_lightning.data.datamodule import PoolDataModule
from al_lightning.data.folders import FolderSegmentationDataModule
from al_lightning.data.mnist import FashionMNISTDataModule, FashionMNISTSampleDataModule, MNISTDataModule
from al_lightning.data.pool import Pool
from al_lightning.data.resident import ResidentImages
from al_lightning.data.resident_datamodule import ResidentDataModule
from al_lightning.data.scene_datamodule import SceneDataModule
from al_lightning.data.synthetic import SyntheticScenesDataModule

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
