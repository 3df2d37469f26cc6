import pytest

from al_lightning.analysis.numbers.recorded import read_runs
from al_lightning.analysis.numbers.setup import in_a_line, what_was_run
from al_lightning.sources import ReadLabel, write_labels
from tests.analysis.recorded import ENVIRONMENT, record

NETWORK = {"class_path": "al_lightning.models.MLP", "init_args": {"width": 32}}
ADAM = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01, "betas": [0.9, 0.999], "weight_decay": 0.1}}
SETTINGS = {
    "model__init_args__network": NETWORK,
    "model__init_args__optimizer": ADAM,
    "data__init_args__batch_size": 8,
    "query_size": [5, 20],
}


def test_it_says_what_a_reader_needs_to_make_the_run_again(tmp_path):
    data = ENVIRONMENT["data"] | {"validation": 60}
    for seed in (0, 1, 2, 5):
        record(tmp_path / f"{seed}", [0.1, 0.2], seed=seed, environment={"evaluation": 107, "data": data}, **SETTINGS)
    runs, _ = read_runs([tmp_path])
    assert what_was_run(runs) == {
        "data set": "FashionMNIST",
        "pool": "1,000 images",
        "evaluation": "107 images",
        "validation": "60 of the pool, labeled and held out",
        "network": "MLP(width=32)",
        "recipe": "AdamW (lr=0.01, weight_decay=0.1), 20 epochs, batches of 8, each cycle from scratch",
        "first training set": "20 labels",
        "query size": "5, 20",
        "versions": "torch 2.8.0, commit abc, on cpu (x86_64)",
        "seeds": "0-2, 5",
    }
    assert in_a_line(runs) == (
        "FashionMNIST, pool 1,000 images, evaluation 107 images; MLP; AdamW (lr=0.01, weight_decay=0.1), 20 epochs, batches of 8, each "
        "cycle from scratch; 20 labels and 5, 20 a query; seeds 0-2, 5"
    )


@pytest.mark.parametrize(
    ("settings", "heading", "expected"),
    [
        ({"trainer__max_steps": 600, "trainer__max_epochs": -1}, "recipe", "not recorded, 600 steps, each cycle from scratch"),
        ({"active_learning__retrain": "continue"}, "recipe", "not recorded, 20 epochs, retrain: continue"),
        ({"data__init_args__pool_size": 300}, "pool", "300 images"),
        ({"data__init_args__pool_size": 300, "data__init_args__pool_repeat": {"item": 0, "copies": 7}}, "pool", "307 images"),
        ({"data__init_args__query_crop": [64, 32]}, "pool", "1,000 crops of 64, 32 pixels"),
        ({"data__class_path": "x.FolderSegmentationDataModule", "data__init_args__root": "/far/away/nuclei/pool"}, "data set",
         "FolderSegmentation (nuclei/pool)"),
        ({"environment": {"data": {}, "versions": {}, "git_commit": None, "device": "tpu"}}, "pool", "not recorded"),
        ({}, "evaluation", "not recorded"),
        ({}, "network", "not recorded"),
    ],
)  # fmt: skip
def test_what_a_run_does_not_tell_is_said(tmp_path, settings, heading, expected):
    record(tmp_path, [0.1], **settings)
    assert what_was_run(read_runs([tmp_path])[0])[heading] == expected


def test_runs_that_differ_have_both_said_and_labels_are_counted(tmp_path):
    for name, epochs in (("a", 20), ("b", 5)):
        run = record(tmp_path / name, [0.1], trainer__max_epochs=epochs)
        write_labels(run.labels, [ReadLabel(0, split, f"{n}", "0") for split in ("pool", "evaluation") for n in range(epochs)])
    told = what_was_run(read_runs([tmp_path])[0])
    assert "20 epochs" in told["recipe"] and "5 epochs" in told["recipe"] and " / " in told["recipe"]
    assert told["evaluation"] == "20 images / 5 images"
