"""What every chooser of a batch keeps."""

import pytest
import torch

from al_lightning.acquisition import batches
from al_lightning.acquisition.batches import NotFinite, centers, coverage, distances, gradients, information


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def of_items(rows, columns):
    """Numbers from 0 to 1 that follow from the rows: equal rows have equal ones."""
    return (rows.float().sum(1, keepdim=True) * torch.arange(1, columns + 1) * 0.7).sin().square()


def badge(unlabeled, labeled, size):
    return batches.badge(of_items(unlabeled, 5).softmax(1), unlabeled, size, random())


def batch_bald(unlabeled, labeled, size):
    return batches.batch_bald(torch.stack([of_items(unlabeled, 3) * factor for factor in (-4, 0, 3, 5)]), size, random())[0]


def cluster_margin(unlabeled, labeled, size):
    return batches.cluster_margin(of_items(unlabeled, 1)[:, 0], unlabeled, size, random(), candidates=2)


def class_stratified(unlabeled, labeled, size):
    classes = batches.most_added_class(of_items(unlabeled, 3), of_items(labeled, 3))
    return batches.class_stratified(of_items(unlabeled, 1)[:, 0], classes, size)


def uncertainty_herding(unlabeled, labeled, size):
    return batches.uncertainty_herding(unlabeled, labeled, size, of_items(unlabeled, 1)[:, 0])


BY_DISTANCE = [batches.k_center, batches.prob_cover, batches.max_herding]
SEES_LABELED = [*BY_DISTANCE, uncertainty_herding, lambda *arguments: batches.typiclust(*arguments, random())]
ALL = [*SEES_LABELED, badge, batch_bald, cluster_margin, class_stratified]
SIZES = [(23, 4, 7, 6), (23, 0, 7, 6), (11, 3, 1, 11), (9, 2, 20, 9), (1, 0, 2, 1), (5, 2, 3, 0), (0, 2, 3, 0)]  # n, m, D, size


def rows(n, m, features, seed=1):
    both = torch.randn(n + m, features, generator=random(seed))
    return both[:n], both[n:]


@pytest.mark.parametrize("choose", ALL)
@pytest.mark.parametrize(("n", "m", "features", "size"), SIZES)
def test_chooses_so_many_items_once_each_and_the_same_again(choose, n, m, features, size):
    unlabeled, labeled = rows(n, m, features)
    copies = unlabeled.clone(), labeled.clone()
    chosen = choose(unlabeled, labeled, size)
    assert chosen.dtype == torch.int64 and chosen.shape == (size,)
    assert len(set(chosen.tolist())) == size and set(chosen.tolist()) <= set(range(n))
    assert torch.equal(choose(*copies, size), chosen)
    assert torch.equal(unlabeled, copies[0]) and torch.equal(labeled, copies[1])


@pytest.mark.parametrize("choose", ALL)
@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_equal_items_are_chosen_all_the_same(choose, value):
    unlabeled = torch.full((12, 18), value)
    for labeled in (unlabeled[:0], unlabeled[:3]):
        chosen = choose(unlabeled, labeled, 12)
        assert sorted(chosen.tolist()) == list(range(12))
        if choose not in (badge, cluster_margin):  # which draw
            assert chosen.tolist() == list(range(12))


@pytest.mark.parametrize("choose", SEES_LABELED)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_type_is_computed_as_single(choose, dtype):
    unlabeled, labeled = (part.to(dtype) for part in rows(40, 5, 19))
    assert torch.equal(choose(unlabeled, labeled, 15), choose(unlabeled.float(), labeled.float(), 15))


