"""To a tool and back, through the command line; what tools export is made up here, and by themselves in tests/annotation."""

import json
import shutil
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from al_lightning import files
from al_lightning.annotation.run_lengths import packed, unpacked
from al_lightning.callbacks import oracles
from al_lightning.commands import main
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from tests.callbacks.test_oracles import CONFIG, begin, folder, label, wanted  # noqa: F401
from tests.callbacks.test_resume import dies_at
from tests.commands import test_ingest_classes as classified
from tests.commands.test_ingest import command, masks
from tests.experiments import in_child, weights
from tests.tasks.test_segmentation import Tiny

pytestmark = pytest.mark.usefixtures("undrawn")

SIZE = (24, 20)


def fit(*arguments):
    """Begins the run, or goes on with it; what it waits for."""
    with pytest.raises(SystemExit) as end:
        main(["fit", *arguments, "--run_dir=run", "--active_learning.package=[label_studio, cvat, coco]"])
    assert end.value.code == 75, end.value
    return wanted(RunDirectory("run"))


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """A run that waits for labels, beside its data and what a person would draw."""
    pytest.importorskip("pycocotools")
    home = tmp_path_factory.mktemp("waiting")
    with pytest.MonkeyPatch.context() as patch:
        begin(home, patch)
        Path("c.yaml").write_text(CONFIG.replace("crop: 16,", "crop: 16, rest: ground,"))
        fit("--config=c.yaml")
    return home


@pytest.fixture
def asked(waiting):
    shutil.copytree(waiting, ".", dirs_exist_ok=True)
    return wanted(RunDirectory("run"))


def person(name):
    return np.array(Image.open(f"annotator/{name}.png")) == 7


def brush(name, inside=None, shown=SIZE, what="cell"):
    inside = person(name) if inside is None else inside
    sizes = {"original_height": shown[0], "original_width": shown[1]}
    return {"type": "brushlabels", **sizes, "value": {"format": "rle", "rle": packed(inside), "brushlabels": [what]}}


def label_studio(tasks, path="export.json"):
    """An export of what is said of images."""
    package = json.loads(Path("run/cycles/000/to_label/label_studio/tasks.json").read_text())
    data = {task["data"]["item"]: task["data"] for task in package}
    made = [
        {"data": data.get(name, {"image": f"/data/upload/1/0123abcd-{name}.png"}), "annotations": [{"result": result}]}
        for name, result in tasks.items()
    ]
    Path(path).write_text(json.dumps(made))
    return path


def coco(names):
    """An export in which each image has a polygon of its first row, and cells as run lengths of the other rows."""
    from al_lightning.data.scenes.coco import encoded

    cells = {name: person(name) & (np.arange(24)[:, None] > 0) for name in names}
    document = {
        "images": [{"id": n, "file_name": f"to_label/{name}.png", "height": 24, "width": 20} for n, name in enumerate(names)],
        "categories": [{"id": 4, "name": "cell"}, {"id": 5, "name": "ground"}],
        "annotations": [{"id": n, "image_id": n, "category_id": 4, "segmentation": encoded(cells[name])} for n, name in enumerate(names)]
        + [{"id": 99, "image_id": 0, "category_id": 5, "segmentation": [[0, 0, 20, 0, 20, 1, 0, 1]]}],
    }
    with zipfile.ZipFile("coco.zip", "w") as archive:
        archive.writestr("annotations/instances_default.json", json.dumps(document))
        archive.writestr("__MACOSX/annotations/._instances_default.json", b"packed again on another system")
        archive.writestr("images/x.png", b"")
    return "coco.zip"


def cvat(names):
    with zipfile.ZipFile("cvat.zip", "w") as archive:
        archive.writestr("labelmap.txt", "# label:color_rgb:parts:actions\ncell:250,50,83::\nbackground:0,0,0::\n")
        for name in names:
            Image.fromarray(np.where(person(name)[..., None], (250, 50, 83), 0).astype(np.uint8)).save("one.png")
            archive.write("one.png", f"SegmentationClass/{name}.png")
    return "cvat.zip"


