"""Scores the images of a folder by a trained network, on one device or several, and ranks them."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from al_lightning import seeds
from al_lightning.acquisition import Strategy, selection
from al_lightning.acquisition.representations import Rows
from al_lightning.callbacks.choosing import Knowledge, refuse_not_finite, seeded_order
from al_lightning.callbacks.gathering import Gathered
from al_lightning.callbacks.scoring import score_batches, scoring_ones, shares
from al_lightning.commands.stored_run import StoredModel
from al_lightning.data.scenes.image_folder import ImageFolder, TakesPictures, scoring_batches
from al_lightning.data.scenes.scene import Size
from al_lightning.errors import UserError
from al_lightning.tasks.fitting import refuse_other_network


class Ranked(NamedTuple):
    """The images to label next.

    Attributes:
        indices: ``(n,)`` in the folder, the most wanted first.
        scores: what the strategy says of these, then the scores ``(n,)`` by each other one, as a person reads them.
        of: number of images that were scored.
        tied_share: of the scores of all, by which images were ranked, that another one equals; 0 where they have none.
    """

    indices: Tensor
    scores: list[Tensor]
    of: int
    tied_share: float


def devices_called(names: Sequence[str] | None) -> list[torch.device]:
    """Devices by their names; by default all GPUs that there are, else the processor.

    Raises:
        UserError: there is no such device.
    """
    if not names:
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())] or [torch.device("cpu")]
    for name in names:
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
            raise UserError(
                f"Expected --devices of this machine, like cpu, cuda or cuda:1, got {name}: {str(error).splitlines()[0]}"
            ) from error
    return [torch.device(name) for name in names]


def rank(
    folder: ImageFolder,
    candidates: Sequence[int],
    labeled: Sequence[int],
    strategies: Sequence[Strategy],
    model: StoredModel,
    devices: Sequence[torch.device],
    size: int,
) -> Ranked:
    """Chooses images, as a query of a run chooses among its pool.

    Args:
        folder: the images; what can't be read or scored is noted there, and left out.
        candidates: indices of those that may be chosen.
        labeled: indices of those that have labels, and may be looked at as well.
        strategies: the first one ranks, the others give further scores. What they share is computed once.
        model: whose network scores.
        devices: that share the work; how many does not change a score.
        size: how many to choose.

    Raises:
        UserError: a strategy reads labels or does not fit the images, no image can be scored, or a score is not finite.
    """
    for strategy in strategies:
        _refuse_labels(strategy)
        strategy.prepare(len(folder), folder.item, _oracle_labels)
    chooser = strategies[0]
    order = seeded_order(torch.tensor(candidates), len(folder), seeds.generator(model.seed, "ties", model.cycle))
    others = torch.tensor(labeled, dtype=torch.int64)
    seen = torch.cat([order, others]) if chooser.sees_labeled else order
    gathered = Gathered(seen, len(folder), devices[0]) if chooser.represented else None
    indices, keys = _scored(folder, [candidates, seen[len(order) :].tolist()], strategies, model, devices, gathered)
    queryable, scored = torch.isin(indices, order), torch.zeros(len(folder), dtype=torch.bool)
    if not bool(queryable.any()):
        raise UserError(f"Expected an image that can be read in {folder.folder}, got none. {next(iter(folder.broken.values()))}")
    scored[indices] = True

    def path_of(index: int) -> str:
        return str(folder.paths[index])

    refuse_not_finite(path_of, indices, keys.isfinite().all(dim=0), "The score of")
    known = Knowledge(chooser, indices, keys[0] if chooser.scores_items else None, gathered, path_of)
    choose_from = known.scored(order[scored[order]], others[scored[others]] if chooser.sees_labeled else others, cycle=model.cycle)
    chosen = known.choose(choose_from, size, seeds.generator(model.seed, "choice", model.cycle))
    places = torch.searchsorted(indices, chosen.indices)
    scores = {strategy: strategy.score(its[places]) for strategy, its in zip(scoring_ones(strategies), keys, strict=True)}
    tied = selection.tied_share(keys[0, queryable]) if chooser.scores_items else 0.0
    return Ranked(chosen.indices, [chosen.scores, *(scores[other] for other in strategies[1:])], int(queryable.sum()), tied)


def _scored(
    folder: ImageFolder,
    parts: Sequence[Sequence[int]],
    strategies: Sequence[Strategy],
    model: StoredModel,
    devices: Sequence[torch.device],
    gathered: Gathered | None,
) -> tuple[Tensor, Tensor]:
    """Sorted indices ``(n,)`` of the images in these parts, as far as they can be read, and their keys ``(S, n)``."""
    data, network = takes_pictures(model), model.task.network
    sizes = _fitting(folder, folder.sizes([index for part in parts for index in part]), network, data, model.task.dense)
    of_parts = [{index: sizes[index] for index in part if index in sizes} for part in parts]
    batches = [batch for its in of_parts for batch in scoring_batches(its, devices[0])]
    if not any(strategy.inferences for strategy in strategies):
        batches = [torch.tensor(folder.whole(sizes), dtype=torch.int64)]
    with tqdm(total=len(sizes), unit=" images", leave=False, disable=None) as bar:

        def after_batch(items: int) -> None:
            bar.update(items)

        load = partial(folder.load, inputs_of=data.inputs_of)
        return _score(devices, strategies, network, batches, load, model.scoring_seed, after_batch, gathered.put if gathered else None)


def takes_pictures(model: StoredModel) -> TakesPictures:
    """The model's data, as what makes a network's inputs of any image.

    Raises:
        UserError: they can't.
    """
    data: object = model.data
    if not isinstance(data, TakesPictures):
        raise UserError(
            f"Expected data that know what their network sees of an image, got {type(data).__name__}: it has no inputs_of and class_names."
        )
    return data


def _score(
    devices: Sequence[torch.device],
    strategies: Sequence[Strategy],
    network: nn.Module,
    batches: list[Tensor],
    load: Callable[[list[Tensor]], Iterable[tuple[Tensor, Tensor]]],
    seed: int,
    after_batch: Callable[[int], None],
    put: Callable[[Tensor, Rows], None] | None,
) -> tuple[Tensor, Tensor]:
    """Sorted indices ``(n,)`` and keys ``(S, n)``; each device has a thread, a copy of the network and a share of the batches.

    Arguments as of :func:`score_batches`. The network ends on the first device.
    """
    stop = Event()

    def score(device: torch.device, replica: nn.Module, its: list[Tensor]) -> tuple[Tensor, Tensor]:
        def on_device(wanted: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
            for inputs, indices in load(wanted):
                if stop.is_set():
                    return
                yield inputs.to(device), indices

        try:
            return score_batches(strategies, replica, its, on_device, seed, after_batch, put)
        except BaseException:
            stop.set()
            raise

    work = devices, [network.to(devices[0]), *(copy.deepcopy(network).to(device) for device in devices[1:])], shares(batches, len(devices))
    if len(devices) == 1:
        found = [*map(score, *work)]
    else:
        with ThreadPoolExecutor(len(devices)) as pool:
            try:
                found = [*pool.map(score, *work)]
            finally:  # after Ctrl-C nobody works on to the end
                stop.set()
    indices = torch.cat([its for its, _ in found])
    order = indices.argsort()
    return indices[order], torch.cat([keys for _, keys in found], dim=1)[:, order]


def _fitting(folder: ImageFolder, sizes: dict[int, Size], network: nn.Module, data: TakesPictures, dense: bool) -> dict[int, Size]:
    """The images that the network can take; others are noted. One for pixels takes any size, and the most frequent one is tried.

    Raises:
        UserError: it can take none.
    """
    tried = [size for size, _ in Counter(sizes.values()).most_common(1 if dense else None)]
    refused: dict[Size, UserError] = {}
    for height, width in tried:
        example = data.inputs_of(np.zeros((height, width, 3), np.uint8)).unsqueeze(0)
        try:
            refuse_other_network(network, example, data.class_names, dense)
        except UserError as error:
            refused[height, width] = error
    if refused and len(refused) == len(tried):
        raise refused[tried[0]]
    for index, (height, width) in sizes.items():
        if (height, width) in refused:
            path = folder.paths[index]
            folder.broken[index] = f"Expected an image that {type(network).__name__} can take, but {path} is {width}x{height} pixels large."
    return {index: size for index, size in sizes.items() if size not in refused}


def _refuse_labels(strategy: Strategy) -> None:
    if strategy.reads_labels:
        raise UserError(
            f"Expected a strategy that reads no labels, for nobody has given any to these images, got {strategy}. Name another."
        )


def _oracle_labels(indices: Tensor) -> Tensor:
    raise UserError("Expected a strategy that reads no labels, for nobody has given any to these images. Name another.")
