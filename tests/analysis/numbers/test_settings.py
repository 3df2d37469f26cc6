import pytest

from al_lightning.analysis.numbers import settings
from tests.analysis.recorded import config_of, strategy


def flat(chosen="Random", seed=0, **changed):
    return settings.flat(config_of(strategy(chosen) if isinstance(chosen, str) else chosen, seed, **changed))


def labels(*chosen):
    return settings.labels([settings.choice(settings.flat(config_of(node, 0, **more)), 0) for node, more in chosen])


@pytest.mark.parametrize(
    "changed",
    [
        {"run_dir": "elsewhere"},
        {"trainer__logger": {"class_path": "CSVLogger"}},
        {"trainer__callbacks": [{"class_path": "al_lightning.callbacks.CycleProgressBar"}]},
        {"active_learning__cycles": 7},
        {"active_learning__label_budget": 100},
        {"active_learning__target": {"val/accuracy": 0.9}},
        {"active_learning__stride": 4},
        {"active_learning__keep": "none"},
        {"data__init_args__root": "/elsewhere"},
        {"data__init_args__eval_batch_size": 7},
        {"trainer__precision": None},  # older versions have no such key
    ],
)
def test_what_does_not_make_runs_incomparable(changed):
    assert settings.comparable(flat("Entropy", 1, **changed), 1) == settings.comparable(flat("Random", 0), 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"trainer__max_epochs": 5},
        {"trainer__callbacks": [{"class_path": "EarlyStopping"}]},
        {"active_learning__retrain": "warm"},
        {"data__init_args__initial_size": 30},
        {"query_size": 20},
    ],
)
def test_what_does(changed):
    assert settings.comparable(flat(**changed), 0) != settings.comparable(flat(), 0)


def test_a_path_with_the_runs_own_seed_is_the_same_choice_for_every_seed():
    def chosen(path, seed):
        return settings.choice(flat(strategy("Expert", checkpoint=path, strategy=strategy("Entropy")), seed), seed)

    assert chosen("runs/full-seed3/last.ckpt", 3) == chosen("runs/full-seed12/last.ckpt", 12)
    assert chosen("runs/full-s3/last.ckpt", 3) == chosen("runs/full-s12/last.ckpt", 12)
    assert chosen("runs/full-seed3/last.ckpt", 3) != chosen("runs/full-seed3/last.ckpt", 12)  # one model for all is another choice
    assert chosen("runs/full-seed3/last.ckpt", 3) != chosen("runs/other-seed12/last.ckpt", 12)
    assert chosen("runs/seed31/last.ckpt", 3) != chosen("runs/seed41/last.ckpt", 4)


def test_labels_leave_out_what_a_class_shares():
    odin = [(strategy("Odin", temperature=t, epsilon=0.0, aggregation=None), {}) for t in (0.1, 1000.0)]
    assert labels(*odin) == ["Odin(temperature=0.1)", "Odin(temperature=1000)"]
    more = [*odin, (strategy("Odin", temperature=0.1, epsilon=0.0014), {})]
    assert labels(*more) == [
        "Odin(temperature=0.1, epsilon=0)",
        "Odin(temperature=1000, epsilon=0)",
        "Odin(temperature=0.1, epsilon=0.0014)",
    ]
    assert labels(odin[0], (strategy("Random"), {})) == ["Odin", "Random"]
    mean, both = (strategy("CoreSet", features=strategy("Features", pooling=pooling)) for pooling in ("mean", "mean_and_max"))
    assert labels((mean, {}), (strategy("Margin"), {})) == ["CoreSet", "Margin"]
    assert labels((mean, {}), (both, {})) == ["CoreSet(Features(pooling=mean))", "CoreSet(Features(pooling=mean_and_max))"]


def test_labels_name_strides_and_strategies_inside_strategies():
    expert = strategy("Expert", checkpoint="runs/full/last.ckpt", strategy=strategy("Entropy"))
    assert labels(
        (strategy("Entropy"), {}),
        (strategy("Entropy"), {"active_learning__stride": 4}),
        (strategy("Entropy"), {"active_learning__stride": [32, 8, 1]}),
        (strategy("Inverse", strategy=strategy("Entropy")), {}),
        (expert, {}),
        (strategy("Entropy", aggregation=strategy("CountAbove", threshold=0.5)), {}),
        (strategy("Entropy", aggregation=strategy("CountAbove", threshold=0.25)), {}),
    ) == [
        "Entropy",
        "Entropy, stride 4",
        "Entropy, stride 32, 8, 1",
        "Inverse(Entropy)",
        "Expert(Entropy)",
        "Entropy(CountAbove(threshold=0.5))",
        "Entropy(CountAbove(threshold=0.25))",
    ]


