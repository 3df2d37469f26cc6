"""Batches by clusters: typical items, and uncertain ones, from different parts of the pool."""

from collections.abc import Sequence

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import (
    Batch,
    NotFinite,
    drawn,
    refuse_not_finite,
    refuse_other_length,
    refuse_size,
    refuse_unless,
)
from al_lightning.acquisition.batches.distances import TILE, Rows, leading, squared_distances
from al_lightning.acquisition.batches.precision import float32_products

_MOST_CLUSTERS = 500
_SMALLEST = 5  # a cluster of at most so many items counts as outliers
_NEIGHBOURS = 20
_FITTED = 2**15  # items that k-means is fitted to
_ROUNDS = 30
_COMPARED = 2**14  # members of a cluster among which neighbours are searched


def typiclust(unlabeled: Tensor, labeled: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The most typical item of each cluster in which nothing is labeled: for the smallest budgets.

    k-means of all items makes ``min(m + size, 500)`` clusters. Clusters take turns: those with the fewest labeled or chosen items first,
    the largest of them before the others; clusters of at most 5 items come last, when the others are used up. A cluster gives the item with
    the smallest mean distance to its ``min(20, half the cluster)`` nearest unlabeled neighbours in the cluster. (The authors' code searches
    the neighbours again without the chosen items.)

    Time: that of k-means, and the square of a cluster's size. In clusters of more than 16,384 items, neighbours are searched among so many
    randomly drawn members. Distances are as exact as in :func:`~al_lightning.acquisition.batches.k_center`: with more than 16 features,
    those below a thousandth of the norms count as 0.

    Source: Hacohen et al., Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, ICML 2022.

    Args:
        unlabeled: ``(n, D)``.
        labeled: ``(m, D)``.
        size: how many to choose.
        generator: of k-means.

    Returns:
        ``(size,)`` positions.

    Raises:
        NotFinite: NaN or infinity in a row.
    """
    return scored_typiclust(unlabeled, labeled, size, generator).indices


@float32_products()
def scored_typiclust(unlabeled: Tensor, labeled: Tensor, size: int, generator: torch.Generator) -> Batch:
    """See :func:`typiclust`; the scores are typicalities, 1 / mean distance (at most 1e5)."""
    refuse_size(size, len(unlabeled))
    if size == 0:
        return Batch.of([], [], unlabeled.device)
    rows = Rows(unlabeled, "unlabeled")
    others = Rows(labeled, "labeled", rows.offset)
    centers = fitted_centers([rows, others], min(len(labeled) + size, _MOST_CLUSTERS), generator)
    mine, theirs = nearest_center(rows, centers), nearest_center(others, centers)
    counts, labeled_counts = (found.bincount(minlength=len(centers)).tolist() for found in (mine, theirs))
    typical: dict[int, tuple[list[int], list[float]]] = {}
    indices: list[int] = []
    scores: list[float] = []
    for cluster, turn in _turns(counts, labeled_counts, size):
        if cluster not in typical:
            typical[cluster] = _by_typicality(rows, (mine == cluster).nonzero().flatten(), generator)
        indices.append(typical[cluster][0][turn])
        scores.append(typical[cluster][1][turn])
    return Batch.of(indices, scores, unlabeled.device)


def _turns(unlabeled: list[int], labeled: list[int], size: int) -> list[tuple[int, int]]:
    """In the order of choice: which cluster gives an item, and how many it gave before. The arguments count each cluster's items."""
    turns = []
    for cluster, (free, known) in enumerate(zip(unlabeled, labeled, strict=True)):
        outliers = free + known <= _SMALLEST
        turns += [(outliers, known + turn, -free - known, cluster, turn) for turn in range(min(free, size))]
    return [(cluster, turn) for *_, cluster, turn in sorted(turns)[:size]]


def _by_typicality(rows: Rows, members: Tensor, generator: torch.Generator) -> tuple[list[int], list[float]]:
    """A cluster's members ``(c,)``, the most typical first, and their typicalities."""
    compared = members if len(members) <= _COMPARED else members[_sample(len(members), _COMPARED, generator).to(members.device)]
    others, norms = rows[compared], rows.norms[compared]
    neighbours = min(_NEIGHBOURS, len(members) // 2)
    means = []
    for some in members.split(max(1, TILE // len(compared))):
        squared = squared_distances(rows[some], rows.norms[some], others, norms)
        squared[some.unsqueeze(1) == compared] = torch.inf  # not a neighbour of itself
        nearest = squared.topk(neighbours, 1, largest=False).values
        means.append(nearest.sqrt().sum(1) / max(1, neighbours))
    typicality = 1 / torch.cat(means).double().clamp_min(1e-5)
    order = typicality.argsort(descending=True, stable=True)
    return members[order].tolist(), typicality[order].tolist()


@float32_products()
def cluster_margin(
    uncertainties: Tensor, features: Tensor, size: int, generator: torch.Generator, candidates: int = 10, clusters: int | None = None
) -> Tensor:
    """Round robin over clusters of the most uncertain items.

    The ``candidates x size`` most uncertain items are clustered. Clusters take turns, the smallest first; each gives a random item.

    Source: Citovsky et al., Batch Active Learning at Scale, NeurIPS 2021. There the whole pool is clustered once by average linkage; here
    the candidates are clustered by k-means, which also works for a million items.

    Args:
        uncertainties: ``(n,)``, higher first.
        features: ``(n, D)``.
        size: how many to choose.
        generator: of k-means and of the random items.
        candidates: number of items that are clustered, as a multiple of ``size``; at least 1.
        clusters: number of clusters; ``size`` by default.

    Returns:
        ``(size,)`` positions.

    Raises:
        NotFinite: NaN or infinity in a row or an uncertainty.
        ValueError: fewer than 1 candidate or cluster, or another number of uncertainties than of rows.
    """
    refuse_size(size, len(features))
    refuse_unless(candidates >= 1, "at least 1 as candidates", candidates)
    refuse_unless(clusters is None or clusters >= 1, "at least 1 cluster", clusters or 0)
    refuse_other_length("an uncertainty", uncertainties, len(features))
    refuse_not_finite("unlabeled", uncertainties)
    considered = leading(uncertainties, candidates * size)
    if size == 0:
        return considered
    try:
        rows = Rows(features[considered], "unlabeled")
    except NotFinite as error:
        raise NotFinite(error.which, int(considered[error.position])) from None
    assigned = nearest_center(rows, fitted_centers([rows], min(size if clusters is None else clusters, len(rows)), generator))
    shuffled = torch.randperm(len(rows), generator=generator, device=generator.device).to(assigned.device)
    sizes = assigned.bincount()
    by_cluster = shuffled[assigned[shuffled].argsort(stable=True)]
    turns = torch.empty_like(by_cluster)
    turns[by_cluster] = torch.arange(len(rows), device=rows.matrix.device) - (sizes.cumsum(0) - sizes)[assigned[by_cluster]]
    order = assigned.argsort(stable=True)
    order = order[sizes[assigned[order]].argsort(stable=True)]
    order = order[turns[order].argsort(stable=True)]
    return considered[order[:size]]


@float32_products()
def k_means(matrix: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """The cluster of each row ``(n, D)``, int64 ``(n,)``: Lloyd's rounds, begun with the seeds of k-means++.

    The centers are fitted to at most 32,768 randomly drawn rows. If there are fewer different rows than clusters, there are fewer clusters.

    Args:
        matrix: ``(n, D)``.
        clusters: number of clusters.
        generator: of the drawn rows and of the seeds.

    Raises:
        NotFinite: NaN or infinity in a row.
    """
    rows = Rows(matrix, "unlabeled")
    return nearest_center(rows, fitted_centers([rows], clusters, generator))


def _sample(n: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator, device=generator.device)[:count].sort().values


def fitted_centers(parts: Sequence[Rows], clusters: int, generator: torch.Generator) -> Tensor:
    """Centers ``(at most clusters, D)`` of the items of all parts, relative to their common offset.

    Source: Arthur & Vassilvitskii, k-means++, 2007.
    """
    lengths = [*map(len, parts)]
    fitted = torch.full((sum(lengths),), sum(lengths) <= _FITTED)
    if not fitted.all():
        fitted[_sample(len(fitted), _FITTED, generator).cpu()] = True
    places = [of.nonzero().flatten() for of in fitted.split(lengths)]
    sample = torch.cat([part[its.to(part.matrix.device)] for part, its in zip(parts, places, strict=True)])
    centers = _seeds(sample, clusters, generator)
    assigned = None
    for _ in range(_ROUNDS):
        before, assigned = assigned, _nearest(sample, centers)
        if before is not None and bool((before == assigned).all()):
            break
        centers = _means(sample, assigned, centers)
    return centers


def _seeds(sample: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    norms = sample.square().sum(1)
    squared = torch.full_like(norms, torch.inf)
    chosen = int(torch.randint(max(1, len(sample)), (), generator=generator, device=generator.device))
    seeds = []
    for _ in range(min(clusters, len(sample))):
        seeds.append(chosen)
        nearest = squared_distances(sample[chosen : chosen + 1], norms[chosen : chosen + 1], sample, norms)[0]
        squared = torch.minimum(squared, nearest)
        if not bool(squared.any()):
            break
        chosen = int(drawn(squared, 1, generator))
    return sample[seeds]


def _nearest(rows: Tensor, centers: Tensor) -> Tensor:
    norms = centers.square().sum(1)
    return torch.cat([torch.addmm(norms, part, centers.T, alpha=-2).argmin(1) for part in rows.split(4096)])


def nearest_center(rows: Rows, centers: Tensor) -> Tensor:
    """For each row the nearest of centers ``(k, D)``, int64 ``(n,)``."""
    found = [_nearest(block, centers) for _, block in rows.blocks()]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=centers.device)


def _means(sample: Tensor, assigned: Tensor, centers: Tensor) -> Tensor:
    """Means of the members; an empty cluster keeps its center. Matrix products give the same sums each time, on any device."""
    sums, counts = torch.zeros_like(centers), torch.zeros_like(centers[:, 0])
    for part, of in zip(sample.split(4096), assigned.split(4096), strict=True):
        members = (of == torch.arange(len(centers), device=of.device).unsqueeze(1)).to(sample.dtype)
        sums += members @ part
        counts += members.sum(1)
    return torch.where((counts > 0).unsqueeze(1), sums / counts.clamp_min(1).unsqueeze(1), centers)
