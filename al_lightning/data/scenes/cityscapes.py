"""Cityscapes, and folders in its layout."""

from pathlib import Path
from typing import Any

from al_lightning.data.scenes.datamodule import SceneDataModule
from al_lightning.data.scenes.scene import Scene, size_of
from al_lightning.errors import UserError
from al_lightning.labels import class_map

_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"


class CityscapesDataModule(SceneDataModule):
    """Images ``leftImg8bit/{train,val}/<city>/<name>_leftImg8bit.png`` with labels ``gtFine/.../<name>_gtFine_labelIds.png``.

    ``train`` is the pool, ``val`` is for evaluation.

    Args:
        root: folder that contains ``leftImg8bit`` and ``gtFine``.
        foreground: names of classes that are one class against all others, for a two-class problem; None for the 19 classes.
        kwargs: the other arguments of :class:`SceneDataModule`.
    """

    def __init__(self, root: str = "data/cityscapes", foreground: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(root=root, classes=class_map(foreground), **kwargs)

    def listing(self) -> tuple[list[Scene], list[Scene]]:
        """See :meth:`SceneDataModule.listing`."""
        return list_scenes(self.root, "train"), list_scenes(self.root, "val")

    def origin(self, index: int) -> dict[str, str]:
        """The city of an item."""
        return {"city": self._train[index].image.parent.name}


def list_scenes(root: Path, split: str) -> list[Scene]:
    """The scenes of a split, sorted by path. Only the headers of images are read, for their size; labels are not opened.

    A scene is called as its image. If two cities have images of one name, all scenes have their city before it, with a slash.

    Raises:
        UserError: there are none, an image is unreadable, or a label file is missing. The message names it.
    """
    folder = root / "leftImg8bit" / split
    found = (path.relative_to(folder) for path in folder.glob(f"*/*{_IMAGE}"))
    # Systems put files with a dot in front beside images: macOS's "._x.png" is no image.
    images = sorted(folder / path for path in found if not any(part.startswith(".") for part in path.parts))
    if not images:
        raise UserError(f"Expected images {folder}/<city>/<city>_<seq>_<frame>{_IMAGE}, found none. Set data.init_args.root to their root.")
    scenes = []
    alike = len({image.name for image in images}) < len(images)
    for image in images:
        name = image.name.removesuffix(_IMAGE)
        label = root / "gtFine" / split / image.parent.name / f"{name}{_LABEL}"
        if not label.is_file():
            raise UserError(f"Expected the label {label} of the image {image}, but there is no such file.")
        scenes.append(Scene(f"{image.parent.name}/{name}" if alike else name, image, label, size_of(image)))
    return scenes
