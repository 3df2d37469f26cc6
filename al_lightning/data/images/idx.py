"""The IDX file format of MNIST and its relatives: a magic number, the sizes, then the bytes.

Format: http://yann.lecun.com/exdb/mnist. The magic number's third byte is the type (8: unsigned byte), its fourth the number of axes.
"""

import gzip
import math
import zlib
from io import BufferedReader
from pathlib import Path

import torch
from torch import Tensor

from al_lightning.errors import UserError
from al_lightning.files import require_regular

MAX_BYTES = 2**31
"""Largest size of an unpacked file; the largest relative of MNIST has a quarter of it."""


def read_idx(path: Path, axes: int) -> Tensor:
    """Reads unsigned bytes from an IDX file, gzipped or not.

    Args:
        path: the file.
        axes: the number of axes that it must have: 3 for images, 1 for labels.

    Returns:
        uint8, in the file's shape.

    Raises:
        UserError: the file can't be read, is corrupted or truncated, or contains something else. The message names it.
    """
    size = 4 + 4 * axes
    try:
        require_regular(path)
        with _unpacked(path) as file:
            header = file.read(size)
            shape = _shape(header, axes, path)
            content = _read(file, math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"Expected a readable IDX file, but {path} is truncated or corrupted ({error}). Fetch it again.") from error
    if len(content) != math.prod(shape):
        found = f"{size + len(content)}{' or more' if len(content) > math.prod(shape) else ''}"
        raise UserError(f"Expected {size + math.prod(shape)} bytes in {path} for shape {shape}, got {found}: it is truncated or corrupted.")
    return torch.frombuffer(content, dtype=torch.uint8).reshape(shape)


def _read(file: gzip.GzipFile | BufferedReader, most: int) -> bytearray:
    """Reads up to ``most`` bytes, in pieces, because a header may promise far more bytes than the file has."""
    content = bytearray()
    while len(content) < most and (piece := file.read(min(2**20, most - len(content)))):
        content += piece
    return content


def _unpacked(path: Path) -> gzip.GzipFile | BufferedReader:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def _shape(header: bytes, axes: int, path: Path) -> list[int]:
    """The shape that a header promises.

    Raises:
        UserError: the header is of another type or number of axes, or promises no bytes or more than ``MAX_BYTES``.
    """
    magic = bytes([0, 0, 8, axes])
    if header[:4] != magic or len(header) < 4 + 4 * axes:
        raise UserError(
            f"Expected {path} to be an IDX file of unsigned bytes with {axes} axes (magic {magic.hex()}), got magic {header[:4].hex()!r}. "
            "Are images and labels swapped, or is it truncated or corrupted?"
        )
    shape = [int.from_bytes(header[at : at + 4]) for at in range(4, len(header), 4)]
    if not 0 < math.prod(shape) <= MAX_BYTES:
        raise UserError(
            f"Expected from 1 to {MAX_BYTES:,} bytes in {path}, but its header says shape {shape}: it is empty, truncated or corrupted."
        )
    return shape


def read_labeled_images(images_path: Path, labels_path: Path, num_classes: int) -> tuple[Tensor, Tensor]:
    """Reads a pair of IDX files.

    Args:
        images_path: file of the images.
        labels_path: file of their labels.
        num_classes: number of classes; labels are below it.

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
