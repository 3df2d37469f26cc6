"""The items of cycle 0, if a strategy chooses them."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from al_lightning import seeds
from al_lightning.acquisition import Features, Random, Strategy
from al_lightning.acquisition.inference import ByExpert
from al_lightning.acquisition.representations import first_tensor, has_weights, own_parameters
from al_lightning.callbacks.choosing import ScoredPool, refuse_not_finite, seeded_order
from al_lightning.callbacks.gathering import Gathered
from al_lightning.callbacks.scoring import batches_of, score_batches
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.tasks import Task


def refuse_initial(strategy: Strategy | None) -> None:
    """Refuses a strategy that can't choose an initial set; no strategy (None) is fine.

    Raises:
        UserError: the strategy needs the outputs of this run's network, which is not trained yet.
    """
    if strategy is None or all(isinstance(inference, ByExpert) for inference in strategy.inferences):
        return
    if strategy.inference is not None or not _looks_at_features(strategy):
        raise UserError(
            f"Expected an active_learning.initial_strategy that needs no trained network of this run, got {strategy}. Take Random, Order, "
            "FromFile, one that uses features alone (CoreSet, TypiClust, ProbCover, MaxHerding), or an Expert with the checkpoint of "
            "another run."
        )


def first_choice(
    strategy: Strategy | None, data: PoolDataModule, task: Task, asks: bool, query_size: int
) -> Callable[[], tuple[Tensor, Tensor]] | None:
    """The function that chooses the items of cycle 0; None if the data module's draw is used.

    Args:
        strategy: chooses the items; None for the data module's draw or, if nothing is labeled, for a uniform one.
        data: the data module, set up.
        task: see :func:`choose_initial`.
        asks: whether a person can be asked for labels.
        query_size: size of the first query: so many items are asked for if ``initial_size`` is ``all``.

    Raises:
        UserError: nothing is labeled, and nobody can be asked, or images for validation are to be drawn from what is labeled.
    """
    if bool(data.pool.labeled.any()):
        return None if strategy is None else lambda: choose_initial(strategy, data, task)
    if not asks:
        raise UserError(
            f"Expected labels of some images, but none of {len(data.pool.labeled)} has one, and in a simulation nobody can be asked. A "
            "label has its image's name. Set active_learning.oracle=human to be asked."
        )
    if data.validation_size is not None:
        raise UserError(
            f"Expected labeled images, to draw data.init_args.validation_size={data.validation_size:g} from them, but nothing is labeled "
            "yet. Leave validation_size out."
        )
    size = query_size if data.initial_size == "all" else data.initial_size
    return lambda: choose_initial(strategy or Random(), data, task, size)


def refuse_no_query(data: PoolDataModule, cycles: int | None, label_budget: int | None) -> None:
    """Makes sure that there are items to query after cycle 0, if more cycles are wanted.

    Args:
        data: the data module, with the initial set labeled.
        cycles: number of cycles wanted; None for as many as possible.
        label_budget: largest number of labels; None for no limit.

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


def _looks_at_features(strategy: Strategy) -> bool:
    return strategy.represented is not None and isinstance(strategy.represented.kind, Features)


def choose_initial(strategy: Strategy, data: PoolDataModule, task: Task, size: int | None = None) -> tuple[Tensor, Tensor]:
    """Chooses items from the whole pool; nothing is changed.

    The network is not trained yet. Its features are therefore the inputs of the first layer whose weights are drawn at random: the output
    of a pretrained encoder, or the pixels themselves if the first layer is linear.

    Args:
        strategy: chooses the items.
        data: the data module, with its own draw labeled, if anything has a label.
        task: makes the network for the features; an Expert's network has the same layers.
        size: number of items to choose from all that are not labeled, if nothing is labeled; None for as many as the data module has drawn.

    Returns:
        The chosen indices and their scores, the first choice first.

    Raises:
        UserError: the data have a list of initial items, a score is not finite, or no pretrained layer comes before the drawn ones.
    """
    if data.initial_items is not None:
        raise UserError(
            "Expected either data.init_args.initial_items or active_learning.initial_strategy, got "
            f"{data.initial_items} beside {strategy}. Leave one out."
        )
    network = task.new_network(seeds.derive(data.initial_seed, "initial weights"))
    if any(not isinstance(inference, ByExpert) for inference in strategy.inferences):
        other = task.new_network(seeds.derive(data.initial_seed, "other weights"))
        strategy = _with_pretrained_features(strategy, network, other, data.example())
    pool, total = data.pool, len(data.pool.labeled)
    members = pool.unlabeled if size is not None else pool.labeled | pool.unlabeled & pool.answerable
    candidates = members.nonzero().flatten()
    order = seeded_order(candidates, total, seeds.generator(data.initial_seed, "initial ties"))
    gathered = Gathered(order, total, data.device) if strategy.represented else None
    indices, keys = score_batches(
        [strategy],
        network.to(data.device),
        batches_of(data, [strategy], candidates),
        data.pool_batches,
        seeds.derive(data.initial_seed, "initial"),
        lambda items: None,
        gathered.put if gathered else None,
    )
    refuse_not_finite(data.item, indices, keys.isfinite().all(dim=0), "The score of", f" for the initial set by {strategy}")
    known = ScoredPool(strategy, indices, keys[0] if strategy.scores_items else None, gathered, data.item)
    generator = seeds.generator(data.initial_seed, "initial choice")
    choice = known.choose(known.scored(order, candidates[:0]), int(pool.labeled.sum()) if size is None else size, generator)
    return choice.indices, known.scores_of(choice.indices, choice)


def _with_pretrained_features(strategy: Strategy, network: nn.Module, other: nn.Module, example: Tensor) -> Strategy:
    """The strategy with features that depend on no drawn weight, unless it names a layer itself."""
    assert strategy.represented is not None
    features = strategy.represented.kind
    assert isinstance(features, Features)
    if features.layer is not None:
        return strategy
    changed = copy.copy(strategy)
    changed.represented = strategy.represented._replace(kind=replace(features, layer=_first_drawn(network, other, example, strategy)))
    return changed


def _first_drawn(network: nn.Module, other: nn.Module, example: Tensor, strategy: Strategy) -> str | None:
    """The first layer whose weights are drawn: they differ from those of a network with another seed. None if no layer is drawn.

    Raises:
        UserError: it is the first layer of all, and its inputs are images, not features.
    """
    names = {part: name for name, part in network.named_modules() if has_weights(part)}
    others = dict(other.named_modules())
    ran: list[tuple[str, int]] = []

    def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if (entered := first_tensor(args, kwargs)) is not None:
            ran.append((names[layer], entered.ndim))

    hooks = [part.register_forward_pre_hook(note, with_kwargs=True) for part in names]
    with torch.inference_mode():
        network.eval()(example)
    for hook in hooks:
        hook.remove()
    for place, (name, axes) in enumerate(ran):
        own, its = own_parameters(network.get_submodule(name)), own_parameters(others[name])
        if all(torch.equal(a, b) for a, b in zip(own, its, strict=True)):
            continue
        if place == 0 and axes > 2:
            raise UserError(
                f"Expected a network with a pretrained encoder for {strategy} to choose an initial set by its features, but the weights of "
                f"{type(network).__name__} are drawn from its first layer on. Set its encoder_weights, take an Expert with the checkpoint "
                "of another run, or leave active_learning.initial_strategy out."
            )
        return name
    return None
