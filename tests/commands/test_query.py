import base64
import csv
import io
import json
import re
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import scipy.stats
import torch
import yaml
from PIL import Image

from al_lightning import locks
from al_lightning.commands import main, query
from al_lightning.data import FashionMNISTSampleDataModule, FolderSegmentationDataModule
from al_lightning.models import MLP
from al_lightning.runs import RunDirectory
from tests.experiments import in_child, weights
from tests.tasks.test_segmentation import Tiny

pytestmark = pytest.mark.usefixtures("undrawn")

CLASSES = {"cell": 9, "ground": 4, "edge": 30}
POOL = [f"p{number}" for number in range(9)]
BALD = {"class_path": "BALD", "init_args": {"passes": 3}}
ODIN = {"class_path": "Odin", "init_args": {"temperature": 10.0}}
COUNT = {"class_path": "CountAbove", "init_args": {"threshold": 1.0}}


def draw(path, size=(40, 56), seed=None):
    """Writes an image that no other name has: with a gradient, so that images differ in more than noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.stem.encode()) if seed is None else seed)
    noise = rng.integers(0, 256, (*size, 3)) * rng.uniform() + rng.integers(0, 128, 3)
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path)
    return path


def fit(folder, name, model, data, learning):
    off = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    parts = {"seed_everything": 7, "model": model, "data": data, "active_learning": {"cycles": 2, **learning}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**parts, "trainer": {"accelerator": "cpu", "max_epochs": 1, **off}}))
    main(["fit", "--config", str(folder / f"{name}.yaml"), "--run_dir", str(folder / name)])
    return RunDirectory(folder / name)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two cycles on nine images, two of which are labeled in the end besides the first three."""
    folder = tmp_path_factory.mktemp("scenes")
    for place, names in (("pool", POOL), ("more", ["v0", "v1"])):
        for number, name in enumerate(names):
            size = (40, 56 + 8 * (number % 3 == 2))
            draw(folder / place / "images" / f"{name}.png", size)
            (folder / place / "masks").mkdir(exist_ok=True)
            ids = np.random.default_rng(number).choice([*CLASSES.values()], size).astype(np.uint8)
            Image.fromarray(ids).save(folder / place / "masks" / f"{name}.png")
    network = {"class_path": "tests.tasks.test_segmentation.Tiny", "init_args": {"classes": 3}}
    sizes = {"initial_size": 3, "crop": 32, "batch_size": 2, "num_workers": 0}
    return fit(
        folder,
        "run",
        {"class_path": "SegmentationTask", "init_args": {"network": network}},
        {
            "class_path": "FolderSegmentationDataModule",
            "init_args": {"root": str(folder / "pool"), "evaluation": str(folder / "more"), "classes": CLASSES, **sizes},
        },
        {"strategy": "Entropy", "query_size": 2, "also_record": [COUNT, BALD, "Margin", ODIN, "Random", "Order", "LowestMiou"]},
    )


@pytest.fixture
def photos(run, tmp_path):
    """New images, and copies of the run's."""
    for number in range(6):
        draw(tmp_path / "photos" / f"n{number}.png", (40, 56 + 8 * (number % 2)))
    draw(tmp_path / "photos" / "other.JPG", (30, 700))
    for name in POOL[:6]:
        shutil.copy(run.path.parent / "pool" / "images" / f"{name}.png", tmp_path / "photos")
    (tmp_path / "photos" / "._n0.png").write_bytes(b"what another system leaves")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def ask(*arguments, out="out"):
    """Asks; the rows of the table, and the page."""
    main(["query", *map(str, arguments), "--out", str(out)])
    return answer(out)


def answer(out="out"):
    with (Path(out) / "query.csv").open(newline="") as file:
        return list(csv.DictReader(file)), (Path(out) / "query.html").read_text()


def by_stem(rows, column="score"):
    return {Path(row["path"]).stem: float(row[column]) for row in rows}


def logits_of(run, cycle, path):
    network = Tiny(3).eval()
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights(run, cycle).items()})
    pixels = np.array(Image.open(path).convert("RGB")) / 255
    inputs = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return network(torch.from_numpy(inputs).float().permute(2, 0, 1)[None])[0].detach().double()


