import numpy as np
import pytest

from al_lightning.annotation.run_lengths import packed, unpacked
from al_lightning.errors import UserError


def read_by_the_bit(data):
    """Values, as https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack describes them, with nothing of ours."""
    text, at = "".join(f"{byte:08b}" for byte in data), 0

    def read(width):
        nonlocal at
        at += width
        return int(text[at - width : at], 2)

    size, width = read(32), read(5) + 1
    kinds = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < size:
        alike, count = read(1), read(kinds[read(2)]) + 1
        values += [read(width)] * count if alike else [read(width) for _ in range(count)]
    return np.array(values)


def masks():
    rng = np.random.default_rng(0)
    for size in ((1, 1), (1, 9), (7, 1), (5, 3), (40, 33), (130, 300)):
        for share in (0, 0.02, 0.5, 1):
            yield rng.random(size) < share
    yield np.arange(70_000).reshape(2, -1) // 17_000 % 2 == 0  # runs of more than 2**16 values


def test_a_mask_is_its_bytes_four_times_and_comes_back():
    for mask in masks():
        data = packed(mask)
        assert np.array_equal(read_by_the_bit(data), np.repeat(mask.ravel() * 255, 4))
        assert np.array_equal(unpacked(data, mask.shape), mask)


def test_runs_of_different_values_are_read():
    """A brush in a browser has soft edges, which are kept as they are: half opaque is inside."""
    alpha = [0, 127, 128, 255, 3, 200]
    values = [value for each in alpha for value in (9, 8, 7, each)]
    head = f"{len(values):032b}" + f"{7:05b}" + "".join(f"{count - 1:04b}" for count in (3, 4, 8, 16))
    text = head + "0" + "10" + f"{len(values) - 1:08b}" + "".join(f"{value:08b}" for value in values)
    data = [int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8)]
    assert np.array_equal(unpacked(data, (2, 3)), np.array(alpha).reshape(2, 3) >= 128)


def test_damage_is_named():
    good = packed(np.eye(6, 9) > 0)
    for data, why in (
        ([], "end before"),
        (good[:20], "end before"),
        ([*good[:5], 256], "bytes from 0 to 255"),
        ([0, 0, 0, 217, *good[4:]], "216 values, 4 for each of 9x6 pixels, got 217"),
        ([*good[:4], 0, *good[5:]], "values of 8 bits, got 1"),
        ([*good[:-2], 255, 255, 255, 255], "damaged"),
    ):
        with pytest.raises(UserError, match=why):
            unpacked(data, (6, 9))
