"""A folder of images and a folder of masks."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from al_lightning.data.own_files import (
    SUFFIXES,
    by_name,
    evaluation_share,
    grouping,
    matches,
    name_by,
    refuse_shared_groups,
    refuse_shared_images,
    settled_splits,
)
from al_lightning.data.scenes.coco import Annotated, read_coco
from al_lightning.data.scenes.datamodule import SceneDataModule
from al_lightning.data.scenes.scene import Pixels, Scene, size_of
from al_lightning.errors import UserError
from al_lightning.labels import ClassMap, named_classes
from al_lightning.numbers import OpenUnitInterval, PositiveInt, checked
from al_lightning.run_tables import QUERIED_COLUMNS
from al_lightning.sources import ADDED, EVALUATION, POOL
from al_lightning.text import listed

log = logging.getLogger(__name__)

_MASKS = (".png", ".tif", ".tiff")  # formats that keep ids and colours as they are


class FolderSegmentationDataModule(SceneDataModule):
    """Images ``images/<name>.{png,jpg,tif}``, and ``masks/<name>.{png,tif}`` of those that are labeled.

    An image without a mask is unlabeled: it is in the pool, but a simulated run can't ask for it. Images are turned by their EXIF
    orientation, and a mask by its own, if it has one.

    Args:
        root: folder of images and masks.
        classes: the id of each class in the masks, or its colour there (``'#rrggbb'``, or red, green and blue), by the class's name; in the
            order of the network's outputs. The id 255 is ignored.
        evaluation: the share of the labeled images that is held out for evaluation, drawn by ``pool_seed`` when a run begins; or
            another such folder, in which every image has a mask. With ``active_learning.evaluation_first`` there is no such share.
        group: a regular expression that finds an image's group in its name, such as its video or its patient: the group is the text that
            it matches, or that its first parentheses match. All images of a group are for one of training, validation and evaluation.
            None splits images one by one.
        images: where images are in ``root``; ``*`` stands for the name.
        masks: where masks are, likewise, as in ``masks/*_mask.png``.
        annotations: a file in COCO's format inside ``root``. Its regions become the masks of images that have none among ``masks``:
            categories (crowds too) are classes of the same name, and of overlapping regions the smaller one is on top. An image without
            annotations is unlabeled. Needs pycocotools.
        rest: the class of pixels in no region, if a mask is made of regions (of ``annotations``, or by ``ingest``), or ``ignore``. None is
            the class called background if there is one; otherwise regions must cover each pixel.
        unnamed: ``refuse`` masks with ids or colours that are not in ``classes``, or ``ignore`` such pixels; categories likewise.
        initial_size: number of labeled images that a simulation begins with, or ``all``.
        kwargs: the other arguments of :class:`SceneDataModule`.

    Raises:
        UserError: a class has the name of a column of queried.csv, or an argument has no meaning.
    """

    @checked
    def __init__(
        self,
        root: str,
        classes: dict[str, int | str | tuple[int, int, int]],
        evaluation: OpenUnitInterval | str = 0.2,
        group: str | None = None,
        images: str = "images/*",
        masks: str = "masks/*",
        annotations: str | None = None,
        rest: str | None = None,
        unnamed: Literal["refuse", "ignore"] = "refuse",
        initial_size: PositiveInt | Literal["all"] = "all",
        **kwargs: Any,
    ) -> None:
        if taken := sorted(QUERIED_COLUMNS & set(classes)):
            raise UserError(f"Expected names of classes other than {', '.join(taken)}, a column of queried.csv.")
        super().__init__(root=root, classes=named_classes(classes, unnamed, rest), initial_size=initial_size, **kwargs)
        self.evaluation = evaluation
        self.group = group
        self.images, self.masks, self.annotations = images, masks, annotations

    def listing(self) -> tuple[list[Scene], list[Scene]]:
        """See :meth:`SceneDataModule.listing`."""
        scenes = self._scenes(self.root, "root")
        splits = settled_splits(
            {scene.name: scene.image.relative_to(self.root).as_posix() for scene in scenes},
            {scene.name for scene in scenes if scene.has_label},
            self.recorded(),
            evaluation_share(self.evaluation, self.evaluates_first),
            self.group,
            self.pool_seed,
        )
        named = {scene.name: scene for scene in scenes}
        pool = [
            named[name]._replace(has_label=split == POOL, is_added=split == ADDED) for name, split in splits.items() if split != EVALUATION
        ]
        if not isinstance(self.evaluation, str):
            return pool, [named[name] for name, split in splits.items() if split == EVALUATION]
        evaluation = self._scenes(Path(self.evaluation).expanduser(), "evaluation")
        refuse_shared_images({scene.name: scene.image for scene in pool}, {scene.name: scene.image for scene in evaluation})
        refuse_shared_groups((scene.name for scene in pool), (scene.name for scene in evaluation), self.group)
        if missing := [scene.label for scene in evaluation if not scene.has_label]:
            raise UserError(f"Expected a mask {missing[0]} for every evaluation image, but {len(missing)} of {len(evaluation)} have none.")
        return pool, evaluation

    def group_of(self, index: int) -> str:
        """See :meth:`PoolDataModule.group_of`; found by ``group``."""
        return grouping(self.group)(self.item(index))

    def evaluation_among(self, indices: Sequence[int]) -> list[int]:
        """See :meth:`PoolDataModule.evaluation_among`."""
        share = evaluation_share(self.evaluation, self.evaluates_first)
        return [] if share is None else self.draw_share(indices, share)

    def _scenes(self, folder: Path, argument: str) -> list[Scene]:
        """The scenes of a folder; those without a mask have their annotations."""
        scenes = list_folder(folder, self.images, self.masks, argument)
        return scenes if self.annotations is None else with_annotations(scenes, folder / self.annotations, self.classes)

    def name_of(self, image: Path) -> str:
        """See :meth:`PoolDataModule.name_of`; by the pattern of images."""
        return name_by(self.images, image)

    def labeled_images(self) -> list[Path]:
        """See :meth:`PoolDataModule.labeled_images`; masks are not opened."""
        masks = by_name(self.root, self.masks)
        annotations = None if self.annotations is None else self.root / self.annotations
        annotated = read_coco(annotations) if annotations is not None and annotations.is_file() else {}
        return [path for name, path in by_name(self.root, self.images).items() if name in masks or path.stem in annotated]

    def masks_among(self, files: Sequence[Path]) -> set[Path]:
        """See :meth:`PoolDataModule.masks_among`; where masks lie beside images, their pattern tells them apart.

        A pattern that is an ending alone, as in ``*.png``, does so if one of the files that it fits has the name of an image beside it.
        """
        if Path(self.masks).parent != Path(self.images).parent:
            return set()
        fitting = {file: name_by(self.masks, file) for file in files if matches(self.masks, file)}
        images = {name_by(self.images, file) for file in files if file not in fitting}
        tells = any(name != file.stem or name in images for file, name in fitting.items())
        return {*fitting} if tells else set()

    def is_answered(self, index: int) -> bool:
        """See :meth:`PoolDataModule.is_answered`."""
        place = self.image_and_label(index)[1]
        return super().is_answered(index) or any(place.with_suffix(suffix).is_file() for suffix in self.mask_suffixes(index))

    def mask_suffixes(self, index: int) -> tuple[str, ...]:
        """See :meth:`PoolDataModule.mask_suffixes`; any that keeps ids and colours, if neither the pattern nor a file settles it."""
        place = self.image_and_label(index)[1]
        return (place.suffix.lower(),) if place.exists() or self.masks.lower().endswith(_MASKS) else _MASKS


def list_folder(folder: Path, images: str, masks: str, argument: str) -> list[Scene]:
    """The scenes of a folder, sorted by name. Only the headers of images are read, for their size; masks are not opened.

    Args:
        folder: the folder of images and masks.
        images: pattern of images, see :func:`by_name`.
        masks: pattern of masks.
        argument: the data module's argument that named the folder, for the message.

    Raises:
        UserError: there are no images, one is unreadable, a mask is a JPEG, or two files have the same name. The message names it.
    """
    labels = by_name(folder, masks)
    if lossy := [path for path in labels.values() if path.suffix.lower() not in _MASKS]:
        raise UserError(f"Expected masks as {', '.join(_MASKS)}, got {lossy[0]}: JPEG changes ids and colours. Export the masks anew.")
    mask_files = set(labels.values())
    found = by_name(folder, images, mask_files)
    if not found:
        raise UserError(
            f"Expected images ({', '.join(SUFFIXES)}) in {(folder / images).parent}, found none. Set data.init_args.{argument}."
        )
    if alone := [path.name for name, path in labels.items() if name not in found]:
        log.warning("WARNING: %d masks in %s have no image of their name: %s", len(alone), (folder / masks).parent, listed(alone))
    return [
        Scene(name, path, labels.get(name, _mask(folder, masks, name)), size_of(path), has_label=name in labels)
        for name, path in found.items()
    ]


class CocoLabel(NamedTuple):
    """The label of an image that is given by annotations.

    Attributes:
        annotated: the annotations.
        classes: the classes of their regions.
        source: the annotations' file and image, for messages.
    """

    annotated: Annotated
    classes: ClassMap
    source: str

    def ids(self) -> Pixels:
        """See :meth:`DrawnLabel.ids`."""
        unnamed: Literal["refuse", "ignore"] = "ignore" if bool(self.classes.known.all()) else "refuse"
        with self.named():
            return self.classes.ids_of(self.annotated.mask(self.classes.names, unnamed, self.classes.rest, "smaller"))

    def sha256(self) -> str:
        """See :meth:`DrawnLabel.sha256`."""
        return self.annotated.sha256()

    @contextmanager
    def named(self) -> Iterator[None]:
        """Within the block, errors name the file and image of the annotations."""
        try:
            yield
        except UserError as error:
            raise UserError(f"In {self.source}: {error}") from error


def with_annotations(scenes: Sequence[Scene], path: Path, classes: ClassMap) -> list[Scene]:
    """The same scenes, in which those without a mask are labeled by their annotations.

    Args:
        scenes: the scenes of a folder.
        path: a file in COCO's format.
        classes: the classes of its regions.

    Raises:
        UserError: the file is damaged, or an image has another size there.
    """
    annotations, found = read_coco(path), []
    if alone := sorted({*annotations} - {scene.image.stem for scene in scenes}):
        log.warning("WARNING: %d images of %s are not there: %s", len(alone), path, listed(alone))
    for scene in scenes:
        if scene.has_label or (its := annotations.get(scene.image.stem)) is None:
            found.append(scene)
            continue
        label = CocoLabel(its, classes, f"{path}, image {scene.image.stem}")
        with label.named():
            its.refuse_other_size(scene.size)
        found.append(scene._replace(has_label=True, drawing=label))
    return found


def _mask(folder: Path, pattern: str, name: str) -> Path:
    """The file in which a missing mask would be."""
    path = folder / pattern.replace("*", name)
    return path if pattern.lower().endswith(_MASKS) else path.with_name(f"{path.name}.png")
