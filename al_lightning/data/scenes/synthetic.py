"""Small street-like scenes, drawn from a seed, written in Cityscapes' layout."""

import hashlib
import json
import logging
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from al_lightning.data.scenes.cityscapes import CityscapesDataModule
from al_lightning.data.scenes.scene import Pixels
from al_lightning.labels import LABELS
from al_lightning.numbers import ImageEdge, NonNegativeInt, PositiveInt, checked

log = logging.getLogger(__name__)

_ID = {label.name: label.id for label in LABELS}
# The mean colour of each class, RGB; they are so close to each other that colour alone does not tell the classes apart.
_LOOKS = {
    "sky": (150, 165, 190),
    "building": (130, 120, 115),
    "vegetation": (95, 120, 90),
    "road": (105, 105, 110),
    "sidewalk": (135, 130, 130),
    "car": (110, 95, 105),
    "pole": (120, 120, 125),
    "person": (125, 100, 95),
}


class SyntheticScenesDataModule(CityscapesDataModule):
    """Scenes with sky, road, sidewalks, buildings, trees, cars, poles and people, in sequences of near-duplicates as from video.

    They are drawn once into ``cache/<hash of the settings>`` and read as any folder in Cityscapes' layout.

    Args:
        cache: folder for the drawn scenes.
        train_sequences: number of sequences in the pool.
        val_sequences: number of sequences for evaluation.
        frames: number of images in a sequence.
        height: height of an image, in pixels.
        width: width of an image, in pixels.
        scenes_seed: seed of the scenes. It stays the same when ``seed_everything`` changes, because the data are not what an experiment
            varies.
        kwargs: the other arguments of :class:`CityscapesDataModule`, all but ``root``.
    """

    @checked
    def __init__(
        self,
        cache: str = "data/synthetic-scenes",
        train_sequences: PositiveInt = 30,
        val_sequences: PositiveInt = 10,
        frames: PositiveInt = 4,
        height: ImageEdge = 96,
        width: ImageEdge = 160,
        scenes_seed: NonNegativeInt = 0,
        **kwargs: Any,
    ) -> None:
        settings: dict[str, Any] = {
            "train": train_sequences,
            "val": val_sequences,
            "frames": frames,
            "size": [height, width],
            "seed": scenes_seed,
        }
        digest = hashlib.sha256(json.dumps({**settings, "version": 1}).encode()).hexdigest()[:12]
        super().__init__(root=str(Path(cache).expanduser() / digest), **kwargs)
        self.settings = settings

    def prepare_data(self) -> None:
        """Draws the scenes, unless their folder exists."""
        if self.root.exists():
            return
        self.root.parent.mkdir(parents=True, exist_ok=True)
        log.info("drawing synthetic scenes into %s", self.root)
        partial = self.root.with_name(f"{self.root.name}-{secrets.token_hex(4)}.tmp")
        partial.mkdir()
        try:
            for split in ("train", "val"):
                for sequence in range(self.settings[split]):
                    self._draw_sequence(partial, split, sequence)
            try:
                os.rename(partial, self.root)
            except OSError:
                if not self.root.is_dir():
                    raise  # otherwise another process has drawn the same scenes in the meantime
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _draw_sequence(self, root: Path, split: str, sequence: int) -> None:
        (height, width), city = self.settings["size"], f"city{sequence % 3}"
        for folder in ("leftImg8bit", "gtFine"):
            (root / folder / split / city).mkdir(parents=True, exist_ok=True)
        seed = [self.settings["seed"], int(split == "val"), sequence]
        for frame in range(self.settings["frames"]):
            image, label = draw_scene(np.random.default_rng(seed), np.random.default_rng([*seed, frame]), frame, height, width)
            name = f"{city}_{sequence:06d}_{frame:06d}"
            Image.fromarray(image).save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
            Image.fromarray(label).save(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png")


def draw_scene(layout: np.random.Generator, noise: np.random.Generator, frame: int, height: int, width: int) -> tuple[Pixels, Pixels]:
    """Draws a scene.

    Args:
        layout: draws what is where, and its colours and textures; it must have the same state for all frames of a sequence.
        noise: draws grain and unlabeled pixels; another generator for each frame.
        frame: number of the frame, which moves the cars and the people by a few pixels.
        height: in pixels.
        width: in pixels.

    Returns:
        Image uint8 ``(H, W, 3)`` and label ids uint8 ``(H, W)``.
    """
    label = np.full((height, width), _ID["sky"], dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    horizon = int(height * layout.uniform(0.35, 0.5))
    at = 0
    while at < width:  # buildings and trees along the horizon
        wide, top = int(width * layout.uniform(0.08, 0.25)), int(horizon * layout.uniform(0.1, 0.9))
        label[top:horizon, at : at + wide] = _ID["building" if layout.random() < 0.6 else "vegetation"]
        at += wide
    label[horizon:] = _ID["sidewalk"]
    center, depth = width * layout.uniform(0.35, 0.65), (y - horizon) / (height - horizon)
    label[(y >= horizon) & (np.abs(x - center) < width * (0.06 + 0.5 * depth))] = _ID["road"]
    for _ in range(layout.integers(1, 5)):
        near = layout.uniform(0.15, 0.9)
        tall, wide = int(height * 0.05 + height * 0.22 * near), int(width * 0.05 + width * 0.2 * near)
        bottom = int(horizon + near * (height - horizon))
        left = int(center + layout.uniform(-0.4, 0.3) * width * near) + frame * int(layout.integers(-2, 3))
        label[max(0, bottom - tall) : bottom, max(0, left) : max(0, left + wide)] = _ID["car"]
    for name, thin, share in (("pole", 0.012, 0.5), ("person", 0.025, 0.2)):
        for _ in range(layout.integers(1, 4)):
            left, bottom = int(layout.uniform(0, width)), int(horizon + layout.uniform(0.05, 0.4) * (height - horizon))
            left += frame if name == "person" else 0
            label[max(0, bottom - int(share * height)) : bottom, max(0, left) : left + max(1, int(thin * width))] = _ID[name]
    image = np.zeros((height, width, 3))
    light = layout.uniform(0.7, 1.25)
    for name, color in _LOOKS.items():
        where = label == _ID[name]
        waves = np.sin(x * layout.uniform(0.1, 0.9) + layout.uniform(0, 6)) * np.sin(y * layout.uniform(0.1, 0.9))
        tint = np.array(color) * light + layout.normal(0, 12, 3)
        image[where] = tint + (waves[where] * layout.uniform(4, 18))[:, None]
    image += noise.normal(0, 9, image.shape)
    label[noise.random(label.shape) < 0.002] = _ID["unlabeled"]
    return image.clip(0, 255).astype(np.uint8), label
