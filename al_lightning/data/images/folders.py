"""A person's own images with one class each: in a folder for each class, or with a table of names and classes."""

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

from al_lightning.data.images.class_tables import Spellings, read_classes
from al_lightning.data.images.datamodule import ResidentDataModule
from al_lightning.data.images.resident import ResidentImages
from al_lightning.data.own_files import (
    SUFFIXES,
    by_name,
    evaluation_share,
    grouping,
    name_by,
    refuse_shared_groups,
    refuse_shared_images,
    settled_splits,
)
from al_lightning.data.pool import Pool
from al_lightning.data.scenes.scene import Pixels, decode_image
from al_lightning.errors import UserError
from al_lightning.numbers import Edge, NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt, checked
from al_lightning.sources import ADDED, EVALUATION, POOL, Source
from al_lightning.text import listed

log = logging.getLogger(__name__)

_UNLABELED_FOLDER = "unlabeled"
_TABLE = "labels.csv"  # beside the folders: classes of images in none of a class's folders


class Photo(NamedTuple):
    """One of a person's own images.

    Attributes:
        name: the name that the person knows it by.
        path: its file.
        label: its class; None if it is not labeled.
        has_label: whether it had a label when the run began.
        is_added: whether it was added after the run had begun.
        is_elsewhere: whether it lies in a folder for evaluation, where it may have the name of an image of the pool.
    """

    name: str
    path: Path
    label: str | None
    has_label: bool = True
    is_added: bool = False
    is_elsewhere: bool = False


