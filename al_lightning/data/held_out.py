"""Items that are held out of the pool, drawn by groups that stay together."""

import random
from collections.abc import Callable, Container, Mapping

import torch
from torch import Tensor

from al_lightning import seeds
from al_lightning.data.pool import Pool
from al_lightning.errors import UserError


def draw_groups(sizes: Mapping[str, int], wanted: float, seed: int) -> set[str]:
    """Draws groups, until taking another one would bring their size no nearer to what is wanted.

    Args:
        sizes: of at least two groups, by name.
        wanted: their size together.
        seed: of the draw.

    Returns:
        The groups: one at least, never all.
    """
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    taken, held = 0, set[str]()
    for each in order:
        if abs(taken + sizes[each] - wanted) < abs(taken - wanted) and len(held) < len(order) - 1:
            held.add(each)
            taken += sizes[each]
    return held or {min(order, key=lambda each: sizes[each])}


def draw_validation(pool: Pool, size: float, group_of: Callable[[int], str], staying: Container[int], seed: int) -> Tensor:
    """Draws groups of items to validate by.

    Args:
        pool: of which nothing is labeled.
        size: items that are wanted; below 1 the share of those that can be drawn. Groups come as near to it as their sizes allow.
        group_of: the group of an index.
        staying: indices that stay in the pool, and keep their groups there.
        seed: of the draw.

    Returns:
        Sorted indices of all items of the groups, those among them that nobody can answer for.

    Raises:
        UserError: they would leave no item that can be labeled.
    """
    members: dict[str, list[int]] = {}
    for index in pool.unlabeled_indices.tolist():
        members.setdefault(group_of(index), []).append(index)
    counts = {group: int(pool.answerable[its].sum()) for group, its in members.items() if not any(index in staying for index in its)}
    sizes = {group: count for group, count in counts.items() if count}
    wanted = size if size >= 1 else size * sum(sizes.values())
    if len(sizes) < 2 or wanted >= len(pool.candidates) or (size > 1 and not float(size).is_integer()):
        raise UserError(
            f"Expected data.init_args.validation_size to be a share below 1, or a count below the pool's {len(pool.candidates)} labels "
            f"({len(sizes)} images, or groups of images, can be drawn), got {size:g}."
        )
    held = draw_groups(sizes, wanted, seeds.derive(seed, "validation"))
    return torch.tensor(sorted(index for group in held for index in members[group]))
