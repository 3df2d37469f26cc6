"""Who labels what is queried: the data set, or a person, for whom the run waits."""

import logging
import math
import os
import shlex
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NoReturn

from torch import Tensor, nn

from al_lightning.annotation.items import Item, classes_of
from al_lightning.annotation.package import PLAIN, Tool, refuse_tools, write_tools
from al_lightning.callbacks.predictions import predicted
from al_lightning.data import PoolDataModule
from al_lightning.data.scenes.scene import decode_image, size_of
from al_lightning.errors import UserError
from al_lightning.files import write_atomically
from al_lightning.run_files import EVALUATION_FIRST, INITIAL, MADE_IN_PYTHON
from al_lightning.run_tables import Labeled
from al_lightning.runs import RunDirectory
from al_lightning.text import encoded

log = logging.getLogger(__name__)

OracleLabels = Callable[[Tensor], Tensor]
_WHAT_FOR = {EVALUATION_FIRST: " of images drawn for evaluation", INITIAL: " to begin with"}


class Oracle(ABC):
    """Answers queries; in the first process only, except :meth:`prepare` and :meth:`shown_to_strategies`.

    Attributes:
        asks: whether it can be asked for labels that the data don't have.
    """

    asks = False

    def prepare(self, data: PoolDataModule) -> None:  # noqa: B027  the pool already knows which items have a label
        """Marks in ``data.pool`` the items that it can label; called when the pool is built."""

    def ask(  # noqa: B027  the data set needs no telling
        self, run: RunDirectory, data: PoolDataModule, asked: Sequence[Labeled], network: nn.Module | None
    ) -> None:
        """Asks for labels of items, before the cycle is recorded as finished.

        Args:
            run: the run that asks.
            data: the data module.
            asked: rows of the items, in the order of their ranks.
            network: predicts labels to begin with; None if none is trained yet.

        Raises:
            UserError: an image can't be read, or the oracle can't label such data.
        """

    def mention(self, data: PoolDataModule, asked: Sequence[Labeled]) -> None:  # noqa: B027  a simulation takes what it asks for
        """Logs how many labels have come that nobody has asked for, when a run goes on.

        Args:
            data: the data module.
            asked: all items that were asked for.
        """

    @abstractmethod
    def answer(self, data: PoolDataModule, asked: Sequence[Labeled]) -> list[Labeled]:
        """The asked items that are labeled, ranked anew from 0; empty if it is too early to continue.

        Raises:
            UserError: a label is wrong, or an asked item is not in these data.
        """

    def request(self, run: RunDirectory, data: PoolDataModule, asked: Sequence[Labeled]) -> str:
        """A sentence that says what a person has to do before it can answer.

        Raises:
            NotImplementedError: it answers at once.
        """
        raise NotImplementedError(f"{type(self).__name__} answers at once.")

    def shown_to_strategies(self, oracle_labels: OracleLabels) -> OracleLabels:
        """The function from which a strategy gets labels of items that are not labeled yet."""
        return oracle_labels


class DatasetOracle(Oracle):
    """The data set, whose labels are there: a simulation."""

    def prepare(self, data: PoolDataModule) -> None:
        """Logs how many unlabeled items it has no label for."""
        if unlabeled := int((data.pool.unlabeled & ~data.pool.answerable).sum()):
            log.info("%d images of the pool have no label: a simulation never asks for them, as nobody would answer", unlabeled)

    def answer(self, data: PoolDataModule, asked: Sequence[Labeled]) -> list[Labeled]:
        """See :meth:`Oracle.answer`; it answers for all items at once."""
        return [*asked]


