"""The package of ``query`` for an annotator: copies of the images, files for annotation tools, and instructions."""

import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from al_lightning.annotation.items import Item, classes_of
from al_lightning.annotation.package import PLAIN, Tool, copied, write_tools
from al_lightning.callbacks.predictions import predicted
from al_lightning.commands.folder_scores import Ranked
from al_lightning.commands.stored_run import StoredModel
from al_lightning.data import SceneDataModule
from al_lightning.data.scenes.image_folder import ImageFolder
from al_lightning.errors import UserError
from al_lightning.files import write_atomically
from al_lightning.text import encoded

PACKAGE = "to_label"


def write_package(out: Path, folder: ImageFolder, ranked: Ranked, model: StoredModel, tools: Sequence[Tool], run: Path | None) -> None:
    """Writes the folder ``to_label``. If the process dies, an incomplete folder has another name.

    Args:
        out: folder of the query.
        folder: the images.
        ranked: the chosen images.
        model: the model that predicts their labels.
        tools: the tools that the package is for.
        run: the run whose data get the labels; None if unknown.

    Raises:
        UserError: an image can't be read any more.
    """
    unfinished = out / f"{PACKAGE}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    items = [*_items(out / PACKAGE, folder, ranked, model if {*tools} != {PLAIN} else None)]
    for index in ranked.indices.tolist():
        copied(folder.paths[index], unfinished)
    then = f"python -m al_lightning ingest {shlex.quote(str(run or 'RUN'))} --query {shlex.quote(str(out))}" if _takes(model) else None
    write_tools(unfinished, items, classes_of(model.data), tools, model.source, out, out / PACKAGE, then)
    write_atomically(unfinished / "README.txt", encoded(_readme(items, model, then)))
    unfinished.rename(out / PACKAGE)


def _items(place: Path, folder: ImageFolder, ranked: Ranked, model: StoredModel | None) -> Iterator[Item]:
    for index, score in zip(ranked.indices.tolist(), ranked.scores[0].tolist(), strict=True):
        if (picture := folder.picture(index)) is None:  # it could be read when it was scored
            raise UserError(folder.broken[index])
        prediction = None if model is None else predicted(model.task.network, model.data, picture)
        height, width = picture.shape[:2]
        yield Item(folder.item(index), place / folder.paths[index].name, (height, width), score, prediction)


def _takes(model: StoredModel) -> bool:
    """Whether ``ingest`` can take labels for the data of this model."""
    return isinstance(model.data, SceneDataModule) or model.data.answers_in_table


def _readme(items: Sequence[Item], model: StoredModel, then: str | None) -> str:
    if isinstance(model.data, SceneDataModule):
        what = f"draw a mask for each, as large as the image is shown, with {model.data.classes.key()}"
        source = "a folder of masks that have the names of their images"
    else:
        what = f"give each one of the classes {', '.join(model.data.class_names)}"
        source = "a table with the columns name and class, or a folder with a folder of images for each class"
    lines = [f"Label the images in this folder: {what}.", ""]
    if then:
        lines += [f"If the images belong to the data of the run, a command takes the labels. FROM is {source}:", "", f"    {then} FROM", ""]
    return "\n".join([*lines, "The images, the first to label first:", "", *(f"  {item.image.name}" for item in items), ""])
