from al_lightning import settings
from tests.analysis.recorded import config_of, strategy


def labels(*chosen):
    return settings.labels([settings.choice(settings.flat(config_of(node, 0, **more)), 0) for node, more in chosen])


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
        (strategy("Entropy"), {"active_learning__random_share": 0.1}),
        (strategy("Inverse", strategy=strategy("Entropy")), {}),
        (expert, {}),
        (strategy("Entropy", aggregation=strategy("CountAbove", threshold=0.5)), {}),
        (strategy("Entropy", aggregation=strategy("CountAbove", threshold=0.25)), {}),
    ) == [
        "Entropy",
        "Entropy, stride 4",
        "Entropy, stride 32, 8, 1",
        "Entropy, random share 0.1",
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
        return settings.short_names(
            [settings.comparable(settings.flat(config_of(strategy("Random"), 0, **change)), 0) for change in changes]
        )

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


def test_a_file_is_no_class():
    assert [settings.short(value) for value in ("torch.optim.SGD", "first.csv", "lists/first.csv")] == [
        "SGD",
        "first.csv",
        "lists/first.csv",
    ]
