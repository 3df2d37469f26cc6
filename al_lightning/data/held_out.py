"""Items that are held out of the pool, drawn by groups that stay together."""

import random
from collections.abc import Callable, Container, Mapping

import torch
from torch import Tensor

from al_lightning import seeds
from al_lightning.data.pool import Pool
from al_lightning.errors import UserError


def draw_groups(sizes: Mapping[str, int], wanted: float, seed: int) -> set[str]:
    """Draws groups whose sizes add up to about a wanted sum: in a random order, it takes each group that brings the sum nearer to it.

    Args:
        sizes: sizes of at least two groups, by name.
        wanted: the sum of the sizes of the drawn groups.
        seed: seed of the draw.

    Returns:
        The drawn groups: at least one, never all.
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
    """Draws groups of items for validation.

    Args:
        pool: the pool, in which nothing is labeled yet.
        size: number of labeled items to draw; below 1, their share of those that can be drawn. It is met as nearly as groups allow.
        group_of: gives the group of an index.
        staying: indices that stay in the pool, with their whole groups.
        seed: seed of the draw.

    Returns:
        Sorted indices of all items in the drawn groups, including those without a label.

    Raises:
        UserError: the size is no share and no count below that of the pool's labels, or fewer than two groups can be drawn.
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
