"""A folder of images and a folder of masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from al_lightning.data.scene_datamodule import SceneDataModule
from al_lightning.data.scenes import Scene, size_of
from al_lightning.errors import UserError
from al_lightning.labels import named_classes
from al_lightning.run_tables import QUERIED_COLUMNS

_IMAGES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
_MASKS = {".png", ".tif", ".tiff"}  # formats that keep ids as they are


class FolderSegmentationDataModule(SceneDataModule):
    """Images ``images/<name>.{png,jpg,tif}``, each with the ids of its pixels in ``masks/<name>.{png,tif}``.

    Args:
        root: folder of images and masks: the pool.
        classes: the id of each class in the masks, by its name; in the order of the network's outputs. 255 is ignored,
            other ids are refused.
        evaluation: another such folder, for evaluation.
        kwargs: the other arguments of :class:`SceneDataModule`.
    """

    def __init__(self, root: str, classes: dict[str, int], evaluation: str, **kwargs: Any) -> None:
        if taken := sorted(QUERIED_COLUMNS & set(classes)):
            raise UserError(f"Expected names of classes other than {', '.join(taken)}, a column of queried.csv.")
        super().__init__(root=root, classes=named_classes(classes), **kwargs)
        self.evaluation = Path(evaluation).expanduser()

    def listing(self) -> tuple[list[Scene], list[Scene]]:
        """See :meth:`SceneDataModule.listing`."""
        return list_folder(self.root, "root"), list_folder(self.evaluation, "evaluation")


def list_folder(folder: Path, argument: str) -> list[Scene]:
    """The scenes of a folder, sorted by name. Images are opened as far as their size, masks are not opened.

    Args:
        folder: holds ``images`` and ``masks``.
        argument: of the data module, that named it.

    Raises:
        UserError: there are none, an image is unreadable, a mask is missing, or two files have one name. The message names it.
    """
    images, masks = _by_stem(folder / "images", _IMAGES), _by_stem(folder / "masks", _MASKS)
    if not images:
        kinds = ", ".join(sorted(_IMAGES))
        raise UserError(f"Expected images ({kinds}) in {folder / 'images'}, found none. Set data.init_args.{argument}.")
    if missing := [name for name in images if name not in masks]:
        raise UserError(
            f"Expected a mask {folder / 'masks' / missing[0]}.png (or .tif) for every image, but {len(missing)} of {len(images)} images in "
            f"{folder / 'images'} have none."
        )
    return [Scene(name, images[name], masks[name], size_of(images[name])) for name in sorted(images)]


def _by_stem(folder: Path, suffixes: set[str]) -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if (other := found.setdefault(path.stem, path)) is not path:
            raise UserError(f"Expected one file of each name in {folder}, got {other.name} and {path.name}. Remove or rename one.")
    return found
