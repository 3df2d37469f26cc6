"""The one place that opens image files: which ones it accepts, and which numbers their pixels become."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from al_lightning.errors import UserError
from al_lightning.files import require_regular

MAX_PIXELS = 89_478_485
"""Largest number of pixels in an image. It is Pillow's own limit, against small files that unpack to huge images."""

# Pillow knows more formats, and starts another program for some (EPS).
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
_LABEL_FORMATS = ("PNG", "TIFF", "BMP")  # formats that keep numbers as they are
_FIRST_OF_SEVERAL = ("MPO",)  # formats whose first picture is the one meant: a phone's JPEG with further views, depths or gain maps
_LEAST_MAXIMUM = 4096  # 2**12
_ORIENTATION = 0x0112
_BITS, _PLANES = 258, 284  # TIFF's tags of bits per sample, and of planar configuration
_Array = npt.NDArray[np.uint8]
# How viewers turn stored pixels ``(H, W, *)``, by EXIF's orientation; https://exiftool.org/TagNames/EXIF.html
_TURNS: dict[object, Callable[[_Array], _Array]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
_ON_ITS_SIDE = (5, 6, 7, 8)  # orientations that swap height and width
# What a user can do with a mask that holds no ids
_AS_GREY = "Save it as 8-bit grey"
_BY_COLOR = "name the classes by their colours (data.init_args.classes)"


@contextmanager
def opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Opens an image and reads its header. Any error that a decoder raises within the block becomes a UserError with the file's name.

    Raises:
        UserError: the file is missing, no image, too large, truncated or corrupted, or has several pictures.
    """
    with ExitStack() as stack:
        with _naming(path, "Expected an image in {path}, but it can't be read: {error}."):
            require_regular(path)
            file = stack.enter_context(path.open("rb"))  # given a path, Pillow maps a raw TIFF into memory, and then turns it wrongly
            image = stack.enter_context(Image.open(file, "r", _FORMATS))
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"Expected at most {MAX_PIXELS:,} pixels in {path}, got {image.width}x{image.height}. Cut it into parts.")
        with _naming(path, "Expected a whole image in {path}, but it is truncated or corrupted: {error}. Fetch it again."):
            _refuse_several(image, path)
            yield image


def _refuse_several(image: ImageFile.ImageFile, path: Path) -> None:
    """Refuses a TIFF with several pages, and an animation: of these, Pillow silently reads the first picture."""
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format not in _FIRST_OF_SEVERAL:
        raise UserError(f"Expected one picture in {path}, got {count} (pages or frames). Save the right one as a file of its own.")


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
    """Height and width of an image as viewers show it."""
    if image.format == "TIFF" and image.tag_v2.get(_ORIENTATION) in _ON_ITS_SIDE:  # type: ignore[attr-defined]
        image.load()  # this turns the image; some versions of Pillow swap its height and width only then
    return (image.width, image.height) if _orientation(image) in _ON_ITS_SIDE else (image.height, image.width)


def rgb_of(image: ImageFile.ImageFile, path: Path) -> _Array:
    """Pixels as 8-bit RGB, ``(H, W, 3)``, turned as viewers turn them.

    Grey values of 12 or 16 bits are scaled from the full range of the file's type. Transparency is dropped: a pixel keeps its colour.

    Raises:
        UserError: the pixels have no known range (32-bit integers, floats), or are 16-bit ones below 4,096.
    """
    return _turned(_orientation(image), _rgb_of(image, path))


def _rgb_of(image: ImageFile.ImageFile, path: Path) -> _Array:
    stored = _stored(image)
    if _has_wide_planes(image):
        raise UserError(
            f"Expected the channels of {path} beside each other, or compressed, got planes of more than 8 bits, which Pillow can't read. "
            "Save it anew (planar configuration 1)."
        )
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        grey = _scaled_grey(image, 4095 if ";12" in stored else 65535, path)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise UserError(f"Expected an image of 8 or 16 bits a channel in {path}, got {kind}, whose range is unknown. Scale it to 8 bits.")
    pixels: _Array = np.array(image.convert("RGB"))
    if ";16" in stored and not _is_black_of_16_bits(pixels, path):  # Pillow keeps the upper 8 bits
        _refuse_few_bits(int(pixels.max()) * 256 + 255, path)
    return pixels


def ids_of(image: ImageFile.ImageFile, path: Path) -> _Array:
    """Label ids, uint8 ``(H, W)``: the values of an 8-bit grey image, or the palette indices of an image with a palette of colours.

    They are turned if the label file itself has an EXIF orientation; the image's orientation is not used.

    Raises:
        UserError: the file has no 8-bit integers in one channel, its format may change them, or its palette has only greys.
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
    """Refuses a label file whose format may change numbers and colours.

    Raises:
        UserError: the format is not PNG, TIFF or BMP, or a TIFF is compressed as a JPEG or a WebP is.
    """
    if image.format == "TIFF" and (how := str(image.info.get("compression"))).removeprefix("tiff_") in ("jpeg", "webp"):
        raise UserError(f"Expected labels in {path} as they are, got a TIFF with the compression {how}, which changes ids and colours.")
    if image.format not in _LABEL_FORMATS:
        raise UserError(f"Expected labels in {path} as one of {', '.join(_LABEL_FORMATS)}, got {image.format}, which may change them.")


def _orientation(image: ImageFile.ImageFile) -> object:
    """EXIF's orientation of an image that was opened, but not decoded yet; None for TIFF, which Pillow turns itself when it decodes."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):  # Pillow would read a PNG to its end for it
        return None
    try:
        exif = Image.Exif()  # not image.getexif(), which looks into XMP, too, as viewers do not
        exif.load(image.info.get("exif", b""))
        return exif.get(_ORIENTATION)
    except Exception:  # for bad EXIF, Pillow raises SyntaxError, struct.error, ...; viewers show such an image as stored
        return None


def _turned(orientation: object, pixels: _Array) -> _Array:
    return np.ascontiguousarray(_TURNS[orientation](pixels)) if orientation in _TURNS else pixels


def _refuse_greys(palette: npt.NDArray[np.int_], used: npt.NDArray[np.uint8], path: Path) -> None:
    """Refuses a palette of greys that differ from their indices: programs write it to store a grey image in fewer bytes."""
    within = used[used < len(palette)]
    if bool((palette == palette[:, :1]).all()) and (len(within) < len(used) or bool((palette[within, 0] != used).any())):
        raise UserError(
            f"Expected label ids as grey values or as indices of a palette of colours in {path}, got a palette of greys. {_AS_GREY}, or "
            f"{_BY_COLOR}."
        )


def _kind(image: ImageFile.ImageFile) -> str:
    """Says what an image contains instead of label ids, and what to do."""
    if image.mode.startswith(("I", "F")):
        numbers = np.array(image)  # getextrema does not know all of these modes
        least, most = numbers.min(), numbers.max()
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
    """Pillow's name for how the file stores its pixels (``I;12``, ``L;4``), before they are decoded; empty if Pillow names none."""
    arguments = image.tile[0][3] if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _has_wide_planes(image: ImageFile.ImageFile) -> bool:
    """Whether a TIFF has an uncompressed plane of more than 8 bits for each channel: Pillow reads their bytes as 8-bit pixels."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" and image.tile and image.tile[0][0] == "raw" else {}
    return tags.get(_PLANES) == 2 and max(tags.get(_BITS, (8,))) > 8


def _is_black_of_16_bits(upper: npt.NDArray[np.uint8], path: Path) -> bool:
    """Whether a colour image has no light at all: its upper 8 bits, which are given, and its lower ones."""
    if upper.any():
        return False
    import cv2

    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels is not None and pixels.dtype == np.uint16 and not pixels[..., :3].any()


def _scaled_grey(image: ImageFile.ImageFile, full: int, path: Path) -> npt.NDArray[np.uint8]:
    inverted = image.format == "TIFF" and image.tag_v2.get(262) == 0  # type: ignore[attr-defined]  # 0 is white; Pillow inverts 8 bits only
    image.load()
    values = np.array(image).astype(np.uint32)
    if full == 65535:
        _refuse_few_bits(int(values.max()), path)
    return (((full - values if inverted else values) * 255 + full // 2) // full).astype(np.uint8)


def _refuse_few_bits(largest: int, path: Path) -> None:
    """Refuses 16-bit pixels that have values of at most 12 bits: they would be almost black, and the header does not tell their range."""
    if 0 < largest < _LEAST_MAXIMUM:
        raise UserError(
            f"Expected 16-bit pixels up to 65,535 in {path}, got none above {largest:,}, which is almost black. If they have 12 bits or "
            "fewer, scale them to 8 or 16 bits."
        )
