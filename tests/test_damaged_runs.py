"""Whatever happened to a file of a run: a reader works, or says in one message which file is damaged. Nothing hangs."""

import os
from pathlib import Path

import pytest
import yaml

from al_lightning.commands import main
from al_lightning.errors import UserError
from al_lightning.files import write_atomically
from al_lightning.reading import load_yaml, read_json, read_text
from al_lightning.run_tables import ERROR_COLUMNS, Labeled
from al_lightning.runs import RunDirectory, find_runs
from al_lightning.sources import EVALUATION, ReadLabel, read_labels, write_labels
from tests.analysis.recorded import record

TEXT_DAMAGE = {
    "garbage": bytes(range(256)) * 3,
    "not UTF-8": b"\xff\xfe\xfd",
    "NUL": b"cycle\0,\0\n0\0\n",
    "a list": b"[1, 2]\n",
    "words": b"just words\n",
    "deep": b'{"a": ' + b"[" * 100_000,
    "deep and closed": b'{"a": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
}
YAML_DAMAGE = {
    "refers to itself": b"a: &a [*a]\n",
    "refers to itself in a mapping": b"fit: &a {b: *a, c: *a}\n",
    "merges itself": b"a: &a {<<: *a}\n",
    "a billion values": b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [%s]\n" % (n + 1, n + 1, b", ".join([b"*a%d" % n] * 10)) for n in range(9)),
    "a billion merges": b"a0: &a0 {x: 1}\n"
    + b"".join(b"a%d: &a%d {<<: [%s]}\n" % (n + 1, n + 1, b", ".join([b"*a%d" % n] * 10)) for n in range(9)),
    "a tag": b"a: !!python/object/apply:os._exit [3]\n",
    "a wrong tag": b"seed_everything: !!timestamp x\n",
    "digits": b"seed_everything: " + b"9" * 5000 + b"\n",
    "other types": b"seed_everything: [0]\nactive_learning: {query_size: .nan}\nmodel: 3\ndata: x\n",
    "cut": b"seed_everything: 0\nactive_learning: {query",
}
JSON_DAMAGE = {
    "data is a list": b'{"data": []}',
    "versions are text": b'{"data": {}, "versions": "2"}',
    "no text": b'{"data": {"sha256": "\\ud800"}}',
}
HEAD = b"cycle,labeled,val/accuracy,val/loss,epochs,train_steps,train_seconds,query_seconds,query_peak_bytes\n"
CURVE_DAMAGE = {
    "no column": HEAD.replace(b",epochs", b"") + b"0,20,0.1,1,10,1.5,,\n",
    "a column twice": HEAD.replace(b"val/loss", b"labeled") + b"0,20,0.1,1,2,10,1.5,,\n",
    "a cell more": HEAD + b"0,20,0.1,1,2,10,1.5,,,\n",
    "a short row": HEAD + b"0,20,0.1\n1,30,0.2,1,2,10,1.5,,\n",
    "text": HEAD + b"0,many,0.1,1,2,10,1.5,,\n",
    "negative": HEAD + b"0,20,0.1,1,2,-10,1.5,,\n",
    "infinite": HEAD + b"0,20,0.1,1,2,10,inf,,\n",
    "huge": HEAD + b"0," + b"9" * 400 + b",0.1,1,2,10,1.5,,\n",
    "a row twice": HEAD + b"0,20,0.1,1,2,10,1.5,1,1\n" * 2,
    "a cycle missing": HEAD + b"0,20,0.1,1,2,10,1.5,1,1\n2,30,0.1,1,2,10,1.5,,\n",
    "fewer labels": HEAD + b"0,20,0.1,1,2,10,1.5,1,1\n1,20,0.1,1,2,10,1.5,,\n",
    "an open quote": HEAD + b'0,"20,0.1,1,2,10,1.5,1,1\n1,20,0.1,1,2,10,1.5,,\n',
}
QUERIES = b"cycle,rank,index,item,score\n"
QUERY_DAMAGE = {
    "emptied": b"",
    "no rows": QUERIES,
    "text": QUERIES + b"0,first,0,item 0,\n",
    "negative": QUERIES + b"0,0,-1,item 0,\n",
    "not finite": QUERIES + b"1,0,4,item 4,nan\n",
    "an item twice": QUERIES + b"".join(b"0,%d,%d,item 0,\n" % (rank, rank % 19) for rank in range(20)),
    "ranks": QUERIES + b"".join(b"0,%d,%d,item 0,\n" % (rank % 19, rank) for rank in range(20)),
    "an open quote": QUERIES + b'0,0,0,"item 0,\n0,1,1,item 1,\n',
}
LABELS = b"cycle,split,file,sha256\n"
CROPS = b"index,item,top,left,height,width\n"
FILES = {
    "config.yaml": TEXT_DAMAGE | YAML_DAMAGE | {"emptied": b"", "arguments in a list": b"model: {class_path: X, init_args: [1]}\n"},
    "environment.json": TEXT_DAMAGE | JSON_DAMAGE | {"emptied": b"", "cut": b'{"data": {"sha'},
    "learning_curve.csv": TEXT_DAMAGE | CURVE_DAMAGE,
    "queries.csv": TEXT_DAMAGE | QUERY_DAMAGE,
    "labels.csv": TEXT_DAMAGE
    | {"emptied": b"", "cut": LABELS + b"0,pool,a.png", "text": LABELS + b"first,pool,a.png,0\n", "no column": b"cycle,file\n0,a.png\n"},
    "crops.csv": TEXT_DAMAGE
    | {"emptied": b"", "cut": CROPS + b"0,item 0,1", "an index missing": CROPS + b"1,x,0,0,2,2\n", "short": CROPS + b"0,x,0,0,2,2\n"},
}
ASKED, RANDOM, ERRORS, EVALUATED = (
    b"rank,index,item,score\n",
    b"index,item,by,score\n",
    b"index,item,by,error\n",
    b"item,hits a,true a,predicted a\n",
)
# What a run has that a person watches
WATCHED = {
    "evaluation.csv": {"cut": ASKED + b"0,3,item", "ranks": ASKED + b"1,3,item 3,\n", "text": ASKED + b"0,three,item 3,\n"},
    "cycles/001/asked.csv": {
        "cut": ASKED + b"0,30,item 30,0.",
        "an item twice": ASKED + b"0,30,x,\n1,30,x,\n",
        "others": ASKED + b"0,1,x,\n",
    },
    "cycles/001/random.csv": {
        "cut": RANDOM + b"30,item 30,rand",
        "no rows": RANDOM,
        "no row of some": RANDOM + b"30,item 30,random,\n",
        "an item twice": RANDOM + b"30,x,random,\n30,x,strategy,1\n",
        "neither": RANDOM + b"30,item 30,somebody,\n",
        "not finite": RANDOM + b"30,item 30,strategy,inf\n",
        "of a version before": b"index,item\n30,item 30\n",
    },
    "cycles/000/errors.csv": {
        "cut": ERRORS + b"20,item 20,random,0.",
        "an item twice": ERRORS + b"20,x,random,0\n20,x,random,0\n",
        "neither": ERRORS + b"20,item 20,somebody,0.5\n",
        "more than all": ERRORS + b"20,item 20,random,1.5\n",
    },
    "cycles/001/evaluated.csv": {
        "cut": EVALUATED + b"v,1,2",
        "two columns": b"item,hits a,true a\n" + b"v,1,2\n" * 12,
        "mixed columns": b"item,hits a,predicted a,true a\n" + b"v,1,2,2\n" * 12,
        "more hits than pixels": EVALUATED + b"v,3,2,9\n" * 12,
        "negative": EVALUATED + b"v,-1,2,9\n" * 12,
        "a column twice": EVALUATED.replace(b"true", b"hits") + b"v,1,2,2\n" * 12,
    },
}
WATCHED = {file: TEXT_DAMAGE | {"emptied": b""} | kinds for file, kinds in WATCHED.items()}
PLACES = ["a directory", "a pipe", "a link to nothing", "a link to itself"]
CASES = [(file, damage) for file, kinds in FILES.items() for damage in [*kinds, *PLACES]]


