"""How much is measured: on a card, and on a processor to try the command."""

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
    """What is measured with.

    Attributes:
        encoder: of DeepLabv3+.
        light: another encoder, where it is not speed that is measured.
        scene: height and width of the drawn scenes, for training.
        crop: edge of a training crop.
        batch: crops in a training batch.
        steps: of an epoch.
        image: height and width of the images that are scored.
        images: that are scored in a timing.
        pool: images that the selection is compared on.
        mlp_steps: of an epoch of the MLP.
        seconds: for the rounds of a row; one round is always made.
        rounds: at most.
        compiler: torch.compile's backend.
        workers: loading processes.
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
# As small as the network allows; a compiler that compiles nothing.
TINY = Size("tu-mobilenetv3_small_050", "tu-mobilenetv3_small_050", (48, 64), 32, 2, 1, (32, 64), 1, 300, 20, 1.0, 1, "eager", 1)


class Scenes(SyntheticScenesDataModule):
    """Drawn scenes, each as often as an epoch needs, decoded once: what they show does not matter to a card.

    Args:
        cache: folder.
        size: what is measured with.
        arguments: others of the data module.
    """

    def __init__(self, cache: str, size: Size, **arguments: Any) -> None:
        height, width = size.scene
        settings = {"batch_size": size.batch, "crop": size.crop, "initial_size": size.batch * size.steps, "num_workers": size.workers}
        super().__init__(
            cache, 4, 1, 2, height, width, **{"decoded_cache": "memory", **settings, **arguments}
        )  # eight for the pool, two for evaluation
        self.times = -(-(size.batch * size.steps + 8) // 8)

    def listing(self) -> tuple[list[Scene], list[Scene]]:
        """Every scene of the pool many times, under names of their own."""
        pool, evaluation = super().listing()
        return [scene._replace(name=f"{scene.name}#{copy}") for copy in range(self.times) for scene in pool], evaluation

    @property
    def device(self) -> torch.device:
        """The card, also where no trainer says so."""
        return DEVICE


def rounds_within(size: Size, *works: Callable[[], float]) -> list[list[float]]:
    """Alternating rounds until their time is used up, one at least."""
    results: list[list[float]] = [[] for _ in works]
    began = time.perf_counter()
    for _ in range(size.rounds):
        for times, (result,) in zip(results, alternating(1, *works), strict=True):
            times.append(result)
        if time.perf_counter() - began > size.seconds:
            break
    return results
