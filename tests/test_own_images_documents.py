"""The page on images of one's own, and ``make demo-label``, done as they say; a script answers in place of a person."""

import csv
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from al_lightning.commands import main
from al_lightning.runs import RunDirectory
from tests.test_documents import blocks
from tools import demo_label

ROOT = Path(__file__).parents[1]
NETWORK = "tests.tasks.test_segmentation.Tiny"  # DeepLabv3+ is tried with every configuration that comes with the program
TINY = {
    "class_path: al_lightning.models.DeepLabV3Plus": f"class_path: {NETWORK}",
    "num_classes: 2, encoder: tu-tf_efficientnet_lite0, encoder_weights: imagenet, freeze_encoder: true": "classes: 2",
    "crop: 128": "num_workers: 0\n    crop: 16",
    "max_steps: 600": "max_steps: 2, callbacks: [{class_path: ScenePictures, init_args: {evaluation: 0, queried: 0}}]",
}


@pytest.fixture(autouse=True)
def _like_a_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["al_lightning"])


def stems(folder):
    return sorted(path.stem for path in Path(folder).glob("*.png"))


def items(table):
    with Path(table).open(newline="") as file:
        return [Path(row.get("path") or row["item"]).stem for row in csv.DictReader(file)]


def done(command):
    """Types a command of the page; its exit status."""
    try:
        main(shlex.split(command, comments=True)[3:])
    except SystemExit as end:
        return end.code
    return 0


def test_the_first_hour(capsys):
    """From a folder of images to the second cycle."""
    (settings, *_), (commands, *_), (said, *_) = (blocks("own-data.md", language) for language in ("yaml", "sh", "text"))
    names = [f"slide{number // 10}_{number:03d}" for number in range(60)]
    demo_label.draw_folder(Path("photos"), names, 24, Path("known"))
    Path("photos/masks").mkdir()
    for name in names[::6]:
        shutil.copy(f"known/{name}.png", "photos/masks")
    for text, tiny in TINY.items():
        assert text in settings
        settings = settings.replace(text, tiny)
    Path("photos.yaml").write_text(settings)
    first, second, drawing, *rest = commands.splitlines()
    assert done(first) == 75 and said in capsys.readouterr().out
    assert done(second) == 0
    assert items("next/query.csv") == items(RunDirectory("runs/photos").asked(0)) and Path("next/query.html").is_file()
    (package,) = re.findall(r"runs/photos/[\w/]+", drawing)
    assert demo_label.annotate(Path(package), Path("known"), Path("drawn")) == 20
    assert [done(line) for line in rest] == [0, 75]
    assert set(stems("photos/masks")) == {*names[::6], *stems("drawn")}
    capsys.readouterr()
    assert done("python -m al_lightning status runs") == 0
    assert re.search(r"runs/photos: cycle 1, \d+ labeled \(20 of them queried\), .* waits for labels: 0 of \d+", capsys.readouterr().out)


def test_make_demo_label(capsys, monkeypatch):
    home = Path("home").resolve()
    for name in ("configs", "tools"):
        Path(name).symlink_to(ROOT / name)
    data = f"--data.init_args.root {home}/photos --data.init_args.evaluation {home}/evaluation"
    network = f"--model.init_args.network {NETWORK} --model.init_args.network.classes 2 --data.init_args.crop 16"
    page = demo_label.demonstrate(home, 24, f"{data} {network} --trainer.max_steps 2")
    assert page.read_text().count("<tr>") == 1 + 8
    assert yaml.safe_load((home / "run" / "config.yaml").read_text())["active_learning"]["oracle"] == "human"
    assert "8 masks are taken, 0 were there already, 0 files are refused." in capsys.readouterr().out
    assert RunDirectory(home / "run").read_curve()[-1].labeled == 16
    with pytest.raises(SystemExit, match="Expected exit status 0, got al_lightning: error: Expected nowhere to be"):
        demo_label.run("status nowhere")
