import pytest
import torch

from al_lightning.acquisition.batches import cluster_margin, clusters, k_means, scored_typiclust, typiclust


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def blobs(sizes, features=3, seed=0):
    """Clusters far apart, and the cluster of each row."""
    of = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    centers = 100 * torch.eye(len(sizes), features)
    return centers[of] + torch.randn(len(of), features, generator=random(seed)), of


@pytest.mark.parametrize("fitted", [2**15, 25])
def test_k_means_finds_what_is_apart(fitted, monkeypatch):
    monkeypatch.setattr(clusters, "_FITTED", fitted)
    rows, of = blobs([40, 9, 23])
    found = k_means(rows, 3, random())
    assert len(set(zip(found.tolist(), of.tolist(), strict=True))) == 3
    assert torch.equal(k_means(rows, 3, random()), found)


def test_k_means_settles_in_a_local_optimum():
    rows = torch.randn(200, 2, generator=random())
    found = k_means(rows, 4, random())
    means = torch.stack([rows[found == cluster].mean(0) for cluster in range(4)])
    assert torch.equal(torch.cdist(rows, means).argmin(1), found)


def test_k_means_of_few_different_rows_makes_no_more_clusters_than_these():
    rows = torch.tensor([[0.0, 1], [5, 5]]).repeat(10, 1)
    assert set(k_means(rows, 6, random()).tolist()) == {0, 1}


@pytest.mark.parametrize("fitted", [2**15, 28])
def test_labeled_items_far_from_all_others_have_clusters_of_their_own(fitted, monkeypatch):
    """Else the unlabeled items were cut into as many clusters more, and two typical items came from one place."""
    monkeypatch.setattr(clusters, "_FITTED", fitted)
    rows, of = blobs([0, 0, 0, 0, 0, 0, 15, 15], features=8)
    labeled, _ = blobs([1, 1, 1, 1, 1, 1], features=8, seed=9)
    assert sum({*of[typiclust(rows, labeled, 2, random(seed))].tolist()} == {6, 7} for seed in range(20)) >= 17


def test_typical_items_of_clusters_without_labels_come_first_and_of_large_ones_before():
    rows, of = blobs([30, 12, 20])
    labeled, _ = blobs([1, 0, 0], seed=9)
    batch = scored_typiclust(rows, labeled, 2, random())
    assert of[batch.indices].tolist() == [2, 1]
    for item, score in zip(batch.indices.tolist(), batch.scores.tolist(), strict=True):
        members = rows[of == of[item]]
        near = torch.cdist(rows[of == of[item]], members).sort(1).values[:, 1 : 1 + min(20, len(members) // 2)].mean(1)
        assert score == pytest.approx(1 / float(near.min()), rel=1e-4)
        assert torch.equal(members[near.argmin()], rows[item])


def test_clusters_take_turns_and_small_ones_wait():
    rows, of = blobs([9, 4, 7], seed=2)
    order = of[typiclust(rows, rows[:0], 3, random())].tolist()
    assert order == [0, 2, 0]


def test_large_clusters_are_compared_with_drawn_members(monkeypatch):
    monkeypatch.setattr(clusters, "_COMPARED", 40)
    rows, _ = blobs([300], features=2)
    (chosen,) = typiclust(rows, rows[:0], 1, random()).tolist()
    assert float((rows[chosen] - rows.mean(0)).norm()) < 1.0  # it is typical all the same


def test_uncertain_items_come_from_each_cluster_the_smallest_first():
    rows, of = blobs([6, 3, 20])
    uncertainties = torch.where(torch.arange(29) < 28, 1.0, 0.0)
    uncertainties[of == 2] -= torch.arange(20) / 100
    chosen = cluster_margin(uncertainties, rows, 4, random(), candidates=4, clusters=3)
    # Of the 16 most uncertain, 7 are of the last cluster.
    assert of[chosen].tolist() == [1, 0, 2, 1]
    assert set(chosen.tolist()) <= set(range(16))
    everything = of[cluster_margin(uncertainties, rows, 16, random(), candidates=1, clusters=3)].tolist()
    assert everything[:9] == [1, 0, 2] * 3 and everything[9:15] == [0, 2] * 3 and everything[15:] == [2]


def test_the_one_of_a_cluster_is_drawn():
    rows = torch.ones(6, 2)
    first = {int(cluster_margin(torch.ones(6), rows, 1, random(seed), candidates=6)[0]) for seed in range(40)}
    assert first == set(range(6))
