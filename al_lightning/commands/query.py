"""``query``: ranks the images of a folder with a trained network, and writes a table and a contact sheet of those to label next."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from al_lightning import locks, shipped, sources
from al_lightning.acquisition import Strategy
from al_lightning.analysis.pages import Proposal, contact_sheet, thumbnail
from al_lightning.annotation.items import classes_of
from al_lightning.annotation.package import TOOLS, refuse_tools
from al_lightning.callbacks.scoring import pixel_scores
from al_lightning.commands.arguments import CommandParser, positive
from al_lightning.commands.folder_scores import Ranked, devices_by_name, rank, takes_pictures
from al_lightning.commands.query_package import PACKAGE, write_package
from al_lightning.commands.stored_run import StoredModel, load_checkpoint, load_run, read_strategy
from al_lightning.data import PoolDataModule
from al_lightning.data.own_files import beside
from al_lightning.data.scenes.image_folder import ImageFolder
from al_lightning.errors import UserError
from al_lightning.files import as_csv, remove_unfinished, write_atomically
from al_lightning.percent import percent
from al_lightning.runs import RunDirectory
from al_lightning.text import encoded

SOME_LEFT_OUT = 3
"""Exit status if the query was written, but left out images that can't be read or scored."""

_TABLE, _PAGE = "query.csv", "query.html"
_SHOWN = 200  # the most images on the page, as nobody looks at more, and a browser has to load them all


def main(arguments: Sequence[str]) -> None:
    """Runs the command.

    Args:
        arguments: the command's name, and its options.

    Raises:
        UserError: the model, the images or the strategy can't be used, or the folder has a query already.
        SystemExit: with status 3 if the query was written, but left out images that can't be read or scored.
    """
    given = _parser(arguments[0]).parse_args(shipped.located_in(arguments[1:]))
    out, devices, model = Path(given.out), devices_by_name(given.devices), _model(given)
    folder = ImageFolder(Path(given.images), model.data.masks_among)
    strategies = _strategies(model, given.strategy)
    if given.package:
        refuse_tools(given.package, classes_of(model.data), folder.paths)
    with _claimed(out):
        candidates, labeled, notes = _parted(folder, model, given.run)
        ranked = rank(folder, candidates, labeled, strategies, model, devices, given.n)
        notes = [f"{len(ranked.indices):,} of {ranked.of:,} images by {strategies[0]}, with the weights of {model.source}.", *notes]
        if strategies[0].depends_on_labeled:
            notes.append(f"{strategies[0]} knows of the {len(labeled):,} labeled images that lie here, and of no others.")
        if ranked.of > 1 and ranked.tied_share == 1:
            notes.append(f"{strategies[0]} can't tell the images apart: each image has the same score as another one.")
        page = _page(folder, model, notes, [*_proposals(folder, ranked, strategies[0], model, devices[0])])
        if given.package:
            write_package(out, folder, ranked, model, given.package, given.run)
        write_atomically(out / _PAGE, encoded(page))
        write_atomically(out / _TABLE, encoded(as_csv(_table(folder, ranked, strategies))))
    print(*notes, out / _TABLE, out / _PAGE, *([out / PACKAGE] if given.package else []), sep="\n")
    if folder.broken:
        print(*(f"al_lightning: left out: {why}" for why in folder.broken.values()), sep="\n", file=sys.stderr)
        sys.exit(SOME_LEFT_OUT)


def _parser(command: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=f"python -m al_lightning {command}",
        description="Ranks the images of a folder by what is most worth labeling next, and writes query.csv, and query.html to look at. "
        f"It needs no masks and opens none. Exit status {SOME_LEFT_OUT} means that images were left out that can't be read or scored.",
    )
    parser.add_argument("--run", metavar="RUN", help="a run's directory: take its last checkpoint, strategy and labeled items")
    parser.add_argument("--checkpoint", metavar="CKPT", help="instead of --run: the network's weights")
    parser.add_argument("--config", metavar="CONFIG", help="with --checkpoint: the configuration that the weights were trained with")
    parser.add_argument("--images", required=True, metavar="FOLDER", help="the images (PNG, JPEG, TIFF)")
    parser.add_argument(
        "--strategy", metavar="YAML", help="Entropy, or {class_path: BALD, init_args: {passes: 20}}; the configuration's by default"
    )
    parser.add_argument("--n", type=positive, default=20, help="how many images; 20 by default")
    parser.add_argument(
        "--package",
        nargs="+",
        action="extend",
        choices=TOOLS,
        metavar="TOOL",
        help=f"copy the images into {PACKAGE} beside {_TABLE}, with the network's predictions in the formats of {', '.join(TOOLS[1:-1])} "
        f"or {TOOLS[-1]}; plain for the images and a README.txt only",
    )
    parser.add_argument(
        "--devices", nargs="+", action="extend", metavar="NAME", help="cpu, or cuda:0 cuda:1 ...; by default all GPUs, else the CPU"
    )
    parser.add_argument("--out", default="query", metavar="DIR", help="folder for query.csv and query.html; query by default")
    return parser


def _model(given: argparse.Namespace) -> StoredModel:
    if (given.run is None) == (given.checkpoint is None) or (given.checkpoint is None) != (given.config is None):
        raise UserError("Expected either --run RUN, or --checkpoint CKPT with --config CONFIG.")
    if given.run is not None:
        return load_run(RunDirectory(given.run))
    return load_checkpoint(Path(given.checkpoint), Path(given.config))


