"""A cycle's query: all processes score the pool, and the strategy chooses items."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from al_lightning import seeds
from al_lightning.acquisition import Strategy, selection
from al_lightning.callbacks.choosing import ScoredPool, refuse_not_finite, seeded_order
from al_lightning.callbacks.cycle import Query
from al_lightning.callbacks.first_process import in_first
from al_lightning.callbacks.scoring import PeakMemory, batches_of, constant_scores, score_batches, score_pool, that_score_items
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError


class Wanted(NamedTuple):
    """What a query shall contain.

    Attributes:
        size: number of items, if the pool has so many.
        stride: every stride-th item of the ranking is taken.
        drawn: number of items that are drawn at random from the pool, not chosen by the strategy.
        again: indices ``(m,)`` of items that an earlier query has asked for and that stay asked for; they come first.
        again_at_random: those of ``again`` that were drawn at random.
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
        trainer: knows the processes. The first one chooses, and all get the same query.
        data: the data module, with its pool.
        network: the network that scores, on its device.
        strategies: the first one chooses; the scores of the others are recorded.
        wanted: what the query shall contain.
        seed: the experiment's seed.
        progress: see :func:`~al_lightning.callbacks.scoring.score_pool`.
        before_choice: called when all items are scored.

    Raises:
        UserError: a score or a representation is not finite, or one item does not fit into the device's memory.
    """
    started = time.perf_counter()
    memory = PeakMemory(data.device)
    cycle, total, chooser = data.pool.cycle, len(data.pool.labeled), strategies[0]
    candidates = data.pool.candidates
    again = torch.tensor(wanted.again, dtype=torch.int64)
    drawn = _drawn(_without(candidates, again), min(wanted.drawn, wanted.size - len(again)), total, seed, cycle)
    settled = torch.cat([again, drawn])  # to the strategy, these are like labeled items
    ordered = seeded_order(candidates, total, seeds.generator(seed, "ties", cycle))
    free = _without(ordered, settled)
    order = torch.cat([free, settled])  # in which their representations lie, so that those of either part are found without a copy
    with trainer.precision_plugin.forward_context():  # for the network alone: choosing computes in float32 whatever it trains in
        pool = score_pool(trainer, data, strategies, network, seeds.derive(seed, "scoring", cycle), order, progress)
    refuse_not_finite(data.item, pool.indices, pool.ranking_keys.isfinite().all(dim=0), "The score of", f" in cycle {cycle}")
    before_choice()
    known = ScoredPool(chooser, pool.indices, pool.ranking_keys[0] if chooser.scores_items else None, pool.gathered, data.item)
    others = torch.cat([settled, data.pool.labeled_indices])
    size, generator = wanted.size - len(settled), seeds.generator(seed, "choice", cycle)
    choice = in_first(trainer, lambda: known.choose(known.scored(free, others, wanted.stride, cycle), size, generator))
    chosen = torch.cat([again, selection.mixed(choice.indices, drawn, seeds.generator(seed, "random places", cycle))])
    queryable, by_items = data.pool.unlabeled[pool.indices], known.goes_by_items(choice)
    scoring = that_score_items(strategies)
    keys = pool.ranking_keys[:, queryable]
    scores = {strategy: strategy.score(its) for strategy, its in zip(scoring, keys, strict=True)}
    return Query(
        indices=chosen,
        at_random=torch.cat([torch.tensor(wanted.again_at_random, dtype=torch.int64), drawn]),
        scores=known.scores_of(chosen, choice),
        pool_indices=pool.indices[queryable],
        pool_scores=scores[chooser] if by_items else None,
        recorded={str(strategy): scores[strategy] for strategy in strategies[1:]},
        tied_share=selection.tied_share(keys[0]) if by_items else 0.0,
        notes=[*constant_scores(scoring, [*keys])],
        seconds=time.perf_counter() - started,
        peak_bytes=memory.bytes(),
    )


def _drawn(candidates: Tensor, count: int, items: int, seed: int, cycle: int) -> Tensor:
    """Draws items uniformly, independently of scores; which of two items comes first does not depend on the rest of the pool."""
    if count <= 0:
        return candidates[:0]
    order = torch.randperm(items, generator=seeds.generator(seed, "random picks", cycle))
    return candidates[order[candidates].argsort()[:count]]


def _without(indices: Tensor, others: Tensor) -> Tensor:
    """The indices that are not among the others. Mostly there are no others, and nothing needs to be compared."""
    return indices[~torch.isin(indices, others)] if len(others) else indices


def refuse_unfit(trainer: Trainer, data: PoolDataModule, network: nn.Module, strategies: Sequence[Strategy]) -> None:
    """Scores one batch of the pool, so that what does not fit together is refused before a training, which may take hours, and not after.

    What shows only in a whole query by a trained network, as scores that are not finite or passes that are all the same, is not looked at.

    Args:
        trainer: knows the precision.
        data: the data module, with its pool.
        network: the network that will be trained, on its device.
        strategies: the first one chooses.

    Raises:
        UserError: a strategy, the data and the network don't fit together, or one item does not fit into the device's memory.
    """

    def enough(items: int) -> None:
        raise _Enough

    first = batches_of(data, strategies, data.pool.candidates)[:1]
    put = (lambda indices, rows: None) if strategies[0].represented else None
    with suppress(_Enough), trainer.precision_plugin.forward_context():
        score_batches(strategies, network, first, data.pool_batches, 0, enough, put)


class _Enough(Exception):
    """Ends the scoring of a trial without what a whole query is checked for."""


def refuse_stride(strategy: Strategy, strides: Sequence[int]) -> None:
    """Refuses a stride for a strategy that makes no ranking.

    Args:
        strategy: the one that chooses.
        strides: its stride in each cycle.

    Raises:
        UserError: the strategy chooses a query as a whole, and a stride is not 1.
    """
    if not strategy.ranks and any(stride != 1 for stride in strides):
        raise UserError(
            f"Expected active_learning.stride to be 1 with {strategy}, got {', '.join(map(str, strides))}: it chooses a query as a whole, "
            "and makes no ranking from which a stride could take items."
        )


def refuse_recorded(strategy: Strategy, recorded: Sequence[Strategy]) -> None:
    """Refuses strategies whose scores can't be recorded beside those of the strategy that chooses.

    Raises:
        UserError: one does not score single items, or two scores have the same name.
    """
    if without := [str(other) for other in recorded if not other.scores_items]:
        raise UserError(
            f"Expected also_record to name strategies that score each item by itself, got {', '.join(without)}: they judge an item by the "
            "others that they choose."
        )
    names = [str(each) for each in (strategy, *recorded)]
    if len(set(names)) < len(names):
        raise UserError(f"Expected also_record to name each score once, and not the strategy's own, got {', '.join(names)}.")
