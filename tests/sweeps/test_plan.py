import datetime
import json

import pytest
import yaml

from al_lightning import shipped
from al_lightning.errors import UserError
from al_lightning.sweeps.plan import read_sweep

BASE = {"seed_everything": 7, "model": {}, "data": {}, "active_learning": {"strategy": "Entropy"}}
ODIN = {"class_path": "Odin", "init_args": {"temperature": 0.1, "epsilon": 0}}


@pytest.fixture
def write(tmp_path):
    """Writes a sweep file beside a base configuration."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "base.yaml").write_text(yaml.safe_dump(BASE))

    def write(**content):
        path = tmp_path / "trial.yaml"
        path.write_text(yaml.safe_dump({"base": "configs/base.yaml", **content}, sort_keys=False))
        return path

    return write


def test_every_combination_seed_by_seed_behind_its_cycle_0(write):
    path = write(grid={"a.width": [16, 4], "active_learning.strategy": ["Random", ODIN], "seed_everything": [3, 5]})
    runs = read_sweep(path).runs()
    assert [run.name for run in runs] == [
        f"{name}-seed{seed}"
        for seed in (3, 5)
        for width in (16, 4)
        for name in (f"initial-width={width}", f"width={width}-Random", f"width={width}-Odin-temperature=0.1-epsilon=0")
    ]
    initial, first, odin = runs[:3]
    assert initial.initial is None and first.initial is odin.initial is initial
    assert str(first.directory) == "runs/trial/width=16-Random-seed3"
    assert odin.arguments() == [
        *("fit", "--config", "configs/base.yaml", "--run_dir", str(odin.directory), "--seed_everything=3", "--a.width=16"),
        f"--active_learning.strategy={json.dumps(ODIN)}",
        f"--active_learning.initial_run={initial.directory}",
    ]
    alone = {
        "active_learning.strategy": "Random",
        "active_learning.cycles": 1,
        "active_learning.keep": "all",
        "active_learning.also_record": [],
        "trainer.logger": {"class_path": "lightning.pytorch.loggers.logger.DummyLogger"},
    }
    assert initial.settings == {"seed_everything": 3, "a.width": 16, **alone}


def test_a_base_that_comes_with_the_program(write):
    sweep = read_sweep(write(base="fashion_mnist/entropy", grid={"seed_everything": [1]}))
    assert sweep.base == shipped.FOLDER / "fashion_mnist" / "entropy.yaml"


def test_only_what_cycle_0_does_not_depend_on_is_shared(write):
    named = {
        "top": {"active_learning.strategy": "Entropy"},
        "every 4th": {"active_learning.stride": 4, "trainer.logger": False},
        "dropout": {"model.init_args.dropout": 0.1},
    }
    runs = {run.name: run for run in read_sweep(write(grid={"query": named})).runs()}
    assert list(runs) == ["initial-seed7", "top-seed7", "every_4th-seed7", "dropout-seed7"]
    assert runs["every_4th-seed7"].initial is runs["top-seed7"].initial is runs["initial-seed7"]
    assert runs["dropout-seed7"].initial is None  # the only one with its cycle 0


def test_cycles_0_of_other_settings_have_other_names(write):
    axes = {
        "epochs": {"few": {"trainer.max_epochs": 5}, "normal": {}},
        "start": {"few": {"data.init_args.initial_size": 10}, "normal": {}},
        "active_learning.strategy": ["Random", "Margin"],
    }
    runs = read_sweep(write(grid=axes)).runs()
    assert len({run.name for run in runs}) == len(runs) == 12
    initial = {run.name: dict(run.settings) for run in runs if not run.labels}
    assert {"initial-epochs=few-seed7", "initial-start=few-seed7"} < {*initial}
    assert "data.init_args.initial_size" not in initial["initial-epochs=few-seed7"]
    for run in runs:
        assert run.initial is None or {**run.initial.settings, **run.settings}.items() >= run.settings.items()
        kept = ("trainer.max_epochs", "data.init_args.initial_size")
        assert run.initial is None or [run.initial.settings.get(key) for key in kept] == [run.settings.get(key) for key in kept]


def test_a_given_initial_run_is_not_replaced(write):
    settings = {"active_learning.initial_run": "elsewhere"}
    runs = read_sweep(write(set=settings, grid={"active_learning.strategy": ["Random", "Margin"]})).runs()
    assert [run.name for run in runs] == ["Random-seed7", "Margin-seed7"]
    assert all("--active_learning.initial_run=elsewhere" in run.arguments() for run in runs)


def test_runs_that_ask_a_person_ask_for_their_own_first_labels(write):
    grid = {"active_learning.strategy": ["Random", "Margin"]}
    assert len(read_sweep(write(grid=grid)).runs()) == 3
    runs = read_sweep(write(grid=grid, set={"active_learning.oracle": "human"})).runs()
    assert [run.name for run in runs] == ["Random-seed7", "Margin-seed7"] and not any(run.initial for run in runs)


def test_the_seed_fills_its_places_and_settings_have_an_order(write):
    expert = {"class_path": "Expert", "init_args": {"checkpoint": "full-seed{seed}/last.ckpt", "strategy": "Entropy"}}
    path = write(
        set={"x": 1, "y": 1, "z": [1, None]}, grid={"seed_everything": [2], "q": {"e": {"active_learning.strategy": expert, "y": 3}}}
    )
    (run,) = read_sweep(path, out="there", overrides={"x": 2, "y": 2}).runs()
    assert run.settings["active_learning.strategy"]["init_args"]["checkpoint"] == "full-seed2/last.ckpt"
    assert (run.settings["x"], run.settings["y"]) == (2, 3)  # the command line wins over set, and the grid over both
    assert {"--x=2", "--y=3", "--z=[1, null]", "--seed_everything=2"} < set(run.arguments())
    assert str(run.directory) == "there/e-seed2"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"grid": {"seed_everything": []}}, "Expected a list of values, or named groups of settings, for seed_everything"),
        ({"grid": {"q": {"a": 3}}}, "Expected a list of values, or named groups of settings, for q"),
        ({"grid": {"s": [1, 1]}}, "Expected each value of s once"),
        ({"grid": {"seed_everything": [1]}, "gird": 3}, "Expected the keys base, out, set, grid and slurm .* got gird"),
        ({}, "Expected grid in the sweep"),
        ({"grid": {1: [3, 4]}}, "Expected names as text in the sweep .* got 1. Write it in quotes"),
        ({"grid": {"warm": {True: {"x": 1}, False: {}}}}, "Expected names as text in the sweep .* got True"),
        ({"grid": {"q": {"a": {2: 3}}}}, "Expected names as text .* got 2"),
        ({"grid": {"s": [1]}, "set": {3: 4}}, "Expected names as text .* got 3"),
        ({"grid": {"s": [1]}, "out": 2024}, "Expected out in the sweep .* got 2024"),
        ({"grid": {"q": [{"class_path": "Odin", "init_args": "hot"}]}}, "Expected init_args of Odin as a mapping, got 'hot'"),
        ({"grid": {"seed_everything": [0, -1]}}, "Expected seed_everything in the sweep .* from 0 to 4294967295, got -1"),
        ({"grid": {"q": {"a": {"seed_everything": True}}}}, "Expected seed_everything in the sweep .* got True"),
        ({"grid": {"seed_everything": [1]}, "set": ["x=1"]}, r"Expected set in the sweep .* a mapping, got \['x=1'\]"),
        ({"grid": {"q": {"a b": {"x": 1}, "a/b": {"x": 2}}}}, "Expected a name of its own for each run .* a_b-seed7"),
        ({"base": "configs/none.yaml", "grid": {"seed_everything": [1]}}, "Expected the configuration .*none.yaml, the base of the sweep"),
    ],
)
def test_bad_files_are_one_error(write, content, why):
    with pytest.raises(UserError, match=why):
        read_sweep(write(**content)).runs()


def test_missing_and_broken_files_are_one_error(tmp_path):
    with pytest.raises(UserError, match=r"Expected the file .*none\.yaml, but it is missing"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(UserError, match=r"Expected settings in .*list\.yaml, each as `key: value`, got a list"):
        read_sweep(tmp_path / "list.yaml")


def test_values_of_any_kind_have_names_and_become_options(write):
    odd = {"data.init_args.root": datetime.date(2024, 1, 2), "active_learning.strategy": {"class_path": "Odin", "init_args": None}}
    runs = read_sweep(write(set=odd, grid={"data.init_args.folder": ["a/data", "b/data"], "x": [{1: 2}]})).runs()
    assert [run.name for run in runs] == ["folder=a_data-x=_1_2_-seed7", "folder=b_data-x=_1_2_-seed7"]
    assert "--data.init_args.root=2024-01-02" in runs[0].arguments()
    (run,) = read_sweep(write(grid={})).runs()
    assert run.name == "seed7"


def test_what_is_an_axis_is_no_setting_of_all_runs(write):
    path = write(grid={"active_learning.strategy": ["Random", "Margin"], "q": {"a": {"x": 1}, "b": {}}})
    with pytest.raises(UserError, match=r"no axis of the sweep .*, got active_learning.strategy. To run a part of the grid, use --only"):
        read_sweep(path, overrides={"active_learning.strategy": "Entropy"})
    assert read_sweep(path, overrides={"x": 5}).runs()  # b takes it


def test_yaml_that_can_not_be_built_is_one_error(tmp_path):
    (tmp_path / "bad.yaml").write_text("5: 6")
    with pytest.raises(UserError, match=r"Expected .*bad.yaml, got 5"):
        read_sweep(tmp_path / "bad.yaml")
    for text in ("base: {{ root }}", "base: !env ROOT", "base: 2024-02-30"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(UserError, match=r"Expected (settings|YAML) in .*bad.yaml"):
            read_sweep(tmp_path / "bad.yaml")