class FolderClassificationDataModule(ResidentDataModule):
    """Images ``<class>/<name>.{png,jpg,tif}`` and ``unlabeled/<name>...``; or images in one folder, with a table of names and classes.

    An image without a class is unlabeled: it is in the pool, but a simulated run can't ask for it. If classes are folders, a file
    ``labels.csv`` beside them may give classes to images in ``unlabeled``, which stay there. All images are kept in memory.

    Args:
        root: folder of the images.
        labels: CSV file inside ``root`` with the columns ``name`` (of the image, with or without its suffix) and ``class``; an image that
            it does not name is unlabeled. None if each class has a folder.
        images: where the images of such a table are in ``root``; ``*`` stands for the name.
        classes: names of the classes, in the order of the network's outputs; None for all that occur, sorted.
        evaluation: the share of the labeled images that is held out for evaluation, drawn by ``pool_seed`` when a run begins; or
            another such folder, in which every image has a class. With ``active_learning.evaluation_first`` there is no such share.
        group: a regular expression that finds an image's group in its name (``<class>/<name>`` if classes are folders), such as its video
            or its patient. All images of a group are for one of training, validation and evaluation. None splits images one by one.
        image_size: height and width that images are resized to, or one number for both; None if all have the same size.
        channels: 3 for colours, 1 for grey.
        initial_size: number of labeled images that a simulation begins with, or ``all``.
        batch_size: number of items in a training batch, on each device.
        eval_batch_size: number of items in a batch of evaluation; also of scoring, for which a CPU takes at most 2**19 pixels at a time.
        seed: seed of the batch order. The command line links it to ``seed_everything``.
        initial_seed: seed of the initial set, so that several seeds can have the same one; None for ``seed``.
        pool_seed: seed of evaluation split and validation, so that runs with other initial sets can have the same ones; None for
            ``initial_seed``.
        initial_items: file that lists the items labeled before cycle 0, by name or by index, one in a line; None draws them.
        validation_size: number of labeled images that are held out of the pool for validation, or their share if below 1; None for none.

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
        pool_seed: NonNegativeInt | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed, initial_seed, initial_items, validation_size, pool_seed)
        self.root = Path(root).expanduser()
        self.labels, self.images = labels, images
        self.classes = classes
        self.evaluation = evaluation
        self.group = group
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.channels = channels
        self.initial_size = initial_size

    def setup(self, stage: str) -> None:
        """Reads the images, holds out the evaluation set, builds the pool and labels the initial set; once.

        Raises:
            UserError: a file is missing or bad, a class unknown, or a size does not fit.
        """
        if self.is_set_up(stage):
            return
        pool, evaluation = self._listing()
        self.class_names = self._classes([*pool, *evaluation])
        self._photos, self._own_evaluation = pool, evaluation
        self._evaluation = evaluation
        self._label_of = {_label_name(photo): photo.label for photo in (*pool, *evaluation)}
        self._sizes: dict[Path, tuple[int, int]] = {}
        self._train = self._read(pool)
        self._eval = self._read(evaluation)  # after the pool, whose size it has if it is empty
        if self._train.images.shape[1:] != self._eval.images.shape[1:]:
            raise self._unequal_sizes(pool[0], evaluation[0])
        answerable = torch.tensor([photo.has_label for photo in pool], dtype=torch.bool)
        self.begin(Pool(len(pool), answerable=answerable))
        known = answerable if bool(answerable.any()) else self._train.labels >= 0  # all later labels, if the run began without any
        self._warn_of_missing(self._train.labels[known & (self.pool.labeled | self.pool.unlabeled)], "pool")
        if len(self.validation):
            self._warn_of_missing(self._train.labels[self.validation], "validation set")
        self._warn_of_missing(self._eval.labels[self._eval.labels >= 0], "evaluation set")
        self.introduce(str(self.root), len(self._evaluation))

    def evaluate_items(self, indices: Sequence[int]) -> None:
        """See :meth:`PoolDataModule.evaluate_items`."""
        super().evaluate_items(indices)
        self._evaluation = [self._photos[index] for index in indices]

    def _listing(self) -> tuple[list[Photo], list[Photo]]:
        """The pool's images and those for evaluation, in the run's order: by name, and images that were added later at the end."""
        photos = list_photos(self.root, self.labels, self.images, "root")
        splits = settled_splits(
            {photo.name: photo.path.relative_to(self.root).as_posix() for photo in photos},
            {photo.name for photo in photos if photo.label is not None},
            self.recorded(),
            evaluation_share(self.evaluation, self.evaluates_first),
            self.group,
            self.pool_seed,
        )
        named = {photo.name: photo for photo in photos}
        pool = [
            named[name]._replace(has_label=split == POOL, is_added=split == ADDED) for name, split in splits.items() if split != EVALUATION
        ]
        if not isinstance(self.evaluation, str):
            return pool, [named[name] for name, split in splits.items() if split == EVALUATION]
        folder = Path(self.evaluation).expanduser()
        evaluation = list_photos(folder, self.labels, self.images, "evaluation")
        refuse_shared_images({photo.name: photo.path for photo in pool}, {photo.name: photo.path for photo in evaluation})
        refuse_shared_groups((photo.name for photo in pool), (photo.name for photo in evaluation), self.group)
        if missing := [photo.name for photo in evaluation if photo.label is None]:
            raise UserError(f"Expected a class for each evaluation image in {folder}, got none for {listed(missing)}.")
        return pool, [photo._replace(is_elsewhere=True) for photo in evaluation]

    def _classes(self, photos: Sequence[Photo]) -> list[str]:
        labeled = [photo for photo in photos if photo.label is not None and photo.has_label]
        classes = sorted({str(photo.label) for photo in labeled}) if self.classes is None else self.classes
        if not labeled and self.classes is None:
            raise UserError(
                f"Expected labels of some images, but none of {len(photos)} has one. To be asked for all labels, name the classes by "
                "data.init_args.classes."
            )
        if len(set(classes)) < max(2, len(classes)):
            raise UserError(f"Expected at least 2 classes in {self.root}, each once, got {', '.join(classes)}.")
        if other := [photo for photo in labeled if photo.label not in classes]:
            raise self._unknown_class(other[0], classes)
        return classes

    def _unknown_class(self, photo: Photo, classes: Sequence[str]) -> UserError:
        return UserError(f"Expected the classes {', '.join(classes)}, got {photo.label} for {photo.path}.")

    def _read(self, photos: Sequence[Photo]) -> ResidentImages:
        numbers = {name: number for number, name in enumerate(self.class_names)}
        labels = torch.tensor([numbers.get(str(photo.label), -1) for photo in photos], dtype=torch.int64)
        if not photos:
            return ResidentImages(torch.empty(0, *self._train.images.shape[1:], dtype=torch.uint8), labels)
        pixels = [self._pixels(photo.path) for photo in photos]
        if other := next((place for place, each in enumerate(pixels) if each.shape != pixels[0].shape), None):
            raise self._unequal_sizes(photos[0], photos[other])
        return ResidentImages(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), labels)

    def _unequal_sizes(self, one: Photo, other: Photo) -> UserError:
        (height, width), (h, w) = self._sizes[one.path], self._sizes[other.path]
        return UserError(
            f"Expected images of one size, got {width}x{height} in {one.path} and {w}x{h} in {other.path}. Set data.init_args.image_size."
        )

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
        if 0 in counts and len(labels):
            missing = ", ".join(name for name, count in zip(self.class_names, counts, strict=True) if count == 0)
            told = ", ".join(f"{name} {count:,}" for name, count in zip(self.class_names, counts, strict=True))
            log.warning("WARNING: the %s has no labeled image of %s. Labeled images by class: %s", whose, missing, told)

    # Any image

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]
        """Names of the classes: those of the argument ``classes``, or all that occur."""
        return self.classes or self._classes([photo for photos in self._listing() for photo in photos])

    def inputs_of(self, picture: Pixels) -> Tensor:
        """The network's inputs of any image: uint8 ``(H, W, 3)``, RGB, to float32 ``(C, H, W)`` in [0, 1], resized."""
        return torch.from_numpy(self._resized(picture)).permute(2, 0, 1).float().div_(255)

    def labeled_images(self) -> list[Path]:
        """See :meth:`PoolDataModule.labeled_images`."""
        photos = list_photos(self.root, self.labels, self.images, "root") if self.root.is_dir() else []
        return [photo.path for photo in photos if photo.label is not None]

    # Identity

    def item(self, index: int) -> str:
        """The name of the item's image."""
        return self._photos[index].name

    def name_of(self, image: Path) -> str:
        """See :meth:`PoolDataModule.name_of`; with the folder, if folders are classes."""
        return name_by(self.images, image) if self.labels else f"{image.parent.name}/{image.stem}"

    def group_of(self, index: int) -> str:
        """See :meth:`PoolDataModule.group_of`; found by ``group``."""
        return grouping(self.group)(self.item(index))

    def sources(self) -> list[Source]:
        """The images, identified by their sizes in bytes and in pixels."""
        splits = [(self.split_of(index, photo.has_label, photo.is_added), photo) for index, photo in enumerate(self._photos)]
        splits += [(EVALUATION, photo) for photo in self._own_evaluation]
        return [Source(split, self._file(photo), self._identity(photo)) for split, photo in splits]

    def _file(self, photo: Photo) -> str:
        if not photo.is_elsewhere:
            return photo.path.relative_to(self.root).as_posix()
        return f"evaluation/{photo.path.relative_to(Path(str(self.evaluation)).expanduser()).as_posix()}"

    def _identity(self, photo: Photo) -> str:
        height, width = self._sizes[photo.path]
        return f"{photo.path.stat().st_size} bytes, {width}x{height} pixels"

    def label_files(self, indices: Sequence[int]) -> list[str]:
        """See :meth:`PoolDataModule.label_files`; a class has no file, and is named by its image."""
        return [_label_name(self._photos[index]) for index in indices]

    def evaluation_label_files(self) -> list[str]:
        """See :meth:`label_files`."""
        return [_label_name(photo) for photo in self._evaluation]

    def label_sha256(self, file: str) -> str | None:
        """See :meth:`PoolDataModule.label_sha256`."""
        label = self._label_of.get(file)
        return None if label is None else hashlib.sha256(label.encode(errors="surrogateescape")).hexdigest()

    # A person's answers

    answers_in_table = True

    def evaluation_among(self, indices: Sequence[int]) -> list[int]:
        """See :meth:`PoolDataModule.evaluation_among`."""
        share = evaluation_share(self.evaluation, self.evaluates_first)
        return [] if share is None else self.draw_share(indices, share)

    def image_and_label(self, index: int) -> tuple[Path, Path]:
        """See :meth:`PoolDataModule.image_and_label`; all classes are in one table."""
        return self._photos[index].path, self.root / (self.labels or _TABLE)

    def is_answered(self, index: int) -> bool:
        """See :meth:`PoolDataModule.is_answered`."""
        return self._photos[index].label is not None

    def check_answer(self, index: int) -> None:
        """See :meth:`PoolDataModule.check_answer`."""
        if (photo := self._photos[index]).label not in self.class_names:
            raise self._unknown_class(photo, self.class_names)

    def label_key(self) -> str:
        """See :meth:`PoolDataModule.label_key`."""
        return f"one of the classes {', '.join(self.class_names)}"

    def class_of(self, index: int) -> str | None:
        """The class that a person has given to an item; None if it has none."""
        return self._photos[index].label

    def read_answers(self) -> None:
        """Reads the classes of the pool once more: a person or another process may have given some since the images were read.

        Raises:
            UserError: the table is damaged now.
        """
        now = {photo.name: photo.label for photo in list_photos(self.root, self.labels, self.images, "root")}
        self.answer({index: now.get(photo.name, photo.label) for index, photo in enumerate(self._photos)})

    def answer(self, classes: Mapping[int, str | None]) -> None:
        """Takes over classes, by index, that are in the table now."""
        for index, label in classes.items():
            self._photos[index] = photo = self._photos[index]._replace(label=label)
            self._label_of[_label_name(photo)] = label

    def spellings(self) -> Spellings:
        """The spellings by which the table may name images: all that are in its folder."""
        return Spellings({photo.name: photo.path for photo in (*self._photos, *self._own_evaluation) if not photo.is_elsewhere})


