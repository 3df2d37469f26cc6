"""Damages images, labels and IDX files at random, and reads them: python -m tools.stress.mutated_data [COUNT] [SEED].

Each file must be read, or be refused by an error that names it. Anything else is wrong, and so is what takes more than 20 seconds.
"""

import gzip
import io
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from al_lightning.data.images.idx import read_idx
from al_lightning.data.scenes.scene import decode_image, decode_label, size_of
from al_lightning.errors import UserError

_SECONDS = 20


@dataclass
class Summary:
    """The outcomes of reading damaged files.

    Attributes:
        outcomes: how many readings gave pixels (``read``), and how many were refused (``refused``).
        wrong: a line for each other outcome.
        slowest: the time of the slowest reading in seconds.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


def mutate_data(count: int, seed: int) -> Summary:
    """Damages files and reads them.

    Args:
        count: the number of files.
        seed: seed of the damage. File n does not depend on the count.
    """
    summary, whole = Summary(), originals()
    previous = signal.signal(signal.SIGALRM, _too_slow)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            draw = random.Random(f"{seed} {number}")
            kind = draw.choice(sorted(whole))
            path = Path(folder) / f"damaged-{number}-{kind}"
            path.write_bytes(_damaged(whole[kind], draw))
            for reader in _readers(kind):
                _read(reader, path, summary)
            path.unlink()
    signal.signal(signal.SIGALRM, previous)
    return summary


def originals() -> dict[str, bytes]:
    """Returns an undamaged file of each kind, by a name that ends in its suffix."""
    draw = np.random.default_rng(0)
    rgb = draw.integers(0, 256, (37, 53, 3), dtype=np.uint8)
    ids = draw.choice(np.array([0, 7, 11, 23], np.uint8), (37, 53))
    deep = draw.integers(0, 65536, (37, 53)).astype(np.uint16)
    found = {}
    for name, pixels, options in (
        ("rgb.png", rgb, {}),
        ("rgb.jpg", rgb, {}),
        ("progressive.jpg", rgb, {"progressive": True}),
        ("rgb.tif", rgb, {}),
        ("lzw.tif", rgb, {"compression": "tiff_lzw"}),
        ("deep.tif", deep, {}),
        ("rgb.webp", rgb, {}),
        ("rgb.ppm", rgb, {}),
        ("ids.png", ids, {}),
        ("ids.tif", ids, {"compression": "tiff_adobe_deflate"}),
        ("ids.bmp", ids, {}),
        ("ids.gif", ids, {}),
        ("deep.png", deep, {}),
    ):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, Image.registered_extensions()[Path(name).suffix], **options)
        found[name] = file.getvalue()
    palette = io.BytesIO()
    Image.fromarray(rgb).quantize(9).save(palette, "PNG")
    plain = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4) for size in (5, 28, 28)) + draw.bytes(5 * 28 * 28)
    return {**found, "palette.png": palette.getvalue(), "images.idx": plain, "images.idx.gz": gzip.compress(plain)}


def _damaged(content: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        if not damaged:
            break
        early = draw.random() < 0.5  # half of the damage is in the header, which decoders trust
        at = draw.randrange(min(64, len(damaged)) if early else len(damaged))
        length = draw.choice([1, 1, 2, 4, 4, 16])
        new = draw.choice([b"\0" * length, b"\xff" * length, draw.randbytes(length), (2 ** draw.randrange(1, 32)).to_bytes(4, "big")])
        match draw.randrange(5):
            case 0:
                damaged[at : at + len(new)] = new
            case 1:
                damaged[at:at] = new
            case 2:
                del damaged[at : at + length]
            case 3:
                damaged[at] ^= 1 << draw.randrange(8)
            case _:
                del damaged[max(at, 1) :]
    return bytes(damaged)


def _readers(kind: str) -> list[Callable[[Path], Any]]:
    return [_images] if ".idx" in kind else [size_of, decode_image, decode_label]


def _images(path: Path) -> Any:
    return read_idx(path, 3).numpy()


def _read(reader: Callable[[Path], Any], path: Path, summary: Summary) -> None:
    started = time.perf_counter()
    signal.alarm(_SECONDS)
    try:
        pixels = reader(path)
        outcome = "read" if isinstance(pixels, tuple) or (pixels.dtype == np.uint8 and pixels.ndim in (2, 3)) else "no pixels"
    except UserError as error:
        outcome = "refused" if path.name in str(error) and "\n" not in str(error) else f"unclear: {error}"
    except BaseException as error:  # any other exception is a fault, and these are searched for
        outcome = f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    summary.slowest = max(summary.slowest, time.perf_counter() - started)
    if outcome in ("read", "refused"):
        summary.outcomes[outcome] += 1
    else:
        summary.wrong.append(f"{path.name}: {reader.__name__}: {outcome}")


class _TooSlow(BaseException):
    """Not an Exception, so that no reader catches it and raises an error of its own instead."""


def _too_slow(*_: Any) -> None:
    raise _TooSlow(f"not read within {_SECONDS} s")


def main() -> None:
    """Runs the command line of the module."""
    count, seed = (int(given) for given in (*sys.argv[1:], *("1500", "0")[len(sys.argv) - 1 :]))
    summary = mutate_data(count, seed)
    for line in summary.wrong:
        print(line)
    print(f"{count} damaged files: {dict(summary.outcomes)}, {len(summary.wrong)} wrong, the slowest took {summary.slowest:.2f} s")
    sys.exit(bool(summary.wrong))


if __name__ == "__main__":
    main()
