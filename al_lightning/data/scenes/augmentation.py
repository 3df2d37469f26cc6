"""How an image is changed before a network sees it: augmentation and normalisation."""

import math
import os
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from al_lightning.data.scenes.scene import Box, Pixels
from al_lightning.labels import IGNORED


class Augmentation:
    """Random scale, crop and flip, repeatable from a seed. If the image is smaller than the crop, the loss ignores the padding.

    The part of the image that the crop will show is chosen first, and only this part is read and resized. This takes a fraction of the
    time of resizing the whole image before cropping, and of the memory of a mapped file.

    Args:
        crop: edge of the square crop, in pixels.
        scale: smallest and largest scale factor.
        step: distance between the factors that are drawn, from the smallest on; None draws any factor between the two.
    """

    def __init__(self, crop: int, scale: tuple[float, float], step: float | None = None) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it asks a server for its newest version
        import albumentations
        import cv2

        self.crop, self.scale = crop, scale
        self.step = step
        # The small term keeps the largest factor among them, whatever the rounding.
        self.steps = 0 if step is None else int((scale[1] - scale[0]) / step + 1e-6)
        # OpenCV's other nearest neighbour rounds down, which shifts a label against its image by up to half a pixel.
        self.resize = partial(albumentations.Resize, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST_EXACT)
        self.transform = albumentations.Compose(
            [
                albumentations.PadIfNeeded(crop, crop, border_mode=0, fill=0, fill_mask=IGNORED),
                albumentations.HorizontalFlip(p=0.5),
            ]
        )

    def __call__(self, image: Pixels, label: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        """Augments an image and its label.

        Args:
            image: uint8 ``(H, W, 3)``.
            label: uint8 ``(H, W)``, label ids.
            seed: seed of the augmentation.

        Returns:
            Both, uint8 ``(crop, crop, 3)`` and ``(crop, crop)``; pixels outside the image have the label 255.
        """
        draw = np.random.default_rng(seed)
        factor = draw.uniform(*self.scale) if self.step is None else self.scale[0] + self.step * draw.integers(0, self.steps + 1)
        edges = [min(math.ceil(self.crop / factor), edge) for edge in label.shape]
        part = Box(*(int(draw.integers(0, whole - edge + 1)) for whole, edge in zip(label.shape, edges, strict=True)), *edges)
        size = [max(1, min(self.crop, round(edge * factor))) for edge in edges]
        resized = self.resize(*size)(image=np.ascontiguousarray(part.of(image)), mask=np.ascontiguousarray(part.of(label)))
        self.transform.set_random_seed(seed % 2**32)
        done = self.transform(image=resized["image"], mask=resized["mask"])
        return done["image"], done["mask"]


class Normalization(NamedTuple):
    """Normalises an image by the mean and standard deviation of each channel, in units of the full range (0 to 1)."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Pixels) -> Tensor:
        """uint8 ``(H, W, 3)`` to float32 ``(3, H, W)``."""
        values = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div_(255)
        return values.sub_(torch.tensor(self.mean).view(3, 1, 1)).div_(torch.tensor(self.std).view(3, 1, 1))
