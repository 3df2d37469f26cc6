from pathlib import Path

import pytest
import yaml

from al_lightning import cli
from al_lightning.configuration_files import filled_in, read_settings
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory
from tests.test_cli import TINY


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expected settings in a.yaml, each as `key: value`, got nothing"),
        ("- a", "got a list"),
        ("abc", "got a value"),
        ("a: 1\nb:\n\tc: 1", "Expected YAML in a.yaml, line 3, but found character"),
        ("a: [1, 2\nb: 3", "Expected YAML in a.yaml, line 2, but"),
        ("a: *b", "Expected YAML in a.yaml, but *b stands inside itself, or for nothing"),
        ("a: 1\nb: 2\na: 3", "Expected each key once in what begins in line 1 of a.yaml, got a twice"),
        ("x:\n  a: 1\n  b: [{c: 1, c: 2}]", "in line 3 of a.yaml, got c twice"),
        ("a: &x [1, *x]", "Expected YAML in a.yaml, but *x stands inside itself"),
        ("a: &x {b: *x}", "stands inside itself"),
        ("a: 1\nb: ${AL_NOT_SET}", "Expected the environment to have AL_NOT_SET, for line 2 of a.yaml, but it is not set"),
        ("a: ${AL_NESTED}", r"Expected no variable inside the value of AL_NESTED"),
        ("a: " + "[" * 3000, "Expected YAML in a.yaml"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(text, why, monkeypatch):
    monkeypatch.setenv("AL_NESTED", "${HOME}")
    Path("a.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_settings("a.yaml")
    assert why in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("trainer=twice.yaml", "once in 'max_epochs: 2 max_epochs: 5', got max_epochs twice"),
        ("active_learning.target={val/loss: 1, val/loss: 2}", "got val/loss twice"),
        ("active_learning.also_record=[Margin, {class_path: Odin, init_args: {temperature: 1, temperature: 10}}]", "got temperature twice"),
    ],
)
def test_a_key_that_is_there_twice_in_a_value_is_refused(argument, why, capsys):
    Path("twice.yaml").write_text("max_epochs: 2\nmax_epochs: 5\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(["fit", "--config", "demo", f"--{argument}"])
    assert why in capsys.readouterr().err + str(ended.value) and not Path("runs").exists()


def test_variables_stand_for_their_values(monkeypatch):
    monkeypatch.setenv("AL_DATA", "/data: set, ${not}"[:10])
    monkeypatch.setenv("AL_SIZE", "32")
    text = "# ${AL_NOT_SET}\n"
    text += (
        'root: ${AL_DATA}/x\nquoted: "${AL_SIZE}"\nnumber: ${AL_SIZE}\nsmall: 1e-3\nnone: a$b $AL_SIZE\nlist: [&a {k: ${AL_SIZE}}, *a]\n'
    )
    assert yaml.safe_load(filled_in(text, "a.yaml")) == {
        "root": "/data: set/x",
        "quoted": "32",
        "number": 32,
        "small": "1e-3",  # as PyYAML has it in the text itself
        "none": "a$b $AL_SIZE",
        "list": [{"k": 32}, {"k": 32}],
    }


def test_a_run_means_the_same_when_the_variable_is_gone(monkeypatch, tmp_path):
    """The stored configuration holds the value; a name with a dollar is a name."""
    monkeypatch.setenv("AL_RUNS", str(tmp_path / "a$b"))
    monkeypatch.setenv("AL_CYCLES", "2")
    Path("tiny.yaml").write_text(TINY.replace("cycles: 3", "cycles: ${AL_CYCLES}") + "run_dir: ${AL_RUNS}/run\n")
    cli.main(["fit", "--config", "tiny.yaml"])
    run = RunDirectory(tmp_path / "a$b" / "run")
    assert yaml.safe_load(run.config.read_text())["active_learning"]["cycles"] == 2
    before = run.queries.read_bytes()
    run.learning_curve.write_text("".join(run.learning_curve.read_text().splitlines(keepends=True)[:2]))
    monkeypatch.delenv("AL_CYCLES")
    cli.main(["fit", "--resume", "--run_dir", str(run.path)])
    assert len(run.read_cycles()) == 2 and run.queries.read_bytes() == before
