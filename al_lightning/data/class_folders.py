"""A person's own images with a class each: a folder a class, or a table of names and classes."""

import csv
import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from al_lightning.data.own_files import SUFFIXES, by_name, grouping, refuse_shared_groups, settled_splits, shown
from al_lightning.data.pool import Pool
from al_lightning.data.resident import ResidentImages
from al_lightning.data.resident_datamodule import ResidentDataModule
from al_lightning.data.scenes import Pixels, decode_image
from al_lightning.errors import UserError
from al_lightning.numbers import Edge, NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt, checked
from al_lightning.reading import read_text
from al_lightning.sources import EVALUATION, POOL, UNLABELED, Source

log = logging.getLogger(__name__)

_UNLABELED_FOLDER = "unlabeled"


class Photo(NamedTuple):
    """An image of a person's own.

    Attributes:
        name: what the person calls it.
        path: where it lies.
        label: its class; None where nobody has labeled it.
    """

    name: str
    path: Path
    label: str | None


class FolderClassificationDataModule(ResidentDataModule):
    """Images ``<class>/<name>.{png,jpg,tif}`` and ``unlabeled/<name>...``; or in one folder, with a table of names and classes.

    What has no class is unlabeled: it is in the pool, but a simulated run can't ask for it. All images are kept in memory at their size.

    Args:
        root: folder of the images.
        labels: CSV file inside of ``root`` with the columns ``name`` (of the image, with or without its suffix) and ``class``; what it does
            not name is unlabeled. None for a folder a class.
        images: where the images of such a table lie in ``root``; ``*`` stands for the name.
        classes: names of the classes, in the order of the network's outputs; None for all that occur, sorted.
        evaluation: the share of the labeled images that is held out for evaluation, drawn by ``initial_seed`` when a run begins; or
            another such folder, in which every image has a class.
        group: a regular expression that finds an image's group in its name (``<class>/<name>`` where there are folders), such as its video
            or its patient. All images of a group are for one of training, validation and evaluation. None splits images one by one.
        image_size: height and width that images are resized to, or one number for both; None where they have one size.
        channels: 3 for colours, 1 for grey.
        initial_size: labeled images that a simulation begins with, or ``all``.
        batch_size: items in a training batch, on each device.
        eval_batch_size: items in a batch of evaluation; of scoring, too, where so many images don't fill a processor's cache.
        seed: of the batch order. The command line links it to ``seed_everything``.
        initial_seed: of evaluation split, validation and initial set, to draw the same ones under several seeds; None for ``seed``.
        initial_items: file of the items that are labeled before cycle 0, by name or by index, one a line, in place of a draw.
        validation_size: labeled images that are held out of the pool for validation, a count or, below 1, a share of them; None for none.

    Raises:
        UserError: a file is missing or bad, a class unknown, or a size does not fit.
    """

    @checked
    def __init__(
        self,
        root: str,
        labels: str | None = None,
        images: str = "images/*",
        classes: list[str] | None = None,
        evaluation: OpenUnitInterval | str = 0.2,
        group: str | None = None,
        image_size: Edge | tuple[Edge, Edge] | None = None,
        channels: Literal[1, 3] = 3,
        initial_size: PositiveInt | Literal["all"] = "all",
        batch_size: PositiveInt = 32,
        eval_batch_size: PositiveInt = 256,
        seed: int = 0,
        initial_seed: NonNegativeInt | None = None,
        initial_items: str | None = None,
        validation_size: PositiveFloat | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed, initial_seed, initial_items, validation_size)
        self.root = Path(root).expanduser()
        self.labels, self.images = labels, images
        self.classes = classes
        self.evaluation = evaluation
        self.group = group
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.channels = channels
        self.initial_size = initial_size

    def setup(self, stage: str) -> None:
        """Reads the images, settles what is for evaluation, builds the pool and labels the initial set; once."""
        if hasattr(self, "pool"):
            return
        pool, evaluation = self._listing()
        self.class_names = self._classes([*pool, *evaluation])
        self._photos, self._evaluation = pool, evaluation
        self._sizes: dict[Path, tuple[int, int]] = {}
        self._train, self._eval = self._read(pool), self._read(evaluation)
        self._label_of = {_label_name(photo): photo.label for photo in [*pool, *evaluation]}
        answerable = self._train.labels >= 0
        made = Pool(len(pool), answerable=answerable)
        self.begin(made, self.initial_size)
        self._warn_of_missing(self._train.labels[answerable & (made.labeled | made.unlabeled)], "pool")
        if len(self.validation):
            self._warn_of_missing(self._train.labels[self.validation], "validation set")
        self._warn_of_missing(self._eval.labels, "evaluation set")
        self.pool = made
        self.introduce(str(self.root), len(evaluation))

    def _listing(self) -> tuple[list[Photo], list[Photo]]:
        """The pool's images and those for evaluation, each sorted by name."""
        photos = list_photos(self.root, self.labels, self.images, "root")
        splits = settled_splits(
            {photo.name: photo.path.relative_to(self.root).as_posix() for photo in photos},
            {photo.name for photo in photos if photo.label is not None},
            self.recorded(),
            None if isinstance(self.evaluation, str) else self.evaluation,
            self.group,
            self.initial_seed,
        )
        pool = [photo for photo in photos if splits.get(photo.name) == POOL]
        pool += [photo._replace(label=None) for photo in photos if splits.get(photo.name) == UNLABELED]
        pool.sort(key=lambda photo: photo.name)
        if not isinstance(self.evaluation, str):
            return pool, [photo for photo in photos if splits.get(photo.name) == EVALUATION]
        folder = Path(self.evaluation).expanduser()
        evaluation = list_photos(folder, self.labels, self.images, "evaluation")
        refuse_shared_groups((photo.name for photo in pool), (photo.name for photo in evaluation), self.group)
        if missing := [photo.name for photo in evaluation if photo.label is None]:
            raise UserError(f"Expected a class for each image in {folder}, which are for evaluation, got none for {shown(missing)}.")
        return pool, evaluation

    def _classes(self, photos: Sequence[Photo]) -> list[str]:
        found = sorted({photo.label for photo in photos if photo.label is not None})
        classes = found if self.classes is None else self.classes
        if len(set(classes)) < max(2, len(classes)):
            raise UserError(f"Expected at least 2 classes in {self.root}, each once, got {', '.join(classes)}.")
        if other := [photo for photo in photos if photo.label is not None and photo.label not in classes]:
            raise UserError(f"Expected the classes {', '.join(classes)}, got {other[0].label} for {other[0].path}.")
        return classes

    def _read(self, photos: Sequence[Photo]) -> ResidentImages:
        numbers = {name: number for number, name in enumerate(self.class_names)}
        labels = torch.tensor([-1 if photo.label is None else numbers[photo.label] for photo in photos])
        pixels = [self._pixels(photo.path) for photo in photos]
        if other := next((place for place, each in enumerate(pixels) if each.shape != pixels[0].shape), None):
            (height, width), (h, w) = self._sizes[photos[0].path], self._sizes[photos[other].path]
            raise UserError(
                f"Expected images of one size, got {width}x{height} in {photos[0].path} and {w}x{h} in {photos[other].path}. "
                "Set data.init_args.image_size."
            )
        return ResidentImages(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), labels)

    def _pixels(self, path: Path) -> Pixels:
        """uint8 ``(H, W, C)``, resized."""
        pixels = decode_image(path)
        self._sizes[path] = pixels.shape[:2]
        return self._resized(pixels)

    def _resized(self, pixels: Pixels) -> Pixels:
        image = Image.fromarray(pixels)
        if self.channels == 1:
            image = image.convert("L")
        if self.image_size is not None:
            image = image.resize(self.image_size[::-1], Image.Resampling.BILINEAR)
        return np.array(image).reshape(image.height, image.width, self.channels)

    def _warn_of_missing(self, labels: Tensor, whose: str) -> None:
        counts = labels.bincount(minlength=len(self.class_names)).tolist()
        if 0 in counts:
            missing = ", ".join(name for name, count in zip(self.class_names, counts, strict=True) if count == 0)
            told = ", ".join(f"{name} {count:,}" for name, count in zip(self.class_names, counts, strict=True))
            log.warning("WARNING: the %s has no labeled image of %s. Labeled images by class: %s", whose, missing, told)

    # Any image

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]
        """Of the classes: as told, or all that occur."""
        return self.classes or self._classes([photo for photos in self._listing() for photo in photos])

    def inputs_of(self, picture: Pixels) -> Tensor:
        """What the network sees of any image: uint8 ``(H, W, 3)``, RGB, to float32 ``(C, H, W)`` in [0, 1], resized."""
        return torch.from_numpy(self._resized(picture)).permute(2, 0, 1).float().div_(255)

    def labeled_images(self) -> list[Path]:
        """See :meth:`PoolDataModule.labeled_images`."""
        photos = list_photos(self.root, self.labels, self.images, "root") if self.root.is_dir() else []
        return [photo.path for photo in photos if photo.label is not None]

    # Identity

    def item(self, index: int) -> str:
        """The name of its image."""
        return self._photos[index].name

    def group_of(self, index: int) -> str:
        """See :meth:`PoolDataModule.group_of`; by ``group``."""
        return grouping(self.group)(self.item(index))

    def sources(self) -> list[Source]:
        """The images, by their sizes in bytes and in pixels."""
        splits = [
            (UNLABELED if photo.label is None else self.split_of(index), photo, self.root) for index, photo in enumerate(self._photos)
        ]
        folder = Path(self.evaluation).expanduser() if isinstance(self.evaluation, str) else self.root
        splits += [(EVALUATION, photo, folder) for photo in self._evaluation]
        return [Source(split, self._file(photo, root), self._identity(photo)) for split, photo, root in splits]

    def _file(self, photo: Photo, root: Path) -> str:
        file = photo.path.relative_to(root).as_posix()
        return file if root == self.root else f"evaluation/{file}"

    def _identity(self, photo: Photo) -> str:
        height, width = self._sizes[photo.path]
        return f"{photo.path.stat().st_size} bytes, {width}x{height} pixels"

    def label_files(self, indices: Sequence[int]) -> list[str]:
        """Classes lie in no files of their own; each is known as that of its image."""
        return [_label_name(self._photos[index]) for index in indices]

    def evaluation_label_files(self) -> list[str]:
        """See :meth:`label_files`."""
        return [_label_name(photo) for photo in self._evaluation]

    def label_sha256(self, file: str) -> str | None:
        """See :meth:`PoolDataModule.label_sha256`."""
        label = self._label_of.get(file)
        return None if label is None else hashlib.sha256(label.encode()).hexdigest()


