"""Label Studio's run-length encoding of masks.

Label Studio packs the RGBA bytes of an image, row by row, with rle-pack of thi.ng. The header has 32 bits for the number of values, 5 bits
for the width of a value minus 1, and 4 bits for the width of each of four kinds of counts minus 1. Each run follows with one bit (whether
all its values are equal), two bits for the kind of its count, its count minus 1, and its value, or all its values. In a mask all four
channels of a pixel have the same value, 0 or 255.

Source: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

import numpy as np
import numpy.typing as npt

from al_lightning.data.scenes.regions import Inside
from al_lightning.data.scenes.scene import Size
from al_lightning.errors import UserError

_VALUE = 8  # bits of a value
_COUNTS = (3, 4, 8, 16)  # bits of each kind of count
_HEAD = 32 + 5 + 4 * 4  # bits of the header
_CHANNELS = 4
_Bits = npt.NDArray[np.uint8]


def packed(mask: Inside) -> list[int]:
    """Encodes a mask ``(H, W)`` as bytes."""
    lengths, values = _runs(np.repeat(mask.ravel(), _CHANNELS))
    kinds = np.searchsorted([1 << bits for bits in _COUNTS], lengths)
    widths = 1 + 2 + np.array(_COUNTS)[kinds] + _VALUE
    starts = _HEAD + widths.cumsum() - widths
    head = (
        mask.size * _CHANNELS << 21
        | _VALUE - 1 << 16
        | sum(count - 1 << shift for count, shift in zip(_COUNTS, (12, 8, 4, 0), strict=True))
    )
    bits = np.zeros(_HEAD + int(widths.sum()), np.uint8)
    bits[:_HEAD] = _bits_of(np.array([head]), _HEAD)
    for kind, count in enumerate(_COUNTS):
        its = kinds == kind
        numbers = ((0b100 | kind) << count | lengths[its] - 1) << _VALUE | values[its] * 255
        width = 1 + 2 + count + _VALUE
        bits[starts[its, None] + np.arange(width)] = _bits_of(numbers, width)
    return np.packbits(bits).tolist()


def unpacked(data: list[int], size: Size) -> Inside:
    """Decodes a mask ``(H, W)`` from bytes. It has the pixels that are at least half opaque.

    Args:
        data: the bytes, integers from 0 to 255.
        size: height and width of the image.

    Raises:
        UserError: the numbers are no bytes, are damaged, or belong to an image of another size.
    """
    if not all(0 <= number <= 255 for number in data):
        raise UserError("Expected run lengths as bytes from 0 to 255, got other numbers.")
    values = np.zeros(size[0] * size[1] * _CHANNELS, np.uint8)
    bits = _Reader(np.unpackbits(np.array(data, np.uint8)))
    if (came := bits.read(32)) != len(values):
        raise UserError(f"Expected run lengths of {len(values):,} values, 4 for each of {size[1]}x{size[0]} pixels, got {came:,}.")
    if (width := bits.read(5) + 1) != _VALUE:
        raise UserError(f"Expected run lengths with values of {_VALUE} bits, got {width}.")
    counts = [bits.read(4) + 1 for _ in range(4)]
    done = 0
    while done < len(values):
        alike = bits.read(1)
        length = bits.read(counts[bits.read(2)]) + 1
        if done + length > len(values):
            raise UserError("Expected run lengths that end with the image, but the last one is longer: they are damaged.")
        values[done : done + length] = bits.read(_VALUE) if alike else bits.read_bytes(length)
        done += length
    opaque: Inside = values.reshape(*size, _CHANNELS)[..., _CHANNELS - 1] >= 128
    return opaque


class _Reader:
    """Reads numbers from a sequence of bits, one after the other."""

    def __init__(self, bits: _Bits) -> None:
        self._bits, self._text, self._at = bits, (bits + ord("0")).tobytes(), 0

    def read(self, width: int) -> int:
        """Reads a number of ``width`` bits."""
        self._advance(width)
        return int(self._text[self._at - width : self._at], 2)

    def read_bytes(self, length: int) -> _Bits:
        """Reads ``length`` numbers of 8 bits each."""
        self._advance(8 * length)
        return np.packbits(self._bits[self._at - 8 * length : self._at])

    def _advance(self, width: int) -> None:
        self._at += width
        if self._at > len(self._bits):
            raise UserError("Expected run lengths of a whole image, but they end before it: they are damaged.")


def _runs(values: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the lengths and the values of runs. A run that is too long for a count is split."""
    starts = np.flatnonzero(np.diff(values, prepend=~values[:1]))
    lengths = np.diff(starts, append=len(values))
    most = 1 << _COUNTS[-1]
    pieces = -(-lengths // most)
    cut = np.full(int(pieces.sum()), most)
    cut[pieces.cumsum() - 1] = lengths - (pieces - 1) * most
    return cut, values[starts].astype(np.int64).repeat(pieces)


def _bits_of(numbers: npt.NDArray[np.int64], width: int) -> _Bits:
    """Returns the lowest ``width`` bits of each number, ``(N, width)``, the highest of them first."""
    return (numbers[:, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8)
