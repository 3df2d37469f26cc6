"""Segmented images: what all of them share (scene, datasets, datamodule), and a short file a layout."""
