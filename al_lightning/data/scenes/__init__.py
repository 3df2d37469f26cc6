"""Segmented images: what all of them share (scene, datasets, datamodule), and a short module for each layout of files."""
