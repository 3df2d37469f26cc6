"""Where decoded images and labels are kept: nowhere, in memory that all loading processes share, or in files.

A PNG must be decoded as a whole, even if only a part of it is needed. Decoded pixels are in a memory map, of which a crop reads its own
pixels only.
"""

import hashlib
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from al_lightning.data.scenes.scene import Pixels, Scene, check_labels, decode_image, decode_label, resized
from al_lightning.errors import UserError
from al_lightning.files import replacing, require_regular

_RULES = 4  # version of the decoding rules, to be raised when the same file is decoded to other numbers


Decoder = Callable[[Path], Pixels]


class _Scaled:
    """Decodes a file, and scales its pixels to the size in which the scene is read."""

    def __init__(self, decode: Decoder, scene: Scene, how: Image.Resampling) -> None:
        self.decode, self.scene, self.how = decode, scene, how
        height, width = scene.read_size
        self.__name__ = f"{decode.__name__}-{'x'.join(map(str, scene.size))}-{height}x{width}"  # files of another size are refused

    def __call__(self, path: Path) -> Pixels:
        pixels = self.decode(path)
        if pixels.shape[:2] != self.scene.size:  # the label has another size than its image, which is refused
            check_labels([self.scene])
        return resized(pixels, self.scene.read_size, self.how)


class SceneFiles(ABC):
    """Reads the items of scenes.

    Args:
        decode_label: reads the ids of a label file.
    """

    def __init__(self, decode_label: Decoder = decode_label) -> None:
        self.decode_label = decode_label

    def image(self, scene: Scene) -> Pixels:
        """The item's pixels, uint8 ``(H, W, 3)``, RGB; a view that must not be written to.

        Raises:
            UserError: the file is missing, truncated or no image.
        """
        decode = decode_image if scene.scaled is None else _Scaled(decode_image, scene, Image.Resampling.BILINEAR)
        pixels = self._read(scene.image, decode)
        return pixels if scene.box is None else scene.box.of(pixels)

    def label(self, scene: Scene) -> Pixels:
        """The item's label ids, uint8 ``(H, W)``; a view that must not be written to.

        Raises:
            UserError: the file is missing, truncated or no image of one channel, or its size is not the image's.
        """
        ids = self._ids(scene)
        if ids.shape != scene.read_size:
            check_labels([scene])
        return ids if scene.box is None else scene.box.of(ids)

    def _ids(self, scene: Scene) -> Pixels:
        """The label ids of the whole image, in the size in which it is read."""
        if scene.drawing is None:
            decode = self.decode_label if scene.scaled is None else _Scaled(self.decode_label, scene, Image.Resampling.NEAREST)
            return self._read(scene.label, decode)
        return self._drawn(scene)

    def _drawn(self, scene: Scene) -> Pixels:
        """The label ids of an image whose label is made of regions."""
        assert scene.drawing is not None
        ids = scene.drawing.ids()
        return ids if scene.scaled is None else resized(ids, scene.scaled, Image.Resampling.NEAREST)

    @abstractmethod
    def _read(self, path: Path, decode: Decoder) -> Pixels:
        """The decoded content of a file."""


class Uncached(SceneFiles):
    """Decodes each time."""

    def _read(self, path: Path, decode: Decoder) -> Pixels:
        return decode(path)


class InMemory(SceneFiles):
    """Decodes each file once, into memory that forked loading processes share. A spawned process decodes by itself, each time.

    Args:
        scenes: all scenes that will be read. Each needs height * width * 4 bytes, in the size in which it is read; copies share theirs.
        decode_label: see :class:`SceneFiles`.

    Raises:
        UserError: the system refuses so much memory.
    """

    def __init__(self, scenes: Sequence[Scene], decode_label: Decoder = decode_label) -> None:
        super().__init__(decode_label)
        self._places: dict[Path, tuple[int, tuple[int, ...]]] = {}
        end = 0
        for scene in scenes:
            for path, shape in ((scene.image, (*scene.read_size, 3)), (scene.label, scene.read_size)):
                if path in self._places:
                    continue
                self._places[path] = (end, shape)
                end += 1 + int(np.prod(shape))  # the first byte says whether the rest is there
        try:
            self._memory: mmap.mmap | None = mmap.mmap(-1, end)
        except OSError as error:
            raise UserError(
                f"Expected {end / 2**30:.1f} GiB of memory for decoded images (decoded_cache=memory), but the system refuses: "
                f"{error.strerror}. Use decoded_cache=disk or none."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": None}

    def _drawn(self, scene: Scene) -> Pixels:
        return self._read(scene.label, lambda _: super(InMemory, self)._drawn(scene))

    def _read(self, path: Path, decode: Decoder) -> Pixels:
        if self._memory is None:
            return decode(path)
        start, shape = self._places[path]
        kept = np.frombuffer(self._memory, np.uint8, int(np.prod(shape)), start + 1).reshape(shape)
        if not self._memory[start]:
            pixels = decode(path)
            if pixels.shape != shape:  # the label has another size than its image, which the caller refuses
                return pixels
            kept[:] = pixels
            self._memory[start] = 1  # after the pixels, because another process may read in between
        return kept


class OnDisk(SceneFiles):
    """Keeps decoded files as memory-mapped arrays, named by a hash of the encoded file, for all runs that read the same images.

    The name also has the decoder and the version of the decoding rules, so that arrays of earlier versions are not read.

    Args:
        folder: folder of the arrays; an image of 2048x1024 takes 6 MiB, its label 2 MiB.
        decode_label: see :class:`SceneFiles`.
    """

    def __init__(self, folder: Path, decode_label: Decoder = decode_label) -> None:
        super().__init__(decode_label)
        self.folder = folder
        self._keys: dict[Path, str] = {}

    def _read(self, path: Path, decode: Decoder) -> Pixels:
        kept = self.folder / f"{self._key(path)}-{decode.__name__}-{_RULES}.npy"
        try:
            mapped: Pixels = np.load(kept, mmap_mode="r")
            return mapped
        except PermissionError:  # another user keeps it to himself
            return decode(path)
        except (OSError, ValueError, EOFError):  # the array is missing or incomplete
            pixels = decode(path)
            self._keep(kept, pixels)
            return pixels

    def _key(self, path: Path) -> str:
        if path not in self._keys:
            try:
                require_regular(path)
                self._keys[path] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise UserError(f"Expected an image in {path}, but it can't be read: {error}") from error
        return self._keys[path]

    def _keep(self, kept: Path, pixels: Pixels) -> None:
        try:
            with replacing(kept) as file:
                np.save(file, pixels)
        except OSError as error:
            raise UserError(
                f"Expected to write a decoded image into {self.folder}, but: {error.strerror}. Make room, name another "
                "data.init_args.cache_folder, or use decoded_cache=none."
            ) from error
