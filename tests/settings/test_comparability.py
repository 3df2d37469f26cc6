import pytest

from al_lightning import settings
from tests.analysis.recorded import config_of, strategy


def flat(chosen="Random", seed=0, **changed):
    return settings.flat(config_of(strategy(chosen) if isinstance(chosen, str) else chosen, seed, **changed))


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
        {"active_learning__unanswered": "asked"},
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
    assert chosen("full-seed3.ckpt", 3) == chosen("full-seed12.ckpt", 12)


def test_a_path_of_several_seeds_is_no_seeds():
    runs = [({"x": "lists/common_s1.csv", "callbacks": [{"dirpath": f"best/seed{seed}"}]}, seed) for seed in (0, 1)]
    assert settings.common_paths(runs) == {"lists/common_s1.csv"}
    (one, other) = (settings.comparable(its, seed, settings.common_paths(runs)) for its, seed in runs)
    assert one == other == {"x": "lists/common_s1.csv", "callbacks": [{"dirpath": "best/seed*"}]}


def test_a_networks_name_is_no_path():
    def of(seed, encoder):
        return settings.comparable(flat(seed=seed, model__init_args__network__init_args__encoder=encoder), seed)

    assert of(0, "mobileone_s0") == of(1, "mobileone_s0") != of(1, "mobileone_s1")


def test_our_classes_are_the_same_wherever_a_version_has_them():
    def of(network, strategy):
        return {"model.init_args.network.class_path": network, "active_learning.strategy.class_path": strategy}

    old, new = of("al_lightning.models.MLP", "al_lightning.acquisition.Margin"), of("al_lightning.MLP", "al_lightning.Margin")
    assert settings.comparable(old, 0) == settings.comparable(new, 0) != settings.comparable(of("mine.MLP", "mine.Margin"), 0)
    assert settings.choice(old, 0) == settings.choice(new, 0) != settings.choice(of("mine.MLP", "mine.Margin"), 0)
