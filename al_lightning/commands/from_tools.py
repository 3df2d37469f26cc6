"""The sources of ``ingest``: a person's own folder or table as it is, and the export of a tool, which is converted to one of these."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from al_lightning.annotation.export import Asked, draw, is_export, read_export, tabulate
from al_lightning.annotation.items import Rules, classes_of
from al_lightning.data import PoolDataModule, SceneDataModule
from al_lightning.data.scenes.scene import size_of
from al_lightning.errors import UserError
from al_lightning.labels import rest_of


@contextmanager
def as_folder_or_table(
    source: Path, data: PoolDataModule, indices: Sequence[int], rules: Rules, rest: str | None
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Provides a folder of masks or a table of classes within a ``with`` block.

    Args:
        source: path of the folder, table or export, as the user gives it.
        data: the data of the run.
        indices: indices of the items that a person was asked to label.
        rules: says what is refused in an export.
        rest: the class of pixels that no region covers, see :func:`rest_of`; None for the setting of the data.

    Yields:
        The path of the folder or table, and for the name of each refused image of an export the reason.

    Raises:
        UserError: an export is damaged, has no answers, or is of an unknown kind.
    """
    if not is_export(source):
        yield source, {}
        return
    classes = classes_of(data)
    if rest is not None:
        classes = classes._replace(rest=rest_of(classes.names, rest))
    with tempfile.TemporaryDirectory() as scratch:
        unpacked, labels = Path(scratch, "unpacked"), Path(scratch, "labels")
        unpacked.mkdir()
        labels.mkdir()
        try:
            answers = read_export(source, classes, rules, unpacked)
            if isinstance(data, SceneDataModule):
                where = labels
                found, refused = draw(answers, _asked(data, indices), data.classes, labels)
            else:
                where = labels / "labels.csv"
                found, refused = tabulate(answers, where)
        except UserError as error:
            raise UserError(str(error).replace(str(unpacked), str(source))) from error
        if not found and not refused:
            raise UserError(f"Expected labels in {source}, but nobody has given any there.")
        yield where, {name: why.replace(str(unpacked), str(source)) for name, why in refused.items()}


def _asked(data: PoolDataModule, indices: Sequence[int]) -> dict[str, Asked]:
    """Returns the images that were asked for, by each name that an export may use for them."""
    found: dict[str, Asked] = {}
    for index in indices:
        image, label = data.image_and_label(index)
        found |= dict.fromkeys((data.item(index), image.stem, label.stem), Asked(label, size_of(image)))
    return found
