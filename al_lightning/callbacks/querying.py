"""A cycle's query: the pool is scored on every process, and what is worth most is chosen."""

import time
from collections.abc import Callable, Sequence

import torch
from lightning.pytorch import Trainer
from torch import nn

from al_lightning import seeds
from al_lightning.acquisition import Strategy, selection
from al_lightning.callbacks.cycle import Query
from al_lightning.callbacks.scoring import PeakMemory, constant_scores, refuse_not_finite, score_pool
from al_lightning.data import PoolDataModule


def query_pool(
    trainer: Trainer,
    data: PoolDataModule,
    network: nn.Module,
    strategies: Sequence[Strategy],
    size: int,
    stride: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Query:
    """Chooses the items to label in the current cycle; nothing is changed.

    Args:
        trainer: knows the processes, which all get the same query.
        data: the pool.
        network: on its device.
        strategies: the first one chooses, the scores of the others are recorded.
        size: of the query, if there are so many items.
        stride: every stride-th item of the ranking is taken.
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
    chosen = selection.choose(keys[0], indices, priority, size, stride)
    scores, *others = (strategy.score(its) for strategy, its in zip(strategies, keys, strict=True))
    return Query(
        indices=chosen,
        scores=scores[torch.searchsorted(indices, chosen)],
        pool_indices=indices,
        pool_scores=scores,
        recorded=dict(zip(map(str, strategies[1:]), others, strict=True)),
        tied_share=selection.tied_share(keys[0]),
        notes=[*constant_scores(strategies, [*keys])],
        seconds=time.perf_counter() - started,
        peak_bytes=memory.bytes(),
    )
