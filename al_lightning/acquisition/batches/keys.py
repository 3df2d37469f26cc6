"""Batches from one score of each item: by keys with noise, and by classes in turn."""

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import refuse_not_finite, refuse_other_length, refuse_size, refuse_unless


def power_keys(scores: Tensor, beta: float, generator: torch.Generator, logarithmic: bool = False) -> Tensor:
    """Keys whose ranking draws items without replacement in proportion to ``score ** beta``: ``log score + Gumbel / beta``.

    An item of score 0 comes after all others, in random order.

    Source: Kirsch et al., Stochastic Batch Acquisition: A Simple Baseline for Deep Active Learning, 2021 (TMLR 2023), table 1.

    Args:
        scores: ``(n,)``, at least 0; or their logarithms, where -inf is a score of 0.
        beta: > 0; infinity is without noise, near 0 is uniformly random.
        generator: of the noise, one number for each item.
        logarithmic: whether the scores are logarithms.

    Returns:
        float64 ``(n,)``, finite, higher first.

    Raises:
        NotFinite: NaN or +infinity among the scores.
        ValueError: a score is negative and not a logarithm, or beta is not positive.
    """
    refuse_unless(beta > 0, "a beta above 0", beta)
    scores = scores.double()
    refuse_not_finite("scored", scores.where(scores != -torch.inf, 0.0) if logarithmic else scores)
    if not logarithmic and bool((scores < 0).any()):
        position = int((scores < 0).nonzero()[0])
        raise ValueError(f"Expected scores of at least 0, got {float(scores[position])} for item {position} of the scored ones.")
    logs = scores if logarithmic else scores.log()
    uniform = torch.rand(len(scores), generator=generator, dtype=torch.float64, device=generator.device).to(scores.device)
    # Below 1e-12 all are equally likely as it is, and a larger noise would be infinite, or swallow the 1 that keeps a score of 0 last.
    noise = -uniform.clamp_min(torch.finfo(torch.float64).tiny).log().neg().log() / max(beta, 1e-12)
    zero = logs == -torch.inf
    keys = logs.where(~zero, 0.0) + noise
    if bool(zero.any()) and not bool(zero.all()):
        keys[zero] += keys[~zero].min() - keys[zero].max() - 1
    return keys


def class_stratified(keys: Tensor, classes: Tensor, size: int, share: float = 0.66) -> Tensor:
    """A share of the batch in equal parts from each class, best items first, and the rest by the keys alone.

    The classes take turns; the class of the best item begins. A class without items leaves its turns to the others.

    Source: Lüth et al., Finally Outshining the Random Baseline (ClaSP PE), TMLR 2026, whose share is 0.66; there, keys are the power keys
    of the entropy with beta from 1 to 100 over the cycles.

    Args:
        keys: ``(n,)``, higher first.
        classes: ``(n,)`` whole numbers from 0: which class an item counts for (:func:`most_added_class`).
        size: how many to choose.
        share: of the batch that comes from classes in turn, from 0 to 1; rounded down to whole items.

    Returns:
        ``(size,)`` positions: the classes' items in turn, then the rest.

    Raises:
        NotFinite: NaN or infinity among the keys.
        ValueError: the share is not from 0 to 1, or there is another number of classes than of keys.
    """
    refuse_size(size, len(keys))
    refuse_unless(0 <= share <= 1, "a share from 0 to 1", share)
    refuse_other_length("a class", classes, len(keys))
    refuse_not_finite("scored", keys)
    turns = int(size * share + 1e-9)
    of_all = classes.bincount()
    for considered in (8 * size + 1, len(keys)):  # to sort all items takes longer than the rest of the work
        best = _best(keys, considered)
        of_best = classes[best].bincount(minlength=len(of_all))
        rounds = _rounds(classes[best], of_best)
        in_turns = rounds.argsort(stable=True)[:turns]
        last_round = int(rounds[in_turns[-1]]) if turns else 0
        if bool(((of_best >= last_round) | (of_best == of_all)).all()):  # no class has an item elsewhere whose turn has come
            break
    of_classes = best[in_turns]
    best = best[: size + turns]
    return torch.cat([of_classes, best[~torch.isin(best, of_classes)]])[:size]


def _best(keys: Tensor, count: int) -> Tensor:
    """The first ``count`` > 0 positions of the ranking of keys ``(n,)``, higher first, and as many more as equal the last one."""
    if count >= len(keys):
        return keys.argsort(descending=True, stable=True)
    positions = (keys >= keys.topk(count).values.min()).nonzero().flatten()
    return positions[keys[positions].argsort(descending=True, stable=True)]


def _rounds(classes: Tensor, counts: Tensor) -> Tensor:
    """How many of the items ``(n,)`` before an item are of its class; there are ``(C,)`` of each."""
    by_class = classes.argsort(stable=True)
    before = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.empty_like(by_class).index_copy_(0, by_class, torch.arange(len(classes), device=classes.device) - before)


def most_added_class(unlabeled: Tensor, labeled: Tensor) -> Tensor:
    """The class of which an item would add most, relative to how much of it is labeled: ``argmax_c u_c / (a_c + sum over labeled l_c)``.

    Here a is the mean of the unlabeled items: what is labeled counts as if it had one average item more. So while little is labeled an item
    counts for the class that it has more of than is usual, and a class that is rare everywhere has its items as well as a frequent one.

    Args:
        unlabeled: u, ``(n, C)``: predicted amount of each class in each item, as shares of its pixels or mean probabilities.
        labeled: l, ``(m, C)``: the same for the labeled items, also as predicted: no label is read.

    Returns:
        ``(n,)`` classes; of equal ones, the first.

    Raises:
        NotFinite: NaN or infinity in a row.
    """
    refuse_not_finite("unlabeled", unlabeled)
    refuse_not_finite("labeled", labeled)
    there = unlabeled.mean(0, dtype=torch.float64) + labeled.sum(0, dtype=torch.float64)
    return (unlabeled.float() / there.where(there > 0, 1.0).float()).max(1).indices
