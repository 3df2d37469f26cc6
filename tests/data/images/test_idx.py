import gzip
import os
import tracemalloc

import pytest
import torch

from al_lightning.data.images.idx import read_idx, read_labeled_images
from al_lightning.errors import UserError


def idx_bytes(values, kind=8, axes=None):
    sizes = b"".join(size.to_bytes(4) for size in values.shape)
    return bytes([0, 0, kind, axes or values.ndim]) + sizes + values.numpy().tobytes()


@pytest.fixture
def images():
    return torch.randint(0, 256, (7, 3, 5), dtype=torch.uint8)


@pytest.mark.parametrize("pack", [lambda b: b, gzip.compress])
def test_round_trip(tmp_path, images, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(idx_bytes(images)))
    assert torch.equal(read_idx(path, 3), images)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda b: b[:-4], r"Expected 121 bytes .* got 117"),
        (lambda b: b + b"x", r"Expected 121 bytes .* got 122"),
        (lambda b: b[:9], "magic"),
        (lambda b: b"", "magic"),
        (lambda b: bytes([0, 0, 13, 3]) + b[4:], "magic 00000803.*got magic '00000d03'"),
        (lambda b: gzip.compress(b)[:-9], "truncated or corrupted"),
        (lambda b: gzip.compress(b)[:30] + b"\0\1\2" + gzip.compress(b)[33:], "truncated or corrupted"),
    ],
)
def test_bad_files_are_named(tmp_path, images, spoil, match):
    path = tmp_path / "bad-images"
    path.write_bytes(spoil(idx_bytes(images)))
    with pytest.raises(UserError, match=match) as error:
        read_idx(path, 3)
    assert "bad-images" in str(error.value)


@pytest.mark.parametrize("pack", [lambda b: b, gzip.compress])
@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((2**31, 1, 1), "got 121|got 31"),
        ((2**32 - 1, 2**32 - 1, 2**32 - 1), "from 1 to 2,147,483,648 bytes .* its header says shape"),
        ((0, 28, 28), "its header says shape"),
        ((1, 2, 3), "Expected 22 bytes .*got 23 or more"),
    ],
)
def test_a_header_that_promises_something_else_takes_no_memory(tmp_path, images, pack, shape, match):
    path = tmp_path / "promising"
    path.write_bytes(pack(bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4) for size in shape) + b"\0" * 105))
    tracemalloc.start()
    with pytest.raises(UserError, match=match):
        read_idx(path, 3)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UserError, match="not a regular file"):
        read_idx(tmp_path / "fifo", 3)


def test_labels_in_place_of_images_are_refused(tmp_path, images):
    path = tmp_path / "swapped"
    path.write_bytes(idx_bytes(images[:, 0, 0]))
    with pytest.raises(UserError, match="swapped"):
        read_idx(path, 3)


@pytest.mark.parametrize(
    ("labels", "match"), [([0, 1, 2, 3, 4, 5], "7 images .* 6 labels"), ([0, 1, 2, 3, 4, 5, 10], "labels from 0 to 9, got 10")]
)
def test_labels_that_do_not_fit(tmp_path, images, labels, match):
    (tmp_path / "i").write_bytes(idx_bytes(images))
    (tmp_path / "l").write_bytes(idx_bytes(torch.tensor(labels, dtype=torch.uint8)))
    with pytest.raises(UserError, match=match):
        read_labeled_images(tmp_path / "i", tmp_path / "l", 10)
