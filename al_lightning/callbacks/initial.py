"""The items of cycle 0, where a strategy chooses them."""

import copy

from torch import nn

from al_lightning import seeds
from al_lightning.acquisition import Choice, Strategy
from al_lightning.acquisition.inference import ByExpert
from al_lightning.callbacks.choosing import Knowledge, refuse_not_finite, seeded_order
from al_lightning.callbacks.gathering import Gathered
from al_lightning.callbacks.scoring import batches_of, score_batches
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError


def refuse_initial(strategy: Strategy | None) -> None:
    """Refuses what can't choose an initial set; None is no strategy, and fine.

    Raises:
        UserError: the strategy asks a network of this run, of which none is trained yet.
    """
    if strategy is not None and strategy.prediction is not None and not isinstance(strategy.prediction, ByExpert):
        raise UserError(
            f"Expected an active_learning.initial_strategy that needs no trained network of this run, got {strategy}. Take Random, Order, "
            "FromFile, or an Expert with the checkpoint of another run."
        )


def choose_initial(strategy: Strategy, data: PoolDataModule, network: nn.Module) -> Choice:
    """Chooses as many items as the data module has drawn, from the whole pool; nothing is changed.

    Args:
        strategy: chooses.
        data: with its own draw labeled.
        network: of the shape that the strategy's expert has, on any device.

    Raises:
        UserError: the data have a list of their own, or a score is not finite.
    """
    if data.initial_items is not None:
        raise UserError(
            "Expected either data.init_args.initial_items or active_learning.initial_strategy, got "
            f"{data.initial_items} beside {strategy}. Leave one out."
        )
    pool, total = data.pool, len(data.pool.labeled)
    candidates = (pool.labeled | pool.unlabeled & pool.answerable).nonzero().flatten()
    order = seeded_order(candidates, total, seeds.generator(data.initial_seed, "initial ties"))
    gathered = Gathered(order, total, data.device) if strategy.represented else None
    indices, keys = score_batches(
        [strategy],
        copy.deepcopy(network).to(data.device),
        batches_of(data, [strategy], candidates),
        data.pool_batches,
        seeds.derive(data.initial_seed, "initial"),
        lambda items: None,
        gathered.put if gathered else None,
    )
    refuse_not_finite(data.item, indices, keys.isfinite().all(dim=0), "The score of", f" for the initial set by {strategy}")
    known = Knowledge(strategy, indices, keys[0] if strategy.scores_items else None, gathered, data.item)
    generator = seeds.generator(data.initial_seed, "initial choice")
    return known.choose(known.scored(order, candidates[:0]), int(pool.labeled.sum()), generator)
