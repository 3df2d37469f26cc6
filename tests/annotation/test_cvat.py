import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_lightning.annotation import cvat
from al_lightning.annotation.export import read_export
from al_lightning.annotation.items import Rules
from al_lightning.errors import UserError
from tests.annotation.made import CLASSES, WHOLE, items

MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nedge:0,128,0::\ncell & <co>:128,0,0::\nwasp:1,2,3::\n"


def read(path="export", classes=CLASSES):
    scratch = Path("scratch")
    scratch.mkdir()
    return {answer.name: answer for answer in read_export(Path(path), classes, Rules(), scratch)}


def export(pixels=((0, 0, 0),), text=MAP, size=(9, 14), name="s0.png"):
    """An unpacked one, with a mask of these colours in turn."""
    Path("export/SegmentationClass").mkdir(parents=True)
    Path("export/labelmap.txt").write_text(text)
    colors = np.array(pixels, np.uint8)[np.arange(size[0] * size[1]) % len(pixels)].reshape(*size, 3)
    Image.fromarray(colors).save(f"export/SegmentationClass/{name}")


def test_a_package_is_an_export(tmp_path):
    entries = [cvat.entry(rank, 3, item, CLASSES, "m", Path("run")) for rank, item in enumerate(items())]
    written = cvat.files([*entries, cvat.entry(3, 4, next(items())._replace(predicted=None), CLASSES, "m", Path())], CLASSES)
    Path("masks.zip").write_bytes(written["masks.zip"])
    with zipfile.ZipFile("masks.zip") as archive:
        names = archive.namelist()
        assert archive.read("labelmap.txt").decode() == MAP.replace("edge:0,128,0", "cell & <co>:128,0,0", 1).replace(
            "cell & <co>:128,0,0::\nwasp:1,2,3", "edge:0,128,0"
        )
        assert archive.read("ImageSets/Segmentation/default.txt").decode().split() == ["s0", "s1", "s2"]
        first = np.array(Image.open(io.BytesIO(archive.read("SegmentationClass/s0.png"))))
    assert sum(name.startswith("SegmentationObject") for name in names) == 3
    predicted = next(items()).predicted
    assert np.array_equal(first, np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)])[predicted])
    answers = read("masks.zip")
    assert all(np.array_equal(answers[item.name].read(item.size), item.predicted) for item in items())


def test_black_is_what_nobody_has_drawn():
    export([(0, 0, 0), (0, 128, 0)])
    answer = read()["s0"]
    assert np.array_equal(np.unique(answer.read((9, 14))), [0, 2])
    Path("scratch").rmdir()
    with pytest.raises(UserError, match=r"a region over each pixel, but none covers 63 of 126"):
        read(classes=CLASSES._replace(rest=None))["s0"].read((9, 14))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"pixels": [(1, 2, 3)]}, "one of the labels ground, .*, got wasp"),
        ({"pixels": [(1, 2, 4), (0, 0, 0)]}, "colours of labelmap.txt, got #010204"),
        ({"size": (14, 9)}, "14x9 pixels, like its image, got 9x14"),
        ({"text": "edge:1,2\n"}, "in line 1 of .*labelmap.txt, got 'edge:1,2'"),
        ({"text": "edge:1,2,999::\n"}, "in line 1"),
        ({"text": "edge:1,2,3::\ncell:1,2,3::\n"}, "different names and colours in .*, but line 2 repeats one"),
        ({"text": "\x00\xff"}, "in line 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, why):
    export(**arguments)
    with pytest.raises(UserError, match=why):
        read()["s0"].read((9, 14))


def test_archives_that_are_none_are_refused():
    def archive(**members):
        with zipfile.ZipFile("export.zip", "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in members.items():
                made.writestr(name.replace("__", "/"), content)

    def whole():
        archive(**{"labelmap.txt": MAP, "SegmentationClass__s0.png": b"no image" * 99})

    def flipped():
        whole()
        content = bytearray(Path("export.zip").read_bytes())
        content[45:60] = bytes(15)
        Path("export.zip").write_bytes(content)

    for make, why in (
        (lambda: Path("export.zip").write_bytes(b"PK\3\4 and no more"), "Expected a ZIP file in export.zip"),
        (lambda: Path("export.zip").write_bytes(Path("export.zip").read_bytes()[:50]), "Expected a ZIP file"),
        (flipped, "Expected a ZIP file"),
        (lambda: archive(x="y"), "Expected labelmap.txt of CVAT's"),
        (lambda: archive(**{"labelmap.txt": MAP}), "Expected masks in"),
        (lambda: archive(**{"a__labelmap.txt": MAP, "b__labelmap.txt": MAP}), "two of the name labelmap.txt"),
        (whole, "Expected an image in"),
    ):
        make()
        with pytest.raises(UserError, match=why):
            read("export.zip")["s0"].read((9, 14))
        shutil.rmtree("scratch")


def test_nothing_is_written_outside():
    with zipfile.ZipFile("export.zip", "w") as made:
        made.writestr("../../labelmap.txt", MAP)
        made.writestr("/x/SegmentationClass/../../../s0.png", b"")
        made.writestr("SegmentationClass/..", b"")
    read("export.zip")
    assert sorted(path.name for path in Path().rglob("*")) == ["SegmentationClass", "export.zip", "labelmap.txt", "s0.png", "scratch"]


def test_classes_that_it_cannot_have_are_refused_at_once():
    for name in ("a:b", " a", "#a", "Background", "a\nb"):
        with pytest.raises(UserError, match="names of classes that CVAT's list of labels can contain"):
            cvat.check(CLASSES._replace(names=["ground", name, "edge"]))
    with pytest.raises(UserError, match="whose pixels have classes for the format of cvat"):
        cvat.check(WHOLE)


@pytest.mark.parametrize(("rest", "expected"), [(255, 255), (1, 1), (2, 2)])
def test_what_nobody_has_drawn_is_the_rest_whatever_a_class_is_called(rest, expected):
    """The class called background is the rest unless a person says otherwise."""
    classes = CLASSES._replace(names=["edge", "cell", "background"], rest=rest)
    export([(0, 0, 0), (0, 128, 0)])
    found = read(classes=classes)["s0"].read((9, 14)).ravel()
    assert set(found[::2].tolist()) == {expected} and set(found[1::2].tolist()) == {0}
