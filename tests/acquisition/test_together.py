"""Strategies that choose a query as a whole."""

import itertools

import pytest
import torch

from al_lightning import acquisition
from al_lightning.acquisition import (
    BADGE,
    BALD,
    EPIG,
    Apart,
    BatchBALD,
    Choice,
    ClassAwareRandom,
    ClassStratified,
    ClusterMargin,
    CoreSet,
    Diverse,
    Entropy,
    Expert,
    Inverse,
    Items,
    Margin,
    MaxHerding,
    MaxSoftmax,
    Order,
    Power,
    ProbCover,
    Random,
    Scored,
    TypiClust,
    UHerding,
)
from al_lightning.acquisition.joint import joint_looker
from al_lightning.errors import UserError
from al_lightning.models import MLP

ALL = [
    CoreSet(),
    BADGE(),
    BatchBALD(4, 0.5),
    EPIG(5, 4, 0.5),
    TypiClust(),
    ProbCover(0.05),
    MaxHerding(),
    UHerding(),
    ClusterMargin(),
    Diverse(Entropy(), 3),
    Power(Entropy()),
    Apart(Margin()),
    ClassStratified(Entropy()),
    ClassAwareRandom(),
]
N = 40


def scored_by(strategy, inputs, unlabeled, labeled=(), cycle=0, batches=()):
    """What a query knows of items, by a network of its own; the batches of both are of these sizes, or one."""
    torch.manual_seed(1)
    network = MLP(6, dropout=0.2, num_classes=4, input_shape=(5,)).eval()
    strategy.prepare(len(inputs), str, lambda indices: indices % 4)

    def items(indices, sizes):
        indices = torch.tensor(indices, dtype=torch.int64)
        with torch.no_grad(), joint_looker([strategy], strategy.represented, network, 0) as look:
            looks = [look(inputs[part], part) for part in indices.split(sizes)]
        keys, rows = ([torch.cat(parts) for parts in zip(*found, strict=True)] for found in zip(*looks, strict=True))
        return Items(indices, keys[0].double() if keys else None, tuple(rows))

    of_unlabeled, of_labeled = batches or (len(unlabeled), len(labeled))
    known = items(labeled, of_labeled) if strategy.sees_labeled else Items(torch.tensor(labeled))
    return Scored(items(unlabeled, of_unlabeled), known, cycle=cycle)


def indices_of(strategy, scored, size, seed=0):
    chosen = strategy.select(scored, size, torch.Generator().manual_seed(seed))
    return (chosen.indices if isinstance(chosen, Choice) else chosen).tolist()


def keyed(keys, labeled=(), rows=(), of_labeled=(), cycle=0, strategy=None, names=None):
    """Items 0, 1, ... with these keys."""
    if strategy is not None:
        strategy.prepare(1000 if names is None else len(names), str if names is None else names.__getitem__, lambda indices: indices)
    unlabeled = Items(torch.arange(len(keys)), torch.tensor(keys, dtype=torch.float64), rows)
    return Scored(unlabeled, Items(torch.tensor(labeled, dtype=torch.int64), None, of_labeled), cycle=cycle)


@pytest.fixture
def inputs():
    return torch.rand(N, 5, generator=torch.Generator().manual_seed(2))


def test_every_strategy_is_tested_here_or_there():
    from tests.acquisition.test_strategies import ALL as RANKING

    others = {"Expert", "FromFile", "Inverse", "LowestMiou", "MostIncorrect"}
    assert {type(strategy).__name__ for strategy in [*ALL, *RANKING]} | others == set(acquisition.STRATEGIES)
    assert not any(strategy.ranks for strategy in ALL) and all(strategy.ranks for strategy in RANKING)


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: type(s).__name__)
def test_contract(strategy, inputs):
    """A query of unlabeled items, each once; repeatable; also of one item, of all, with nothing labeled, and where all are equal."""
    for unlabeled, labeled in [([3, 1, 4, 15, 9, 2, 6, 5, 35], [0, 7]), ([3, 1, 4, 15, 9], [])]:
        scored = scored_by(strategy, inputs, unlabeled, labeled)
        for size in (1, 4, len(unlabeled)):
            found = indices_of(strategy, scored, size)
            assert len(found) == size and len(set(found)) == size and set(found) <= set(unlabeled)
            assert indices_of(strategy, scored, size) == found
        alike = scored_by(strategy, inputs[:1].expand(N, -1), unlabeled, labeled)
        assert sorted(indices_of(strategy, alike, len(unlabeled))) == sorted(unlabeled)
    if not strategy.scores_items:
        with pytest.raises(NotImplementedError):
            strategy.ranking_keys(None, torch.arange(2), 0)


