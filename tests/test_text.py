"""Names may be any bytes, whatever the locale is; files have an encoding."""

import ast
import csv
import html
import io
import logging
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

import al_lightning
from al_lightning.commands import main
from al_lightning.data import SyntheticScenesDataModule
from al_lightning.runs import RunDirectory
from al_lightning.text import decoded, encoded, is_unicode, print_any_name, shortened_apart

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
IMAGES = [b"a\nb", b'q"u,o', b"\xff\x80", "ü".encode(), b"$x$_$y$", b"_under", b"<script>", b"\x1b[31mcr\r"]


def test_bytes_come_back():
    content = bytes(range(256))
    assert encoded(decoded(content)) == content and not is_unicode(decoded(content))
    assert encoded("ü\u2028") == b"\xc3\xbc\xe2\x80\xa8" and is_unicode("ü\u2028")


def test_long_texts_that_differ_in_the_middle_alone_look_different():
    texts = [f"{'a' * 3000}{middle}{'b' * 3000}" for middle in "xy"]
    short = shortened_apart([*texts, "c"], 20)
    assert short[0] != short[1] and all(map(len, short)) and short[2] == "c"


def test_what_can_not_be_printed_is_printed_as_its_code(monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    print_any_name()
    print("ü \udcff", flush=True)
    assert printed.getvalue() == b"\\xfc \\udcff\n"


def leaves_the_encoding_to_the_locale(call):
    """Whether a call opens a file as text, and does not say how it is encoded."""
    called = ast.unparse(call.func)
    opens_text = re.search(r"(^|\.)open$|\.(fdopen|read_text|write_text)$", called)
    if not opens_text or called in {"Image.open", "os.open", "gzip.open", "self.record.open"}:
        return False
    mode = next((argument.value for argument in reversed(call.args) if isinstance(argument, ast.Constant)), "")
    return "b" not in str(mode) and not any(keyword.arg == "encoding" for keyword in call.keywords)


def test_every_text_file_has_an_encoding():
    root = Path(al_lightning.__file__).parent
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and leaves_the_encoding_to_the_locale(node)
    ]
    assert not found
    for code in ("path.read_text()", "open(path, 'w')", "self.path.open()"):
        assert leaves_the_encoding_to_the_locale(ast.parse(code).body[0].value)


@pytest.fixture
def scenes(tmp_path):
    """Street scenes in a folder and in files whose names are what a file system allows."""
    drawn = SyntheticScenesDataModule(str(tmp_path / "drawn"), train_sequences=4, val_sequences=1, frames=2, height=40, width=56)
    drawn.prepare_data()
    for split, names in {"train": IMAGES, "val": [b"v0", b"v1"]}.items():
        images = sorted(drawn.root.glob(f"leftImg8bit/{split}/*/*.png"))
        for image, name in zip(images, names, strict=True):
            label = drawn.root / "gtFine" / split / image.parent.name / image.name.replace("leftImg8bit", "gtFine_labelIds")
            os.rename(label, os.fsencode(label.parent) + b"/" + name + b"_gtFine_labelIds.png")
            os.rename(image, os.fsencode(image.parent) + b"/" + name + b"_leftImg8bit.png")
    root = os.fsencode(tmp_path) + b'/da\xfft$a$,"x'
    os.rename(drawn.root, root)
    return os.fsdecode(root)


@pytest.fixture
def _unlogged():
    """Nothing is logged: what pytest-xdist sends between processes must be UTF-8."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_unlogged")
def test_names_of_any_bytes_under_any_locale(tmp_path, scenes, capsys):
    network = {"class_path": "torch.nn.Conv2d", "init_args": {"in_channels": 3, "out_channels": 19, "kernel_size": 1}}
    pictures = {"class_path": "al_lightning.callbacks.ScenePictures", "init_args": {"evaluation": 0, "queried": 4}}
    config = {
        "model": {"class_path": "SegmentationTask", "init_args": {"network": network}},
        "data": {"class_path": "CityscapesDataModule", "init_args": {"crop": 32, "initial_size": 4, "num_workers": 0}},
        "active_learning": {"strategy": "Entropy", "query_size": 4, "cycles": 2},
        "trainer": {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False, "callbacks": [pictures]},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    path = os.fsdecode(b'r\xffn$a$,"<b>')
    arguments = ["--data.init_args.root", scenes, "--run_dir", path, "--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "."]
    main(["fit", "--config", "config.yaml", *arguments])

    run = RunDirectory(path)
    assert sorted(os.fsencode(row.item) for row in run.read_queries()) == sorted(IMAGES)
    with run.queries.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(IMAGES)
    assert run.read_config()["data"]["init_args"]["root"] == scenes
    with pytest.raises(UnicodeDecodeError):
        run.queries.read_text(encoding="utf-8")  # the bytes of the names are there

    before = run.queries.read_bytes()
    main(["fit", "--resume", "--run_dir", path])
    main(["figures", "--run", path])
    assert "is complete" in capsys.readouterr().out and run.queries.read_bytes() == before
    assert run.training_picture.exists()

    here = {**os.environ, "PYTHONPATH": str(Path(al_lightning.__file__).parents[1])}
    command = [sys.executable, "-m", "al_lightning", "report", path, "--out", path + "-report"]
    done = subprocess.run(command, env=here | C_LOCALE, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    assert done.stdout == b'Report of 1 runs: r\xffn$a$,"<b>-report/report.html\n'
    page = Path(path + "-report", "report.html").read_text(encoding="utf-8")
    assert r'<td>r\xffn$a$,"<b></td>' in html.unescape(page) and "<b>" not in page
    for figure in Path(path + "-report", "figures").glob("*.svg"):
        ET.parse(figure)


def test_weights_and_biases_takes_no_bytes(tmp_path, capsys):
    config = Path(al_lightning.__file__).parents[1] / "configs" / "demo.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(config), "--run_dir", "r\udcff"])
    assert "Expected a --run_dir in UTF-8 for Weights & Biases" in f"{ended.value.code}"
    assert not os.path.exists("r\udcff")
