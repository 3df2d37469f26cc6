"""What ``query`` hands to a person: copies of the images, what tools read of them, and what to do."""

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
    """Writes the folder ``to_label``, which is there as a whole or not at all.

    Args:
        out: folder of the query.
        folder: the images.
        ranked: which of them.
        model: says what is in them.
        tools: that the package is for.
        run: whose data get the labels; None where nobody knows.

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
        if (picture := folder.picture(index)) is None:  # since it was scored
            raise UserError(folder.broken[index])
        prediction = None if model is None else predicted(model.task.network, model.data, picture)
        height, width = picture.shape[:2]
        yield Item(folder.item(index), place / folder.paths[index].name, (height, width), score, prediction)


def _takes(model: StoredModel) -> bool:
    """Whether ``ingest`` could take labels into such data."""
    return isinstance(model.data, SceneDataModule) or model.data.answers_in_table


def _readme(items: Sequence[Item], model: StoredModel, then: str | None) -> str:
    if isinstance(model.data, SceneDataModule):
        what = f"a mask for each, as large as the image is shown, with {model.data.classes.key()}"
        source = "With masks of the same names in a folder of yours"
    else:
        what = f"one of the classes {', '.join(model.data.class_names)} for each"
        source = "With a table of the columns name and class, or a folder of images for each class"
    lines = [f"The images of this folder are to be labeled: {what}.", ""]
    if then:
        lines += [f"{source}, where the images are of the run's own data:", "", f"    {then} FROM", ""]
    return "\n".join([*lines, "The most wanted one is the first:", "", *(f"  {item.image.name}" for item in items), ""])
