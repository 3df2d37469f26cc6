"""``make demo-label``: a scripted person labels the images that a run asks for, and ``ingest`` takes the masks. The images are drawn.

Each command that a person would type is printed before it runs. The person is the function ``annotate``: it looks at the images of a
package, and writes their masks into another folder.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from al_lightning.commands import main
from al_lightning.refusals import WAITS_FOR_LABELS

_HOME = Path("runs/demo-label")
_EDGE, _IMAGES, _LABELED, _EVALUATION = 96, 60, 8, 10


def draw_nuclei(number: int, edge: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draws an image like one from a microscope: bright nuclei on a dark background; in every fourth image, dark ones on a bright one.

    Args:
        number: number of the image, which seeds everything in it.
        edge: height and width in pixels.

    Returns:
        Image uint8 ``(edge, edge, 3)`` and mask uint8 ``(edge, edge)`` of 0 and 1.
    """
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:edge, :edge] / edge
    mask, light = np.zeros((edge, edge), np.uint8), np.zeros((edge, edge))
    for _ in range(rng.integers(5, 12)):
        angle, (high, wide), (top, left) = rng.uniform(0, np.pi), rng.uniform(0.04, 0.13, 2), rng.uniform(0, 1, 2)
        along, across = np.cos(angle) * (y - top) + np.sin(angle) * (x - left), np.cos(angle) * (x - left) - np.sin(angle) * (y - top)
        inside = (along / high) ** 2 + (across / wide) ** 2 < 1
        mask[inside], light[inside] = 1, rng.uniform(0.35, 1)
    light += 0.25 * np.sin(9 * x + rng.uniform(0, 6)) * np.sin(7 * y + rng.uniform(0, 6)) + rng.normal(0, 0.12, light.shape)
    ground, nucleus = ((225, 200, 220), (110, 60, 140)) if number % 4 == 3 else ((20, 22, 30), (150, 160, 175))
    return (ground + light[..., None] * np.subtract(nucleus, ground)).clip(0, 255).astype(np.uint8), mask


def draw_folder(folder: Path, names: Sequence[str], edge: int, masks: Path) -> None:
    """Draws images into ``folder/images``, and their masks into ``masks``."""
    (folder / "images").mkdir(parents=True)
    masks.mkdir(parents=True, exist_ok=True)
    for name in names:
        image, mask = draw_nuclei(int(name[-3:]), edge)
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(masks / f"{name}.png")


def annotate(package: Path, knowledge: Path, into: Path) -> int:
    """Plays the person: copies the known mask of each image in a package to ``into``; returns the number of masks."""
    into.mkdir(exist_ok=True)
    return len([shutil.copy(knowledge / image.name, into) for image in sorted(package.glob("*.png"))])


def say(what: str) -> None:
    """Announces what comes next."""
    print(f"\n# {what}", flush=True)


def run(command: str, status: int = 0) -> None:
    """Prints and runs a command that a person would type.

    Args:
        command: the command without ``python -m al_lightning``.
        status: the expected exit status.

    Raises:
        SystemExit: the command ended with another status.
    """
    print(f"$ python -m al_lightning {command}", flush=True)
    try:
        main(command.split())
        ended: str | int | None = 0
    except SystemExit as end:
        ended = end.code
    if ended != status:
        raise SystemExit(f"Expected exit status {status}, got {ended}")


def demonstrate(home: Path = _HOME, edge: int = _EDGE, options: str = "") -> Path:
    """Runs the demo, from a folder of images to the second cycle.

    Args:
        home: folder for everything that is written; it must not exist.
        edge: height and width of the images in pixels.
        options: further options of ``fit``.

    Returns:
        The page that shows what to label next.
    """
    photos, person, page = home / "photos", home / "what-the-person-knows", home / "next" / "query.html"
    begun, run_dir = f"--config configs/demo_label.yaml {options}".strip(), home / "run"

    draw_folder(photos, names := [f"nuclei_{number:03d}" for number in range(_IMAGES)], edge, person)
    draw_folder(home / "evaluation", [f"nuclei_{_IMAGES + number:03d}" for number in range(_EVALUATION)], edge, home / "evaluation/masks")
    (photos / "masks").mkdir()
    for name in names[: 4 * _LABELED : 4]:  # none of these has a bright background, as if by chance
        shutil.copy(person / f"{name}.png", photos / "masks")
    say(f"{photos}/images has {_IMAGES} images, {photos}/masks the masks of {_LABELED}. The run trains on these, and asks for 8 more.")
    run(f"fit {begun} --run_dir {run_dir}", WAITS_FOR_LABELS)
    say(f"It waits, with exit status {WAITS_FOR_LABELS}. At any time:")
    run(f"status {run_dir}")
    count = annotate(run_dir / "cycles/000/to_label", person, home / "drawn")
    say(f"The person has drawn {count} masks, of the images in {run_dir}/cycles/000/to_label. They are checked and taken into the data:")
    run(f"ingest {run_dir} {home / 'drawn'}")
    say("The run goes on with them, and asks for the next:")
    run(f"fit --resume --run_dir {run_dir}", WAITS_FOR_LABELS)
    run(f"status {run_dir}")
    say("The same images, with what the network sees in them and where it is unsure, on a page that opens offline:")
    run(f"query --run {run_dir} --images {photos}/images --n 8 --out {page.parent}")
    return page


if __name__ == "__main__":
    print(f"\nWhat to label next: {demonstrate().resolve()}")
