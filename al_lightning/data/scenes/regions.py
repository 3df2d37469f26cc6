"""Regions of an image, each of one class, and the mask that they make together."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from al_lightning.data.scenes.scene import Pixels, Size
from al_lightning.errors import UserError

Inside = npt.NDArray[np.bool_]
_NOBODY = -1


class Region(NamedTuple):
    """A part of an image.

    Attributes:
        place: number of its class in the list of classes, from 0; 255 if the region is ignored.
        inside: bool ``(H, W)``, its pixels.
    """

    place: int
    inside: Inside


class _Cut(NamedTuple):
    place: int
    box: tuple[slice, slice]
    inside: Inside


def _cut(region: Region) -> _Cut:
    """A region without what is around it: of a thousand small ones in a large image, whole masks would take gigabytes."""
    box = _span(region.inside, 1), _span(region.inside, 0)
    return _Cut(region.place, box, region.inside[box].copy())


def _span(inside: Inside, across: int) -> slice:
    places = np.flatnonzero(inside.any(axis=across))
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0)


def painted(size: Size, regions: Iterable[Region], rest: int | None, overlaps: Literal["refuse", "smaller"]) -> Pixels:
    """The class of each pixel, uint8 ``(H, W)``.

    Args:
        size: size of the image.
        regions: regions of an image of that size.
        rest: class of the pixels in no region, or 255; None if there may be no such pixels.
        overlaps: whether overlapping regions of different classes are refused, or the ``smaller`` one is on top (of two equally large
            ones the later one).

    Raises:
        UserError: regions overlap, or pixels are in no region and ``rest`` is None.
    """
    classes = np.full(size, _NOBODY, np.int16)
    parts = map(_cut, regions)
    for place, box, inside in sorted(parts, key=lambda part: -int(part.inside.sum())) if overlaps == "smaller" else parts:
        there = classes[box]
        if overlaps == "refuse" and (shared := int((inside & (there != _NOBODY) & (there != place)).sum())):
            raise UserError(
                f"Expected regions of different classes to share no pixels, but some share {shared:,}. "
                "To have the smaller one on top, say --overlaps smaller."
            )
        there[inside] = place
    uncovered = classes == _NOBODY
    if rest is not None:
        classes[uncovered] = rest
    elif uncovered.any():
        raise UserError(
            f"Expected a region over each pixel, but none covers {int(uncovered.sum()):,} of {classes.size:,}. If these pixels have a "
            "class, name it as rest (data.init_args.rest, or --rest); ignore leaves them out."
        )
    return classes.astype(np.uint8)


def polygon(size: Size, corners: Sequence[tuple[float, float]]) -> Inside:
    """The pixels whose centres are inside a polygon, by the even-odd rule: polygons with a common edge share no pixels.

    Args:
        size: size of the image.
        corners: x and y in pixels; (0, 0) is the corner of the first pixel, whose centre is at (0.5, 0.5).

    Returns:
        Bool ``(H, W)``.
    """
    height, width = size
    crossings = np.zeros((height, width + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], *corners[:1]], strict=True):
        low, high = (max(0, min(height, int(np.ceil(y - 0.5)))) for y in sorted((y0, y1)))
        rows = np.arange(low, high)
        if len(rows):
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            crossings[rows, np.ceil(x - 0.5).clip(0, width).astype(int)] += 1
    inside: Inside = crossings.cumsum(axis=1)[:, :width] % 2 == 1
    return inside


def refuse_outside(size: Size, corners: Sequence[tuple[float, float]]) -> None:
    """Makes sure that the corners of a polygon are inside the image, or at most one pixel outside.

    Raises:
        UserError: a corner is not.
    """
    height, width = size
    if outside := [(x, y) for x, y in corners if not (-1 <= x <= width + 1 and -1 <= y <= height + 1)]:
        x, y = outside[0]
        raise UserError(f"Expected a polygon inside of the image, which is {width}x{height} pixels large, got a corner at ({x:g}, {y:g}).")