def _label_name(photo: Photo) -> str:
    return f"class of {photo.name}"


def list_photos(root: Path, labels: str | None, images: str, argument: str) -> list[Photo]:
    """The images of a folder, sorted by name, with their classes.

    Args:
        root: the folder.
        labels: a table inside of it; None where each class has a folder.
        images: pattern of the images of a table, see :func:`by_name`.
        argument: of the data module, that named the folder.

    Raises:
        UserError: there are none, two have one name, or the table is damaged or names what is not there.
    """
    if labels is not None:
        found = by_name(root, images)
        classes: Mapping[str, str | None] = _read_classes(root / labels, found)
    else:
        folders = [path.name for path in sorted(root.glob("*")) if path.is_dir() and not path.name.startswith(".")]
        found = {f"{folder}/{name}": path for folder in folders for name, path in by_name(root, f"{folder}/*").items()}
        classes = {name: path.parent.name for name, path in found.items() if path.parent.name != _UNLABELED_FOLDER}
    if not found:
        where = (root / images).parent if labels is not None else f"folders of {root}, one a class"
        raise UserError(f"Expected images ({', '.join(SUFFIXES)}) in {where}, found none. Set data.init_args.{argument}.")
    return [Photo(name, found[name], classes.get(name)) for name in sorted(found)]


def _read_classes(path: Path, images: Mapping[str, Path]) -> dict[str, str | None]:
    """The class of each named image."""
    by_file = {image.name: name for name, image in images.items()}
    rows = csv.DictReader(read_text(path).removeprefix("\ufeff").splitlines())
    if not {"name", "class"} <= set(rows.fieldnames or ()):
        raise UserError(f"Expected the columns name and class in the first row of {path}, got {','.join(rows.fieldnames or ())!r}.")
    classes: dict[str, str | None] = {}
    for number, row in enumerate(rows, 1):
        given, label = (row["name"] or "").strip(), (row["class"] or "").strip()
        name = by_file.get(given, given)
        if name not in images or name in classes:
            why = "is named twice" if name in classes else "is none"
            raise UserError(f"Expected the names of images in {path}, each once, but {given} in row {number} {why}.")
        classes[name] = label or None
    return classes