def _strategies(model: StoredModel, given: str | None) -> list[Strategy]:
    """Returns the strategy that chooses, then the strategies whose scores are recorded, too."""
    configured = model.strategies()
    if not configured and given is None:
        raise UserError("Expected --strategy, as the configuration has no active_learning.strategy, got none.")
    ranking = configured[0] if given is None else read_strategy(given)
    if oracles := [str(other) for other in configured[1:] if other.reads_labels]:
        print(f"Nobody has labeled these images: without {', '.join(oracles)}.")
    return [ranking, *(other for other in configured[1:] if not other.reads_labels and str(other) != str(ranking))]


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Reserves a folder for the query of this process.

    Raises:
        UserError: the folder has a query already, or another process is writing one.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not locks.lock(out / ".lock"):
        raise UserError(
            f"Another process is writing a query into {out}. Wait for it, or name another --out. To use several GPUs, start one process."
        )
    try:
        remove_unfinished(out, [".csv", ".html"])
        if there := [name for name in (_TABLE, _PAGE, PACKAGE) if (out / name).exists()]:
            raise UserError(f"Expected no query in {out}, got {' and '.join(there)}. Name another --out, or remove what is there.")
        yield
    finally:
        locks.unlock(out / ".lock")


def _parted(folder: ImageFolder, model: StoredModel, run: str | None) -> tuple[list[int], list[int], list[str]]:
    """Splits the images of a folder.

    Returns:
        The indices of images that may be chosen, the indices of labeled images, and a sentence for each reason not to choose images.

    Raises:
        UserError: no image may be chosen.
    """
    masked = folder.masked() if model.task.dense else set()
    labeled = {"have a mask" if model.task.dense else "have a class": masked | folder.places(model.data.labeled_images())}
    held_out: dict[str, set[int]] = {}
    if run is not None:
        labeled[f"are labeled in {run}"] = folder.known(_labeled_files(RunDirectory(run)))
        its = beside([*map(model.data.name_of, folder.paths)], _held_out_names(RunDirectory(run), model.data), model.data.group)
        held_out[f"belong to groups that {run} holds out"] = {*its}
    notes, others = list[str](), set[int]()
    for why, places in (labeled | held_out).items():
        if more := places - others:
            notes.append(f"{len(more):,} images {why}, and are not asked for.")
        others |= more
    if len(others) == len(folder):
        raise UserError(f"Expected an image without a label in {folder.folder}, got none. {' '.join(notes)}")
    return sorted({*range(len(folder))} - others), sorted(set[int]().union(*labeled.values())), notes


def _labeled_files(run: RunDirectory) -> Iterator[tuple[str, str]]:
    """Yields name and identity of the images whose labels a run has: its labeled items, and its validation and evaluation images."""
    files = sources.read_images(run.images)
    pool = [file for file in files if file.split != sources.EVALUATION]
    rows = [*run.read_labeled()[1], *run.read_evaluation()]
    labeled = [pool[row.index] for row in rows if row.index < len(pool)]  # copies of one image have indices of their own
    for file in (*labeled, *(file for file in files if file.split in (sources.VALIDATION, sources.EVALUATION))):
        yield Path(file.file).name, file.identity


def _held_out_names(run: RunDirectory, data: PoolDataModule) -> Iterator[str]:
    """Yields the names of the images that a run is validated and evaluated on."""
    yield from (row.item for row in run.read_evaluation())
    held = (file for file in sources.read_images(run.images) if file.split in (sources.VALIDATION, sources.EVALUATION))
    yield from (data.name_of(Path(file.file)) for file in held)


def _proposals(folder: ImageFolder, ranked: Ranked, strategy: Strategy, model: StoredModel, device: torch.device) -> Iterator[Proposal]:
    data, network = takes_pictures(model), model.task.network
    for index, score in zip(ranked.indices[:_SHOWN].tolist(), ranked.scores[0].tolist(), strict=False):
        if (picture := folder.picture(index)) is None:  # it could be read when it was scored
            raise UserError(folder.broken[index])
        inputs = data.inputs_of(picture).unsqueeze(0).to(device)
        logits, (scores,) = pixel_scores([strategy], network, inputs, torch.tensor([index], device=device), model.scoring_seed)
        yield thumbnail(
            Proposal(
                str(folder.paths[index]),
                picture,
                logits[0].argmax(dim=0).cpu().numpy() if model.task.dense else _class_in_words(logits[0], data.class_names),
                scores[0].float().cpu().numpy() if scores is not None and model.task.dense else None,
                score,
            )
        )


def _class_in_words(logits: torch.Tensor, names: Sequence[str]) -> str:
    p, number = logits.softmax(dim=0).max(dim=0)
    return f"{names[int(number)]} ({percent(float(p), '.0f')})"


def _page(folder: ImageFolder, model: StoredModel, notes: Sequence[str], proposals: Sequence[Proposal]) -> str:
    names, colors, *_ = classes_of(model.data)
    if len(proposals) == _SHOWN:
        notes = [*notes, f"No more than {_SHOWN} are shown here; {_TABLE} has all."]
    return contact_sheet(
        f"What to label next in {folder.folder}", notes, proposals, names, np.array(colors, np.uint8), [*folder.broken.values()]
    )


def _table(folder: ImageFolder, ranked: Ranked, strategies: Sequence[Strategy]) -> list[list[Any]]:
    rows = zip(ranked.indices.tolist(), torch.stack(ranked.scores).T.tolist(), strict=True)
    return [
        ["rank", "path", "score", *map(str, strategies[1:])],
        *([place, folder.paths[index], *(f"{score:.9g}" for score in scores)] for place, (index, scores) in enumerate(rows)),
    ]
