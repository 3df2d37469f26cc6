import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
import yaml
from matplotlib import image
from PIL import Image
from torch import nn

from al_lightning.commands import main, maps
from al_lightning.data import CityscapesDataModule, SyntheticScenesDataModule
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from tests.experiments import weights
from tests.tasks.test_segmentation import Tiny

TEMPERATURES = (0.01, 0.1, 10, 100, 1000)
ODIN = [f"Odin(T={temperature}, ε=0)" for temperature in TEMPERATURES]
METHODS = ["Entropy", "MaxSoftmax", "Margin", "BALD", "VoteEntropy", *ODIN, "Odin(T=1000, ε=0.0014)"]


class Plain(nn.Conv2d):
    """A network without dropout."""

    def __init__(self):
        super().__init__(3, 19, 1)


def fit(folder, network, **learning):
    """A tiny run by the command line; its scenes lie in <folder>/before."""
    drawn = SyntheticScenesDataModule(str(folder / "drawn"), train_sequences=5, val_sequences=2, frames=2, height=40, width=56)
    drawn.prepare_data()
    drawn.root.rename(folder / "before")
    sizes = {"initial_size": 4, "crop": 32, "batch_size": 2, "num_workers": 0}
    config = {
        "seed_everything": 7,
        "model": {"class_path": "SegmentationTask", "init_args": {"network": {"class_path": network}}},
        "data": {"class_path": "CityscapesDataModule", "init_args": {"root": str(folder / "before"), **sizes}},
        "active_learning": {"strategy": "Entropy", "query_size": 3, "cycles": 2, **learning},
        "trainer": {"accelerator": "cpu", "max_epochs": 2, "logger": False, "enable_progress_bar": False, "enable_model_summary": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(folder / "config.yaml"), "--run_dir", str(folder / "run")])
    (folder / "before").rename(folder / "after")
    return RunDirectory(folder / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that recorded every method's scores; its data were moved to the folder ``after`` beside it."""
    odin = [{"class_path": "Odin", "init_args": {"temperature": temperature, "epsilon": 0.0}} for temperature in TEMPERATURES]
    methods = ["MaxSoftmax", "Margin", "BALD", "VoteEntropy", *odin, "Odin"]
    return fit(tmp_path_factory.mktemp("maps"), "tests.tasks.test_segmentation.Tiny", also_record=methods)


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the drawing functions, by image."""
    kept = {}

    def keep(name):
        whole = getattr(maps, name)

        def draw(*arguments):
            kept.setdefault(name, []).append(arguments)
            return whole(*arguments)

        monkeypatch.setattr(maps, name, draw)

    keep("draw_score_maps")
    keep("draw_bounds")
    return kept


def call(run, *arguments):
    main(["maps", "--run", str(run.path), "--data_root", str(run.path.parent / "after"), *arguments])


def test_maps_of_an_evaluation_image_are_those_of_its_probabilities(run, drawn, tmp_path, capsys):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    call(run, "--cycle", "0", "--image", "city1_000001_000001", "--out", str(tmp_path / "out"))
    names = [f"000-city1_000001_000001-{kind}.png" for kind in ("maps", "bounds")]
    assert [Path(line).name for line in capsys.readouterr().out.split()] == names
    for name in names:
        assert image.imread(tmp_path / "out" / name)[..., :3].std() > 0.05
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    row, found, *_ = drawn["draw_score_maps"][0]
    entropies, least_confidences, classes, *_ = drawn["draw_bounds"][0]
    data = CityscapesDataModule(root=str(run.path.parent / "after"), initial_size=4)
    data.setup("fit")
    example = data.evaluation_example(3)
    network = Tiny().eval()
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights(run, 0).items()})
    logits = network(example.inputs[None]).detach().double()[0]
    p = logits.softmax(0).numpy()
    ordered = np.sort(p, axis=0)
    cold = (logits / 0.1).softmax(0).numpy()
    assert row.name == example.name == "city1_000001_000001"
    assert np.array_equal(row.truth, example.targets) and np.array_equal(row.prediction, p.argmax(0)) and classes == 19
    assert list(found) == METHODS and {scores.shape for scores in found.values()} == {(40, 56)}
    np.testing.assert_allclose(found["Entropy"], scipy.stats.entropy(p), rtol=1e-4)
    np.testing.assert_allclose(found["MaxSoftmax"], 1 - p.max(0), rtol=1e-4)
    np.testing.assert_allclose(found["Margin"], 1 - ordered[-1] + ordered[-2], rtol=1e-4)
    np.testing.assert_allclose(found["Odin(T=0.1, ε=0)"], 1 - cold.max(0), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(entropies, found["Entropy"].ravel())
    np.testing.assert_allclose(least_confidences, found["MaxSoftmax"].ravel(), rtol=1e-5)


def test_maps_of_a_pool_image_average_to_the_scores_that_the_run_recorded(run, drawn, undrawn, monkeypatch):
    """Also those of dropout and of perturbed inputs; a label that nobody had given by then is not opened."""
    rows = list(csv.DictReader(run.scores(0).open()))[::3]
    queried = [row.item for row in run.read_queries() if row.cycle == 1]
    opened, whole = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, *more, **named: opened.append(str(path)) or whole(path, *more, **named))
    call(run, "--cycle", "0", "--split", "pool", "--image", *(row["item"] for row in rows))
    for row, arguments in zip(rows, drawn["draw_score_maps"], strict=True):
        scene, found, *_ = arguments
        assert scene.name == row["item"] and scene.truth is None
        recorded = [float(row[name]) for name in row if name not in {"index", "item"}]
        means = [scores.mean() for scores in found.values()]
        np.testing.assert_allclose(means, recorded, rtol=1e-4, atol=3e-7)  # BALD subtracts entropies of up to 3 in float32
        assert any(row["item"] in path for path in opened if "/leftImg8bit/train/" in path)
        assert not any(row["item"] in path for path in opened if "/gtFine/train/" in path)
    call(run, "--split", "pool", "--image", queried[0])  # labeled by the last cycle
    scene = drawn["draw_score_maps"][-1][0]
    assert scene.name == queried[0] and scene.truth is not None
    assert any(queried[0] in path for path in opened if "/gtFine/train/" in path)
    assert (run.maps / f"001-{queried[0]}-maps.png").is_file()


def test_chosen_strategies(run, drawn, undrawn):
    call(
        run,
        "--strategy",
        "Margin",
        "{class_path: BALD, init_args: {passes: 3, query_p: 0.5}}",
        "{class_path: Odin, init_args: {epsilon: 0}}",
    )
    _, found, *_ = drawn["draw_score_maps"][0]
    assert list(found) == ["Margin", "BALD(passes=3, query_p=0.5)", "Odin(T=1000, ε=0)"]
    assert drawn["draw_score_maps"][0][0].name == "city0_000000_000000"
    assert len({scores.mean() for scores in found.values()}) == 3 and all(scores.std() > 0 for scores in found.values())


def test_a_network_without_dropout_gets_the_other_maps(tmp_path, drawn, undrawn, capsys):
    run = fit(tmp_path, "tests.commands.test_maps.Plain", cycles=1)
    capsys.readouterr()
    call(run)
    assert "Plain has no live dropout: without BALD, VoteEntropy." in capsys.readouterr().out.splitlines()
    _, found, *_ = drawn["draw_score_maps"][0]
    assert list(found) == [name for name in METHODS if name not in {"BALD", "VoteEntropy"}]
    torch.save({"state_dict": {}}, run.checkpoint(0))
    with pytest.raises(UserError, match=r"a checkpoint in .*last.ckpt, but there is no tensor in it"):
        call_plain(run)
    run.checkpoint(0).unlink()
    with pytest.raises(UserError, match=r"found none.*active_learning.keep=all"):
        call_plain(run)


def call_plain(run, *arguments):
    maps.main(["maps", "--run", str(run.path), "--data_root", str(run.path.parent / "after"), *arguments])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--image", "city0_000000_00001"], r"images of the evaluation split, like city0_000000_000000, city0_000000_000001, .*got city0_"),
        (["--image", "ulm", "--split", "pool"], r"images of the pool split, like city.*got ulm"),
        (["--cycle", "2"], r"got 2: .*run has those of 0, 1"),
        (["--strategy", "Marginn"], r"one of BALD, .*Margin.*got 'Marginn'"),
        (["--strategy", "Random"], r"a strategy with pixel scores .*got Random"),
        (["--strategy", "{class_path: BALD, init_args: {passes: 1}}"], "passes to be a number >=2, got 1"),
        (["--strategy", "{class_path"], "Expected a strategy for --strategy"),
        (["--data_root", "nowhere"], r"Expected images nowhere"),
    ],
)
def test_bad_input_is_one_error(run, arguments, match):
    with pytest.raises(UserError, match=match):
        call_plain(run, *arguments)


CHECKPOINT = "cycles/001/last.ckpt"
DAMAGE = {
    "cut": (CHECKPOINT, lambda content: content[: len(content) // 2]),
    "emptied": (CHECKPOINT, lambda content: b""),
    "text": (CHECKPOINT, lambda content: b"<!DOCTYPE html>"),
    "another byte": (CHECKPOINT, lambda content: content[:70] + bytes([content[70] ^ 64]) + content[71:]),
    "a row lost": ("queries.csv", lambda content: content[: content.rindex(b"\n", 0, -1) + 1]),
    "a row twice": ("queries.csv", lambda content: content + content[content.rindex(b"\n", 0, -1) + 1 :]),
    "no model": ("config.yaml", lambda content: content.replace(b"\nmodel:", b"\nmodels:")),
    "no arguments": ("config.yaml", lambda content: content.replace(b"\ndata:\n", b"\ndata: 3\nother:\n")),
    "a pipe": (CHECKPOINT, None),
}


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named(run, tmp_path, damage):
    copy = RunDirectory(shutil.copytree(run.path, tmp_path / "run", symlinks=True))
    (tmp_path / "after").symlink_to(run.path.parent / "after")
    name, change = DAMAGE[damage]
    path = copy.path / name
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(change(content)) if change else os.mkfifo(path)
    with pytest.raises(SystemExit, match=name):
        call(copy)


def test_other_runs_and_other_data_are_refused(run, tmp_path):
    with pytest.raises(UserError, match=r"nowhere/config.yaml.*Is it the directory of a run"):
        maps.main(["maps", "--run", "nowhere"])
    other = SyntheticScenesDataModule(str(tmp_path), train_sequences=2, val_sequences=1, frames=2, height=40, width=56)
    other.prepare_data()
    with pytest.raises(UserError, match=r"Expected the data of the run, with city\d_\d+_\d+ at index \d, got .*--data_root"):
        call_plain(run, "--data_root", str(other.root))
    stored = yaml.safe_load(run.config.read_text())
    drawing = RunDirectory(tmp_path / "drawing")
    drawing.checkpoint(0).parent.mkdir(parents=True)
    drawing.checkpoint(0).touch()
    drawing.write_config(yaml.safe_dump({**stored, "data": {"class_path": "SyntheticScenesDataModule", "init_args": {}}}))
    with pytest.raises(UserError, match="Expected data with a root for --data_root, got SyntheticScenesDataModule"):
        call_plain(drawing)
    stored["model"] = {"class_path": "ClassificationTask", "init_args": {"network": {"class_path": "al_lightning.models.MLP"}}}
    drawing.write_config(yaml.safe_dump({**stored, "data": {"class_path": "FashionMNISTSampleDataModule", "init_args": {}}}))
    with pytest.raises(UserError, match="segments scenes, got one of ClassificationTask on FashionMNISTSampleDataModule"):
        maps.main(["maps", "--run", str(drawing.path)])
    drawing.write_config("seed_everything: 0")
    with pytest.raises(UserError, match=r"Expected model in .*/drawing/config.yaml to be a class and its arguments, got None"):
        maps.main(["maps", "--run", str(drawing.path)])
