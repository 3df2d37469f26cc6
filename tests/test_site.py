"""What `make docs` builds the site from. Its links are checked when it is built."""

import pydoc
import re
import tomllib
from pathlib import Path

from al_lightning.commands import main
from tools import draw_architecture

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_every_page_is_in_the_navigation():
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    listed = [page for entry in nav for page in entry.values()]
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_what_the_api_page_shows_is_there():
    shown = re.findall(r"^::: (\S+)", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert len(shown) > 5
    assert [name for name in shown if pydoc.locate(name) is None] == []


def test_roles_in_docstrings_are_of_the_kind_that_the_site_turns_into_links():
    text = "".join(path.read_text() for path in (ROOT / "al_lightning").rglob("*.py"))
    every, known = (re.findall(pattern, text) for pattern in (r":[a-z]+:`[^`]*`", r":[a-z]+:`~?[\w.]+`"))
    assert len(known) > 50
    assert every == known


def test_the_picture_of_the_architecture_is_what_its_script_draws():
    assert draw_architecture.PICTURE.read_text() == draw_architecture.drawn()


def test_the_sweep_of_the_page_on_clusters_is_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sweep, jobs = re.findall(r"```yaml\n(.*?)```", (DOCS / "clusters.md").read_text(), re.DOTALL)
    Path("width.yaml").write_text(sweep + jobs)
    main(["configs", "copy", "fashion_mnist/entropy"])
    main(["sweep", "width.yaml", "--list"])
    assert capsys.readouterr().out.count("new        runs/width/") == 4 * 5 * (3 + 1)  # seeds, widths, strategies and their cycle 0