def shown_in(page):
    """Each row's cells: pictures as arrays, else text."""
    return [[_cell(cell) for cell in re.findall("<td>(.*?)</td>", row)] for row in re.findall("<tr>(<td>.*?)</tr>", page)]


def _cell(text):
    found = re.fullmatch(r'<img alt="[^"]*" src="data:image/\w+;base64,([^"]+)"/>', text)
    return np.array(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB")) if found else text


def test_ranking_is_that_of_an_independent_computation_and_the_page_shows_it(run, photos, capsys):
    labeled = {row.item for row in run.read_queries()}
    assert len(labeled) == 5 and len(labeled & set(POOL[:6])) >= 2
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    rows, page = ask("--run", run.path, "--images", photos, "--n", 4)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    candidates = {path for path in photos.glob("[no]*.*[gG]")} | {photos / f"{name}.png" for name in {*POOL[:6]} - labeled}
    entropies = {path: scipy.stats.entropy(logits_of(run, 1, path).softmax(0).numpy()) for path in candidates}
    expected = sorted(candidates, key=lambda path: -entropies[path].mean())[:4]
    assert [row["path"] for row in rows] == [*map(str, expected)] and [row["rank"] for row in rows] == ["0", "1", "2", "3"]
    np.testing.assert_allclose([float(row["score"]) for row in rows], [entropies[path].mean() for path in expected], rtol=1e-5)
    counted = [(entropies[path] > 1).mean() for path in expected]
    np.testing.assert_allclose([*by_stem(rows, "Entropy(aggregation=CountAbove(threshold=1))").values()], counted, atol=1e-3)
    said = capsys.readouterr().out
    assert f"4 of {len(candidates)} images by Entropy, with the weights of run, cycle 1." in said and "without LowestMiou" in said
    assert f"{len(labeled & set(POOL[:6]))} images are labeled in {run.path}, and are not asked for." in said

    assert not re.search(r"https?:|<script|<link|src=\"(?!data:)", page)
    shown = shown_in(page)
    low, high = (end(value for path in expected for value in (entropies[path].min(), entropies[path].max())) for end in (min, max))
    for rank, (path, (place, picture, prediction, heat, score, name)) in enumerate(zip(expected, shown, strict=True)):
        original = np.array(Image.open(path).convert("RGB"))
        every = 3 if max(original.shape) == 700 else 1
        assert (place, name) == (str(rank), str(path)) and float(score) == pytest.approx(entropies[path].mean(), rel=1e-4)
        if every == 1:
            assert picture.shape == original.shape and abs(picture.astype(float).mean() - original.mean()) < 3
        classes = logits_of(run, 1, path).argmax(0).numpy()[::every, ::every]
        colors = FolderSegmentationDataModule("", CLASSES, "").classes.palette.numpy()
        assert np.array_equal(prediction, colors[classes]) and heat.shape == prediction.shape
        relative = (entropies[path][::every, ::every] - low) / (high - low)
        np.testing.assert_allclose(heat, matplotlib.colormaps["inferno"](np.rint(255 * relative) / 255, bytes=True)[..., :3], atol=6)
    assert all(name in page for name in ("cell", "rgb("))


def test_scores_are_those_that_the_run_recorded_of_its_pool(run, tmp_path):
    """By every kind of strategy, also those with dropout, perturbed inputs and ties; and nothing is known to be labeled."""
    shutil.copytree(run.path.parent / "pool" / "images", tmp_path / "copy")
    trained = "--checkpoint", run.checkpoint(0), "--config", run.config
    rows, _ = ask(*trained, "--images", "copy", "--n", 50)
    recorded = list(csv.DictReader(run.scores(0).open()))
    assert len(rows) == len(POOL) and len(recorded) == 6
    for column in [*rows[0]][2:]:
        found = by_stem(rows, column)
        assert {row["item"]: pytest.approx(float(row[column]), rel=1e-5, abs=1e-6) for row in recorded}.items() <= found.items()
    queried = [row.item for row in run.read_queries() if row.cycle == 1]
    assert [name for name in by_stem(rows) if name in {row["item"] for row in recorded}][:2] == queried
    fits = yaml.safe_load((run.path.parent / "run.yaml").read_text())  # as somebody wrote it, with names that are not resolved
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({key: fits[key] for key in ("model", "data")} | {"trainer": {"max_epochs": 1}}))
    for number, (strategy, column) in enumerate({json.dumps(BALD): "BALD(passes=3)", json.dumps(ODIN): "Odin(temperature=10)"}.items()):
        seeded = run.config if "BALD" in strategy else tmp_path / "own.yaml"
        alone, _ = ask(*trained[:3], seeded, "--images", "copy", "--strategy", strategy, "--n", 9, out=str(number))
        assert by_stem(alone) == pytest.approx(by_stem(rows, column), rel=1e-5, abs=1e-6)
        assert [*by_stem(alone)] == sorted(by_stem(alone), key=lambda name: -by_stem(alone)[name])


