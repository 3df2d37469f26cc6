"""Label files whose classes are colours."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from al_lightning.data.image_files import opened, refuse_lossy, rgb_of
from al_lightning.data.scenes.scene import Pixels
from al_lightning.errors import UserError
from al_lightning.labels import IGNORED, Color
from al_lightning.text import listed


class ColorDecoder:
    """Reads a label file whose classes are colours; the id of a colour is its position in the list.

    Args:
        colors: RGB, each once.
        ignore_others: whether other colours become 255; otherwise they are refused.
    """

    def __init__(self, colors: Sequence[Color], ignore_others: bool) -> None:
        codes = _codes(np.array(colors, np.uint8))
        self._ids = codes.argsort().astype(np.uint8)
        self._codes = codes[self._ids]
        self._ignore_others = ignore_others
        # It has a name, as a function has, because cached files are found again by the name of their decoder.
        self.__name__ = f"decode_colors_{hashlib.sha256(repr((codes.tolist(), ignore_others)).encode()).hexdigest()[:12]}"

    def __call__(self, path: Path) -> Pixels:
        """Reads a file's label ids, uint8 ``(H, W)``.

        Raises:
            UserError: the file is missing, truncated or in a format that changes colours, or has a colour that is not in the list.
        """
        with opened(path) as image:
            refuse_lossy(image, path)
            codes = _codes(rgb_of(image, path))
        places = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        known = self._codes[places] == codes
        if not (self._ignore_others or known.all()):
            expected, others = (_hexadecimal(found) for found in (np.sort(self._codes), np.unique(codes[~known])))
            raise UserError(f"Expected the colours {', '.join(expected)} in {path}, got {listed(others, 8)}.")
        return np.where(known, self._ids[places], IGNORED).astype(np.uint8)


def _codes(pixels: Pixels) -> npt.NDArray[np.uint32]:
    """RGB ``(..., 3)`` as one number for each pixel, ``(...)``."""
    red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
    codes: npt.NDArray[np.uint32] = (red << 16) | (green << 8) | blue
    return codes


def _hexadecimal(codes: npt.NDArray[np.uint32]) -> list[str]:
    return [f"#{code:06x}" for code in codes.tolist()]
