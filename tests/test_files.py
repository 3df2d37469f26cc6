import csv
import os
import resource
import signal

import pytest

from al_lightning.files import appending, as_csv, keep_rows, remove_unfinished, whole_rows, write_atomically
from al_lightning.text import decoded, encoded
from tests.experiments import in_child

NAMES = ["a\nb", "a\r", 'q"u"o', ",", " ", "", "\udcff\x80".replace("\x80", "\udc80"), "ü\u2028", "\x0b\x1c", '"\n"', "$x$"]


@pytest.mark.parametrize("end", ["", "3", '3,"half a\nname'])
def test_rows_are_counted_as_rows(tmp_path, end):
    path = tmp_path / "table.csv"
    rows = [["number", "name"], *([number, name] for number, name in enumerate(NAMES))]
    path.write_bytes(encoded(as_csv(rows)) + end.encode())
    whole, tail = whole_rows(decoded(path.read_bytes()))
    assert (len(whole), tail) == (len(rows), end)
    assert list(csv.reader(whole, strict=True)) == [list(map(str, row)) for row in rows]
    keep_rows(path, 3)
    assert path.read_bytes() == encoded(as_csv(rows[:3]))
    assert whole_rows("a,b") == ([], "a,b")


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


def test_what_can_not_be_appended_leaves_the_file_as_it_was(tmp_path):
    """A limit of the file's size stands for a full disk."""
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n")

    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        try:
            with appending(path) as file:
                file.write(b"1,2\n3,4\n")
        except OSError:
            os._exit(7)
        os._exit(0)

    assert in_child(full) == 7 and path.read_bytes() == b"a,b\n"