def test_labels_are_told_apart_whatever_they_leave_out():
    assert labels((strategy("FromFile", order="a/one.txt"), {}), (strategy("FromFile", order="b/two.txt"), {})) == [
        "FromFile(order=a/one.txt)",
        "FromFile(order=b/two.txt)",
    ]
    assert labels((strategy("Odin", temperature=0.1), {}), (strategy("Odin", temperature=0.1 + 1e-12), {})) == [
        "Odin(temperature=0.1)",
        "Odin(temperature=0.1) (2)",
    ]


def test_short_names_of_what_differs():
    def named(*changes):
        return settings.short_names([settings.comparable(flat(**change), 0) for change in changes])

    width = "model__init_args__network__init_args__width"
    assert named({}) == [""]
    assert named({width: 16}, {width: 512, "query_size": 500}) == ["width=16, query_size=10", "width=512, query_size=500"]
    network = "model__init_args__network__class_path"
    assert named({network: "a.MLP"}, {network: "a.Net", "model__init_args__network__init_args__depth": 3}) == ["network=MLP", "network=Net"]
    assert named({}, {"trainer__precision": "bf16"}) == ["precision=none", "precision=bf16"]
    rates = [{"model__a__init_args__lr": a, "model__b__init_args__lr": b} for a, b in ((1, 1), (1, 2))]
    assert named(*rates, {"model__a__init_args__lr": 2, "model__b__init_args__lr": 2}) == [
        "a.lr=1, b.lr=1",
        "a.lr=1, b.lr=2",
        "a.lr=2, b.lr=2",
    ]
    repeat = {"data__init_args__pool_repeat__item": 0, "data__init_args__pool_repeat__copies": 9}
    assert named({}, repeat) == ["pool_repeat.item=none", "pool_repeat.item=0"]
    assert named({width: 0.1}, {width: 0.1 + 1e-12}) == ["width=0.1", "width=0.1 (2)"]


def test_our_classes_are_the_same_wherever_a_version_has_them():
    def of(network, strategy):
        return {"model.init_args.network.class_path": network, "active_learning.strategy.class_path": strategy}

    old, new = of("al_lightning.models.MLP", "al_lightning.acquisition.Margin"), of("al_lightning.MLP", "al_lightning.Margin")
    assert settings.comparable(old, 0) == settings.comparable(new, 0) != settings.comparable(of("mine.MLP", "mine.Margin"), 0)
    assert settings.choice(old, 0) == settings.choice(new, 0) != settings.choice(of("mine.MLP", "mine.Margin"), 0)


def test_files_may_be_moved_and_nothing_else():
    then = {"data.init_args.root": "a", "data.init_args.evaluation": 0.2, settings.ENCODER_WEIGHTS: "w.pth", "trainer.max_epochs": 3}
    assert settings.moved(then, then) == []
    now = {**then, "data.init_args.root": "b", settings.ENCODER_WEIGHTS: "x/w.pth", "run_dir": "elsewhere"}
    assert settings.moved(then, now) == ["data.init_args.root", settings.ENCODER_WEIGHTS]
    assert settings.fingerprint(then) == settings.fingerprint(now)
    del then["data.init_args.root"]  # the data module's own place
    assert settings.moved(then, now)[0] == "data.init_args.root" and settings.fingerprint(then) == settings.fingerprint(now)
    others = {"data.init_args.evaluation": 0.3, settings.ENCODER_WEIGHTS: "imagenet", "trainer.max_epochs": 4}
    for key, value in others.items():
        assert settings.moved(then, {**then, key: value}) == []
        assert settings.fingerprint(then) != settings.fingerprint({**then, key: value})
    assert settings.moved({"data.init_args.evaluation": 0.2}, {"data.init_args.evaluation": "more"}) == []
    # a name that is no file, as some libraries have for weights
    named, other = {settings.ENCODER_WEIGHTS: "noisy-student"}, {settings.ENCODER_WEIGHTS: "advprop"}
    assert settings.moved(named, other, weights_known=False) == []
    assert settings.fingerprint(named, weights_known=False) != settings.fingerprint(other, weights_known=False)
