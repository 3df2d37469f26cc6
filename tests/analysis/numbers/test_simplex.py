import numpy as np
import pytest
import scipy.special
import scipy.stats

from al_lightning.analysis.numbers.simplex import (
    barycentric,
    cumulative_average,
    largest_entropy,
    random_distributions,
    simplex_grid,
    smallest_entropy,
)


def test_the_grid_covers_the_simplex_once():
    grid = simplex_grid(6)
    assert grid.shape == (28, 3) and len(np.unique(grid.round(9), axis=0)) == 28
    np.testing.assert_allclose(grid.sum(axis=1), 1)
    for point in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3], [0.5, 0, 0.5]):
        assert np.isclose(grid, point).all(axis=1).any()


def test_barycentric_places():
    places = barycentric([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(places, [[0, 0], [1, 0], [0.5, 3**0.5 / 2], [0.5, 3**0.5 / 6]], atol=1e-12)


@pytest.mark.parametrize("classes", [3, 10, 19])
def test_random_distributions_cover_all_entropies_and_most_have_a_high_one(classes):
    drawn = random_distributions(20_000, classes, seed=1)
    assert drawn.shape == (20_000, classes)
    np.testing.assert_allclose(drawn.sum(axis=1), 1)
    shares, _ = np.histogram(scipy.stats.entropy(drawn, axis=1) / np.log(classes), bins=10, range=(0, 1))
    assert shares.min() > 400 and shares.argmax() == 9 and shares[5:].sum() > shares[:5].sum()
    assert np.array_equal(drawn, random_distributions(20_000, classes, seed=1))
    assert not np.array_equal(drawn, random_distributions(20_000, classes, seed=2))


def test_cumulative_average_by_hand():
    """Sorted by the key: 4, 8, 0, 2; running means 4, 6, 4, 3.5; from 4 at the first to 3.5 at the last."""
    np.testing.assert_allclose(cumulative_average([2.0, 8.0, 4.0, 0.0], order_by=[9, 2, 1, 5]), [0, -4, 0, 1])


@pytest.mark.parametrize(("pool", "furthest"), [("skewed", 10), ("normal", 0.1), ("dirichlet", 0.1)])
def test_which_temperature_is_furthest_from_entropy_depends_on_the_pool(pool, furthest):
    """T = 10 where most distributions are nearly uniform, as in the thesis (figure 2.12); elsewhere high temperatures come near entropy."""
    rng = np.random.default_rng(0)
    drawn = {
        "skewed": random_distributions(20_000, 19, 0),
        "normal": scipy.special.softmax(rng.standard_normal((20_000, 19)), axis=1),
        "dirichlet": rng.dirichlet([1] * 19, 20_000),
    }[pool]
    entropies = scipy.stats.entropy(drawn, axis=1)
    scores = {t: 1 - scipy.special.softmax(np.log(drawn) / t, axis=1).max(axis=1) for t in (0.1, 10, 100, 1000)}
    reference = cumulative_average(entropies, entropies)
    distances = {t: np.abs(cumulative_average(values, entropies) - reference).mean() for t, values in scores.items()}
    assert max(distances, key=distances.get) == furthest
    if pool == "skewed":
        assert distances[10] > distances[100] > distances[1000] > 2 / 3 * distances[10]
    else:
        assert max(distances[t] for t in (10, 100, 1000)) < 0.1


@pytest.mark.parametrize("classes", [2, 3, 7, 19])
def test_the_bounds_are_the_entropies_of_the_distributions_that_they_are_made_of(classes):
    for m in np.linspace(1 / classes, 1, 23):
        even = [m, *[(1 - m) / (classes - 1)] * (classes - 1)]
        assert largest_entropy(m, classes) == pytest.approx(scipy.stats.entropy(even), abs=1e-12)
        piled, rest = [], 1.0
        while rest > 1e-12:
            piled.append(min(m, rest))
            rest -= piled[-1]
        assert smallest_entropy(m) == pytest.approx(scipy.stats.entropy(piled), abs=1e-9)


@pytest.mark.parametrize("classes", [2, 5, 19])
def test_every_distribution_lies_between_the_bounds_which_meet_at_the_ends(classes):
    drawn = np.concatenate([random_distributions(20_000, classes, 3), np.random.default_rng(4).dirichlet([0.2] * classes, 20_000)])
    entropies, max_p = scipy.stats.entropy(drawn, axis=1), drawn.max(axis=1).clip(1 / classes, 1)
    assert (entropies <= largest_entropy(max_p, classes) + 1e-9).all() and (entropies >= smallest_entropy(max_p) - 1e-9).all()
    ends = np.array([1 / classes, 1])
    np.testing.assert_allclose(largest_entropy(ends, classes), [np.log(classes), 0], atol=1e-12)
    np.testing.assert_allclose(smallest_entropy(ends), [np.log(classes), 0], atol=1e-9)
    if classes > 2:
        assert largest_entropy(0.6, classes) > smallest_entropy(0.6) + 0.1


def test_the_smallest_entropy_of_three_classes_by_search():
    """p = (m, q, 1 - m - q) with no q above m."""
    for m in (0.35, 0.45, 0.55, 0.8):
        q = np.linspace(max(0, 1 - 2 * m), min(m, 1 - m), 2001)
        entropies = scipy.stats.entropy(np.stack([np.full_like(q, m), q, 1 - m - q]).clip(0, 1))
        assert smallest_entropy(m) == pytest.approx(entropies.min(), abs=1e-6)
        assert largest_entropy(m, 3) == pytest.approx(entropies.max(), abs=1e-6)


def test_impossible_largest_probabilities_are_refused():
    for m in (0.19, 1.01):
        with pytest.raises(ValueError, match="Expected largest probabilities from 1/5 to 1"):
            largest_entropy([0.5, m], 5)
    for m in (0.0, 1.01):
        with pytest.raises(ValueError, match="Expected largest probabilities above 0"):
            smallest_entropy([0.5, m])
