"""Compares the time of the command ``query`` with that of its forward passes alone: python -m benchmarks.folder [IMAGES [ROUNDS]]."""

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from al_lightning.commands import query
from al_lightning.models import DeepLabV3Plus
from benchmarks.common import alternating, prepare, ratio

_HEIGHT, _WIDTH = 360, 480
_DEFAULTS = 500, 3  # images and rounds
_NETWORK = {"num_classes": 3, "encoder": "tu-tf_efficientnet_lite0", "encoder_weights": "none"}
_DATA = {"root": "", "evaluation": "", "classes": {"a": 0, "b": 1, "c": 2}}


def draw(folder: Path, images: int) -> None:
    """Draws JPEG files of smooth colours with noise. Their sizes, in pixels and in bytes, are like those of small photographs."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
        pixels = np.array(coarse).astype(int) + rng.integers(-12, 13, (_HEIGHT, _WIDTH, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:04d}.jpg", quality=90)


def configuration(folder: Path) -> Path:
    """Writes a configuration of the network, with data that do not exist, as ``query`` does not need them."""
    network = {"class_path": "al_lightning.models.DeepLabV3Plus", "init_args": _NETWORK}
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "model": {"class_path": "SegmentationTask", "init_args": {"network": network, "channels_last": True}},
                "data": {"class_path": "FolderSegmentationDataModule", "init_args": _DATA},
                "active_learning": {"strategy": "Entropy"},
            }
        )
    )
    return path


def forward(network: nn.Module, images: Tensor, times: int) -> None:
    """The least possible work: as many passes as images are scored, one image at a time, from memory."""
    with torch.inference_mode():
        for _ in range(times):
            network(images)


def elapsed(work: Callable[[], object]) -> complex:
    """Returns the wall-clock time in seconds, with the processor time as the imaginary part."""
    began = time.perf_counter(), time.process_time()
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        work()
    return complex(time.perf_counter() - began[0], time.process_time() - began[1])


def main() -> None:
    """Measures, and prints the table."""
    prepare()
    images, rounds = map(int, (*sys.argv[1:], *_DEFAULTS[len(sys.argv) - 1 :]))
    network = DeepLabV3Plus(**_NETWORK).eval().to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "images", images)
        draw(folder / "few", 5)
        config, checkpoint = configuration(folder), folder / "last.ckpt"
        torch.save({"state_dict": {f"network.{key}": value for key, value in network.state_dict().items()}}, checkpoint)
        given = ["query", "--checkpoint", checkpoint, "--config", config, "--n", max(1, images // 25), "--devices", "cpu"]
        outs = iter(range(rounds + 1))

        def ask(of: str = "images") -> None:
            query.main([*map(str, given), "--images", str(folder / of), "--out", str(folder / str(next(outs)))])

        example = torch.rand(1, 3, _HEIGHT, _WIDTH)
        elapsed(lambda: ask("few"))  # does what a process does only once
        floor, ours = alternating(rounds, lambda: elapsed(lambda: forward(network, example, images)), lambda: elapsed(ask))
    print("| measured | value | wanted |\n|---|---|---|")
    what = f"`query`, {images} images of {_WIDTH}x{_HEIGHT}, entropy / forward passes alone, {torch.get_num_threads()} threads"
    print(f"| {what}: {floor[0].real:.1f} s | {ratio([t.real for t in ours], [t.real for t in floor]):.2f} | 1.3 |")
    print(f"| the same, in seconds of a processor | {ratio([t.imag for t in ours], [t.imag for t in floor]):.2f} | 1.3 |")


if __name__ == "__main__":
    main()
