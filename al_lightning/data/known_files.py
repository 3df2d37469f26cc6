"""Checksums of the files of MNIST and Fashion-MNIST."""

import hashlib

from torch import Tensor

# MD5 of the publishers' files, unpacked; that of a packed file depends on the program that packed it.
_MD5 = {
    ("MNIST", "train-images-idx3-ubyte"): "6bbc9ace898e44ae57da46a324031adb",
    ("MNIST", "train-labels-idx1-ubyte"): "a25bea736e30d166cdddb491f175f624",
    ("MNIST", "t10k-images-idx3-ubyte"): "2646ac647ad5339dbf082846283269ea",
    ("MNIST", "t10k-labels-idx1-ubyte"): "27ae3e4e09519cfbb04c329615203637",
    ("Fashion-MNIST", "train-images-idx3-ubyte"): "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    ("Fashion-MNIST", "train-labels-idx1-ubyte"): "9018921c3c673c538a1fc5bad174d6f9",
    ("Fashion-MNIST", "t10k-images-idx3-ubyte"): "8181f5470baa50b63fa0f6fddb340f0a",
    ("Fashion-MNIST", "t10k-labels-idx1-ubyte"): "15d484375f8d13e6eb1aabb0c3f46965",
}
_KNOWN = {md5: known for known, md5 in _MD5.items()}
_FULL_SIZES = (60_000, 10_000)


def why_doubtful(content: Tensor, name: str, title: str) -> str | None:
    """Why a file's content may not be what its name says; None if it may be, as for a part of a data set.

    Args:
        content: uint8, as read by :func:`~al_lightning.data.images.idx.read_idx`.
        name: name of the file, without ``.gz``.
        title: name of the data set that the file should belong to.
    """
    header = bytes([0, 0, 8, content.ndim]) + b"".join(size.to_bytes(4) for size in content.shape)
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(content.contiguous().numpy().data)
    known = _KNOWN.get(digest.hexdigest())
    if known == (title, name) or (known is None and len(content) not in _FULL_SIZES):
        return None
    found = "other content, which is not known" if known is None else f"that of {known[0]}'s {known[1]}"
    return f"does not hold what {title}'s {name} is known to hold, but {found}. Is it in the right folder?"
