"""The IDX file format of MNIST and its relatives: a magic number, the sizes, then the bytes.

Format: http://yann.lecun.com/exdb/mnist. The magic number's third byte is the type (8: unsigned byte), its fourth the number of axes.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from al_lightning.errors import UserError


def read_idx(path: Path, axes: int) -> Tensor:
    """Reads unsigned bytes from an IDX file, gzipped or not.

    Args:
        path: the file.
        axes: the number of axes that it must have: 3 for images, 1 for labels.

    Returns:
        uint8, in the file's shape.

    Raises:
        UserError: the file can't be read, is corrupted or truncated, or holds something else. The message names it.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"Expected a readable IDX file, but {path} is truncated or corrupted ({error}). Fetch it again.") from error
    header = 4 + 4 * axes
    magic = bytes([0, 0, 8, axes])
    if content[:4] != magic or len(content) < header:
        raise UserError(
            f"Expected {path} to be an IDX file of unsigned bytes with {axes} axes (magic {magic.hex()}), got magic {content[:4].hex()!r} "
            f"in {len(content)} bytes. Are images and labels swapped?"
        )
    shape = [int.from_bytes(content[at : at + 4]) for at in range(4, header, 4)]
    if len(content) != header + math.prod(shape):
        raise UserError(f"Expected {header + math.prod(shape)} bytes in {path} for shape {shape}, got {len(content)}. Fetch it again.")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy())


def read_labeled_images(images_path: Path, labels_path: Path, num_classes: int) -> tuple[Tensor, Tensor]:
    """Reads a pair of IDX files.

    Returns:
        Images uint8 ``(N, 1, H, W)`` and labels int64 ``(N,)``.

    Raises:
        UserError: a file is bad (see :func:`read_idx`), the two differ in length, or a label is out of range.
    """
    images = read_idx(images_path, axes=3)
    labels = read_idx(labels_path, axes=1).long()
    if len(images) != len(labels):
        raise UserError(
            f"Expected as many labels as images, got {len(images)} images in {images_path}, {len(labels)} labels in {labels_path}."
        )
    if len(labels) and int(labels.max()) >= num_classes:
        raise UserError(f"Expected labels from 0 to {num_classes - 1}, got {int(labels.max())} in {labels_path}.")
    return images.unsqueeze(1), labels
