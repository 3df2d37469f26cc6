"""Copies a folder in Cityscapes' layout at a fraction of its size: python tools/resize_scenes.py FROM TO [DIVISOR]."""

import sys
from pathlib import Path

from PIL import Image


def main() -> None:
    """Runs the command line."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    divisor = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    files = sorted(
        path for folder in ("leftImg8bit", "gtFine") for path in (source / folder).rglob("*.png") if not path.name.startswith(".")
    )
    if not files:
        sys.exit(f"Expected PNG files in {source}/leftImg8bit and {source}/gtFine, found none.")
    for path in files:
        with Image.open(path) as image:
            # Images are averaged; label ids can't be.
            method = Image.Resampling.NEAREST if path.is_relative_to(source / "gtFine") else Image.Resampling.BOX
            smaller = image.resize((image.width // divisor, image.height // divisor), method)
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        smaller.save(copy)
    print(f"{len(files)} files in {target}")


if __name__ == "__main__":
    main()
