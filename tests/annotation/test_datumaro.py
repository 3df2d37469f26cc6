"""What datumaro, by which CVAT reads and writes, makes of our files, and we of its; see ``make test-tools``."""

import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from al_lightning.annotation import coco, cvat
from al_lightning.annotation.export import read_export
from al_lightning.annotation.items import Rules
from tests.annotation.made import CLASSES, items

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("TOOLS_PYTHON", ROOT / ".venv-tools" / "bin" / "python"))
pytestmark = pytest.mark.skipif(not PYTHON.is_file(), reason=f"no datumaro in {PYTHON}: make test-tools installs it")
READS = ROOT / "tools" / "datumaro_reads.py"


def written(format):
    """Our package, as datumaro wants it to lie."""
    files = format.files([format.entry(rank, 3, item, CLASSES, "model", Path("run")) for rank, item in enumerate(items())], CLASSES)
    if format is cvat:
        Path("masks.zip").write_bytes(files[cvat.ARCHIVE])
        zipfile.ZipFile("masks.zip").extractall("package")
    else:
        Path("package/annotations").mkdir(parents=True)
        Path("package/images").mkdir()
        Path("package/annotations/instances_default.json").write_bytes(files[coco.ANNOTATIONS])


@pytest.mark.parametrize(("format", "name"), [(cvat, "voc_segmentation"), (coco, "coco_instances")])
def test_there_and_back(format, name):
    if format is coco:
        pytest.importorskip("pycocotools")
    written(format)
    Path("out").mkdir()
    done = subprocess.run([PYTHON, READS, "package", name, "out"], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    read = json.loads(Path("out/read.json").read_text())
    assert {*read} == {item.name for item in items()}
    for item in items():
        assert {*read[item.name]} == {*CLASSES.names[1:]}  # black is no class
        assert all(np.array_equal(read[item.name][CLASSES.names[place]], item.predicted == place) for place in (1, 2))

    export = next(iter(Path("out/export").rglob("*.json")), Path("out/export"))
    Path("scratch").mkdir()
    answers = {answer.name: answer for answer in read_export(export, CLASSES, Rules(), Path("scratch"))}
    assert {*answers} == {item.name for item in items()}
    assert all(np.array_equal(answers[item.name].read(item.size), item.predicted) for item in items())