pytestmark = pytest.mark.usefixtures("in_time")


def damaged(folder, file, damage):
    """A run with crops, one of whose files is damaged."""
    run = record(folder, [0.1, 0.2], seed=0)
    run.write_crops([f"item {index}" for index in range(40)], [(0, 0, 2, 2)] * 40)
    write_labels(run.labels, [ReadLabel(0, EVALUATION, "a.png", "0" * 64)])
    damage_file(run.path / file, FILES[file], damage)
    return run


def damage_file(path, kinds, damage):
    if damage in kinds:
        path.write_bytes(kinds[damage])
        return
    path.unlink()
    if damage == "a directory":
        path.mkdir()
    elif damage == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nothing" if damage == "a link to nothing" else path.name)


def watched(folder):
    """A run that waits for a person, with all that lets one see when to stop."""
    run = record(folder, [0.1, 0.2], metric="val/miou", finished=False, active_learning__oracle="human")
    run.keep_rows(2, 30)
    asked = [Labeled(2, rank, 30 + rank, f"item {30 + rank}", 0.5) for rank in range(10)]
    run.write_evaluation([Labeled(-1, rank, 50 + rank, f"item {50 + rank}") for rank in range(12)])
    run.write_random(1, asked, {31})
    run.write_asked(1, asked)
    run.write_control(run.errors(0), [*ERROR_COLUMNS], [[20, "item 20", "random", 0.5], [21, "item 21", "strategy", 1]])
    run.write_control(run.evaluated(1), ["item", "hits a", "true a", "predicted a"], [[f"v{number}", 1, 2, 2] for number in range(12)])
    return run


