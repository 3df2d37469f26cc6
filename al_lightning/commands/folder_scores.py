"""Scores the images of a folder with a trained network, on one or more devices, and ranks them."""

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
from al_lightning.callbacks.choosing import ScoredPool, refuse_not_finite, seeded_order
from al_lightning.callbacks.gathering import Gathered
from al_lightning.callbacks.scoring import score_batches, shares, that_score_items
from al_lightning.commands.stored_run import StoredModel
from al_lightning.data.scenes.image_folder import ImageFolder, TakesPictures, scoring_batches
from al_lightning.data.scenes.scene import Size
from al_lightning.errors import UserError
from al_lightning.tasks.fitting import refuse_other_network


class Ranked(NamedTuple):
    """The images to label next.

    Attributes:
        indices: ``(n,)`` indices of images in the folder, the first to label first.
        scores: the scores ``(n,)`` by the strategy that chose, then those by each further strategy, as a person reads them.
        of: the number of images that could be chosen.
        tied_share: the share of these images whose ranking key another image has, too; 0 if the strategy does not score single images.
    """

    indices: Tensor
    scores: list[Tensor]
    of: int
    tied_share: float


def devices_by_name(names: Sequence[str] | None) -> list[torch.device]:
    """Returns devices by their names. Without names, returns all GPUs, or the CPU if there is no GPU.

    Raises:
        UserError: this machine does not have such a device.
    """
    if not names:
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())] or [torch.device("cpu")]
    for name in names:
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
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
    """Chooses images in the same way as a query of a run chooses from its pool.

    Args:
        folder: the images. Those that can't be read or scored are noted in ``folder.broken`` and left out.
        candidates: indices of the images that may be chosen.
        labeled: indices of the labeled images, which some strategies look at, too.
        strategies: the first one chooses, the others give further scores. What they share is computed once.
        model: has the network.
        devices: the devices that share the work. Their number does not change a score.
        size: the number of images to choose.

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
    known = ScoredPool(chooser, indices, keys[0] if chooser.scores_items else None, gathered, path_of)
    choose_from = known.scored(order[scored[order]], others[scored[others]] if chooser.sees_labeled else others, cycle=model.cycle)
    choice = known.choose(choose_from, size, seeds.generator(model.seed, "choice", model.cycle))
    chosen = known.scores_of(choice.indices, choice)
    places = torch.searchsorted(indices, choice.indices)
    scores = {strategy: strategy.score(its[places]) for strategy, its in zip(that_score_items(strategies), keys, strict=True)}
    tied = selection.tied_share(keys[0, queryable]) if known.goes_by_items(choice) else 0.0
    return Ranked(choice.indices, [chosen, *(scores[other] for other in strategies[1:])], int(queryable.sum()), tied)


def _scored(
    folder: ImageFolder,
    parts: Sequence[Sequence[int]],
    strategies: Sequence[Strategy],
    model: StoredModel,
    devices: Sequence[torch.device],
    gathered: Gathered | None,
) -> tuple[Tensor, Tensor]:
    """Returns the sorted indices ``(n,)`` of the images in these parts that can be scored, and their ranking keys ``(S, n)``."""
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
    """Returns the model's data module, if it can make the network's inputs from any image.

    Raises:
        UserError: the data module can't.
    """
    data: object = model.data
    if not isinstance(data, TakesPictures):
        raise UserError(
            f"Expected a data module that makes a network's inputs from any image, got {type(data).__name__}, which lacks inputs_of or "
            "class_names."
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
    """Returns sorted indices ``(n,)`` and ranking keys ``(S, n)``.

    Each device has a thread, a copy of the network and a share of the batches. Afterwards the network itself is on the first device. For
    the arguments see :func:`score_batches`.
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
            finally:  # after Ctrl-C the other threads stop before their next batch
                stop.set()
    indices = torch.cat([its for its, _ in found])
    order = indices.argsort()
    return indices[order], torch.cat([keys for _, keys in found], dim=1)[:, order]


def _fitting(folder: ImageFolder, sizes: dict[int, Size], network: nn.Module, data: TakesPictures, dense: bool) -> dict[int, Size]:
    """Returns the images whose size the network accepts, and notes the others in ``folder.broken``.

    A network that classifies pixels accepts any size; only the most frequent size is tried.

    Raises:
        UserError: the network accepts none of the sizes.
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
