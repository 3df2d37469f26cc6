"""A folder of images, some of which may be broken: these are recorded and left out."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from al_lightning.data.own_files import SUFFIXES, by_name
from al_lightning.data.scenes.scene import Pixels, Size, batches_of_one_size, decode_image, scored_at_once, size_of
from al_lightning.errors import UserError

_MOST_THREADS = 8  # each decodes one image at a time; twice as many decoded images may wait
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@runtime_checkable
class TakesPictures(Protocol):
    """A data module that can make a network's inputs of any image.

    Attributes:
        class_names: names of the classes, in the order of the network's outputs.
    """

    class_names: Sequence[str]

    def inputs_of(self, picture: Pixels) -> Tensor:
        """Makes inputs ``(*)`` of an image, uint8 ``(H, W, 3)``, RGB, by the evaluation transform."""


class ImageFolder:
    """The images in a folder, indexed in the order of their names. Their labels are never read.

    Args:
        folder: the folder. Files in folders below it, and files whose name begins with a dot, are left out.
        masks_among: says which of the files in the folder are masks, and no images.

    Attributes:
        folder: the folder.
        paths: files of the images.
        broken: why an image was left out, by index; of the images that were read so far.

    Raises:
        UserError: there is no image, or two images have the same name.
    """

    def __init__(self, folder: Path, masks_among: Callable[[Sequence[Path]], set[Path]] = lambda files: set()) -> None:
        if not folder.is_dir():
            raise UserError(f"Expected a folder of images in {folder}, but {'that is a file' if folder.exists() else 'there is none'}.")
        self.folder = folder
        found = by_name(folder, "*", masks_among([*folder.iterdir()]))
        if not found:
            below = sum(path.is_dir() for path in folder.iterdir())
            hint = f" Images in the {below} folders below it are not looked for: name one of these." if below else ""
            raise UserError(f"Expected images ({', '.join(SUFFIXES)}) in {folder}, found none.{hint}")
        self._names = [*found]
        self.paths = [*found.values()]
        self.broken: dict[int, str] = {}
        self._sizes: dict[int, Size] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def item(self, index: int) -> str:
        """The name of an image: its file's, without the ending."""
        return self._names[index]

    def masked(self) -> set[int]:
        """Indices of images with a mask: a file of the same name in the folder ``masks`` beside this folder. Masks are not opened."""
        masks = Path(os.path.abspath(self.folder)).parent / "masks"
        stems = {path.stem for path in masks.glob("*") if not path.name.startswith(".")}
        return {index for index, name in enumerate(self._names) if name in stems}

    def places(self, paths: Iterable[Path]) -> set[int]:
        """Indices of the images that are among these files."""
        wanted = {os.path.realpath(path) for path in paths}
        return {index for index, path in enumerate(self.paths) if os.path.realpath(path) in wanted}

    def known(self, files: Iterable[tuple[str, str]]) -> set[int]:
        """Indices of the images that are the same as known files, by name and size.

        Args:
            files: the name of each known file, and a text that begins with its size, as in "1234 bytes".
        """
        wanted: dict[str, list[str]] = {}
        for name, described in files:
            wanted.setdefault(name, []).append(described)

        def is_known(path: Path) -> bool:
            size = f"{path.stat().st_size} bytes" if path.name in wanted and path.is_file() else ""
            return bool(size) and any(described.startswith(size) for described in wanted[path.name])

        return {index for index, path in enumerate(self.paths) if is_known(path)}

    def picture(self, index: int) -> Pixels | None:
        """An image's pixels, uint8 ``(H, W, 3)``, RGB; None for a broken image, which is recorded."""
        return self._unless_broken(index, decode_image)

    def sizes(self, indices: Iterable[int]) -> dict[int, Size]:
        """Height and width of these images by index, read from their headers; without broken images."""
        found = {index: self._unless_broken(index, size_of) for index in indices}
        return {index: size for index, size in found.items() if size is not None}

    def whole(self, indices: Iterable[int]) -> list[int]:
        """Those of these images that are not broken, which is found out by decoding all of them."""
        wanted = list(indices)
        pictures = _read_ahead(self.picture, wanted)
        return [index for index, picture in zip(wanted, pictures, strict=True) if picture is not None]

    def load(self, batches: Sequence[Tensor], inputs_of: Callable[[Pixels], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Loads batches, without images that turn out to be broken.

        Args:
            batches: indices of each batch, whose images have the same size.
            inputs_of: makes a network's inputs of an image.

        Yields:
            Inputs ``(B, *)`` and indices ``(B,)`` of each batch, on the CPU.
        """
        pictures = _read_ahead(self.picture, [index for batch in batches for index in batch.tolist()])
        for batch in batches:
            read = [(index, inputs_of(picture)) for index in batch.tolist() if (picture := next(pictures)) is not None]
            if read:
                yield torch.stack([inputs for _, inputs in read]), torch.tensor([index for index, _ in read])

    def _unless_broken(self, index: int, read: Callable[[Path], _Value]) -> _Value | None:
        """What is read from an image's file; None if that fails, with the reason recorded."""
        try:
            return read(self.paths[index])
        except UserError as error:
            self.broken[index] = str(error)
            return None


def scoring_batches(sizes: dict[int, Size], device: torch.device) -> list[Tensor]:
    """Cuts images into batches of images of the same size, in their order.

    Args:
        sizes: sizes of the images, by index.
        device: the device that scores them.
    """
    return batches_of_one_size(sizes, sizes.__getitem__, lambda size: scored_at_once(size, device))


def _read_ahead(read: Callable[[_Key], _Value], keys: Iterable[_Key]) -> Iterator[_Value]:
    """Reads ahead by as many threads as torch computes with, at most 8; results come in the order of the keys.

    Decoders release Python's lock, so that other threads compute in the meantime.
    """
    threads = min(torch.get_num_threads(), _MOST_THREADS)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Value]] = deque()
        for key in keys:
            waiting.append(pool.submit(read, key))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