STRATEGIES = {
    "Random": None,
    "Order": ["n0", "n1", "n2", "n3", "n4"],
    "FromFile": ["n4", "n2", "n0", "n1", "n3"],
    "Inverse": None,
    "Expert": None,
    "Power": None,
    "Apart": None,
    "UHerding": None,
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_kind_of_strategy(run, tmp_path, name):
    for number in range(5):
        draw(tmp_path / "new" / f"n{number}.png")
    (tmp_path / "order.txt").write_text("n4\nn2\nn0\nn1\nn3\n")
    arguments = {
        "FromFile": {"order": "order.txt"},
        "Inverse": {"strategy": "Entropy"},
        "Expert": {"checkpoint": str(run.checkpoint(0)), "strategy": "Entropy"},
        "Power": {"strategy": "Entropy"},
        "Apart": {"strategy": "Entropy", "pattern": "n(?P<frame>.)"},
    }
    text = json.dumps({"class_path": name, "init_args": arguments[name]}) if name in arguments else name
    rows, page = ask("--run", run.path, "--images", "new", "--strategy", text)
    found = by_stem(rows)
    if STRATEGIES[name]:
        assert [*found] == STRATEGIES[name]
    if name in ("Inverse", "Expert"):
        cycle, sign = (1, -1) if name == "Inverse" else (0, 1)
        paths = [tmp_path / "new" / f"{stem}.png" for stem in found]
        expected = [sign * scipy.stats.entropy(logits_of(run, cycle, path).softmax(0).numpy()).mean() for path in paths]
        np.testing.assert_allclose([*found.values()], expected, rtol=1e-5)
        assert [*found.values()] == sorted(found.values(), reverse=True)
    scored = name in ("Inverse", "Expert", "Power", "Apart", "UHerding")
    assert ("no pixel scores" in page) == (not scored) and len(shown_in(page)) == 5
    assert ("knows of the 0 labeled images that lie here, and of no others" in page) == (name in ("Apart", "UHerding"))


def features_of(run, cycle, path):
    network = Tiny(3).eval()
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights(run, cycle).items()})
    pixels = np.array(Image.open(path).convert("RGB")) / 255
    inputs = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        return network.body[:2](torch.from_numpy(inputs).float().permute(2, 0, 1)[None])[0].mean((1, 2)).double()


def test_a_core_set_is_far_from_the_labeled_images_that_lie_here(run, photos, capsys):
    """By an independent computation; labeled are those of the run that lie in the folder; broken ones of both kinds are left out."""
    labeled = {row.item for row in run.read_queries()} & {*POOL[:6]}
    broken = sorted(labeled)[0]
    others = [photos / f"{name}.png" for name in labeled]
    near = [features_of(run, 1, path) for path in others if path.stem != broken]
    for path in (photos / f"{broken}.png", photos / "n2.png"):
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[:60].ljust(size, b"x"))
    for out, devices in (("one", ["cpu"]), ("two", ["cpu", "cpu"])):
        with pytest.raises(SystemExit) as ended:
            ask("--run", run.path, "--images", photos, "--n", 5, "--strategy", "CoreSet", "--devices", *devices, out=out)
        assert ended.value.code == 3 and f"{broken}.png" in capsys.readouterr().err
    assert Path("one/query.csv").read_bytes() == Path("two/query.csv").read_bytes()
    rows, page = answer("one")
    left = {
        path: features_of(run, 1, path)
        for path in [*photos.glob("[no]*.[pJ]*"), *(photos / f"{name}.png" for name in POOL[:6])]
        if path.stem not in labeled and path.stem != "n2"
    }
    assert len(rows) == 5 and "no pixel scores" in page
    for row in rows:
        distances = {path: min(float((its - other).norm()) for other in near) for path, its in left.items()}
        farthest = max(distances, key=lambda path: distances[path])
        assert row["path"] == str(farthest) and float(row["score"]) == pytest.approx(distances[farthest], rel=1e-3)
        near.append(left.pop(farthest))