class HumanOracle(Oracle):
    """A person, who draws masks or names classes.

    Args:
        enough: the share of the asked items that must be labeled before a run continues; an evaluation set must be labeled completely.
        tools: the tools that get files in the package of images.
    """

    asks = True

    def __init__(self, enough: float = 1.0, tools: Sequence[Tool] = (PLAIN,)) -> None:
        self.enough = enough
        self.tools = tools

    def prepare(self, data: PoolDataModule) -> None:
        """Marks all items: a person can label every one.

        Raises:
            UserError: labels can't be added to these data, or a tool can't be used for them.
        """
        refuse_tools(self.tools, classes_of(data), [data.image_and_label(index)[0] for index in range(len(data.pool.labeled))])
        data.pool.answerable.fill_(True)

    def ask(self, run: RunDirectory, data: PoolDataModule, asked: Sequence[Labeled], network: nn.Module | None) -> None:
        """Writes the images to label, a README.txt, the tools' files, and asked.csv at last.

        Images that have a label already are in asked.csv alone.

        If some items were drawn at random, none of these files has scores, which would give the random ones away; random.csv has them.

        Raises:
            UserError: an image can't be read, or a tool can't show it.
        """
        cycle = asked[0].cycle - 1
        if run.read_random(cycle):
            asked = [replace(row, score=None) for row in asked]
        folder = run.package(cycle)
        shutil.rmtree(folder, ignore_errors=True)  # of a start that failed, which may have asked for others
        folder.mkdir(parents=True)
        names = package_names(data, [*run.read_asked(), *asked])
        to_label = [row for row in asked if not data.is_answered(row.index)]
        for row in to_label:
            image, _ = data.image_and_label(row.index)
            shutil.copyfile(image, folder / names[row.index])  # no link: what a tool does to these files must not reach the data
        write_atomically(folder / "README.txt", encoded(_readme(run, data, to_label, names)))
        self._write_tools(run, data, to_label, names, network)
        run.write_asked(cycle, asked)

    def mention(self, data: PoolDataModule, asked: Sequence[Labeled]) -> None:
        """See :meth:`Oracle.mention`."""
        known = {row.index for row in asked}
        others = [index for index in data.pool.unlabeled.nonzero().flatten().tolist() if index not in known and data.is_answered(index)]
        if others:
            log.info(
                "%d images of the pool have a label that this run has not asked for, %s among them: it counts once the run asks for it, or "
                "in a run that begins later",
                len(others),
                data.item(others[0]),
            )

    def _write_tools(
        self, run: RunDirectory, data: PoolDataModule, asked: Sequence[Labeled], names: Mapping[int, str], network: nn.Module | None
    ) -> None:
        if {*self.tools} == {PLAIN} or not asked:
            return

        def item(row: Labeled) -> Item:
            image, _ = data.image_and_label(row.index)
            prediction = None if network is None else predicted(network, data, decode_image(image))
            return Item(row.item, folder / names[row.index], size_of(image), row.score, prediction)

        cycle = asked[0].cycle - 1
        folder = run.package(cycle)
        then = None if _is_a_scripts(run) else f"python -m al_lightning ingest {shlex.quote(str(run.path))}"
        write_tools(folder, [*map(item, asked)], classes_of(data), self.tools, f"{run.path.name}, cycle {cycle}", run.path, folder, then)

    def answer(self, data: PoolDataModule, asked: Sequence[Labeled]) -> list[Labeled]:
        """See :meth:`Oracle.answer`; it answers when enough items are labeled."""
        refuse_other_items(data, asked)
        there = _there(data, asked)
        if len(there) < self._needed(asked):
            return []
        for row in there:
            data.check_answer(row.index)
        return [replace(row, rank=rank) for rank, row in enumerate(there)]

    def request(self, run: RunDirectory, data: PoolDataModule, asked: Sequence[Labeled]) -> str:
        """See :meth:`Oracle.request`."""
        there, needed = len(_there(data, asked)), self._needed(asked)
        which = f"{len(asked)}" if needed == len(asked) else f"{len(asked)} ({needed} will do)"
        if there >= needed:
            return f"{there} of {which} labels are there: go on with the same command and --resume."
        images, place = run.package(asked[0].cycle - 1), data.image_and_label(asked[0].index)[1]
        what = f"the class of each image in {images} into {place}" if data.answers_in_table else None
        what = what or f"masks of the images in {images} into {place.parent}"
        whatfor = _WHAT_FOR.get(asked[0].cycle - 1, "")
        return f"{there} of {which} labels{whatfor} are there: put {what}, then go on with the same command and --resume."

    def shown_to_strategies(self, oracle_labels: OracleLabels) -> OracleLabels:
        """See :meth:`Oracle.shown_to_strategies`; the function refuses, because nobody has labeled these items."""

        def refuse(indices: Tensor) -> NoReturn:
            raise UserError(
                "Expected strategies that read no labels of unlabeled items, with active_learning.oracle=human. Take another strategy, or "
                "oracle=dataset."
            )

        return refuse

    def _needed(self, asked: Sequence[Labeled]) -> int:
        # Images that people leave out are often the hard ones: a part of an evaluation set is no random sample of it.
        enough = 1.0 if asked[0].cycle - 1 == EVALUATION_FIRST else self.enough
        return math.ceil(enough * len(asked) - 1e-9)


