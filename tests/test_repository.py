"""What surrounds the package: what it says of itself, and what machines run on it."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import al_lightning

ROOT = Path(__file__).parent.parent
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_citation_is_of_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == al_lightning.__version__


@pytest.mark.parametrize("name", ["ci", "docs"])
def test_workflows_call_make_on_every_python_from_the_oldest_on(name):
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())["jobs"]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    for job in jobs.values():
        assert job["strategy"]["matrix"]["python"] == [oldest, "3.12", "3.13"]
        commands = [step["run"].split() for step in job["steps"] if "run" in step]
        assert commands and all(command[0] == "make" and command[-1] == "PYTHON=python" for command in commands)
        assert {target for command in commands for target in command[1:-1]} <= TARGETS


def test_the_makefile_helps_with_all_of_its_targets():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)", text, re.MULTILINE)
    assert phony is not None and set(phony[1].split()) == TARGETS == set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
