import dataclasses

import torch

from al_lightning.callbacks import FinishedCycle, Query

QUERY = Query(
    torch.tensor([3]),
    torch.tensor([0.5]),
    torch.tensor([3, 4]),
    torch.tensor([0.5, 0.1]),
    {},
    tied_share=0.0,
    notes=[],
    seconds=2.0,
    peak_bytes=1024,
)
FINISHED = FinishedCycle(1, 200, {"val/accuracy": 0.5}, 20, 140, train_seconds=10.0, logged_steps=210, query=QUERY)


def test_line_worked_by_hand():
    # Two more cycles, on 300 and 400 items: (300 + 400) / 200 * 10 s of training and 2 * 2 s of queries.
    line = FINISHED.line(cycles=4, growth=[100], stopped=None)
    assert line == "cycle 1 of 0-3: 200 labeled, val/accuracy 50.00 %, 10.0 s training, 2.0 s query, about 0:00:39 left"
    assert FINISHED.line(cycles=None, growth=[100], stopped=None).endswith("2.0 s query")
    # of so many steps each: 2 * 10 s of training and 2 * 2 s of queries
    assert FINISHED.line(cycles=4, growth=[0], stopped=None).endswith("2.0 s query, about 0:00:24 left")
    # on 210, 230, 250, 270 items, and on the first two of them
    assert FINISHED.line(cycles=6, growth=[10, 20], stopped=None).endswith("about 0:00:56 left")
    assert FINISHED.line(cycles=4, growth=[10, 20, 90], stopped=None).endswith("about 0:00:26 left")
    assert FINISHED.line(cycles=300_000_000, growth=[0], stopped=None).endswith(" left")  # as many as there are, in no time
    taken_over = dataclasses.replace(FINISHED, train_steps=0, train_seconds=0.1)
    assert taken_over.line(cycles=4, growth=[100], stopped=None).endswith("0.1 s training, 2.0 s query")
    assert FINISHED.line(cycles=None, growth=[100], stopped=None).startswith("cycle 1: 200 labeled")
    last = dataclasses.replace(FINISHED, query=None)
    assert last.line(2, [100], "all cycles are done").endswith("10.0 s training, all cycles are done")


def test_row():
    assert FINISHED.row() == {
        "cycle": 1,
        "labeled": 200,
        "val/accuracy": 0.5,
        "epochs": 20,
        "train_steps": 140,
        "train_seconds": 10.0,
        "query_seconds": 2.0,
        "query_peak_bytes": 1024,
    }
