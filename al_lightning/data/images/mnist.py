"""MNIST, Fashion-MNIST, and a sample of Fashion-MNIST that comes with the package: read from IDX files and kept in memory."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torchvision.datasets
from PIL import Image
from torch import Tensor
from torchvision.datasets.utils import download_url

from al_lightning import seeds
from al_lightning.data import known_files
from al_lightning.data.images.datamodule import ResidentDataModule
from al_lightning.data.images.idx import read_labeled_images
from al_lightning.data.images.resident import ResidentImages
from al_lightning.data.pool import Pool, Repeat
from al_lightning.errors import UserError
from al_lightning.numbers import NonNegativeInt, PositiveFloat, PositiveInt, checked
from al_lightning.sources import Source

log = logging.getLogger(__name__)

_SPLITS = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), "eval": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
_FILES = [name for pair in _SPLITS.values() for name in pair]


def _find(folder: Path, name: str) -> Path | None:
    """The file in the folder, plain or gzipped."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


class _IDXDataModule(ResidentDataModule):
    """Ten classes of small grey images in four IDX files; the training files are the pool, the t10k files are for evaluation.

    Args:
        root: folder of the four IDX files, gzipped or not; they are downloaded into it if they are missing. None for the class's
            ``default_root``.
        initial_size: number of items labeled before cycle 0, or ``all``.
        initial_draw: ``uniform``, or ``class_balanced_using_labels``, which uses labels that an annotator has not given yet.
        pool_size: number of training images in the pool, a seeded subset; None for all of them.
        pool_repeat: ``{item: index, copies: N}`` adds N copies of one image to the pool, to find out what duplicates do; None for none.
        batch_size: number of items in a training batch, on each device.
        eval_batch_size: number of items in a batch of evaluation; also of scoring, for which a CPU takes at most 2**19 pixels at a time.
        seed: seed of the batch order. The command line links it to ``seed_everything``.
        initial_seed: seed of the initial set, so that several seeds can have the same one; None for ``seed``.
        pool_seed: seed of pool subset and validation, so that runs with other initial sets can have the same ones; None for
            ``initial_seed``.
        initial_items: file that lists the items labeled before cycle 0, by index, one in a line; None draws ``initial_size`` items.
        validation_size: number of images that are held out of the pool for validation, or their share if below 1; None for none.

    Raises:
        UserError: the files are missing or bad, or a size does not fit the pool.
    """

    title: str
    default_root: str
    installed: tuple[str, ...] = ()  # folders into which packages of an operating system put the files
    hint: str = ""
    source: type[torchvision.datasets.MNIST] | None = None

    @checked
    def __init__(
        self,
        root: str | None = None,
        initial_size: PositiveInt | Literal["all"] = 300,
        initial_draw: Literal["uniform", "class_balanced_using_labels"] = "uniform",
        pool_size: PositiveInt | None = None,
        pool_repeat: Repeat | None = None,
        batch_size: PositiveInt = 32,
        eval_batch_size: PositiveInt = 2000,
        seed: int = 0,
        initial_seed: NonNegativeInt | None = None,
        initial_items: str | None = None,
        validation_size: PositiveFloat | None = None,
        pool_seed: NonNegativeInt | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed, initial_seed, initial_items, validation_size, pool_seed)
        self.root = Path(root or self.default_root).expanduser()
        self.initial_size = initial_size
        self.initial_draw = initial_draw
        self.pool_size = pool_size
        self.pool_repeat = pool_repeat

    # Files

    def _folders(self) -> list[Path]:
        """Folders that may have the files, with those below ``root`` into which torchvision puts them."""
        name = self.source.__name__ if self.source is not None else ""
        return [*dict.fromkeys([self.root, self.root / "raw", self.root / name / "raw", *map(Path, self.installed)])]

    def _complete_folder(self) -> Path | None:
        return next((folder for folder in self._folders() if all(_find(folder, name) for name in _FILES)), None)

    def prepare_data(self) -> None:
        """Downloads the files if no folder has them.

        Raises:
            UserError: the download failed; the message says how to get the files.
        """
        if self._complete_folder() is None:
            failure = self._download()
            if failure:
                raise UserError(self._how_to_get(failure))

    def _download(self) -> str | None:
        """Downloads the four files and checks their checksums; returns what went wrong, or None."""
        if self.source is None:
            return "not offered for this data set"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for name, md5 in self.source.resources:
                with tempfile.TemporaryDirectory(dir=self.root) as partial:
                    self._fetch(name, md5, partial)
                    os.replace(Path(partial) / name, self.root / name)
        except (OSError, RuntimeError) as error:
            return str(error)
        return None

    def _fetch(self, name: str, md5: str, folder: str) -> None:
        assert self.source is not None
        failures = []
        for mirror in self.source.mirrors:
            try:
                download_url(f"{mirror}{name}", folder, name, md5)
                return
            except (OSError, RuntimeError) as error:
                failures.append(f"{mirror}{name}: {error}")
        raise RuntimeError("; ".join(failures))

    def _how_to_get(self, failure: str) -> str:
        folders = [folder for folder in self._folders() if folder == self.root or folder.is_dir()]
        looked = [f"{folder} (lacks {', '.join(name for name in _FILES if _find(folder, name) is None)})" for folder in folders]
        return (
            f"Expected {self.title} as four IDX files, each plain or with .gz, in one of these folders: {'; '.join(looked)}. "
            f"The download failed: {failure}. Put the files into {self.root}, or name their folder by data.init_args.root{self.hint}."
        )

    def setup(self, stage: str) -> None:
        """Reads the files, builds the pool and labels the initial set; once.

        Raises:
            UserError: the files are missing or bad, or a size does not fit the pool.
        """
        if self.is_set_up(stage):
            return
        folder = self._complete_folder()
        if folder is None:
            raise UserError(self._how_to_get("the files are not there"))
        self._train, self._eval = (self._read(folder, split) for split in ("train", "eval"))
        if self._train.images.shape[1:] != self._eval.images.shape[1:]:
            sizes = ("x".join(map(str, data.images.shape[2:])) for data in (self._train, self._eval))
            raise UserError(f"Expected images of one size in {folder}, got {' and '.join(sizes)}. Are these files of two data sets?")
        size, members, repeated = len(self._train), None, set[int]()
        if self.pool_size is not None:
            if not 1 <= self.pool_size <= size:
                raise UserError(f"Expected a pool_size from 1 to {size}, got {self.pool_size}.")
            members = torch.randperm(size, generator=seeds.generator(self.pool_seed, "pool"))[: self.pool_size]
        if self.pool_repeat is not None:
            members = self._repeat(**self.pool_repeat, members=torch.arange(size) if members is None else members)
            repeated = {int(self.pool_repeat["item"]), *range(size, len(self._train))}
        labels = self._train.labels if self.initial_draw == "class_balanced_using_labels" else None
        self.begin(Pool(len(self._train), members), labels, repeated)
        self.introduce(f"{self.title} from {folder}", len(self._eval))

    def _read(self, folder: Path, split: str) -> ResidentImages:
        images, labels = (_find(folder, name) for name in _SPLITS[split])
        assert images is not None and labels is not None
        data = ResidentImages(*read_labeled_images(images, labels, len(self.class_names)))
        for path, content, name in zip((images, labels), (data.images.squeeze(1), data.labels.byte()), _SPLITS[split], strict=True):
            if (doubt := known_files.why_doubtful(content, name, self.title)) is not None:
                log.warning("WARNING: %s %s", path, doubt)
        return data

    def _repeat(self, item: str | int, copies: int, members: Tensor) -> Tensor:
        """Adds copies of an image at the end of the data set; returns the pool's members together with the copies."""
        size = len(self._train)
        if not str(item).isdecimal() or int(item) >= size:
            raise UserError(f"Expected the item of pool_repeat to be an index from 0 to {size - 1}, got {item}.")
        rows = torch.cat([torch.arange(size), torch.full((copies,), int(item))])
        self._train = ResidentImages(self._train.images[rows], self._train.labels[rows])
        return torch.cat([members, torch.arange(size, size + copies)])

    def inputs_of(self, picture: npt.NDArray[np.uint8]) -> Tensor:
        """The network's inputs of any image: uint8 ``(H, W, 3)``, RGB, to float32 ``(1, H, W)`` in [0, 1], grey."""
        grey = np.array(Image.fromarray(picture).convert("L"))
        return torch.from_numpy(grey).unsqueeze(0).float().div_(255)

    # Identity

    def sources(self) -> list[Source]:
        """The four files, identified by hashes of what was read from them."""
        return [source._replace(file=file) for source, file in zip(super().sources(), _FILES, strict=True)]


class FashionMNISTDataModule(_IDXDataModule):
    """Fashion-MNIST: 60,000 images in the pool, 10,000 for evaluation."""

    title = "Fashion-MNIST"
    class_names = torchvision.datasets.FashionMNIST.classes
    default_root = "data/fashion-mnist"
    installed = ("/usr/share/datasets/fashion-mnist",)
    hint = ", or install Debian's package dataset-fashion-mnist; FashionMNISTSampleDataModule needs no files"
    source = torchvision.datasets.FashionMNIST


class MNISTDataModule(_IDXDataModule):
    """MNIST: 60,000 images in the pool, 10,000 for evaluation."""

    title = "MNIST"
    class_names = [str(digit) for digit in range(10)]
    default_root = "data/mnist"
    source = torchvision.datasets.MNIST


class FashionMNISTSampleDataModule(_IDXDataModule):
    """The sample of Fashion-MNIST that comes with the package: 5,000 images in the pool, 1,000 for evaluation; see sample/README.md."""

    class_names = torchvision.datasets.FashionMNIST.classes
    title = "the embedded sample of Fashion-MNIST (not the full set)"
    default_root = str(Path(__file__).parent / "sample")
