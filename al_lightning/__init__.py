"""Deep active learning for image classification and semantic segmentation, as one Lightning application."""

__version__ = "0.1.0"