@pytest.mark.parametrize("strategy", [*ALL, ProbCover()], ids=str)
@pytest.mark.parametrize("batches", [([5, 1, 7], [2, 1]), ([1] * 13, [1, 2])], ids=["unequal", "single"])
def test_the_choice_does_not_depend_on_the_batches(strategy, inputs, batches):
    unlabeled, labeled = [3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 30, 22, 17], [0, 7, 11]
    at_once = scored_by(strategy, inputs, unlabeled, labeled)
    in_parts = scored_by(strategy, inputs, unlabeled, labeled, batches=batches)
    for size in (1, 6, 13):
        assert indices_of(strategy, in_parts, size) == indices_of(strategy, at_once, size)


@pytest.mark.parametrize("strategy", [CoreSet(), Diverse(Entropy()), ProbCover(0.05), MaxHerding(), UHerding()], ids=str)
def test_copies_of_what_is_labeled_come_last(strategy, inputs):
    inputs = inputs.clone()
    inputs[[1, 9]] = inputs[[0, 7]]
    found = indices_of(strategy, scored_by(strategy, inputs, [3, 1, 4, 15, 9, 2, 6], [0, 7]), 7)
    assert set(found[-2:]) == {1, 9}


def test_a_score_is_said_of_each():
    inputs = torch.rand(N, 5, generator=torch.Generator().manual_seed(2))
    scored = scored_by(CoreSet(), inputs, [3, 1, 4, 15, 9, 2, 6], [0, 7])
    choice = CoreSet().select(scored, 3, torch.Generator())
    (unlabeled,), (labeled,) = scored.unlabeled.rows, scored.labeled.rows
    near = labeled
    for index, score in zip(choice.indices.tolist(), choice.scores.tolist(), strict=True):
        distances = torch.cdist(unlabeled.double(), near.double()).amin(1)
        assert int(scored.unlabeled.indices[distances.argmax()]) == index and score == pytest.approx(float(distances.max()), rel=1e-4)
        near = torch.cat([near, unlabeled[scored.unlabeled.indices == index]])


def test_diverse_is_k_center_among_the_best():
    """By hand: of the best 4 of 6, on a line with a labeled item at 0."""
    strategy = Diverse(Entropy(), candidates=2)
    line = torch.tensor([[1.0], [50.0], [1.1], [8.0], [9.0], [70.0]])
    scored = keyed([0.9, 0.1, 0.8, 0.7, 0.6, 0.2], rows=(line,), of_labeled=(torch.zeros(1, 1),), labeled=[99])
    assert indices_of(strategy, scored, 2) == [4, 2]  # 9 is farthest; then 1.1, as 8 is near 9
    everything = Diverse(Entropy(), candidates=9)
    assert indices_of(everything, scored, 2) == [5, 1]
    greedy = Diverse(Entropy(), candidates=1)
    assert sorted(indices_of(greedy, scored, 2)) == [0, 2]


def test_diverse_takes_the_equal_ones_that_come_first():
    strategy = Diverse(Entropy(), candidates=1)
    scored = keyed([0.5] * 6, rows=(torch.zeros(6, 1),), of_labeled=(torch.zeros(0, 1),))
    assert indices_of(strategy, scored, 3) == [0, 1, 2]


