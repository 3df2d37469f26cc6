"""Run directories as a run would leave them, written without one."""

import copy

import yaml

from al_lightning.analysis.pages import gallery
from al_lightning.run_tables import Labeled
from al_lightning.runs import RunDirectory
from al_lightning.settings import as_list

ENVIRONMENT = {
    "git_commit": "abc",
    "device": "cpu (x86_64)",
    "processes": 1,
    "threads": 1,
    "python": "3.11.7",
    "versions": {"torch": "2.8.0", "numpy": "2.0.0"},
    "data": {"items": 1000, "sha256": "0123456789abcdef"},
}


def undrawn(monkeypatch):
    """Lets reports make their figures, but not draw them: that takes most of a second each."""
    monkeypatch.setattr(gallery, "rendered", lambda *_: b"<svg/>")


def strategy(name, **arguments):
    """A strategy's node in a configuration."""
    return {"class_path": f"al_lightning.acquisition.{name}", "init_args": arguments}


def set_in(config, key, value):
    """Sets a setting by its dotted key."""
    *path, last = key.split(".")
    for name in path:
        config = config.setdefault(name, {})
    config[last] = value


def config_of(chosen, seed, query_size=10, **settings):
    """A configuration; further settings by dotted key with two underscores for each dot."""
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 20, "logger": False, "callbacks": None},
        "model": {"class_path": "al_lightning.tasks.ClassificationTask", "init_args": {"network": {"init_args": {"width": 16}}}},
        "data": {"class_path": "al_lightning.data.FashionMNISTDataModule", "init_args": {"root": "data", "initial_size": 20}},
        "run_dir": f"somewhere-{seed}",
        "active_learning": {"strategy": copy.deepcopy(chosen), "query_size": query_size, "cycles": 4, "stride": 1},
    }
    for key, value in settings.items():
        set_in(config, key.replace("__", "."), value)
    return config


def record(
    path, values, chosen="Random", seed=0, metric="val/accuracy", finished=True, initial=20, environment=None, wrap=False, **settings
):
    """Writes a run with a cycle for each value.

    Args:
        path: of the run directory.
        values: of the metric.
        chosen: strategy, by name or as a node.
        seed: of everything.
        metric: its column.
        finished: whether the last cycle has no query.
        initial: size of the first training set.
        environment: what differs from ENVIRONMENT.
        wrap: puts the configuration under the command's name, as older versions did.
        settings: see config_of.
    """
    run = RunDirectory(path)
    config = config_of(strategy(chosen) if isinstance(chosen, str) else chosen, seed, **settings)
    sizes = as_list(config["active_learning"]["query_size"])
    run.write_config(yaml.safe_dump({"fit": config} if wrap else config))
    run.write_environment(ENVIRONMENT | {"seed": seed} | (environment or {}))
    run.append_queries([Labeled(0, rank, rank, f"item {rank}") for rank in range(initial)])
    labeled = initial
    for cycle, value in enumerate(values):
        queried = not finished or cycle + 1 < len(values)
        query_size = sizes[min(cycle, len(sizes) - 1)]
        if queried:
            run.append_queries([Labeled(cycle + 1, r, labeled + r, f"item {labeled + r}", 0.5) for r in range(query_size)])
        run.append_cycle(
            {
                "cycle": cycle,
                "labeled": labeled,
                metric: value,
                "val/loss": 1.0,
                "epochs": 2,
                "train_steps": 10,
                "train_seconds": 1.5 + cycle,
                "query_seconds": 0.25 * (cycle + 1) if queried else None,
                "query_peak_bytes": 2**20 * (cycle + 1) if queried else None,
            }
        )
        labeled += query_size
    return run
