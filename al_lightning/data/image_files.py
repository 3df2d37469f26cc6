"""The one place that opens image files: what it accepts, and what numbers their pixels become."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from al_lightning.errors import UserError
from al_lightning.files import require_regular

MAX_PIXELS = 89_478_485
"""Pixels in an image; Pillow's own bound against files that unpack to more than they seem to hold."""

# Pillow knows more, and starts another program for some (EPS).
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
_LABEL_FORMATS = ("PNG", "TIFF", "BMP")  # what keeps numbers as they are
_BESIDE_THE_PICTURE = ("MPO",)  # a phone's JPEG, whose further pictures are views, depths or brightness of the first
_LEAST_MAXIMUM = 4096
_ORIENTATION = 0x0112
_Array = npt.NDArray[np.uint8]
# What viewers do with stored pixels ``(H, W, *)``, by EXIF's orientation; https://exiftool.org/TagNames/EXIF.html
_TURNS: dict[object, Callable[[_Array], _Array]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
_ON_ITS_SIDE = (5, 6, 7, 8)
# What to do with a mask that holds no ids
_AS_GREY = "Save it as 8-bit grey"
_BY_COLOR = "name the classes by their colours (data.init_args.classes)"


@contextmanager
def opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """An image whose header was read; whatever goes wrong with it in the block is one error with its name.

    Raises:
        UserError: the file is missing, no image, too large, truncated or corrupted, or has several pictures.
    """
    with ExitStack() as stack:
        with _naming(path, "Expected an image in {path}, but it can't be read: {error}."):
            require_regular(path)
            file = stack.enter_context(path.open("rb"))  # by its name Pillow maps a raw TIFF, and mixes up one that is to be turned
            image = stack.enter_context(Image.open(file, "r", _FORMATS))
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"Expected at most {MAX_PIXELS:,} pixels in {path}, got {image.width}x{image.height}. Cut it into parts.")
        with _naming(path, "Expected a whole image in {path}, but it is truncated or corrupted: {error}. Fetch it again."):
            _refuse_several(image, path)
            yield image


def _refuse_several(image: ImageFile.ImageFile, path: Path) -> None:
    """Refuses pages of a TIFF and frames of an animation, of which the first one would be taken without a word."""
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format not in _BESIDE_THE_PICTURE:
        raise UserError(f"Expected one picture in {path}, got {count} (pages or frames). Save the one that is meant as a file of its own.")


@contextmanager
def _naming(path: Path, message: str) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a decoder may raise anything: Pillow's raise ValueError, SyntaxError, struct.error, IndexError, ...
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(message.format(path=path, error=why.rstrip("."))) from error