def test_masked_images_are_not_asked_for_and_no_mask_is_opened(run, tmp_path, monkeypatch, capsys):
    for number in range(6):
        draw(tmp_path / "own" / "images" / f"{'ab' * (number == 0)}{number}.5.png")
    masks = tmp_path / "own" / "masks"
    masks.mkdir()
    for name in ("1.5.png", "ab0.5.tif", "3.5.npy"):
        (masks / name).write_bytes(b"nobody reads this")
    (masks / "._2.5.png").write_bytes(b"what another system leaves")
    opened, whole = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, *more, **named: opened.append(str(path)) or whole(path, *more, **named))
    monkeypatch.chdir(tmp_path / "own" / "images")
    rows, _ = ask("--run", run.path, "--images", ".", out=tmp_path / "out")
    assert sorted(by_stem(rows)) == ["2.5", "4.5", "5.5"] and not any("masks" in path for path in opened)
    assert "3 images have a mask, and are not asked for." in capsys.readouterr().out


def test_masks_that_lie_where_the_configuration_says(run, tmp_path):
    for number in range(4):
        draw(tmp_path / "own" / "photos" / f"{number}_x.png")
    (tmp_path / "own" / "drawn").mkdir()
    (tmp_path / "own" / "drawn" / "m1.png").write_bytes(b"nobody reads this")
    settings = yaml.safe_load((run.path.parent / "run.yaml").read_text())
    settings["data"]["init_args"] |= {"root": "own", "images": "photos/*_x.png", "masks": "drawn/m*.png"}
    Path("own.yaml").write_text(yaml.safe_dump(settings))
    rows, _ = ask("--checkpoint", run.checkpoint(1), "--config", "own.yaml", "--images", tmp_path / "own" / "photos")
    assert sorted(by_stem(rows)) == ["0_x", "2_x", "3_x"]


def test_masks_that_lie_beside_their_images_are_no_images(run, tmp_path):
    for name in ("0", "1", "0_mask", "3_mask"):
        draw(tmp_path / "own" / f"{name}.png")
    settings = yaml.safe_load((run.path.parent / "run.yaml").read_text())
    settings["data"]["init_args"] |= {"root": "own", "images": "*.png", "masks": "*_mask.png"}
    Path("own.yaml").write_text(yaml.safe_dump(settings))
    rows, _ = ask("--checkpoint", run.checkpoint(1), "--config", "own.yaml", "--images", "own")
    assert sorted(by_stem(rows)) == ["1"]


def test_an_ending_tells_masks_from_images_where_they_lie_side_by_side(run, tmp_path):
    for name in ("0.jpg", "0.png", "1.jpg", "1.png", "2.jpg"):
        draw(tmp_path / "own" / name)
    settings = yaml.safe_load((run.path.parent / "run.yaml").read_text())
    settings["data"]["init_args"] |= {"root": "own", "images": "*.jpg", "masks": "*.png"}
    Path("own.yaml").write_text(yaml.safe_dump(settings))
    rows, _ = ask("--checkpoint", run.checkpoint(1), "--config", "own.yaml", "--images", "own")
    assert sorted(by_stem(rows)) == ["2"]
    for name in ("3.png", "4.png"):
        draw(tmp_path / "new" / name)
    rows, _ = ask("--checkpoint", run.checkpoint(1), "--config", "own.yaml", "--images", "new", out="others")
    assert sorted(by_stem(rows)) == ["3", "4"]  # no image has these names: they are the images