@pytest.mark.parametrize("choose", ALL)
@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_what_new_tensors_are_by_default_changes_nothing(choose, default):
    """As Lightning's precisions 64-true and bf16-true set it."""
    unlabeled, labeled = rows(30, 5, 19)
    expected = choose(unlabeled, labeled, 15)
    torch.set_default_dtype(default)
    try:
        assert torch.equal(choose(unlabeled, labeled, 15), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture
def lowered():
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("choose", ALL)
def test_a_lowered_precision_of_products_changes_nothing(choose, lowered):
    """On a processor with bfloat16, copies would lie apart."""
    copies = torch.arange(20).repeat_interleave(torch.arange(1, 21))
    unlabeled, labeled = rows(20, 3, 128)
    low = choose(unlabeled[copies], labeled, 9)
    assert torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision("highest")
    assert torch.equal(low, choose(unlabeled[copies], labeled, 9))


@pytest.mark.parametrize("choose", ALL)
def test_other_blocks_choose_the_same(choose, monkeypatch):
    unlabeled, labeled = rows(50, 7, 18)
    expected = choose(unlabeled, labeled, 20)
    for module, name, value in (
        (distances, "TILE", 3 * 18),
        (centers, "TILE", 9),
        (centers, "_TOGETHER", 3),
        (centers, "_CANDIDATES", 4),
        (coverage, "TILE", 5),
        (coverage, "_TILE", 60),
        (gradients, "TILE", 40),
        (information, "_ENTRIES", 10),
    ):
        monkeypatch.setattr(module, name, value)
    assert torch.equal(choose(unlabeled, labeled, 20), expected)


@pytest.mark.parametrize("choose", BY_DISTANCE)
@pytest.mark.parametrize("features", [3, 40])
def test_duplicates_of_labeled_items_come_last_by_position(choose, features):
    others, labeled = rows(9, 4, features)
    unlabeled = torch.cat([labeled[:2], others[:5], labeled[2:], others[5:]]) + 5
    chosen = choose(unlabeled, labeled + 5, 13).tolist()
    assert sorted(chosen[:9]) == [2, 3, 4, 5, 6, 9, 10, 11, 12]
    assert chosen[9:] == [0, 1, 7, 8]


@pytest.mark.parametrize("choose", ALL)
def test_what_is_not_finite_is_named(choose):
    for value in (torch.nan, torch.inf):
        unlabeled, labeled = rows(9, 4, 5)
        unlabeled[6, 2] = value
        with pytest.raises(NotFinite, match="item 6 of the unlabeled") as caught:
            choose(unlabeled, labeled, 9)
        assert (caught.value.which, caught.value.position) == ("unlabeled", 6)


@pytest.mark.parametrize("choose", [*SEES_LABELED, class_stratified])
def test_what_is_not_finite_among_the_labeled_is_named(choose):
    unlabeled, labeled = rows(9, 4, 5)
    labeled[3, 4] = torch.nan
    with pytest.raises(NotFinite, match="item 3 of the labeled"):
        choose(unlabeled, labeled, 3)


@pytest.mark.parametrize("choose", ALL)
@pytest.mark.parametrize("size", [-1, 10])
def test_a_batch_that_the_items_cannot_fill_is_refused(choose, size):
    with pytest.raises(ValueError, match=f"from 0 to the 9 items there are, got {size}"):
        choose(*rows(9, 4, 5), size)


@pytest.mark.parametrize("choose", ALL)
def test_what_a_network_has_just_computed_is_taken_as_it_is(choose):
    """Tensors that autograd follows."""
    unlabeled, labeled = rows(9, 4, 5)
    assert torch.equal(choose(unlabeled.requires_grad_(), labeled.requires_grad_(), 6), choose(unlabeled.detach(), labeled.detach(), 6))


U, L = rows(9, 4, 5)


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda: batches.prob_cover(U, L, 3, -0.5), "a delta of at least 0, got -0.5"),
        (lambda: batches.prob_cover(U, L, 3, torch.nan), "a delta of at least 0, got nan"),
        (lambda: batches.max_herding(U, L, 3, 0.0), "a sigma above 0, got 0"),
        (lambda: batches.max_herding(U, L, 3, torch.nan), "a sigma above 0, got nan"),
        (lambda: batches.uncertainty_herding(U, L, 3, U[:, 0].abs(), -1.0), "a sigma above 0, got -1"),
        (lambda: batches.uncertainty_herding(U, L, 3, U[:7, 0].abs()), "an uncertainty of each of 9 items, got 7"),
        (lambda: batches.cluster_margin(U[:7, 0], U, 3, random()), "an uncertainty of each of 9 items, got 7"),
        (lambda: batches.cluster_margin(U[:, 0], U, 3, random(), candidates=0), "at least 1 as candidates, got 0"),
        (lambda: batches.cluster_margin(U[:, 0], U, 3, random(), clusters=0), "at least 1 cluster, got 0"),
        (lambda: batches.badge(of_items(U, 3), U[:7], 3, random()), "probabilities of each of 7 items, got 9"),
        (lambda: batches.class_stratified(U[:, 0], torch.zeros(7, dtype=torch.int64), 3), "a class of each of 9 items, got 7"),
        (lambda: batches.class_stratified(U[:, 0], torch.zeros(9, dtype=torch.int64), 3, 1.5), "a share from 0 to 1, got 1.5"),
        (lambda: batches.class_stratified(U[:, 0], torch.zeros(9, dtype=torch.int64), 3, torch.nan), "a share from 0 to 1, got nan"),
        (lambda: batches.power_keys(U[:, 0].abs(), torch.nan, random()), "a beta above 0, got nan"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(choose, message):
    with pytest.raises(ValueError, match=f"Expected {message}"):
        choose()
