import os

import pytest

from al_lightning.files import keep_lines, remove_unfinished, whole_rows, write_atomically
from tests.conftest import in_child


def test_rows_that_were_written_to_their_end(tmp_path):
    assert whole_rows("a,b\n1,2\n3,") == "a,b\n1,2\n"
    assert whole_rows("a,b") == ""
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n3,")
    keep_lines(path, 2)
    assert path.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_kill_while_a_file_is_written_leaves_the_old_one(tmp_path, call):
    path = tmp_path / "config.yaml"
    write_atomically(path, b"old")

    def die(*_):
        os.kill(os.getpid(), 9)

    def work():
        if call == "write":
            os.fsync = die
            write_atomically(path, b"new" * 100_000)
        setattr(os, call, die)
        write_atomically(path, b"new")

    assert in_child(work) == -9
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")  # what was left over is in nobody's way
    assert path.read_bytes() == b"new"
    (tmp_path / "picture.png.1-ab.tmp").touch()
    remove_unfinished(tmp_path, [".yaml"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "picture.png.1-ab.tmp"]


def test_two_processes_do_not_share_a_temporary_file_and_failures_leave_none(tmp_path, monkeypatch):
    names = set()

    def interrupted(source, target):
        names.add(source.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "x.csv", b"1")
    assert len(names) == 3 and not list(tmp_path.iterdir())
