"""A cycle's query: the pool is scored on every process, and what is worth most is chosen."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from al_lightning import seeds
from al_lightning.acquisition import Strategy, selection
from al_lightning.callbacks.cycle import Query
from al_lightning.callbacks.scoring import PeakMemory, constant_scores, refuse_not_finite, score_pool
from al_lightning.data import PoolDataModule


class Wanted(NamedTuple):
    """What a query is to be.

    Attributes:
        size: items, if there are so many.
        stride: every stride-th item of the ranking is taken.
        drawn: items that are drawn at random from the pool, and not chosen.
        again: indices ``(m,)`` of items that were asked for before and stay so; they come first.
        again_at_random: those of them that were drawn at random.
    """

    size: int
    stride: int = 1
    drawn: int = 0
    again: Sequence[int] = ()
    again_at_random: Sequence[int] = ()


def query_pool(
    trainer: Trainer,
    data: PoolDataModule,
    network: nn.Module,
    strategies: Sequence[Strategy],
    wanted: Wanted,
    seed: int,
    progress: Callable[[int, int], None],
) -> Query:
    """Chooses the items to label in the current cycle; nothing is changed.

    Args:
        trainer: knows the processes, which all get the same query.
        data: the pool.
        network: on its device.
        strategies: the first one chooses, the scores of the others are recorded.
        wanted: what the query is to be.
        seed: of the experiment.
        progress: as of :func:`~al_lightning.callbacks.scoring.score_pool`.

    Raises:
        UserError: a score is not finite.
    """
    started = time.perf_counter()
    memory = PeakMemory(data.device)
    cycle = data.pool.cycle
    indices, keys = score_pool(trainer, data, strategies, network, seeds.derive(seed, "scoring", cycle), progress)
    refuse_not_finite(data, indices, keys.sum(dim=0), f"in cycle {cycle}")
    priority = torch.randperm(len(data.pool.labeled), generator=seeds.generator(seed, "ties", cycle))
    again = torch.tensor(wanted.again, dtype=torch.int64)
    drawn = _drawn(indices[~torch.isin(indices, again)], min(wanted.drawn, wanted.size - len(again)), len(priority), seed, cycle)
    free = ~torch.isin(indices, torch.cat([again, drawn]))
    ranked = selection.choose(keys[0][free], indices[free], priority, wanted.size - len(again) - len(drawn), wanted.stride)
    chosen = torch.cat([again, selection.mixed(ranked, drawn, seeds.generator(seed, "random places", cycle))])
    scores, *others = (strategy.score(its) for strategy, its in zip(strategies, keys, strict=True))
    return Query(
        indices=chosen,
        at_random=torch.cat([torch.tensor(wanted.again_at_random, dtype=torch.int64), drawn]),
        scores=scores[torch.searchsorted(indices, chosen)],
        pool_indices=indices,
        pool_scores=scores,
        recorded=dict(zip(map(str, strategies[1:]), others, strict=True)),
        tied_share=selection.tied_share(keys[0]),
        notes=[*constant_scores(strategies, [*keys])],
        seconds=time.perf_counter() - started,
        peak_bytes=memory.bytes(),
    )


def _drawn(candidates: Tensor, count: int, items: int, seed: int, cycle: int) -> Tensor:
    """Draws items uniformly: which ones depends on no score, and not on who else is in the pool."""
    order = torch.randperm(items, generator=seeds.generator(seed, "random picks", cycle))
    return candidates[order[candidates].argsort()[:count]]
