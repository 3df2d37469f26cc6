"""Makes al_lightning/data/images/sample from the full Fashion-MNIST: python tools/make_sample.py FOLDER_OF_THE_FOUR_IDX_FILES."""

import gzip
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from al_lightning import seeds
from al_lightning.data.images.idx import read_labeled_images

PER_CLASS = {"train": 500, "t10k": 100}
OUT = Path(__file__).parents[1] / "al_lightning" / "data" / "images" / "sample"


def write_idx(path: Path, values: Tensor) -> None:
    """Writes unsigned bytes as a compressed IDX file."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4) for size in values.shape)
    path.write_bytes(gzip.compress(header + np.ascontiguousarray(values.numpy()).tobytes(), compresslevel=9, mtime=0))


def main(root: Path) -> None:
    """Draws images of each class from the files in a folder, and writes the sample."""
    OUT.mkdir(exist_ok=True)
    for split, count in PER_CLASS.items():
        images, labels = read_labeled_images(root / f"{split}-images-idx3-ubyte.gz", root / f"{split}-labels-idx1-ubyte.gz", 10)
        shuffled = torch.randperm(len(labels), generator=seeds.generator(0, "sample", split))
        chosen = torch.cat([shuffled[labels[shuffled] == label][:count] for label in range(10)]).sort().values
        write_idx(OUT / f"{split}-images-idx3-ubyte.gz", images[chosen, 0])
        write_idx(OUT / f"{split}-labels-idx1-ubyte.gz", labels[chosen].to(torch.uint8))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
