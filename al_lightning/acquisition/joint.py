"""Computes what several strategies need of a batch; passes that they share are made once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from al_lightning.acquisition.functional import Tiled
from al_lightning.acquisition.inference import Batch, Inference
from al_lightning.acquisition.representations import Represented, Rows, Tap
from al_lightning.acquisition.strategies.base import Measure, Strategy
from al_lightning.errors import UserError

Measurer = Callable[[Tensor, Tensor], list[Tensor | None]]
"""From inputs ``(B, *)`` and dataset indices ``(B,)`` to what each strategy measures, ``(B, *)``."""
Scorer = Callable[[Tensor, Tensor], list[Tensor]]
"""From the same to the ranking keys ``(B,)`` of each strategy."""
Looker = Callable[[Tensor, Tensor], tuple[list[Tensor], Rows]]
"""From the same to the ranking keys ``(B,)`` of each strategy that scores items, and to the rows of a representation."""


@contextmanager
def joint_measurer(strategies: Sequence[Strategy], network: nn.Module, seed: int) -> Iterator[Measurer]:
    """What each strategy measures, ``(B, *)``: one value of each item or of each pixel; None for strategies that look at no logits.

    Args:
        strategies: may share inferences and measures; each of these is made once.
        network: in eval mode, on its device.
        seed: of what is random while scoring: dropout masks, the random strategy.
    """
    with _joint(strategies, None, network, seed) as look:
        yield lambda inputs, indices: look(inputs, indices)[0]


@contextmanager
def joint_scorer(strategies: Sequence[Strategy], network: nn.Module, seed: int) -> Iterator[Scorer]:
    """Ranking keys ``(B,)`` of each strategy. The arguments are those of :func:`joint_measurer`."""
    with joint_looker(strategies, None, network, seed) as look:
        yield lambda inputs, indices: look(inputs, indices)[0]


@contextmanager
def joint_looker(strategies: Sequence[Strategy], represented: Represented | None, network: nn.Module, seed: int) -> Iterator[Looker]:
    """Ranking keys ``(B,)`` of each strategy that scores items, and the rows of a representation, from the same passes.

    Args:
        strategies: may share inferences and measures; each of these is made once.
        represented: the representation, and the inference that it is made of; None for no rows.
        network: in eval mode, on its device.
        seed: of what is random while scoring.

    Raises:
        UserError: a strategy or the representation does not fit the network.
    """
    scoring = [strategy for strategy in strategies if strategy.scores_items]
    with _joint(scoring, represented, network, seed) as look:

        def keys_and_rows(inputs: Tensor, indices: Tensor) -> tuple[list[Tensor], Rows]:
            measured, rows = look(inputs, indices)
            keys = [strategy.ranking_keys(its, indices, seed) for strategy, its in zip(scoring, measured, strict=True)]
            for strategy, its in zip(scoring, keys, strict=True):
                _refuse_other_shape(strategy, its, indices)
            return [its.to(indices.device) for its in keys], rows

        yield keys_and_rows


def _refuse_other_shape(strategy: Strategy, keys: object, indices: Tensor) -> None:
    """Makes sure that a strategy ranks each item by one number.

    Raises:
        UserError: it does not.
    """
    if not isinstance(keys, Tensor) or keys.shape != indices.shape:
        found = f"{tuple(keys.shape)}" if isinstance(keys, Tensor) else type(keys).__name__
        raise UserError(
            f"Expected ranking keys of {strategy} as a tensor with one number for each of {len(indices)} items, ({len(indices)},), got "
            f"{found}. Of scenes, take the mean over the pixels, for example."
        )


@contextmanager
def _joint(
    strategies: Sequence[Strategy], represented: Represented | None, network: nn.Module, seed: int
) -> Iterator[Callable[[Tensor, Tensor], tuple[list[Tensor | None], Rows]]]:
    """What each strategy measures, and the rows."""
    # What is represented comes first: a later pass over a cached prefix would not enter the layer that is looked at once more.
    wanted: dict[Inference, list[Measure]] = {} if represented is None else {represented.inference: []}
    for strategy in strategies:
        if strategy.inference is not None and strategy.measure is not None:
            measures = wanted.setdefault(strategy.inference, [])
            if strategy.measure not in measures:
                measures.append(strategy.measure)
    taps = [Tap(represented.kind.layer, represented.kind.option)] if represented is not None and represented.kind.taps else []

    with ExitStack() as stack:
        for tap in taps:
            stack.callback(tap.close)
        logits_of = {inference: stack.enter_context(inference.logits(network, seed)) for inference in wanted}

        def look(inputs: Tensor, indices: Tensor) -> tuple[list[Tensor | None], Rows]:
            batch = Batch(network, inputs, indices, taps)
            found: dict[Any, Tensor] = {}
            parts: list[Rows] = []
            for inference, measures in wanted.items():
                sums = [Tiled(new_sums) for new_sums in measures]
                for logits in logits_of[inference](batch):
                    for each in sums:
                        each.add(logits)
                    if represented is not None and represented.inference == inference:
                        parts.append(represented.kind.of(logits, taps[0].take(len(indices)) if taps else None))
                found |= {(inference, of): each.score() for of, each in zip(measures, sums, strict=True)}
            rows = parts[0] if len(parts) == 1 else tuple(torch.cat(part, dim=1) for part in zip(*parts, strict=True))
            return [found.get((strategy.inference, strategy.measure)) for strategy in strategies], rows

        yield look