def test_power_draws_in_proportion_to_powers():
    scores = torch.tensor([1.0, 2.0, 4.0])
    drawn = [indices_of(Power(Entropy(), beta), keyed(scores.tolist()), 2, seed) for beta in (1.0, 2.0) for seed in range(500)]
    for beta, firsts in ((1.0, drawn[:500]), (2.0, drawn[500:])):
        found = torch.tensor([first for first, _ in firsts]).bincount(minlength=3) / 500
        torch.testing.assert_close(found, scores**beta / (scores**beta).sum(), atol=0.07, rtol=0)
    after_2 = torch.tensor([second for first, second in drawn[:500] if first == 2]).bincount(minlength=3)
    assert float(after_2[1] / after_2.sum()) == pytest.approx(2 / 3, abs=0.08)  # without replacement


def test_power_of_nothing_of_logarithms_and_of_what_is_below_zero(inputs):
    zeros = keyed([0.0, 1e-9, 0.0, 2.0, 0.0])
    orders = [indices_of(Power(Entropy()), zeros, 5, seed) for seed in range(30)]
    assert all(set(order[:2]) == {1, 3} for order in orders) and len({tuple(order[2:]) for order in orders}) > 3
    logs = keyed([-1000.0, -1001.0, -2000.0])  # of scores that are 0 in float64
    firsts = torch.tensor([indices_of(Power(MaxSoftmax()), logs, 3, seed)[0] for seed in range(400)]).bincount(minlength=3) / 400
    torch.testing.assert_close(firsts, torch.tensor([0.731, 0.269, 0.0]), atol=0.08, rtol=0)  # e : 1
    assert torch.equal(Power(MaxSoftmax()).logarithms(torch.tensor([-1000.0])), torch.tensor([-1000.0], dtype=torch.float64))
    assert torch.equal(Power(Entropy()).logarithms(torch.tensor([0.0, 1.0])), torch.tensor([-torch.inf, 0.0], dtype=torch.float64))
    for strategy in (Inverse(Entropy()), Order(), Expert("x.ckpt", Inverse(Entropy()))):
        for wrapper in (Power, ClassStratified):
            with pytest.raises(UserError, match=f"scores are at least 0 for {wrapper.__name__}, .*got"):
                wrapper(strategy)

    class Below(Entropy):
        pass

    with pytest.raises(UserError, match=r"at least 0 of Below, by whose powers items are drawn, got -0.5"):
        indices_of(Power(Below()), keyed([1.0, -0.5]), 1)
    huge = keyed([3.0, 1.0, 2.0])
    assert indices_of(Power(Entropy(), 1e9), huge, 3) == [0, 2, 1]


@pytest.mark.parametrize("wrapper", [Inverse, Power, Diverse, Apart, ClassStratified])
def test_what_chooses_as_a_whole_can_not_be_ranked_by(wrapper):
    for inner in (CoreSet(), Power(Entropy()), Diverse(Entropy()), UHerding()):
        with pytest.raises(
            UserError, match=f"ranks items by a score of each for {wrapper.__name__}, like Entropy, got {type(inner).__name__}"
        ):
            wrapper(inner)


def test_apart_by_hand():
    names = ["0001TP_000000", "0001TP_000030", "0001TP_000061", "Seq05VD_f00010", "0001TP_000091", "0001TP_000500"]
    strategy = Apart(Entropy(), frames=30)
    scored = keyed([0.5, 0.9, 0.8, 0.1, 0.7, 0.2], labeled=[5], strategy=strategy, names=names)
    assert indices_of(strategy, scored, 3) == [1, 2, 3]  # the 4 that is 30 from 2, and the 0 that is 30 from 1, are not taken
    assert indices_of(strategy, scored, 5) == [1, 2, 3, 4, 0]  # until half of it has to do
    assert indices_of(strategy, scored._replace(labeled=Items(torch.tensor([2]))), 2) == [1, 5]  # 4 is 30 from the labeled one
    cityscapes = ["aachen_000000_000019", "aachen_000001_000019", "aachen_000003_000019", "bochum_000000_000019", "hamburg_000000_000042"]
    strategy = Apart(Entropy(), frames=30)
    assert indices_of(strategy, keyed([0.5, 0.4, 0.3, 0.2, 0.1], strategy=strategy, names=cityscapes), 4) == [0, 2, 3, 4]
    strategy = Apart(Entropy(), frames=1, pattern="(?P<sequence>.*)-(?P<frame>[0-9]+)-left")
    assert indices_of(strategy, keyed([0.9, 0.8, 0.1], strategy=strategy, names=["a-7-left", "a-8-left", "b-8-left"]), 2) == [0, 2]