def test_packages_say_what_the_network_says(waiting, asked):
    package = Path("run/cycles/000/to_label")
    assert {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()} == {
        "README.txt",
        *(f"{name}.png" for name in asked),
        *(f"{tool}/README.txt" for tool in ("label_studio", "cvat", "coco")),
        *("label_studio/tasks.json", "label_studio/labels.xml", "cvat/masks.zip", "cvat/labels.json", "coco/annotations.json"),
    }
    network = Tiny(2).eval()
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights(RunDirectory("run"), 0).items()})
    tasks = json.loads((package / "label_studio" / "tasks.json").read_text())
    cells = {}
    for name, task in zip(asked, tasks, strict=True):
        pixels = (np.array(Image.open(f"data/images/{name}.png")) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        with torch.no_grad():
            cells[name] = network(torch.from_numpy(pixels).float().permute(2, 0, 1)[None])[0].argmax(0).numpy() == 1
        results = task["predictions"][0]["result"]
        assert task["data"]["image"] == f"/data/local-files/?d=cycles/000/to_label/{name}.png" and task["data"]["item"] == name
        assert len(results) == bool(cells[name].any())
        assert all(np.array_equal(unpacked(result["value"]["rle"], SIZE), cells[name]) for result in results)
    assert any(inside.any() for inside in cells.values())
    rows = RunDirectory("run").awaited()
    assert [task["data"]["score"] for task in tasks] == pytest.approx([row.score for row in rows])
    for tool in ("label_studio", "cvat", "coco"):
        assert "python -m al_lightning ingest run " in (package / tool / "README.txt").read_text()
    assert f"LOCAL_FILES_DOCUMENT_ROOT={waiting / 'run'} " in (package / "label_studio" / "README.txt").read_text()

    # A package is an export in which the predictions are what a person says
    for path in (package / "cvat" / "masks.zip", package / "coco" / "annotations.json"):
        main(["ingest", "run", str(path), "--allow_empty", "--replace"])
        for name in asked:
            if cells[name].any() or path.suffix == ".zip":  # an image without a region has no annotations in COCO's format
                assert np.array_equal(np.array(Image.open(f"data/masks/{name}.png")) == 7, cells[name])


@pytest.mark.parametrize("export", [cvat, coco, lambda names: label_studio({name: [brush(name)] for name in names})])
def test_what_a_person_has_drawn_comes_back_and_the_run_goes_on(asked, capsys, export):
    path = export(asked)
    status, said = command(capsys, "ingest", "run", path)
    assert status == 0 and "4 masks are taken, 0 were there already, 0 files are refused." in said
    for name in asked:
        found, expected = np.array(Image.open(f"data/masks/{name}.png")), person(name)
        if export is coco:
            expected[0] = False
        assert np.array_equal(found, np.where(expected, 7, 0))
    before = masks()
    assert "0 masks are taken, 4 were there already" in command(capsys, "ingest", "run", path)[1] and masks() == before
    if export is cvat:
        assert fit("--resume") != asked and RunDirectory("run").finished() == 2


def test_each_answer_that_is_refused_is_named_and_the_others_are_taken(asked, capsys):
    a, b, c, d = asked
    half = np.zeros(SIZE, bool)
    half[:12] = True
    told = {a: [brush(a)], b: [brush(b, what="wasp")], c: [brush(c, half), brush(c, half | True, what="ground")], "s01": [brush("s01")]}
    status, said = command(capsys, "ingest", "run", label_studio(told | {d: []}))
    assert status == 1 and "1 masks are taken, 0 were there already, 4 files are refused:" in said and {*masks()} >= {f"{a}.png"}
    assert f"  {b}: Expected one of the labels ground, cell for a region, got wasp." in said
    assert f"  {c}: Expected regions of different classes to share no pixels, but some share 240." in said
    assert "  s01: it was not asked for" in said and f"  {d}.png: it is empty" in said
    assert "1 of 4 labels are there" in said
    status, said = command(capsys, "ingest", "run", label_studio({c: told[c], d: [brush(d, size := person(d).T, shown=SIZE[::-1])]}))
    assert status == 1 and "0 masks are taken" in said and f"  {d}: Expected regions of an image of 20x24 pixels, got 24x20" in said
    assert size.shape == (20, 24)
    status, said = command(capsys, "ingest", "run", "export.json", "--overlaps", "smaller")
    assert "1 masks are taken" in said and np.array_equal(np.array(Image.open(f"data/masks/{c}.png")) == 7, half)
    status, said = command(capsys, "ingest", "run", label_studio({d: [brush(d)]}), "--rest", "ignore")
    assert status == 0 and np.array_equal(np.array(Image.open(f"data/masks/{d}.png")), np.where(person(d), 7, 255))
    assert "Expected one of the classes ground, cell" in command(capsys, "ingest", "run", "export.json", "--rest", "sky")[0]


def test_files_that_are_no_exports_are_one_line(asked, capsys):
    Path("folder").mkdir()
    Path("folder/labelmap.txt").write_text("cell")
    before = masks()
    for path, content, why in (
        ("x.json", b"{", "Expected JSON in x.json"),
        ("x.json", b"\xff\xfe\x00", "Expected JSON in x.json"),
        ("x.json", b"[" * 99_999, "Expected JSON in x.json"),
        ("x.json", b"{}", "Expected Label Studio's export (JSON) or COCO's"),
        ("x.json", b'[{"id": 1, "image": "x.png", "brush": []}]', "Is it Label Studio's export type JSON, and not JSON-MIN"),
        ("x.json", b"[]", "Expected labels in x.json, but nobody has given any there."),
        ("x.zip", b"PK", "Expected a ZIP file in x.zip"),
        ("x.ZIP", b"", "Expected a ZIP file in x.ZIP"),
        ("folder", None, "Expected a label as name:red,green,blue:: in line 1 of folder/labelmap.txt"),
        ("x.csv", b"a,b", "got x.csv, which is none"),
        ("none.json", None, "Expected the file none.json, but it is missing"),
        ("none.zip", None, "none.zip"),
    ):
        if content is not None:
            Path(path).write_bytes(content)
        message, said = command(capsys, "ingest", "run", path)
        assert isinstance(message, str) and why in message and "\n" not in message.rstrip() and said == "" and masks() == before


def test_killed_while_it_takes_an_export_it_goes_on(asked, capsys):
    path = cvat(asked)

    def work():
        dies_at(files.os, "replace", 3)
        main(["ingest", "run", path])

    assert in_child(work) == -signal.SIGKILL
    assert "2 masks are taken, 2 were there already" in command(capsys, "ingest", "run", path)[1]


def package():
    """Its files, but for those that say where it lies."""
    files = [path for path in Path("run/cycles/000/to_label").rglob("*") if path.is_file() and path.name != "README.txt"]
    return {path: path.read_bytes() for path in files}


def test_killed_while_it_writes_a_package_the_run_asks_the_same(asked):
    before = package()
    shutil.rmtree("run")

    def work():
        dies_at(oracles, "predicted", 2)
        fit("--config=c.yaml")

    assert in_child(work) == -signal.SIGKILL
    assert fit("--config=c.yaml", "--resume") == asked
    assert package() == before


def test_a_query_of_a_run_that_asked_nobody_has_its_package_and_its_answer(folder, capsys):  # noqa: F811
    pytest.importorskip("pycocotools")
    label("s02", "s03", "s04")
    for path in Path("data/images").iterdir():  # which no browser shows
        Image.open(path).save(path.with_suffix(".tif"))
        path.unlink()
    Path("first.txt").write_text("s01\ns05\ns09\n")
    settings = CONFIG.replace("crop: 16,", "crop: 16, rest: ground, initial_items: first.txt,").replace(", oracle: human", "")
    Path("c.yaml").write_text(settings.replace("cycles: 3", "cycles: 1"))
    main(["fit", "--config=c.yaml", "--run_dir=run"])
    query = ["query", "--run", "run", "--images", "data/images", "--n", "3", "--package", "label_studio", "cvat", "coco", "plain"]
    main([*query, "--out", "out"])
    package = Path("out/to_label")
    tasks = json.loads((package / "label_studio" / "tasks.json").read_text())
    names = [task["data"]["item"] for task in tasks]
    shown = [np.array(Image.open(package / f"{name}.png")) for name in names]
    table = Path("out/query.csv").read_text().splitlines()[1:]
    assert [Path(row.split(",")[1]).stem for row in table] == names
    assert [task["data"]["image"] for task in tasks] == [f"/data/local-files/?d=to_label/{name}.png" for name in names]
    assert all(np.array_equal(its, np.array(Image.open(f"data/images/{name}.tif"))) for name, its in zip(names, shown, strict=True))
    assert all((package / f"{name}.tif").read_bytes() == Path(f"data/images/{name}.tif").read_bytes() for name in names)
    assert "python -m al_lightning ingest run --query out FROM" in (package / "README.txt").read_text()
    assert not [*Path("out").glob("*unfinished*")]
    assert "got query.csv and query.html and to_label" in command(capsys, *query, "--out", "out")[0]
    shutil.move("out/query.csv", "query.csv")
    assert "got query.html and to_label" in command(capsys, *query, "--out", "out")[0]
    shutil.move("query.csv", "out/query.csv")

    path = cvat([*names, "s01"])
    assert "has asked a person for labels" in command(capsys, "ingest", "run", path)[0]
    status, said = command(capsys, "ingest", "run", path, "--query", "out")
    assert status == 1 and "3 masks are taken, 0 were there already, 1 files are refused:\n  s01: it was not asked for" in said
    assert all(np.array_equal(np.array(Image.open(f"data/masks/{name}.png")) == 7, person(name)) for name in names)
    Path("out/query.csv").write_text("rank,path,score\n0,elsewhere/s02.png,1\n")
    assert "images of the run's pool in out/query.csv, but none of 1" in command(capsys, "ingest", "run", path, "--query", "out")[0]
    assert "nowhere/query.csv" in command(capsys, "ingest", "run", path, "--query", "nowhere")[0]


def test_images_are_classified_by_choices(capsys):
    """First those to begin with, of which no network says anything, then those that one asks for, with what it says of them."""
    classified.write("folders")
    for predicts, asked in ((0, 6), (1, 3)):
        assert classified.fit("folders", package=["label_studio"])
        names = classified.wanted()
        assert len(names) == asked
        package = RunDirectory("run").package(RunDirectory("run").finished() - 1) / "label_studio"
        tasks = json.loads((package / "tasks.json").read_text())
        assert [task["data"]["item"] for task in tasks] == names
        for task, name in zip(tasks, names, strict=True):
            (prediction,) = task["predictions"]
            assert len(prediction["result"]) == predicts
            assert all(result["value"]["choices"][0] in classified.CLASSES for result in prediction["result"])
            task["annotations"] = [{"result": [{"value": {"choices": [classified.class_of(Path(name).name)]}}]}]
        other = {"data": {"image": "/data/upload/3/0123abcd-40.png"}, "annotations": tasks[0]["annotations"]}
        wrong = {**tasks[0], "annotations": [{"result": [{"value": {"choices": ["wasp"]}}]}]}
        Path("export.json").write_text(json.dumps([wrong, *tasks[1:], other]))
        status, said = command(capsys, "ingest", "run", "export.json")
        assert status == 1 and f"{asked - 1} classes are taken, 0 were there already, 2 rows or files are refused:" in said
        assert f"  {names[0]}: Expected one of the classes cat, dog, emu, got wasp." in said and "it was not asked for" in said
        Path("export.json").write_text(json.dumps(tasks))
        status, said = command(capsys, "ingest", "run", "export.json")
        assert status == 0 and f"1 classes are taken, {asked - 1} were there already" in said
    with pytest.raises(UserError, match="whose pixels have classes for the format of cvat"):
        classified.fit("folders", package=["cvat"])
    assert "whose pixels have classes for the format of coco" in command(capsys, "ingest", "run", coco([]))[0]
