import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from al_lightning.data import image_files
from al_lightning.data.scenes.label_colors import ColorDecoder
from al_lightning.data.scenes.scene import decode_image, decode_label, size_of
from al_lightning.errors import UserError
from tools.stress import mutated_data

GREY = np.array([[0, 1, 130], [254, 255, 77]], np.uint8)
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)
IDS = np.array([[0, 7, 11], [23, 33, 255]], np.uint8)


def png(depth, kind, rows, palette=b""):
    """A PNG of 2 rows, byte by byte: Pillow writes neither 16-bit colours nor 4-bit grey."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 3, 2, depth, kind, 0, 0, 0)
    content = b"".join(b"\0" + row for row in rows)
    colors = chunk(b"PLTE", palette) if palette else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + colors + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def tiff(values, bits, photometric=1):
    """An uncompressed grey TIFF."""
    packed = "".join("".join(f"{value:0{bits}b}" for value in row).ljust(-(-len(row) * bits // 8) * 8, "0") for row in values.tolist())
    data = int(packed, 2).to_bytes(len(packed) // 8)
    if bits == 16:
        data = values.astype("<u2").tobytes()
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8 + 2 + 12 * 9 + 4, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + data


def planes(pixels, bits=16, planar=2):
    """An uncompressed TIFF in which each channel is a plane of its own."""
    count, (height, width) = pixels.shape[2], pixels.shape[:2]
    parts = [pixels[..., channel].astype("<u2" if bits == 16 else "u1").tobytes() for channel in range(count)]
    at = 8 + 2 + 12 * 10 + 4
    lists = {258: [bits] * count, 273: [at + 100 + sum(map(len, parts[:n])) for n in range(count)], 279: [*map(len, parts)]}
    tags, extra = {256: width, 257: height, 258: 0, 259: 1, 262: 2, 273: 0, 277: count, 278: height, 279: 0, 284: planar}, b""
    entries = b""
    for tag, value in tags.items():
        if tag in lists:
            entries += struct.pack("<HHII", tag, 4, count, at + len(extra))
            extra += struct.pack(f"<{count}I", *lists[tag])
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + extra.ljust(100, b"\0") + b"".join(parts)


def saved(pixels, suffix, mode=None, **options):
    def write(path):
        image = Image.fromarray(pixels, mode) if mode else Image.fromarray(pixels)
        image.save(path, Image.registered_extensions()[suffix], **options)

    return write


def grey(values):
    return np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2)


def converted(mode, suffix=".png"):
    def write(path):
        Image.fromarray(RGB).convert(mode).save(path, Image.registered_extensions()[suffix])

    return write


DEEP = GREY.astype(np.uint16) * 257
GOOD = {
    "RGB": (saved(RGB, ".png"), RGB),
    "L": (saved(GREY, ".png"), grey(GREY)),
    "1": (saved(GREY > 100, ".png"), grey((GREY > 100) * 255)),
    "LA, transparent": (saved(np.stack([GREY, GREY * 0], 2), ".png"), grey(GREY)),
    "RGBA, transparent": (saved(np.dstack([RGB, GREY * 0]), ".png"), RGB),
    "P": (lambda path: Image.fromarray(RGB).quantize(6).save(path, "PNG"), RGB),
    "16-bit PNG": (saved(DEEP, ".png"), grey(GREY)),
    "16-bit TIFF": (saved(DEEP, ".tif"), grey(GREY)),
    "16-bit TIFF, LZW": (saved(DEEP, ".tif", compression="tiff_lzw"), grey(GREY)),
    "16-bit TIFF, big-endian": (lambda path: Image.fromarray(DEEP.astype(">u2")).save(path, "TIFF"), grey(GREY)),
    "16-bit TIFF, white is 0": (tiff(65535 - DEEP, 16, photometric=0), grey(GREY)),
    "16-bit PGM": (saved(DEEP, ".pgm"), grey(GREY)),
    "16-bit PNG in steps between": (
        saved(np.array([[0, 128, 129], [4096, 30000, 65406]], np.uint16), ".png"),
        grey(np.array([[0, 0, 1], [16, 117, 254]])),
    ),
    "12-bit TIFF": (tiff(np.array([[0, 8, 9], [2048, 4095, 100]]), 12), grey(np.array([[0, 0, 1], [128, 255, 6]]))),
    "12-bit PGM": (b"P5 3 2 4095\n" + np.array([[0, 4095, 2048], [1, 8, 16]], ">u2").tobytes(), grey(np.array([[0, 255, 128], [0, 0, 1]]))),
    "16-bit RGB": (png(16, 2, [row.astype(">u2").tobytes() for row in RGB.astype(np.uint16) * 257]), RGB),
    "16-bit, black": (saved(DEEP * 0, ".png"), grey(GREY * 0)),
    "4-bit": (png(4, 0, [b"\x01\x20", b"\xfe\x70"]), grey(np.array([[0, 17, 34], [255, 238, 119]]))),
    "BMP": (saved(RGB, ".bmp"), RGB),
    "TIFF": (saved(RGB, ".tif"), RGB),
    "TIFF, a plane for each channel": (planes(RGB, 8), RGB),
    "CMYK": (converted("CMYK", ".tif"), RGB),
    "of a phone, with another view behind": (saved(RGB * 0, ".mpo", save_all=True, append_images=[Image.fromarray(RGB)]), RGB * 0),
}
REFUSED = {
    "12 bits in 16": (saved(DEEP // 17, ".png"), r"16-bit pixels up to 65,535 .*none above 3,855"),
    "12 bits in 16, RGB": (png(16, 2, [row.astype(">u2").tobytes() for row in RGB.astype(np.uint16)]), "none above 255"),
    "16 bits in a plane for each channel": (planes(RGB.astype(np.uint16) * 257), "planes of more than 8 bits"),
    "I": (saved(DEEP.astype(np.int32), ".tif"), "32-bit integers"),
    "F": (saved(DEEP.astype(np.float32), ".tif"), "floating-point"),
    "EPS, which starts another program": (lambda path: Image.fromarray(RGB).save(path, "EPS"), "can't be read"),
    "a truncated header": (b"\x89PNG\r\n\x1a\n\0\0", "can't be read"),
    "an empty file": (b"", "can't be read"),
    "a bomb": (png(8, 0, [b""]).replace(struct.pack(">II", 3, 2), struct.pack(">II", 60_000, 60_000)), "can't be read"),
    "too many pixels": (png(8, 0, []).replace(struct.pack(">II", 3, 2), struct.pack(">II", 9999, 9999)), "at most 89,478,485 pixels"),
    "no data": (png(8, 0, []), "truncated or corrupted"),
    "pages": (saved(RGB, ".tif", save_all=True, append_images=[Image.fromarray(RGB)] * 2), "one picture in .*, got 3 "),
    "frames": (saved(RGB, ".png", save_all=True, append_images=[Image.fromarray(255 - RGB)]), "one picture in .*, got 2 "),
    "a FIFO": (os.mkfifo, "not a regular file"),
    "a folder": (os.mkdir, "not a regular file"),
}  # fmt: skip


def written(folder, content):
    path = folder / "ulm_leftImg8bit.png"
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    # A bomb's header is mended, so that it is the size that is refused.
    if isinstance(content, bytes) and content[12:16] == b"IHDR":
        path.write_bytes(content[:29] + struct.pack(">I", zlib.crc32(content[12:29])) + content[33:])
    return path


@pytest.mark.parametrize("kind", GOOD)
def test_images_of_every_kind_become_8_bit_rgb(tmp_path, kind):
    content, expected = GOOD[kind]
    path = written(tmp_path, content)
    found = decode_image(path)
    assert found.dtype == np.uint8 and size_of(path) == found.shape[:2]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_such_image_is_one_error_with_its_name(tmp_path, kind):
    content, match = REFUSED[kind]
    path = written(tmp_path, content)
    with pytest.raises(UserError, match=match) as error:
        decode_image(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_black_image_of_16_bits_is_black(tmp_path):
    for kind, channels in ((0, 1), (2, 3), (6, 4)):
        (tmp_path / "black.png").write_bytes(png(16, kind, [b"\0" * 6 * channels] * 2))
        assert not decode_image(tmp_path / "black.png").any()


def with_palette(path):
    image = Image.fromarray(IDS, "P")
    image.putpalette([*range(255, -1, -1), *range(256), *[9] * 256])
    image.save(path, "PNG")


@pytest.mark.parametrize("write", [saved(IDS, ".png"), saved(IDS, ".tif"), saved(IDS, ".bmp"), with_palette])
def test_label_ids_are_the_numbers_of_the_file(tmp_path, write):
    np.testing.assert_array_equal(decode_label(written(tmp_path, write)), IDS)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (saved(IDS.astype(np.uint16) * 200, ".png"), "8-bit integers .*the numbers 0 to 51000 .*instance map"),
        (saved(IDS.astype(np.int32), ".tif"), "the numbers 0 to 255 .*instance map"),
        (saved(IDS.astype(np.float32), ".tif"), "8-bit integers"),
        (saved(IDS > 7, ".png"), "8-bit integers .*1 bit"),
        (png(4, 0, [b"\x01\x20", b"\xfe\x70"]), "8-bit integers .*fewer bits"),
        (saved(RGB, ".png"), "one channel .*colour map"),
        (saved(np.stack([IDS, IDS[::-1]], 2), ".png"), r"one channel .*mode LA whose colours are greys\. Save it as 8-bit grey, or name"),
        (
            saved(np.dstack([IDS, IDS, IDS]), ".png"),
            r"mode RGB whose colours are greys\. Save .* by their colours \(data.init_args.classes",
        ),
        (saved(np.dstack([IDS, IDS, IDS, IDS[::-1]]), ".png"), "mode RGBA whose colours are greys"),
        (saved(IDS, ".tif", save_all=True, append_images=[Image.fromarray(IDS)]), r"one picture in .*, got 2 \(pages or frames\)\. Save"),
        (saved(IDS, ".jpg"), "JPEG, which may change them"),
        (saved(IDS, ".pgm"), "PPM, which may change them"),
        (saved(IDS, ".gif"), "GIF, which may change them"),
        (saved(IDS, ".tif", compression="jpeg"), "a TIFF with the compression jpeg, which changes ids and colours"),
        (lambda path: Image.fromarray(IDS // 11 * 40).quantize(4).save(path, "PNG"), "palette of greys"),
        (png(8, 3, [b"\0\5\1", b"\1\0\0"], palette=bytes([0, 0, 0, 1, 1, 1])), "palette of greys"),
    ],
)
def test_what_is_no_label_is_one_error_with_its_name(tmp_path, content, match):
    path = written(tmp_path, content)
    with pytest.raises(UserError, match=match) as error:
        decode_label(path)
    assert str(path) in str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused(monkeypatch):
    """A few of those that tools/stress reads by the thousand; and it does see what leaks."""
    summary = mutated_data.mutate_data(40, seed=1)
    assert not summary.wrong and min(summary.outcomes["read"], summary.outcomes["refused"]) > 5

    def leak(*_):
        raise IndexError("from a decoder")

    monkeypatch.setattr(image_files, "rgb_of", leak)
    monkeypatch.setattr(mutated_data, "decode_image", leak)
    assert any("IndexError: from a decoder" in line for line in mutated_data.mutate_data(4, seed=1).wrong)


SHADES = np.random.default_rng(0).integers(0, 255, (3, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("orientation", [None, *range(1, 9), 0, 77])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_images_and_their_sizes_are_turned_as_viewers_turn_them(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(SHADES).save(tmp_path / f"a.{suffix}", exif=b"" if orientation is None else exif, quality=90)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        shown = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    decoded = decode_image(tmp_path / f"a.{suffix}")
    assert np.array_equal(decoded, shown) and decoded.flags.c_contiguous
    assert size_of(tmp_path / f"a.{suffix}") == shown.shape[:2] == ((5, 3) if orientation in (5, 6, 7, 8) else (3, 5))
    if suffix in ("png", "tif"):  # a mask, which its own file turns
        Image.fromarray(SHADES[:, :, 0]).save(tmp_path / f"m.{suffix}", exif=b"" if orientation is None else exif)
        assert np.array_equal(decode_label(tmp_path / f"m.{suffix}"), shown[:, :, 0])


@pytest.mark.parametrize("cut", [9, 20, 25])
def test_an_image_whose_exif_is_damaged_is_shown_as_it_is_stored(tmp_path, cut):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SHADES).save(tmp_path / "a.png", exif=b"Exif\0\0" + exif.tobytes()[6:cut])
    assert np.array_equal(decode_image(tmp_path / "a.png"), SHADES) and size_of(tmp_path / "a.png") == (3, 5)


LOOKS = {"sky": (0, 128, 255), "cell": (255, 0, 0), "ground": (0, 0, 0)}


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "L"])
def test_colours_are_places_in_the_list_of_classes(tmp_path, mode):
    ids = np.array([[2, 0, 1, 1], [0, 2, 2, 0]], np.uint8)
    colors = [(9, 9, 9), (255, 255, 255), (0, 0, 0)] if mode == "L" else [*LOOKS.values()]
    shown = Image.fromarray(np.array(colors, np.uint8)[ids])
    (shown.quantize(3) if mode == "P" else shown.convert(mode)).save(tmp_path / "a.png")
    assert np.array_equal(ColorDecoder(colors, ignore_others=False)(tmp_path / "a.png"), ids)
    with pytest.raises(UserError, match=r"Expected the colours #\w{6}, #\w{6} in .*a.png, got #(ff0000|ffffff)\."):
        ColorDecoder(colors[:1] + colors[2:], ignore_others=False)(tmp_path / "a.png")
    ignoring = ColorDecoder(colors[::2], ignore_others=True)
    assert np.array_equal(ignoring(tmp_path / "a.png"), np.array([0, 255, 1], np.uint8)[ids])
    assert len({decoder.__name__ for decoder in (ignoring, ColorDecoder(colors[::2], False), ColorDecoder(colors[:1], True))}) == 3
    Image.fromarray(np.array(colors, np.uint8)[ids]).save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="JPEG, which may change them"):
        ignoring(tmp_path / "a.jpg")