def test_apart_against_a_plain_implementation():
    frames = torch.randperm(400, generator=torch.Generator().manual_seed(0))[:60].tolist()
    keys = torch.rand(60, generator=torch.Generator().manual_seed(1)).tolist()
    strategy = Apart(Entropy(), frames=5)
    expected = []
    for item in sorted(range(60), key=lambda item: -keys[item]):
        if len(expected) < 20 and all(abs(frames[item] - frames[other]) > 5 for other in expected):
            expected.append(item)
    found = indices_of(strategy, keyed(keys, strategy=strategy, names=[f"{frame:06d}" for frame in frames]), len(expected))
    assert found == expected


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda: Apart(Entropy()).prepare(1, lambda index: "cat", None),
            "end with the number of a frame for Apart, .*got cat. Give Apart a pattern",
        ),
        (lambda: Apart(Entropy(), pattern="[a-z]+(_(?P<frame>[0-9]+))?").prepare(1, lambda index: "intro", None), "as frame, got intro"),
        (lambda: Apart(Entropy(), pattern="(?P<frame>.*)").prepare(1, lambda index: "x", None), "with a whole number as frame, got x"),
        (lambda: Apart(Entropy(), pattern="("), "a regular expression"),
        (lambda: Apart(Entropy(), pattern="a"), r"a group \(\?P<frame>"),
        (lambda: ClassStratified(Entropy(), schedule=[]), "at least one beta"),
        (lambda: ClassStratified(Entropy(), share=1.1), "share of ClassStratified to be a number >=0 and <=1"),
        (lambda: Power(Entropy(), 0.0), "beta of Power to be a number >0"),
        (lambda: Diverse(Entropy(), 0), "candidates of Diverse"),
        (lambda: EPIG(targets=0), "targets of EPIG"),
        (lambda: Expert("x.ckpt", Random()), "looks at predictions"),
        (lambda: Expert("x.ckpt", ClassAwareRandom()), "looks at predictions"),
    ],
)
def test_bad_arguments(make, match):
    with pytest.raises(UserError, match=match):
        make()


def test_classes_take_turns():
    """By hand: class 2 is labeled twice over, class 0 not at all; without noise."""
    strategy = ClassStratified(Entropy(), share=1.0, schedule=[1e9])
    shares = torch.tensor([[0.3, 0.0, 0.7], [0.0, 1.0, 0.0], [0.1, 0.0, 0.9], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0], [0.0, 0.9, 0.1]])
    labeled = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    # On average a sixth is class 0, 0.38 class 1, 0.45 class 2: item 2 counts for class 0, as 0.1 / (1/6) > 0.9 / (2 + 0.45); 0 and 3, too.
    scored = keyed([0.2, 0.5, 0.9, 0.8, 0.7, 0.6], rows=(shares,), of_labeled=(labeled,), labeled=[8, 9])
    assert indices_of(strategy, scored, 3) == [2, 4, 5] and indices_of(strategy, scored, 6)[3:] == [3, 1, 0]
    assert indices_of(ClassStratified(Entropy(), share=0.0, schedule=[1e9]), scored, 3) == [2, 3, 4]


def test_the_noise_decays_by_the_schedule():
    rows, of_labeled = (torch.ones(50, 1),), (torch.zeros(0, 1),)
    keys = torch.linspace(1, 2, 50).tolist()
    overlaps = []
    for cycle in (0, 2, 9):
        strategy = ClassStratified(Entropy(), schedule=[0.1, 10.0, 1e6])
        found = [indices_of(strategy, keyed(keys, rows=rows, of_labeled=of_labeled, cycle=cycle), 10, seed) for seed in range(10)]
        overlaps.append(sum(len({*its} & {*range(40, 50)}) for its in found) / 100)
    assert overlaps[0] < 0.5 < overlaps[1] == overlaps[2] == 1