def said(capsys, *arguments):
    """What a command says when it refuses."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert isinstance(ended.value.code, str) or ended.value.code in (1, 2)
    return f"{ended.value.code} {capsys.readouterr().err}"


def test_a_report_leaves_broken_runs_out_and_says_so(tmp_path, capsys):
    record(tmp_path / "runs" / "good", [0.1, 0.2], seed=1)
    for number, (file, damage) in enumerate(CASES):
        damaged(tmp_path / "runs" / f"{number:03d}", file, damage)
    cases = [*CASES, *((file, "emptied") for file in ("evaluation.csv", "cycles/000/errors.csv", "cycles/001/evaluated.csv"))]
    for number, (file, damage) in list(enumerate(cases))[len(CASES) :]:
        damage_file(watched(tmp_path / "runs" / f"{number:03d}").path / file, WATCHED[file], damage)
    main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"Report of 1 runs, {len(cases)} left out" in capsys.readouterr().out
    for number, (file, damage) in enumerate(cases):
        line = page.partition(f"runs/{number:03d} is left out: ")[2].partition("</li>")[0]
        assert file in line, (file, damage, line)


def test_status_names_what_is_damaged_of_a_run_that_a_person_watches(tmp_path, capsys):
    run = watched(tmp_path / "run")
    main(["status", str(run.path)])
    good = capsys.readouterr().out
    assert "12 for evaluation" in good and "95 % interval 33.33 to 33.33 % (bootstrap" in good and "waits for labels: 10, but" in good
    for file, kinds in WATCHED.items():
        path, content = run.path / file, (run.path / file).read_bytes()
        for damage in [*kinds, *PLACES]:
            damage_file(path, kinds, damage)
            with pytest.raises(SystemExit):
                main(["status", str(run.path)])
            said = capsys.readouterr().out
            assert "run: can't be read: " in said and file in said and said.count("\n") == 1, (file, damage, said)
            path.rmdir() if damage == "a directory" else path.unlink()
            write_atomically(path, content)
    main(["status", str(run.path)])
    assert capsys.readouterr().out == good


@pytest.mark.parametrize(("value", "shown"), [("", "no number"), ("inf", "inf %"), ("7", "700.00 %")])
@pytest.mark.parametrize("metric", ["val/accuracy", "val/miou"])
def test_status_tells_of_a_metric_that_is_no_share(tmp_path, capsys, metric, value, shown):
    run = watched(tmp_path / "run")
    run.learning_curve.write_text(run.learning_curve.read_text().replace("val/miou", metric).replace(",0.2,", f",{value},"))
    main(["status", str(run.path)])
    assert f"{metric} {shown}, " in capsys.readouterr().out


@pytest.mark.parametrize(("file", "damage"), [case for case in CASES if case[0] in ("learning_curve.csv", "queries.csv")])
def test_figures_are_refused(tmp_path, capsys, file, damage):
    run = damaged(tmp_path / "run", file, damage)
    told = said(capsys, "figures", "--run", str(run.path))
    assert file in told


@pytest.mark.parametrize(("file", "damage"), [case for case in CASES if case[0] != "crops.csv" and case[1] != "other types"])
def test_nothing_is_lost_where_a_run_can_not_go_on(tmp_path, capsys, file, damage):
    """Through the command where that refuses before it reads its data; else what the command calls then."""
    run = damaged(tmp_path / "run", file, damage)
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    if file == "config.yaml":
        assert file in said(capsys, "fit", "--resume", "--run_dir", str(run.path))
    else:
        with pytest.raises(UserError, match=file):
            {"environment.json": run.read_environment, "labels.csv": lambda: read_labels(run.labels)}.get(file, run.read_labeled)()
    assert {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_curve_that_was_cut_anywhere_is_read_or_refused(tmp_path, cut):
    run = record(tmp_path / "run", [0.1, 0.2, 0.3])
    content = run.learning_curve.read_bytes()
    run.learning_curve.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n") - 1
    assert [row.cycle for row in run.read_curve()] == list(range(max(0, whole)))


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="got a special file"):
        read_text(tmp_path / "pipe")
    with pytest.raises(UserError, match="got a directory"):
        read_text(tmp_path)
    with pytest.raises(UserError, match="a special file"):
        read_text(Path("/dev/zero"))
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 2**40)
    with pytest.raises(UserError, match=r"at most .* bytes"):
        read_text(tmp_path / "huge")
    with pytest.raises(UserError, match="but it is missing"):
        read_text(tmp_path / "pipe" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    (tmp_path / "closed").touch(mode=0)
    with pytest.raises(UserError, match="Permission denied"):
        read_text(tmp_path / "closed")


def test_directories_that_can_not_be_read_are_left_out(tmp_path, monkeypatch):
    record(tmp_path / "good", [0.1])
    (tmp_path / "closed").mkdir()
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    runs, unreadable = find_runs(tmp_path)
    assert [run.path.name for run in runs] == ["good"]
    assert unreadable == {tmp_path / "closed": "it can't be read: Permission denied"}


def test_what_a_yaml_text_may_repeat_and_nest():
    assert load_yaml("a: &a {b: 1}\nc: {<<: *a, d: [*a, *a]}\n") == {"a": {"b": 1}, "c": {"b": 1, "d": [{"b": 1}] * 2}}
    assert load_yaml(yaml.safe_dump({"root": "d\udcff"})) == {"root": "d\udcff"}
    for text in ("a: *b\n", "\ud800", "[" * 101):
        with pytest.raises(yaml.YAMLError):
            load_yaml(text)


def test_json_numbers_and_keys(tmp_path):
    write_atomically(tmp_path / "a.json", b'{"a": NaN, "b": 1e999, "c": {"d": null}}')
    assert read_json(tmp_path / "a.json")["c"] == {"d": None}
    write_atomically(tmp_path / "a.json", b'{"a": ' + b"9" * 5000 + b"}")
    with pytest.raises(UserError, match="Expected JSON"):
        read_json(tmp_path / "a.json")


def test_checkpoints_are_those_of_numbered_cycles(tmp_path):
    run = RunDirectory(tmp_path)
    for name in ("000", "012", "0_old", "x", "٣٣٣", "00"):
        write_atomically(tmp_path / "cycles" / name / "last.ckpt", b"")
    assert run.checkpoints() == [0, 12]


def test_a_sweep_lists_a_damaged_run_as_broken(tmp_path, capsys):
    base = Path(__file__).parents[1] / "configs" / "demo.yaml"
    grid = {"active_learning.strategy": ["Random", "Entropy"]}
    Path("sweep.yaml").write_text(yaml.safe_dump({"base": str(base), "out": "runs", "grid": grid}))
    record(tmp_path / "runs" / "Random-seed0", [0.1, 0.2])
    damaged(tmp_path / "runs" / "Entropy-seed0", "learning_curve.csv", "text")
    main(["sweep", "sweep.yaml", "--list"])
    listed = "new        runs/initial-seed0\nfinished   runs/Random-seed0\nbroken     runs/Entropy-seed0\n"
    assert capsys.readouterr().out == listed