def size_of_opened(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Height and width as viewers show it."""
    if image.format == "TIFF" and image.tag_v2.get(_ORIENTATION) in _ON_ITS_SIDE:  # type: ignore[attr-defined]
        image.load()  # which turns it; some versions of Pillow know its size before that, others after it
    return (image.width, image.height) if _orientation(image) in _ON_ITS_SIDE else (image.height, image.width)


def rgb_of(image: ImageFile.ImageFile, path: Path) -> _Array:
    """Pixels as 8-bit RGB, ``(H, W, 3)``, turned as viewers turn them: of every kind of image that has a range of its own.

    Grey of 12 or 16 bits is scaled from the full range of its file's type, transparency is left out: a pixel keeps its colour.

    Raises:
        UserError: numbers without a range (32-bit integers, floats), or 16 bits that use no more than 12 of them.
    """
    return _turned(_orientation(image), _rgb_of(image, path))


def _rgb_of(image: ImageFile.ImageFile, path: Path) -> _Array:
    stored = _stored(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        grey = _scaled_grey(image, 4095 if ";12" in stored else 65535, path)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise UserError(f"Expected an image of 8 or 16 bits a channel in {path}, got {kind}, whose range nobody knows. Scale it to 8 bits.")
    pixels: _Array = np.array(image.convert("RGB"))
    if ";16" in stored:  # Pillow has kept the upper 8 bits
        _refuse_few_bits(int(pixels.max()) * 256 + 255, path)
    return pixels


def ids_of(image: ImageFile.ImageFile, path: Path) -> _Array:
    """Label ids ``(H, W)``: the numbers of an 8-bit grey image, or the places in the palette of colours of an image that has one.

    They are turned where their own file says so, whatever their image's says.

    Raises:
        UserError: they are not 8-bit integers in one channel, or the format does not keep them, or nobody can tell ids from greys.
    """
    refuse_lossy(image, path)
    if image.mode != "P" and (image.mode, _stored(image) or "L") != ("L", "L"):
        raise UserError(f"Expected label ids in one channel of 8-bit integers in {path}, got {_kind(image)}")
    orientation = _orientation(image)
    image.load()
    ids: _Array = np.array(image)
    if image.mode == "P":
        _refuse_greys(np.array(image.getpalette("RGB")).reshape(-1, 3), np.unique(ids), path)
    return _turned(orientation, ids)


def refuse_lossy(image: ImageFile.ImageFile, path: Path) -> None:
    """Refuses labels in a format that may change numbers and colours.

    Raises:
        UserError: it is such a format.
    """
    if image.format not in _LABEL_FORMATS:
        raise UserError(f"Expected labels in {path} as one of {', '.join(_LABEL_FORMATS)}, got {image.format}, which may change them.")


def _orientation(image: ImageFile.ImageFile) -> object:
    """How a file that was opened and not read yet is to be turned, as EXIF counts; Pillow turns TIFF itself, when it reads it."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):  # a PNG would be read to its end to look for it
        return None
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # EXIF of any program, of which Pillow makes SyntaxError, struct.error, ...: viewers show such an image as stored
        return None


def _turned(orientation: object, pixels: _Array) -> _Array:
    return np.ascontiguousarray(_TURNS[orientation](pixels)) if orientation in _TURNS else pixels


def _refuse_greys(palette: npt.NDArray[np.int_], used: npt.NDArray[np.uint8], path: Path) -> None:
    """Refuses a palette of greys other than their places: what programs make of a grey image to save bytes."""
    if bool((palette == palette[:, :1]).all()) and bool((palette[used, 0] != used).any()):
        raise UserError(
            f"Expected label ids as grey values or as places in a palette of colours in {path}, got a palette of greys. {_AS_GREY}, or "
            f"{_BY_COLOR}."
        )


def _kind(image: ImageFile.ImageFile) -> str:
    """What an image is that holds no label ids."""
    if image.mode.startswith(("I", "F")):
        least, most = image.getextrema()
        return f"the numbers {least} to {most} (mode {image.mode}). Is it an instance map? Save ids of classes as 8-bit grey."
    colors = np.array(image)[..., : 1 if image.mode == "LA" else 3] if len(image.getbands()) > 1 else None
    if colors is not None and bool((colors == colors[..., :1]).all()):
        return f"an image of mode {image.mode} whose colours are greys. {_AS_GREY}, or {_BY_COLOR}."
    if colors is not None:
        return f"an image of mode {image.mode}. Is it a colour map? Then {_BY_COLOR}."
    if image.mode == "1":
        return f"1 bit a pixel. {_AS_GREY}, or {_BY_COLOR}, '#000000' and '#ffffff'."
    return f"fewer bits, or inverted ones. {_AS_GREY}."


def _stored(image: ImageFile.ImageFile) -> str:
    """How the file holds its pixels, in Pillow's words (``I;12``, ``L;4``), before they are read; empty where it has but one way."""
    arguments = image.tile[0][3] if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _scaled_grey(image: ImageFile.ImageFile, full: int, path: Path) -> npt.NDArray[np.uint8]:
    inverted = image.format == "TIFF" and image.tag_v2.get(262) == 0  # type: ignore[attr-defined]  # white is 0: Pillow minds it for 8 bits
    image.load()
    values = np.array(image).astype(np.uint32)
    if full == 65535:
        _refuse_few_bits(int(values.max()), path)
    return (((full - values if inverted else values) * 255 + full // 2) // full).astype(np.uint8)


def _refuse_few_bits(largest: int, path: Path) -> None:
    """Refuses what would be almost black: 16 bits that hold numbers of 12 bits or fewer, which no header tells."""
    if 0 < largest < _LEAST_MAXIMUM:
        raise UserError(
            f"Expected 16-bit pixels up to 65,535 in {path}, got none above {largest:,}, which is almost black. If they have 12 bits or "
            "fewer, scale them to 8 or 16 bits."
        )