@pytest.mark.parametrize(("kind", "group"), [("masks", "^v[0-9]"), ("classes", "/v[0-9]")])
def test_what_a_run_holds_out_by_groups_is_not_asked_for(tmp_path, capsys, kind, group):
    """Nobody could train on it; a name that tells of no group is of none."""
    names = [f"v{video}_{frame}" for video in range(4) for frame in range(4)]
    for number, name in enumerate(names):
        labeled = number % 4 < 2
        folder = "images" if kind == "masks" else ("cat", "dog")[number % 2] if labeled else "unlabeled"
        draw(tmp_path / "own" / folder / f"{'im_' * (kind == 'masks')}{name}.png", (16, 16))
        if labeled and kind == "masks":
            (tmp_path / "own" / "masks").mkdir(exist_ok=True)
            Image.fromarray(np.random.default_rng(number).choice([4, 9], (16, 16)).astype(np.uint8)).save(f"own/masks/{name}.png")
    if kind == "masks":
        network = {"class_path": "tests.tasks.test_segmentation.Tiny", "init_args": {"classes": 2}}
        data = {"classes": {"ground": 4, "cell": 9}, "crop": 16, "batch_size": 2, "num_workers": 0, "images": "images/im_*"}
        parts = "SegmentationTask", "FolderSegmentationDataModule", "own/images"
    else:
        network = {"class_path": "al_lightning.models.MLP", "init_args": {"width": 4, "num_classes": 2, "input_shape": [3, 16, 16]}}
        data, parts = {}, ("ClassificationTask", "FolderClassificationDataModule", "own/unlabeled")
    settings = {"root": str(tmp_path / "own"), "group": group, "evaluation": 0.25, **data}
    model = {"class_path": parts[0], "init_args": {"network": network}}
    run = fit(
        tmp_path, "run", model, {"class_path": parts[1], "init_args": settings}, {"strategy": "Entropy", "query_size": 2, "cycles": 1}
    )
    (held,) = {Path(row["file"]).stem.removeprefix("im_")[:2] for row in csv.DictReader(run.images.open()) if row["split"] == "evaluation"}
    others = ["other"] if kind == "masks" else []  # classes are looked for in the folders, each name of which has a group
    for name in others:
        draw(tmp_path / parts[2] / f"{name}.png", (16, 16))
    rows, _ = ask("--run", run.path, "--images", parts[2])
    assert {name.removeprefix("im_") for name in by_stem(rows)} == {name for name in names if int(name[-1]) > 1 and name[:2] != held} | {
        *others
    }
    assert f"2 images belong to groups that {run.path} holds out, and are not asked for." in capsys.readouterr().out


