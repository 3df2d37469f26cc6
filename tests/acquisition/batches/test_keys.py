import itertools
import math

import pytest
import torch

from al_lightning.acquisition.batches import NotFinite, class_stratified, most_added_class, power_keys


def random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_the_first_is_drawn_in_proportion_to_the_power_of_the_score(beta):
    scores = torch.tensor([1.0, 2.0, 4.0])
    keys = power_keys(scores.repeat(20000), beta, random()).view(20000, 3)
    first = keys.argmax(1).bincount() / 20000
    torch.testing.assert_close(first, scores**beta / (scores**beta).sum(), rtol=0, atol=0.01)


def test_items_of_score_0_come_last_in_random_order():
    for beta, seed in itertools.product((1e-307, 1e-18, 1e-4, 1.0, 1e4), range(20)):
        keys = power_keys(torch.tensor([0.0, 1e-300, 0.0, 1e300, 0.0], dtype=torch.float64), beta, random(seed))
        assert bool(keys.isfinite().all())
        assert set(keys.argsort(descending=True)[:2].tolist()) == {1, 3}
    orders = {tuple(power_keys(torch.zeros(3), 1.0, random(seed)).argsort().tolist()) for seed in range(60)}
    assert len(orders) == 6


def test_logarithms_are_taken_as_they_are():
    scores = torch.tensor([0.0, 0.5, 2.0])
    assert torch.equal(power_keys(scores.double().log(), 2.0, random(), logarithmic=True), power_keys(scores, 2.0, random()))
    far = power_keys(torch.tensor([-5000.0, -6000.0, -torch.inf]), 1.0, random(), logarithmic=True)  # exp of either is 0
    assert far.argsort(descending=True).tolist() == [0, 1, 2]


def test_without_noise_the_ranking_is_the_score_s():
    torch.testing.assert_close(power_keys(torch.tensor([3.0, 1.0]), math.inf, random()), torch.tensor([math.log(3), 0]).double())


@pytest.mark.parametrize(
    ("scores", "beta", "message"),
    [
        ([1.0, -0.5], 1.0, "at least 0, got -0.5 for item 1"),
        ([1.0], 0.0, "a beta above 0, got 0"),
        ([1.0], math.nan, "a beta above 0, got nan"),
        ([1.0, math.nan], 1.0, "item 1 of the scored"),
        ([math.inf], 1.0, "item 0 of the scored"),
    ],
)
def test_what_has_no_power_is_refused(scores, beta, message):
    with pytest.raises(ValueError, match=message) as caught:
        power_keys(torch.tensor(scores), beta, random())
    assert isinstance(caught.value, NotFinite) == ("scored" in message)


def test_classes_take_turns_for_their_share():
    keys = torch.tensor([9.0, 8, 7, 6, 5, 4, 3, 2])
    classes = torch.tensor([4, 4, 4, 4, 4, 0, 2, 0])
    assert class_stratified(keys, classes, 6, 0.67).tolist() == [0, 5, 6, 1, 2, 3]  # a turn each, the fourth goes to the best second
    assert class_stratified(keys, classes, 3, 0.0).tolist() == [0, 1, 2]
    assert class_stratified(keys, classes, 8, 1.0).tolist() == [0, 5, 6, 1, 7, 2, 3, 4]
    assert class_stratified(keys, torch.zeros(8, dtype=torch.int64), 3, 1.0).tolist() == [0, 1, 2]


def in_turns(keys, classes, size, share):
    """The definition, item by item."""
    left = sorted(range(len(keys)), key=lambda item: (-keys[item], item))
    chosen, taken = [], dict.fromkeys(classes, 0)
    while len(chosen) < int(size * share + 1e-9):
        item = min(left, key=lambda item: taken[classes[item]])  # of classes with equally few, the one of the best item
        taken[classes[item]] += 1
        chosen.append(item)
        left.remove(item)
    return chosen + left[: size - len(chosen)]


@pytest.mark.parametrize("levels", [3, 10**6])  # of keys: with 3 many are equal
@pytest.mark.parametrize("rare", [0.0, 0.01, 0.3])  # with 0.01, items that are far from the best are chosen for their class
@pytest.mark.parametrize(("size", "share"), [(7, 0.66), (12, 1.0), (1, 1.0), (0, 0.66), (9, 0.0), (399, 0.5), (400, 1.0)])
def test_few_of_many_are_chosen_as_if_all_were_sorted(levels, rare, size, share):
    generator = random(levels)
    keys = torch.randint(0, levels, (400,), generator=generator).double()
    classes = torch.randint(0, 4, (400,), generator=generator)
    is_rare = torch.rand(400, generator=generator) < rare
    classes, keys = classes.where(~is_rare, 6), keys.where(~is_rare, keys.div(levels, rounding_mode="floor"))
    assert class_stratified(keys, classes, size, share).tolist() == in_turns(keys.tolist(), classes.tolist(), size, share)


def test_an_item_far_down_whose_turn_has_come_is_chosen():
    keys = torch.arange(60, 0, -1.0)
    classes = torch.zeros(60, dtype=torch.int64)
    classes[[5, 57]] = 1
    assert class_stratified(keys, classes, 4, 1.0).tolist() == [0, 5, 1, 57]


def test_an_image_counts_for_the_class_that_it_adds_most_of():
    unlabeled = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1]])
    assert most_added_class(unlabeled, unlabeled[:0]).tolist() == [0, 2]  # by the mean, 0.75, 0.2 and 0.05: 1.2, 0.5, 0; 0.8, 1.5, 2
    labeled = torch.tensor([[0.9, 0.0, 0.1]]).repeat(10, 1)  # 9 of the first class, 1 of the last
    assert most_added_class(unlabeled, labeled).tolist() == [1, 1]  # 0.09, 0.5 and 0; 0.06, 1.5 and 0.1
    assert most_added_class(torch.eye(4)[[2, 0, 2]], torch.eye(4)[[1, 2]]).tolist() == [2, 0, 2]  # as in classification


@pytest.mark.parametrize("labeled", [0, 5, 40])
def test_a_class_that_is_rare_everywhere_has_its_images_as_well(labeled):
    """Of 20 images a fifth has three times the usual share of a class that fills 1 % of the pixels."""
    rare = torch.tensor([0.03, *[0.005] * 4]).repeat(4)
    images = torch.stack([0.99 - rare, torch.full((20,), 0.01), rare], 1)
    usual = images.mean(0).repeat(labeled, 1)
    assert most_added_class(images, usual)[::5].tolist() == [2] * 4
    assert 2 not in most_added_class(images, usual)[1:5]
