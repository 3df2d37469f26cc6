"""Masks come back, through the command line."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_lightning import files
from al_lightning.commands import main
from al_lightning.runs import RunDirectory
from tests.callbacks.test_oracles import CONFIG, LABELED, fit, folder, label, wanted  # noqa: F401
from tests.callbacks.test_resume import dies_at
from tests.experiments import in_child

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def asked(folder):  # noqa: F811
    """What a waiting run has asked for; nothing of it is labeled, and the folder for what comes from a tool is empty."""
    Path("from").mkdir()
    run = fit("run")
    run.config.write_text(f"seed_everything: 0\n{CONFIG}")  # as by the command line
    return wanted(run)


def come(*names):
    for name in names:
        shutil.copyfile(f"annotator/{name}.png", f"from/{name}.png")


def save(name, value, size=(20, 24)):
    Image.new("L", size, value).save(f"from/{name}")


def command(capsys, *arguments):
    """The exit status, and what is said."""
    try:
        main([*arguments])
    except SystemExit as end:
        return end.code, capsys.readouterr().out
    return 0, capsys.readouterr().out


def ingest(capsys, *options):
    return command(capsys, "ingest", "run", "from", *options)


def masks():
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path("data/masks").iterdir() if path.name != ".ingest.lock"}


def test_masks_may_be_called_as_their_images_or_as_they_shall_be_called(folder, capsys):  # noqa: F811
    for kind, ending in (("images", "rgb"), ("masks", "mask")):
        for path in sorted(Path().glob(f"*/{kind}/*.png")):
            path.rename(path.with_name(f"{path.stem}_{ending}.png"))
    Path("c.yaml").write_text(CONFIG.replace("root: data,", "root: data, images: images/*_rgb.png, masks: masks/*_mask.png,"))
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", "c.yaml", "--run_dir", "run"])
    assert end.value.code == 75
    first, second, third, *_ = [row.item for row in RunDirectory("run").awaited()]
    Path("from").mkdir()
    for name, called in ((first, f"{first}_rgb"), (second, second), (third, f"{third}_mask")):
        shutil.copyfile(f"annotator/{name}.png", f"from/{called}.png")
    status, said = ingest(capsys)
    assert status == 0 and "3 masks are taken" in said
    assert all(Path(f"data/masks/{name}_mask.png").read_bytes() == Path(f"annotator/{name}.png").read_bytes() for name in (first, second))


def test_good_masks_are_taken_once_and_the_others_are_named(asked, capsys):
    come(*asked[:2], "s01")
    save(f"{asked[2]}.jpg", 7)
    save(f"{asked[3]}.png", 7)
    status, said = ingest(capsys)
    assert status == 1 and "2 masks are taken, 0 were there already, 3 files are refused:" in said
    assert "s01.png: it was not asked for" in said and f"{asked[2]}.jpg: expected a .png or .tif or .tiff file" in said
    assert f"{asked[3]}.png: it is empty" in said and "2 of 4 labels are there: put masks of the images in run/cycles/000/to_label" in said
    assert Path(f"data/masks/{asked[0]}.png").read_bytes() == Path(f"annotator/{asked[0]}.png").read_bytes()
    before = masks()
    assert "0 masks are taken, 2 were there already" in ingest(capsys)[1] and masks() == before
    for value, size, why in ((3, (20, 24), "label ids 0, 7, 255"), (7, (24, 20), "20x24 like its image")):
        save(f"{asked[3]}.png", value, size)
        assert why in ingest(capsys)[1] and masks() == before
    Path(f"from/{asked[3]}.png").write_bytes(Path(f"annotator/{asked[3]}.png").read_bytes()[:70])
    assert f"{asked[3]}.png: Expected a whole image" in ingest(capsys)[1] and masks() == before
    shutil.rmtree("from")
    Path("from").mkdir()
    come(asked[2])
    save(f"{asked[3]}.png", 7)
    status, said = ingest(capsys, "--allow_empty")
    assert status == 0 and "4 of 4 labels are there: go on with the same command and --resume." in said
    assert fit("run").finished() == 2


def test_no_mask_is_overwritten(asked, capsys):
    label(asked[0])
    own = Path(f"data/masks/{asked[0]}.png").read_bytes()
    Image.fromarray(np.eye(24, 20, dtype=np.uint8) * 7).save(f"from/{asked[0]}.png")
    status, said = ingest(capsys)
    assert status == 1 and "another mask is at" in said and Path(f"data/masks/{asked[0]}.png").read_bytes() == own
    for _ in range(2):
        assert ingest(capsys, "--replace")[0] == 0
        assert Path(f"data/masks/{asked[0]}.png").read_bytes() == Path(f"from/{asked[0]}.png").read_bytes()
        (old,) = Path("data/masks").glob("*.old")
        assert old.read_bytes() == own
    label(*asked)
    fit("run", cycles=2)  # whose last cycle trains on them
    status, said = ingest(capsys, "--replace")
    assert status == 1 and "a finished cycle has used it" in said and Path(f"data/masks/{asked[0]}.png").read_bytes() == own


def test_a_mask_may_be_a_tiff_if_nothing_says_otherwise(asked, capsys):
    for name in asked[:2]:
        Image.open(f"annotator/{name}.png").save(f"from/{name}.tif")
    come(asked[0])
    Path(f"from/{asked[1]}.tif").rename(f"from/{asked[1]}.TIF")
    status, said = ingest(capsys)
    assert (
        status == 1
        and "2 masks are taken" in said
        and f"{asked[0]}.tif: expected a .png file, to be put at data/masks/{asked[0]}.png" in said
    )
    assert "2 of 4 labels" in said and {f"{asked[0]}.png", f"{asked[1]}.tif"} <= {*masks()}
    Path(f"from/{asked[0]}.tif").unlink()
    assert "0 masks are taken, 2 were there already" in ingest(capsys)[1]
    label(*asked[2:])
    assert fit("run", cycles=2).is_finished()


def test_a_mask_is_not_put_over_annotations_that_were_used(folder, capsys):  # noqa: F811
    coco = pytest.importorskip("al_lightning.data.scenes.coco")

    def annotate(names):
        ids = {name: np.array(Image.open(f"annotator/{name}.png")) % 255 for name in names}  # regions cover all pixels
        regions = [(name, kind, coco.encoded(ids[name] == value)) for name in names for kind, value in enumerate((0, 7))]
        document = {
            "images": [{"id": n, "file_name": f"{name}.png", "height": 24, "width": 20} for n, name in enumerate(names)],
            "categories": [{"id": 0, "name": "ground"}, {"id": 1, "name": "cell"}],
            "annotations": [
                {"id": n, "image_id": names.index(name), "category_id": kind, "segmentation": its}
                for n, (name, kind, its) in enumerate(regions)
            ],
        }
        Path("data/annotations.json").write_text(json.dumps(document))

    Path("evaluation/annotations.json").write_text('{"images": [], "categories": [], "annotations": []}')
    Path("c.yaml").write_text(CONFIG.replace("crop: 16,", "crop: 16, annotations: annotations.json,"))
    annotate([])

    def go(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["fit", *arguments, "--run_dir=run"])
        assert end.value.code == 75, end.value
        return wanted(RunDirectory("run"))

    asked = go("--config=c.yaml")
    annotate(asked)
    Path("from").mkdir()
    Image.fromarray(np.eye(24, 20, dtype=np.uint8) * 7).save(f"from/{asked[0]}.png")
    status, said = ingest(capsys)
    assert status == 1 and f"{asked[0]}.png: annotations have its regions. To replace it" in said
    go("--resume")
    status, said = ingest(capsys, "--replace")
    assert status == 1 and "annotations have its regions, and a finished cycle has used it: to change it, begin another run" in said
    assert {*masks()} == {f"{name}.png" for name in LABELED}


def test_killed_between_two_copies_it_goes_on(asked, capsys):
    come(*asked)

    def work():
        dies_at(files.os, "replace", 3)
        main(["ingest", "run", "from"])

    assert in_child(work) == -signal.SIGKILL
    assert len(masks()) == 3 + 2 + 1 and len([*Path("data/masks").glob("*.tmp")]) == 1
    status, said = ingest(capsys)
    assert status == 0 and "2 masks are taken, 2 were there already" in said
    assert {*masks()} == {f"{name}.png" for name in ("s01", "s05", "s09", *asked)}
    assert all(Path(f"data/masks/{name}.png").read_bytes() == Path(f"annotator/{name}.png").read_bytes() for name in asked)


def test_what_it_cannot_work_with_is_named(asked, capsys):
    assert "found none" in ingest(capsys)[0]
    assert "nowhere, which is none" in command(capsys, "ingest", "run", "nowhere")[0]
    come(asked[0])
    assert "nowhere/config.yaml" in command(capsys, "ingest", "nowhere", "from")[0] and not Path("nowhere").exists()
    RunDirectory("run").asked(0).unlink()
    assert "has asked a person for labels" in ingest(capsys)[0]


def test_status_says_how_far_runs_are(asked, capsys):
    label(asked[0])
    Path("runs").mkdir()
    shutil.move("run", "runs/waits")
    shutil.copytree("runs/waits", "runs/bad")
    RunDirectory("runs/bad").learning_curve.write_text("cycle\n0\n")
    status, said = command(capsys, "status", "runs")
    bad, waits = said.splitlines()
    assert status == 1 and "can't be read: Expected the columns" in bad
    assert waits.startswith("runs/waits: cycle 0, 3 labeled (0 of them queried), val/miou ")
    assert "waits for labels: 1 of 4 labels are there: put masks of the images in runs/waits/cycles/000/to_label into data/masks" in waits
    label(*asked)
    fit("runs/waits", cycles=2)
    status, said = command(capsys, "status", "runs/waits")
    assert status == 0 and "cycle 1, 7 labeled (4 of them queried)" in said and said.endswith(", finished\n")
    assert "found none" in command(capsys, "status", "data")[0]