def _label_name(photo: Photo) -> str:
    return f"class of {'evaluation/' if photo.is_elsewhere else ''}{photo.name}"


def list_photos(root: Path, labels: str | None, images: str, argument: str) -> list[Photo]:
    """The images of a folder, sorted by name, with their classes.

    Args:
        root: the folder.
        labels: a table inside the folder; None if each class has a folder.
        images: pattern of the images of a table, see :func:`by_name`.
        argument: the data module's argument that named the folder, for the message.

    Raises:
        UserError: there are no images, two have the same name, or the table is damaged or names an image that is not there.
    """
    if labels is not None:
        found = by_name(root, images)
        classes: Mapping[str, str | None] = read_classes(root / labels, Spellings(found))
    else:
        folders = [path.name for path in sorted(root.glob("*")) if path.is_dir() and not path.name.startswith(".")]
        found = {f"{folder}/{name}": path for folder in folders for name, path in by_name(root / folder, "*").items()}
        classes = _classes_of_folders(found, root / _TABLE)
    if not found:
        where = (root / images).parent if labels is not None else f"folders of {root}, one for each class"
        raise UserError(f"Expected images ({', '.join(SUFFIXES)}) in {where}, found none. Set data.init_args.{argument}.")
    return [Photo(name, found[name], classes.get(name)) for name in sorted(found)]


def _classes_of_folders(images: Mapping[str, Path], table: Path) -> dict[str, str | None]:
    """The classes of images by their folders, and those of unlabeled images by a table beside the folders."""
    by_folder: dict[str, str | None] = {name: path.parent.name for name, path in images.items() if path.parent.name != _UNLABELED_FOLDER}
    given = read_classes(table, Spellings(images)) if table.is_file() else {}
    if wrong := [name for name, label in given.items() if label is not None and by_folder.get(name, label) != label]:
        raise UserError(
            f"Expected one class for each image, got {given[wrong[0]]} in {table} for {images[wrong[0]]}, which is in the folder of "
            f"{by_folder[wrong[0]]}. Remove its row, or move the image to {_UNLABELED_FOLDER}."
        )
    return given | by_folder
