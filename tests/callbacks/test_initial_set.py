"""Where cycle 0's items come from, through the command line."""

import shutil
import sys
from pathlib import Path

import pytest

from al_lightning.cli import main
from al_lightning.runs import RunDirectory
from tests.experiments import without_seconds
from tests.test_cli import TINY

pytestmark = pytest.mark.usefixtures("undrawn")

SIZE = 7
STRATEGY = "--active_learning.initial_strategy"
ONE = "--active_learning.cycles=1"


@pytest.fixture
def fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["al_lightning"])
    Path("c.yaml").write_text(TINY.replace("pool_size: 600, ", ""))

    def fit(name, *arguments):
        main(["fit", "--config=c.yaml", f"--run_dir={name}", f"--data.init_args.initial_size={SIZE}", *arguments])
        return RunDirectory(name)

    return fit


def initial(run):
    return [row for row in run.read_queries() if row.cycle == 0]


def refused(capsys, fit, *arguments):
    with pytest.raises(SystemExit) as ended:
        fit("refused", *arguments)
    assert ended.value.code not in (0, None) and not RunDirectory("refused").holds_run()
    return f"{ended.value.code}{capsys.readouterr().err}"


def test_in_order_or_from_a_file(fit):
    ordered = fit("ordered", ONE, f"{STRATEGY}=Order")
    assert [row.index for row in initial(ordered)] == list(range(SIZE))
    Path("order.txt").write_text("41\n3\n1000\n")
    from_file = fit("from_file", ONE, f"{STRATEGY}=FromFile", f"{STRATEGY}.order=order.txt")
    assert [row.index for row in initial(from_file)][:3] == [41, 3, 1000] and len(initial(from_file)) == SIZE
    assert [row.score for row in initial(from_file)][:3] == [0, -1, -2]
    assert from_file.queries.read_text().splitlines()[1] == "0,0,41,41,0"  # not -0
    drawn = fit("drawn", ONE)
    assert len(initial(drawn)) == SIZE and {row.index for row in initial(drawn)} != set(range(SIZE))


def test_a_random_one_has_the_initial_seed(fit):
    one, same, other = (
        fit(f"r{number}", ONE, f"{STRATEGY}=Random", f"--seed_everything={number}", f"--data.init_args.initial_seed={seed}")
        for number, seed in enumerate((3, 3, 4))
    )
    assert initial(one) == initial(same) != initial(other)


def test_an_expert_chooses_its_own_first_set(fit):
    expert = fit("expert", ONE, "--data.init_args.initial_size=60")
    arguments = [f"{STRATEGY}=Expert", f"{STRATEGY}.checkpoint={expert.checkpoint(0)}", f"{STRATEGY}.strategy=Entropy"]
    run = fit("run", ONE, *arguments)
    as_a_query = fit(
        "query",
        "--active_learning.strategy=Expert",
        f"--active_learning.strategy.checkpoint={expert.checkpoint(0)}",
        "--active_learning.strategy.strategy=Entropy",
        "--active_learning.query_size=2000",
        "--active_learning.cycles=2",
    )
    best = sorted(((row.score, row.index) for row in as_a_query.read_queries() if row.cycle == 1), reverse=True)
    labeled = {row.index for row in initial(as_a_query)}
    chosen = [(row.score, row.index) for row in initial(run)]
    assert [pair for pair in chosen if pair[1] not in labeled] == best[: sum(pair[1] not in labeled for pair in chosen)]


def test_a_resumed_run_has_the_set_that_it_began_with(fit, monkeypatch):
    Path("order.txt").write_text("41\n3\n1000\n")
    arguments = [f"{STRATEGY}=FromFile", f"{STRATEGY}.order=order.txt"]
    whole = fit("whole", *arguments)
    half = fit("half", *arguments)
    rows = half.learning_curve.read_text().splitlines(keepends=True)
    half.learning_curve.write_text("".join(rows[:2]))
    for cycle in (1, 2):
        shutil.rmtree(half.cycle(cycle))
    half.queries.write_text("".join(line for line in half.queries.read_text().splitlines(keepends=True) if line[0] in "c01"))
    fit("half", *arguments, "--resume")
    assert half.queries.read_bytes() == whole.queries.read_bytes() and without_seconds(half) == without_seconds(whole)


def test_an_initial_run_has_the_set_that_its_strategy_chose(fit):
    fit("other", ONE, f"{STRATEGY}=Order")
    run = fit("run", f"{STRATEGY}=Order", "--active_learning.initial_run=other")
    assert [row.index for row in initial(run)] == list(range(SIZE)) and run.read_cycles()[0]["epochs"] == "0"


def test_runs_with_other_seeds_begin_with_a_run_on_the_same_pool(fit, capsys):
    pool = ("--data.init_args.pool_size=40", "--data.init_args.validation_size=5")
    sets = [initial(fit(f"of{seed}", ONE, *pool, "--data.init_args.pool_seed=9", f"--seed_everything={seed}")) for seed in (3, 4)]
    assert {row.index for row in sets[0]} != {row.index for row in sets[1]}
    begin = (*pool, "--active_learning.cycles=2", "--active_learning.initial_run=of3", "--seed_everything=5")
    run = fit("run", *begin, "--data.init_args.pool_seed=9")
    assert initial(run) == sets[0] and run.read_environment()["data"] == RunDirectory("of4").read_environment()["data"]
    assert "data.init_args.pool_seed" in refused(capsys, fit, *begin)


def test_a_list_of_items_wins_over_the_size(fit):
    Path("mine.txt").write_text("\ufeff12\n\n4999\n3\n")
    run = fit("run", ONE, "--data.init_args.initial_items=mine.txt")
    assert sorted(row.index for row in initial(run)) == [3, 12, 4999]
    assert int(run.read_curve()[0].labeled) == 3


def test_what_can_not_be_is_refused(fit, capsys):
    Path("mine.txt").write_text("12\n5000\n")
    Path("twice.txt").write_text("12\n12\n")
    items = "--data.init_args.initial_items"
    assert "the first unknown one is '5000'" in refused(capsys, fit, f"{items}=mine.txt")
    assert "12 comes twice" in refused(capsys, fit, f"{items}=twice.txt")
    assert "can't be read" in refused(capsys, fit, f"{items}=missing.txt")
    assert "needs no trained network of this run, got Entropy" in refused(capsys, fit, f"{STRATEGY}=Entropy")
    fit("other", "--active_learning.cycles=1")
    assert "initial_strategy" in refused(capsys, fit, f"{STRATEGY}=Order", "--active_learning.initial_run=other")
    Path("mine.txt").write_text("12\n")
    message = refused(capsys, fit, f"{items}=mine.txt", "--active_learning.initial_run=other")
    assert "Expected the items of mine.txt in the initial set of the initial run other" in message
    message = refused(capsys, fit, f"{items}=mine.txt", "--data.init_args.pool_size=3", "--data.init_args.initial_seed=1")
    assert "in mine.txt" in message and "12 among them" in message and "pool_size" in message
    assert "either" in refused(capsys, fit, f"{STRATEGY}=Order", f"{items}=mine.txt")
