"""The items of cycle 0, where a strategy chooses them."""

import copy

import torch
from torch import Tensor, nn

from al_lightning import seeds
from al_lightning.acquisition import Strategy, selection
from al_lightning.acquisition.inference import ByExpert
from al_lightning.callbacks.scoring import batches_of, refuse_not_finite, score_batches
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


def choose_initial(strategy: Strategy, data: PoolDataModule, network: nn.Module, size: int | None = None) -> tuple[Tensor, Tensor]:
    """Chooses items from the whole pool; nothing is changed.

    Args:
        strategy: chooses.
        data: with its own draw labeled.
        network: of the shape that the strategy's expert has, on any device.
        size: how many of all that have no label, where nothing is labeled; None for as many as the data module has drawn.

    Returns:
        Indices ``(n,)`` and their scores ``(n,)``, first one first.

    Raises:
        UserError: the data have a list of their own, or a score is not finite.
    """
    if data.initial_items is not None:
        raise UserError(
            "Expected either data.init_args.initial_items or active_learning.initial_strategy, got "
            f"{data.initial_items} beside {strategy}. Leave one out."
        )
    pool = data.pool
    members = pool.unlabeled if size is not None else pool.labeled | pool.unlabeled & pool.answerable
    batches = batches_of(data, [strategy], members.nonzero().flatten())
    seed = seeds.derive(data.initial_seed, "initial")
    indices, (keys,) = score_batches(
        [strategy], copy.deepcopy(network).to(data.device), batches, data.pool_batches, seed, lambda items: None
    )
    refuse_not_finite(data, indices, keys, f"for the initial set by {strategy}")
    indices, order = indices.sort()
    keys = keys[order]
    priority = torch.randperm(len(pool.labeled), generator=seeds.generator(data.initial_seed, "initial ties"))
    chosen = selection.choose(keys, indices, priority, int(pool.labeled.sum()) if size is None else size)
    return chosen, strategy.score(keys)[torch.searchsorted(indices, chosen)]