def test_epig_is_the_information_about_a_sample(inputs):
    """Against enumeration of both labels."""
    strategy = EPIG(targets=7, passes=4, query_p=0.5)
    scored = scored_by(strategy, inputs, [3, 1, 4, 15, 9, 2, 6])
    choice = strategy.select(scored, 3, torch.Generator())
    p = scored.unlabeled.rows[0].double().exp()  # all 7 are targets
    information = {}
    for item in range(7):
        total = 0.0
        for target, a, b in itertools.product(range(7), range(4), range(4)):
            joint = float((p[item, :, a] * p[target, :, b]).mean())
            total += joint * torch.log(joint / (p[item, :, a].mean() * p[target, :, b].mean())).item() / 7
        information[int(scored.unlabeled.indices[item])] = total
    best = sorted(information, key=lambda index: -information[index])[:3]
    assert choice.indices.tolist() == best
    torch.testing.assert_close(
        choice.scores, torch.tensor([information[index] for index in best], dtype=torch.float64), rtol=1e-4, atol=1e-7
    )


def test_a_rare_class_is_drawn_as_often_as_others():
    """98 items of class 0 and two of class 1, in scenes of which one pixel is ignored."""
    targets = torch.zeros(100, 2, 3, dtype=torch.int64)
    targets[:, 0, 0] = 255
    targets[[17, 61], 1, 2] = 1
    strategy = ClassAwareRandom(share=1.0)
    read = []
    strategy.prepare(100, str, lambda indices: read.extend(indices.tolist()) or targets[indices])
    scored = Scored(Items(torch.arange(100)), Items(torch.tensor([], dtype=torch.int64)))
    found = [indices_of(strategy, scored, 2, seed) for seed in range(60)]
    assert sum(bool({17, 61} & {*its}) for its in found) > 30 and sorted(read) == [*range(100)]
    assert strategy.reads_labels
    plain = ClassAwareRandom(share=0.0)
    plain.prepare(100, str, lambda indices: targets[indices])
    assert indices_of(plain, scored, 3) == [0, 1, 2]  # their order is at random already


def test_labels_are_read_as_data_modules_give_them():
    """Scenes of several sizes can't be stacked, nor can none; a class of an item may be one of 300; other data have other labels."""
    scenes = [torch.full((2 + index, 3), index % 2) for index in range(6)]
    strategy = ClassAwareRandom(share=1.0)
    scored = Scored(Items(torch.arange(6)), Items(torch.tensor([], dtype=torch.int64)))
    strategy.prepare(6, str, lambda indices: torch.stack([scenes[index] for index in indices.tolist()]))
    for size in (2, 6):  # in the second query all labels are known
        assert len({*indices_of(strategy, scored, size)}) == size
    classes = torch.tensor([0, 0, 0, 0, 0, 299])
    strategy.prepare(6, str, lambda indices: torch.stack([classes[index] for index in indices.tolist()]))
    assert sum(indices_of(strategy, scored, 1, seed) == [5] for seed in range(40)) > 10


def test_no_item_of_a_share_is_lost_to_rounding():
    targets = torch.full((200, 1, 1), 255)
    targets[100:] = 0
    strategy = ClassAwareRandom(share=0.29)
    strategy.prepare(200, str, lambda indices: targets[indices])
    scored = Scored(Items(torch.arange(200)), Items(torch.tensor([], dtype=torch.int64)))
    assert sum(index >= 100 for index in indices_of(strategy, scored, 100)) == 29  # 0.29 * 100 is 28.999999999999996


def test_an_expert_chooses_as_the_other_does(inputs):
    scored = scored_by(CoreSet(), inputs, [3, 1, 4, 15, 9, 2, 6], [0, 7])
    expert = Expert("x.ckpt", CoreSet())
    assert indices_of(expert, scored, 4) == indices_of(CoreSet(), scored, 4)
    assert expert.sees_labeled and not expert.ranks and not expert.scores_items
    assert str(Expert("x.ckpt", Diverse(BALD()))) == "Expert(checkpoint=x.ckpt, strategy=Diverse(strategy=BALD))"
