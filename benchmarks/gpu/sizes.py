"""The sizes of measurements: for a card, and tiny ones to try the command on the CPU."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from al_lightning.data import SyntheticScenesDataModule
from al_lightning.data.scenes.scene import Scene
from benchmarks.common import alternating
from benchmarks.segmentation import DEVICE

MAP = tuple[int, int]


@dataclass(frozen=True)
class Size:
    """The sizes of measurements.

    Attributes:
        encoder: encoder of DeepLabv3+.
        light: a smaller encoder for parts that do not measure speed.
        scene: height and width of the drawn scenes for training.
        crop: edge of a training crop.
        batch: crops in a training batch.
        steps: steps of an epoch.
        image: height and width of the images that are scored.
        images: the number of images that one timing scores.
        pool: the number of images from which card and CPU choose.
        mlp_steps: steps of an epoch of the MLP.
        seconds: no new round of a row begins after this time; there is always one round.
        rounds: the most rounds of a row.
        compiler: backend of torch.compile.
        workers: the number of loading processes.
    """

    encoder: str
    light: str
    scene: MAP
    crop: int
    batch: int
    steps: int
    image: MAP
    images: int
    pool: int
    mlp_steps: int
    seconds: float
    rounds: int
    compiler: str
    workers: int


FULL = Size("tu-resnet50c", "tu-resnet18", (640, 1280), 512, 8, 25, (1024, 2048), 4, 5_000, 1_000, 9.0, 5, "inductor", 8)
# As small as the network allows. The backend "eager" compiles nothing.
TINY = Size("tu-mobilenetv3_small_050", "tu-mobilenetv3_small_050", (48, 64), 32, 2, 1, (32, 64), 1, 300, 20, 1.0, 1, "eager", 1)


class Scenes(SyntheticScenesDataModule):
    """Repeats eight drawn scenes as often as an epoch needs, and decodes each once. Speed does not depend on what they show.

    Args:
        cache: the folder of the scenes.
        size: the sizes of the measurement.
        arguments: further arguments of the data module.
    """

    def __init__(self, cache: str, size: Size, **arguments: Any) -> None:
        height, width = size.scene
        settings = {"batch_size": size.batch, "crop": size.crop, "initial_size": size.batch * size.steps, "num_workers": size.workers}
        super().__init__(
            cache, 4, 1, 2, height, width, **{"decoded_cache": "memory", **settings, **arguments}
        )  # eight for the pool, two for evaluation
        self.times = -(-(size.batch * size.steps + 8) // 8)

    def listing(self) -> tuple[list[Scene], list[Scene]]:
        """Lists every scene of the pool many times, under different names."""
        pool, evaluation = super().listing()
        return [scene._replace(name=f"{scene.name}#{copy}") for copy in range(self.times) for scene in pool], evaluation

    @property
    def device(self) -> torch.device:
        """The card, even without a trainer."""
        return DEVICE


def rounds_within(size: Size, *works: Callable[[], float]) -> list[list[float]]:
    """Runs alternating rounds until the time of the size is over, but at least one."""
    results: list[list[float]] = [[] for _ in works]
    began = time.perf_counter()
    for _ in range(size.rounds):
        for times, (result,) in zip(results, alternating(1, *works), strict=True):
            times.append(result)
        if time.perf_counter() - began > size.seconds:
            break
    return results
