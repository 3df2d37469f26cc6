"""``maps``: draws the score maps of all methods for images, with the weights of one cycle of a segmentation run."""

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from al_lightning import seeds
from al_lightning.acquisition import BALD, Entropy, Margin, MaxSoftmax, Mean, Odin, Strategy, VoteEntropy, functional
from al_lightning.acquisition.dropout import droppable
from al_lightning.acquisition.inference import DropoutPasses
from al_lightning.analysis.drawings import SceneRow, draw_bounds, draw_score_maps
from al_lightning.callbacks.scoring import pixel_scores
from al_lightning.commands.arguments import CommandParser
from al_lightning.commands.stored_run import StoredCycle, load_cycle, read_strategy
from al_lightning.data import SceneDataModule
from al_lightning.data.scenes.datasets import Example
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory


def main(arguments: Sequence[str]) -> None:
    """Runs the command.

    Args:
        arguments: the command's name, and its options.

    Raises:
        UserError: the run, the cycle, an image or a strategy is not what was expected.
    """
    given = _parser(arguments[0]).parse_args(arguments[1:])
    strategies = [_of_pixels(read_strategy(text)) for text in given.strategy] if given.strategy else methods()
    stored = load_cycle(RunDirectory(given.run), given.cycle, given.data_root)
    examples = _examples(stored.data, given.split, given.image)
    network = stored.task.network
    if left_out := [str(strategy) for strategy in strategies if not _possible(strategy, network)]:
        print(f"{type(network).__name__} has no live dropout: without {', '.join(left_out)}.")
    strategies = [strategy for strategy in strategies if _possible(strategy, network)]
    folder = stored.run.maps if given.out is None else Path(given.out)
    for example in examples:
        for path in draw_maps(stored, example, strategies, folder):
            print(path)


def _parser(command: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=f"python -m al_lightning {command}",
        description="Draws, for images of a segmentation run: the image, ground truth, prediction and the pixel scores of all methods; and "
        "1 - max p against entropy of its pixels, with the bounds of entropy. Only the pictures are added to the run.",
    )
    parser.add_argument("--run", required=True, metavar="RUN", help="the run's directory")
    parser.add_argument("--cycle", type=int, metavar="N", help="take the weights of this cycle; by default of the last with a checkpoint")
    parser.add_argument("--image", nargs="+", action="extend", metavar="NAME", help="names of images; the split's first one by default")
    parser.add_argument("--split", choices=["evaluation", "pool"], default="evaluation", help="where the images are; evaluation by default")
    parser.add_argument(
        "--strategy",
        nargs="+",
        action="extend",
        metavar="YAML",
        help="methods instead of all: Entropy, or {class_path: Odin, init_args: {temperature: 10}}",
    )
    parser.add_argument("--data_root", metavar="DIR", help="where the data are now, if they were moved")
    parser.add_argument("--out", metavar="DIR", help="folder for the pictures; RUN/maps by default")
    return parser


def methods() -> list[Strategy]:
    """Returns the methods of Chen's thesis (2020): with ODIN at five temperatures without perturbation, and at T = 1000 with it."""
    odin = [Odin(temperature, 0.0) for temperature in (0.01, 0.1, 10.0, 100.0, 1000.0)]
    return [Entropy(), MaxSoftmax(), Margin(), BALD(), VoteEntropy(), *odin, Odin(1000.0, 0.0014)]


def _of_pixels(strategy: Strategy) -> Strategy:
    """Returns the strategy.

    Raises:
        UserError: it gives pixels no scores.
    """
    strategy.aggregated_by(Mean())  # raises if it gives pixels no scores
    return strategy


def _examples(data: SceneDataModule, split: str, wanted: Sequence[str] | None) -> list[Example]:
    """Returns the images of these names; the first image of the split without names.

    Raises:
        UserError: the split has no image of a name.
    """
    evaluation = split == "evaluation"
    size, name = (data.evaluation_size, data.evaluation_item) if evaluation else (len(data.pool.labeled), data.item)
    places = {name(index): index for index in range(size)}
    for image in wanted or ():
        if image not in places:
            near = sorted(difflib.get_close_matches(image, places, n=3, cutoff=0))
            raise UserError(f"Expected --image to name images of the {split} split, like {', '.join(near)}, got {image}.")
    example = data.evaluation_example if evaluation else data.pool_example
    return [example(places[image]) for image in wanted or [next(iter(places))]]


def draw_maps(stored: StoredCycle, example: Example, strategies: Sequence[Strategy], folder: Path) -> list[Path]:
    """Draws an image's score maps, and 1 - max p against entropy of its pixels. Computes in float32, whatever precision the run had.

    Args:
        stored: the run's cycle. Its seed gives an image of the pool the same dropout masks as in the run.
        example: the image.
        strategies: the methods.
        folder: where the pictures are written.

    Returns:
        The paths of the two pictures.
    """
    data, network = stored.data, stored.task.network
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    inputs, index = example.inputs.unsqueeze(0).to(device), torch.tensor([example.index], device=device)
    logits, scores = pixel_scores(strategies, network.to(device), inputs, index, seeds.derive(stored.seed, "scoring", stored.cycle))
    maps = {_name(strategy): _array(its[0]) for strategy, its in zip(strategies, scores, strict=True) if its is not None}
    entropies, least_confidences = (_array(measure(logits)).ravel() for measure in (functional.entropy, functional.max_softmax))
    truth = None if example.targets is None else example.targets.numpy()
    row = SceneRow(example.name, example.picture, truth, _array(logits[0].argmax(dim=0)), None)
    title = f"{example.name}: {stored.run.path.name}, cycle {stored.cycle}, {int(data.pool.labeled.sum()):,} labeled"
    stem = f"{stored.cycle:03d}-{example.name}"
    return [
        draw_score_maps(row, maps, data.classes.names, data.classes.palette.numpy(), title, folder / f"{stem}-maps.png"),
        draw_bounds(entropies, least_confidences, logits.shape[1], f"pixels of {title}", folder / f"{stem}-bounds.png"),
    ]


def _name(strategy: Strategy) -> str:
    """Returns the title of a map. It names all arguments of ODIN, as there are several maps of ODIN."""
    return f"Odin(T={strategy.temperature:g}, ε={strategy.epsilon:g})" if isinstance(strategy, Odin) else str(strategy)


def _possible(strategy: Strategy, network: torch.nn.Module) -> bool:
    """Whether the network has the dropout that the strategy needs, if it needs any."""
    inference = strategy.inference
    return not isinstance(inference, DropoutPasses) or bool(droppable(network, inference.drop))


def _array(values: torch.Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[np.generic] = values.cpu().numpy()
    return array