def refuse_other_items(data: PoolDataModule, asked: Sequence[Labeled]) -> None:
    """Makes sure that the items that were asked for are in these data.

    Raises:
        UserError: an item is not.
    """
    for row in asked:
        if row.index >= len(data.pool.labeled) or data.item(row.index) != row.item:
            raise UserError(f"Expected items of these data in asked.csv, but {row.item!r} is not at index {row.index} there.")


def _there(data: PoolDataModule, asked: Sequence[Labeled]) -> list[Labeled]:
    return [row for row in asked if data.is_answered(row.index)]


def package_names(data: PoolDataModule, asked: Sequence[Labeled]) -> dict[int, str]:
    """The file names of items' images in the packages of a run, by index. No two items have the same, so that none gets another's label.

    Args:
        data: of the run.
        asked: the items of all packages, by cycle. An item that is asked for again keeps its name.

    Returns:
        The names of the images' files. If two of a package differ in the suffix alone, or not at all, or an earlier package has such a
        name, the folder or also the index is put in front.
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    for _, package in groupby(asked, key=lambda row: row.cycle):
        images = {row.index: data.image_and_label(row.index)[0] for row in package if row.index not in names}
        count = Counter(image.stem for image in images.values())
        for index, image in images.items():
            stem = image.stem if count[image.stem] == 1 and image.stem not in taken else f"{image.parent.name}-{image.stem}"
            while stem in taken:
                stem = f"{index}-{stem}"
            names[index] = f"{stem}{image.suffix}"
            taken.add(stem)
    return names


def _readme(run: RunDirectory, data: PoolDataModule, asked: Sequence[Labeled], names: Mapping[int, str]) -> str:
    if not asked:
        return "All images that the run asks for have a label already.\n"
    files, places = [names[row.index] for row in asked], [data.image_and_label(row.index)[1] for row in asked]
    if data.answers_in_table:
        lines = [f"  {file}" for file in files]
        what = [
            f"Label the images in this folder: {data.label_key()} for each.",
            f"Write the classes into {places[0].resolve()} (one line for each image: name,class).",
        ]
        others = [
            "Or write them into another table of this kind, or sort copies of the images into one folder for each class. A command takes",
            "the labels from that table or folder (FROM):",
        ]
    else:
        lines = [f"  {file} -> {place.name}" for file, place in zip(files, places, strict=True)]
        what = [
            f"Label the images in this folder: draw a mask for each, as large as the image is shown, with {data.label_key()}.",
            f"Put the masks, with the names below, into {places[0].parent.resolve()}.",
        ]
        others = ["Or put them into any other folder. A command takes them from there (FROM):"]
    its = shlex.quote(str(run.path))
    commands = [
        *others,
        "",
        f"    python -m al_lightning ingest {its} FROM",
        "",
        "It checks the labels first. Then continue the run:",
        "",
        f"    python -m al_lightning fit --resume --run_dir {its}",
    ]
    return "\n".join(
        [
            *what,
            *(["Then continue the run by its script, with resume=True."] if _is_a_scripts(run) else commands),
            "",
            "The images, the first to label first:",
            "",
            *lines,
            "",
        ]
    )


def _is_a_scripts(run: RunDirectory) -> bool:
    """Whether a script makes the run: commands can't build its data."""
    return os.path.lexists(run.config) and bool(run.read_config().get(MADE_IN_PYTHON))
