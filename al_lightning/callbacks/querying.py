"""A cycle's query: the pool is scored on every process, and what is worth most is chosen."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from al_lightning import seeds
from al_lightning.acquisition import Strategy, selection
from al_lightning.callbacks.choosing import Knowledge, refuse_not_finite, seeded_order
from al_lightning.callbacks.cycle import Query
from al_lightning.callbacks.first_process import in_first
from al_lightning.callbacks.scoring import PeakMemory, constant_scores, score_pool, scoring_ones
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError


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
    before_choice: Callable[[], None],
) -> Query:
    """Chooses the items to label in the current cycle; nothing is changed.

    Args:
        trainer: knows the processes, which all get the same query: the first one chooses.
        data: the pool.
        network: on its device.
        strategies: the first one chooses, the scores of the others are recorded.
        wanted: what the query is to be.
        seed: of the experiment.
        progress: as of :func:`~al_lightning.callbacks.scoring.score_pool`.
        before_choice: called when all is scored.

    Raises:
        UserError: a score or a representation is not finite.
    """
    started = time.perf_counter()
    memory = PeakMemory(data.device)
    cycle, total, chooser = data.pool.cycle, len(data.pool.labeled), strategies[0]
    candidates = data.pool.candidates
    again = torch.tensor(wanted.again, dtype=torch.int64)
    drawn = _drawn(_without(candidates, again), min(wanted.drawn, wanted.size - len(again)), total, seed, cycle)
    settled = torch.cat([again, drawn])  # who chooses beside them sees them as labeled
    ordered = seeded_order(candidates, total, seeds.generator(seed, "ties", cycle))
    free = _without(ordered, settled)
    order = torch.cat([free, settled])  # and has what it knows of both in the order that it wants it in
    pool = score_pool(trainer, data, strategies, network, seeds.derive(seed, "scoring", cycle), order, progress)
    refuse_not_finite(data.item, pool.indices, pool.ranking_keys.isfinite().all(dim=0), "The score of", f" in cycle {cycle}")
    before_choice()
    known = Knowledge(chooser, pool.indices, pool.ranking_keys[0] if chooser.scores_items else None, pool.gathered, data.item)
    others = torch.cat([settled, data.pool.labeled_indices])
    size, generator = wanted.size - len(settled), seeds.generator(seed, "choice", cycle)
    choice = in_first(trainer, lambda: known.choose(known.scored(free, others, wanted.stride, cycle), size, generator))
    chosen = torch.cat([again, selection.mixed(choice.indices, drawn, seeds.generator(seed, "random places", cycle))])
    queryable = data.pool.unlabeled[pool.indices]
    scoring = scoring_ones(strategies)
    keys = pool.ranking_keys[:, queryable]
    scores = {strategy: strategy.score(its) for strategy, its in zip(scoring, keys, strict=True)}
    return Query(
        indices=chosen,
        at_random=torch.cat([torch.tensor(wanted.again_at_random, dtype=torch.int64), drawn]),
        scores=known.scores_of(chosen, choice),
        pool_indices=pool.indices[queryable],
        pool_scores=scores.get(chooser),
        recorded={str(strategy): scores[strategy] for strategy in strategies[1:]},
        tied_share=selection.tied_share(keys[0]) if chooser.scores_items else 0.0,
        notes=[*constant_scores(scoring, [*keys])],
        seconds=time.perf_counter() - started,
        peak_bytes=memory.bytes(),
    )


def _drawn(candidates: Tensor, count: int, items: int, seed: int, cycle: int) -> Tensor:
    """Draws items uniformly: which ones depends on no score, and not on who else is in the pool."""
    if count <= 0:
        return candidates[:0]
    order = torch.randperm(items, generator=seeds.generator(seed, "random picks", cycle))
    return candidates[order[candidates].argsort()[:count]]


def _without(indices: Tensor, others: Tensor) -> Tensor:
    """Those of the indices that are not among the others; mostly there are none of these, and nothing needs to be compared."""
    return indices[~torch.isin(indices, others)] if len(others) else indices


def refuse_choosers(strategy: Strategy, strides: Sequence[int], recorded: Sequence[Strategy]) -> None:
    """Refuses what makes no sense of a strategy that chooses items together.

    Raises:
        UserError: it has strides but no ranking, or scores are to be recorded of one that gives no item a score of its own.
    """
    if not strategy.ranks and any(stride != 1 for stride in strides):
        raise UserError(
            f"Expected active_learning.stride to be 1 with {strategy}, got {', '.join(map(str, strides))}: it chooses a query as a whole, "
            "and leaves no ranking of which every so manieth item could be taken."
        )
    if without := [str(other) for other in recorded if not other.scores_items]:
        raise UserError(
            f"Expected also_record to name strategies that score each item, got {', '.join(without)}: what they say of an item depends on "
            "the others that they choose."
        )