@pytest.mark.parametrize("strategy", ["Entropy", "Random"])
def test_broken_images_are_named_and_left_out_and_the_status_says_so(run, photos, capsys, strategy):
    for name, part in (("n1", 0.5), ("n3", 0.01)):
        content = (photos / f"{name}.png").read_bytes()
        (photos / f"{name}.png").write_bytes(content[: int(part * len(content))])
    (photos / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(SystemExit) as ended:
        ask("--run", run.path, "--images", photos, "--strategy", strategy, "--n", 50)
    assert ended.value.code == query.SOME_LEFT_OUT == 3
    rows, page = answer()
    complaints = capsys.readouterr().err.splitlines()
    assert len(complaints) == 3
    assert not {"n1", "n3", "gone"} & {*by_stem(rows)} and {"n0", "n2", "other"} < {*by_stem(rows)}
    for name in ("n1", "n3", "gone"):
        assert sum(f"{photos}/{name}.png" in line for line in complaints) == 1 and f"{name}.png" in page.partition("Left out")[2]


def test_several_devices_give_the_same_scores(run, photos):
    for out, devices in (("one", ["cpu"]), ("three", ["cpu", "cpu", "cpu"])):
        main(["query", "--run", str(run.path), "--images", str(photos), "--devices", *devices, "--out", out])
    assert Path("one/query.csv").read_bytes() == Path("three/query.csv").read_bytes()


def test_an_image_is_labeled_by_its_content_not_by_its_name_alone(run, tmp_path):
    """Frames of two videos have the same names."""
    for name in POOL:
        draw(tmp_path / "video" / f"{name}.png", (20, 30))
    assert len(ask("--run", run.path, "--images", "video")[0]) == len(POOL)


OUT_THERE = ["--out", "there"]
WRONG = {
    "no folder": (["--images", "nowhere"], "a folder of images in nowhere, but there is none"),
    "a file": (["--images", "a.txt"], "in a.txt, but that is a file"),
    "nothing in it": (["--images", "empty"], r"images \(.jpeg, .*\) in empty, found none\.$"),
    "all of it below": (["--images", "below"], r"found none\. Images in the 1 folders below it are not looked for"),
    "one name twice": (["--images", "twice"], "one file of each name in twice, got a.jpg and a.png"),
    "all labeled": (["--images", "own/images"], "an image without a label in own/images, got none. 1 images have a mask"),
    "all broken": (["--images", "broken"], r"an image that can be read in broken, got none\. Expected an image in broken/a.png"),
    "no run": (["--run", "nowhere"], r"nowhere/config.yaml.*Is it the directory of a run"),
    "run and checkpoint": (["--checkpoint", "x"], "either --run RUN, or --checkpoint CKPT with --config CONFIG"),
    "an oracle": (["--strategy", "LowestMiou"], r"a strategy that reads no labels, .* got LowestMiou\. Name another"),
    "an oracle inside": (["--strategy", "{class_path: Inverse, init_args: {strategy: MostIncorrect}}"], "reads no labels"),
    "an argument twice": (["--strategy", "{class_path: Power, init_args: {strategy: Margin, beta: 1, beta: 2}}"], "got beta twice"),
    "no strategy": (["--strategy", "Entropyy"], r"one of BALD, .*got 'Entropyy'"),
    "another order": (["--strategy", "{class_path: FromFile, init_args: {order: a.txt}}"], "a.txt"),
    "no device": (["--devices", "gpu"], "--devices of this machine, like cpu, cuda or cuda:1, got gpu"),
    "none": (["--n", "0"], "expected a number of at least 1"),
    "an answer is there": (OUT_THERE, r"no query in there, got query.csv\. Name another --out"),
    "a file in its place": (["--out", "a.txt"], "File exists: a.txt"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(run, tmp_path, what):
    (tmp_path / "a.txt").write_text("no item")
    (tmp_path / "empty").mkdir()
    for path in ("below/images/a.png", "twice/a.png", "twice/a.jpg", "own/images/a.png", "own/masks/a.png", "new/n0.png"):
        draw(tmp_path / path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "query.csv").write_text("mine")
    given, match = WRONG[what]
    defaults = {"--run": str(run.path), "--images": "new", "--out": "out"}
    with pytest.raises(SystemExit) as ended:
        main(["query", *(part for name, value in defaults.items() if name not in given for part in (name, value)), *given])
    assert re.search(match, str(ended.value.code)) and "\n" not in str(ended.value.code).removesuffix(
        "\nSee python -m al_lightning query --help."
    )
    assert (tmp_path / "there" / "query.csv").read_text() == "mine" and not list(tmp_path.rglob("query.html"))


def test_other_weights_and_a_damaged_checkpoint_are_refused(run, tmp_path):
    draw(tmp_path / "new" / "n0.png")
    other = {f"network.{name}": value for name, value in Tiny(4).state_dict().items()}
    torch.save({"state_dict": other}, "other.ckpt")
    Path("cut.ckpt").write_bytes(run.checkpoint(0).read_bytes()[:5000])
    for path, match in {
        "other.ckpt": "those of another network",
        "cut.ckpt": r"checkpoint .*cut.ckpt, but it can't be read",
        "no.ckpt": "no such",
    }.items():
        with pytest.raises(SystemExit, match=match):
            ask("--checkpoint", path, "--config", run.config, "--images", "new")
    assert not Path("out").exists()


def test_one_process_writes_into_a_folder(run, tmp_path):
    draw(tmp_path / "new" / "n0.png")
    Path("out").mkdir()

    def refused():
        with pytest.raises(SystemExit, match="Another process is writing a query into out"):
            ask("--run", run.path, "--images", "new")

    assert locks.lock(Path("out/.lock"))
    try:
        assert in_child(refused) == 0
    finally:
        locks.unlock(Path("out/.lock"))
    assert len(ask("--run", run.path, "--images", "new")[0]) == 1


def test_own_images_with_classes(tmp_path):
    """Of any size; those with a class are not asked for, and the classes' names are the folders'."""
    for number in range(12):
        draw(tmp_path / "own" / ("cat", "dog", "unlabeled")[number % 3] / f"i{number}.png", (20 + number, 30))
    network = {"class_path": "al_lightning.models.MLP", "init_args": {"width": 7, "num_classes": 2, "input_shape": [3, 8, 9]}}
    model = {"class_path": "ClassificationTask", "init_args": {"network": network}}
    data = {"class_path": "FolderClassificationDataModule", "init_args": {"root": str(tmp_path / "own"), "image_size": [8, 9]}}
    run = fit(tmp_path, "pets", model, data, {"strategy": "Entropy", "query_size": 2, "cycles": 1})
    rows, page = ask("--run", run.path, "--images", "own/unlabeled", "--package", "plain")
    told = Path("out/to_label/README.txt").read_text()
    assert "give each one of the classes cat, dog." in told and "with the columns name and class, or a folder with a folder" in told
    assert f"python -m al_lightning ingest {run.path} --query out FROM" in told
    assert len(rows) == 4 and all(re.fullmatch(r"(cat|dog) \(\d+ %\)", cells[2]) for cells in shown_in(page))
    trained = MLP(7, num_classes=2, input_shape=(3, 8, 9)).eval()
    trained.load_state_dict({name.removeprefix("network."): value for name, value in weights(run, 0).items()})
    for row in rows:
        small = np.array(Image.open(row["path"]).resize((9, 8), Image.Resampling.BILINEAR)) / 255
        p = trained(torch.from_numpy(small).float().permute(2, 0, 1)[None]).softmax(1).detach().numpy()[0]
        assert float(row["score"]) == pytest.approx(scipy.stats.entropy(p), rel=1e-4)
    with pytest.raises(SystemExit, match="4 images have a class"):
        ask("--run", run.path, "--images", "own/cat", out="cats")
    shutil.copytree("own", "copies")
    for place, kind in enumerate(("cat", "dog")):
        Path(f"copies/{kind}/i{place}.png").rename(f"copies/{kind}/i{1 - place}.png")  # another image has this name now
    draw(tmp_path / "own" / "emu" / "i99.png")  # a class that the run does not know
    rows, _ = ask("--run", run.path, "--images", "copies/cat", out="copied")
    assert [*by_stem(rows)] == ["i1"]


def test_classified_images(tmp_path, capsys):
    network = {"class_path": "al_lightning.models.MLP", "init_args": {"width": 7}}
    model = {"class_path": "ClassificationTask", "init_args": {"network": network}}
    data = {"class_path": "FashionMNISTSampleDataModule", "init_args": {"initial_size": 70, "pool_size": 600}}
    run = fit(tmp_path, "clothes", model, data, {"strategy": "Margin", "query_size": 20, "cycles": 1})
    pictures = FashionMNISTSampleDataModule(initial_size=70)
    pictures.setup("fit")
    (tmp_path / "new").mkdir()
    for index in range(9):
        Image.fromarray(pictures.picture(index)).save(tmp_path / "new" / f"{index}.png")
    Image.new("RGB", (30, 28)).save(tmp_path / "new" / "large.png")
    with pytest.raises(SystemExit) as ended:
        ask("--run", run.path, "--images", "new", "--n", 5, "--package", "label_studio")
    for readme in Path("out/to_label").rglob("README.txt"):  # these data have no place for labels of others
        assert "ingest" not in readme.read_text()
    assert ended.value.code == 3 and "that MLP can take, but new/large.png is 30x28 pixels large" in capsys.readouterr().err
    rows, page = answer()
    network = MLP(7).eval()
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights(run, 0).items()})
    p = network(torch.stack([torch.from_numpy(pictures.picture(index)) for index in range(9)])[:, None] / 255).softmax(1).detach().numpy()
    ordered = np.sort(p, axis=1)
    margins = 1 - ordered[:, -1] + ordered[:, -2]
    assert [int(Path(row["path"]).stem) for row in rows] == np.argsort(-margins)[:5].tolist()
    np.testing.assert_allclose([float(row["score"]) for row in rows], np.sort(margins)[::-1][:5], rtol=1e-4)
    for row, cells in zip(rows, shown_in(page), strict=True):
        index = int(Path(row["path"]).stem)
        assert cells[2] == f"{pictures.class_names[p[index].argmax()]} ({100 * p[index].max():.0f} %)" and cells[3] == "no pixel scores"
