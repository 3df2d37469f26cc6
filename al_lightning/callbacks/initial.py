"""The items of cycle 0, where a strategy chooses them."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from al_lightning import seeds
from al_lightning.acquisition import Random, Strategy, selection
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


def first_choice(
    strategy: Strategy | None, data: PoolDataModule, network: nn.Module, asks: bool, query_size: int
) -> Callable[[], tuple[Tensor, Tensor]] | None:
    """What chooses the items of cycle 0; None where the data module has drawn them.

    Args:
        strategy: chooses; None for that draw or, where nothing is labeled, for lots.
        data: set up.
        network: as of :func:`choose_initial`.
        asks: whether somebody can be asked for labels.
        query_size: of the first query: as many are asked for, where the data say no number.

    Raises:
        UserError: nothing is labeled, and nobody can be asked.
    """
    if bool(data.pool.labeled.any()):
        return None if strategy is None else lambda: choose_initial(strategy, data, network)
    if not asks:
        raise UserError(
            f"Expected labels of some images, but none of {len(data.pool.labeled)} has one, and in a simulation nobody can be asked. A "
            "label has its image's name. Set active_learning.oracle=human to be asked."
        )
    if data.validation_size is not None:
        raise UserError(
            f"Expected labels to draw data.init_args.validation_size={data.validation_size:g} of, but there are none yet. Leave it out."
        )
    size = query_size if data.initial_size == "all" else data.initial_size
    return lambda: choose_initial(strategy or Random(), data, network, size)


def refuse_no_query(data: PoolDataModule, cycles: int | None, label_budget: int | None) -> None:
    """Makes sure that something can be asked for after cycle 0, where more cycles are wanted.

    Args:
        data: with the initial set labeled.
        cycles: how many are wanted; None for as many as there can be.
        label_budget: of all labels; None for no limit.

    Raises:
        UserError: nobody can answer, or the initial set is larger than the budget.
    """
    pool, labeled = data.pool, int(data.pool.labeled.sum())
    if label_budget is not None and labeled > label_budget:
        raise UserError(f"Expected active_learning.label_budget of at least the initial set's {labeled}, got {label_budget}.")
    if cycles != 1 and bool(pool.unlabeled.any()) and not len(pool.candidates):
        raise UserError(
            f"Expected items to query, but all {labeled} that have a label are in the initial set, and in a simulation nobody can "
            f"answer for the other {int(pool.unlabeled.sum())}. Set a smaller data.init_args.initial_size, active_learning.cycles=1 to "
            "train on these only, or active_learning.oracle=human to be asked."
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
