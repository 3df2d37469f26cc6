from dataclasses import replace
from pathlib import Path

import pytest

from al_lightning.errors import UserError
from al_lightning.sweeps import conduct
from al_lightning.sweeps.checked import CheckedRuns
from al_lightning.sweeps.plan import PlannedRun
from tests.sweeps.test_conduct import write_run


@pytest.fixture
def runs():
    """Finished runs of two strategies and three widths."""
    Path("base.yaml").write_text("{data: here, cycles: 2}")
    found = []
    for strategy in ("Margin", "Random"):
        for width in (4, 16, 32):
            name = f"{strategy}-{width}"
            settings = {"seed_everything": 0, "strategy": strategy, "width": width}
            found.append(PlannedRun(name, Path("base.yaml"), settings, Path("out") / name))
            write_run(found[-1].directory).config.write_text(f"width: {width}\n")
    return found


@pytest.fixture
def read(monkeypatch):
    """The runs that are parsed, and defaults that may change with the code."""

    class Reader:
        parsed: list[str] = []
        defaults = {"Margin": 1, "Random": 1}

        def read(self, arguments):
            Reader.parsed.append(Path(arguments[arguments.index("--run_dir") + 1]).name)
            return {"default": Reader.defaults[Reader.parsed[-1].split("-")[0]]}

        def stored(self, run_dir):
            return {"default": 1}

    monkeypatch.setattr(conduct, "ConfigReader", Reader)

    def read():
        Reader.parsed.clear()
        return Reader

    return read


def test_of_checked_runs_one_of_each_shape_is_parsed(runs, read, capsys):
    reader = read()
    assert conduct.carry_out(runs, Path("out")) == {} and set(reader.parsed) == {run.name for run in runs}
    read()
    assert conduct.carry_out(runs, Path("out")) == {} and set(reader.parsed) == {"Margin-4", "Random-4"}
    assert "6 runs in out: all finished." in capsys.readouterr().out
    (runs[2].directory / "config.yaml").write_text("width: 33\n")
    read()
    conduct.carry_out(runs, Path("out"))
    assert set(reader.parsed) == {"Margin-4", "Margin-32", "Random-4"}
    reader.defaults["Random"] = 2
    with pytest.raises(UserError, match="Expected the run in out/Random-4 to have the sweep's settings, but default was 1 and is 2"):
        conduct.carry_out(runs, Path("out"))


def test_what_changes_is_checked_again(runs):
    path = Path("out/logs/checked.json")
    CheckedRuns(path).add([*runs, PlannedRun("new", Path("base.yaml"), {}, Path("out/new"))])
    assert all(run in CheckedRuns(path) for run in runs)
    assert PlannedRun("new", Path("base.yaml"), {}, Path("out/new")) not in CheckedRuns(path)
    assert replace(runs[0], settings={**runs[0].settings, "cycles": 3}) not in CheckedRuns(path)
    assert replace(runs[0], initial=runs[1]) not in CheckedRuns(path)
    Path("base.yaml").write_text("{data: there, cycles: 2}")
    assert not any(run in CheckedRuns(path) for run in runs)


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '{"Margin-4": 3}'])
def test_a_damaged_memory_is_none(runs, content):
    path = Path("out/logs/checked.json")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    known = CheckedRuns(path)
    assert runs[0] not in known
    known.add(runs)
    assert runs[0] in CheckedRuns(path)
