import csv
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import scipy.stats
from lightning.pytorch.loggers import CSVLogger
from matplotlib import image

from al_lightning.acquisition import BALD, Entropy, Margin
from al_lightning.analysis.drawings import plots, training, uncertainty
from al_lightning.callbacks import CycleLogger
from al_lightning.commands import figures, main
from al_lightning.errors import UserError
from al_lightning.models import MLP
from al_lightning.run_tables import Labeled
from al_lightning.runs import RunDirectory
from al_lightning.tasks import ClassificationTask
from tests.experiments import make_data, run_experiment
from tests.test_runs import cycle_row


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, by name."""
    kept = {}

    def keep(whole):
        def save(figure, path):
            kept[path.name] = figure
            return whole(figure, path)

        return save

    for module in (training, uncertainty):
        monkeypatch.setattr(module, "save", keep(module.save))
    return kept


def test_measures_are_those_of_the_probabilities():
    p = np.random.default_rng(0).dirichlet([0.5] * 7, 40)
    p[0], p[1] = np.eye(7)[2], 1 / 7
    ordered = np.sort(p, axis=1)
    expected = [scipy.stats.entropy(p, axis=1), 1 - ordered[:, -1], 1 - ordered[:, -1] + ordered[:, -2]]
    np.testing.assert_allclose(list(figures.measured(p).values()), expected, atol=1e-12)


def test_the_measures_are_drawn_as_png_and_svg(monkeypatch, drawn, capsys):
    monkeypatch.setattr(figures, "_RANDOM", 3000)
    main(["figures", "--out", "here", "--classes", "7"])
    names = [f"here/{name}{suffix}" for name in ("simplex", "saturation", "bounds") for suffix in (".png", ".svg")]
    assert capsys.readouterr().out.split() == names
    for name in names:
        if name.endswith("png"):
            assert image.imread(name)[..., :3].std() > 0.05
        else:
            assert Path(name).read_text().rstrip().endswith("</svg>")
    assert [axis.get_title() for axis in drawn["simplex.png"].axes if axis.get_title()] == list(figures.measured(np.eye(3)))
    curves = drawn["saturation.png"].axes[0].lines
    assert [curve.get_label() for curve in curves][3:] == [f"ODIN, T = {t}" for t in ("0.1", "10", "100", "1000")]
    for curve in curves:
        x, y = curve.get_data()
        assert (np.diff(x) > 0).all() and 0 < x[0] < x[-1] <= np.log(7) and y[0] == 0 and y[-1] == pytest.approx(1)
    at_half = [np.interp(0.8 * np.log(7), *curve.get_data()) for curve in curves]
    assert at_half[3] < at_half[0] < at_half[6] < at_half[5] < at_half[4]
    least, most = drawn["bounds.png"].axes[0].lines
    half = np.argmin(abs(least.get_ydata() - 0.5))
    assert least.get_xdata()[half] == pytest.approx(np.log(2), abs=0.02)  # two classes share the mass
    assert most.get_xdata()[half] == pytest.approx(scipy.stats.entropy([0.5, *[0.5 / 6] * 6]), abs=0.02)
    first = Path("here/simplex.svg").read_text()
    main(["figures", "--out", "here", "--classes", "7"])
    assert Path("here/simplex.svg").read_text() == first


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run that logged its training and recorded scores."""
    folder = tmp_path_factory.mktemp("figures") / "run"
    logger = CSVLogger(folder, name=None)
    trainer = {"logger": logger, "max_epochs": 3, "check_val_every_n_epoch": 1}
    task = ClassificationTask(lambda: MLP(width=7, dropout=0.3))
    return run_experiment(folder, Entropy(), task=task, trainer=trainer, callbacks=(CycleLogger(),), also_record=[Margin(), BALD(3)])


def test_a_run_gets_its_training_curves(recorded, drawn, capsys):
    main(["figures", "--run", str(recorded.path)])
    assert capsys.readouterr().out.split() == [str(recorded.training_picture), str(recorded.histograms_picture)]
    rows = list(csv.DictReader(next(recorded.path.rglob("metrics.csv")).read_text().splitlines()))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    axes = {axis.get_ylabel(): axis for axis in drawn["training_curves.png"].axes}
    assert drawn["training_curves.png"].get_suptitle() == "run: Entropy"
    assert all(float(tick).is_integer() for axis in axes.values() for tick in axis.get_xticks())
    curves = axes["train/loss"].lines
    assert [list(curve.get_xdata()) for curve in curves] == [[0, 1, 2]] * 3
    np.testing.assert_allclose(np.concatenate([curve.get_ydata() for curve in curves]), losses)
    finals = [curve.get_ydata()[-1] for curve in axes["val/accuracy (%)"].lines]
    np.testing.assert_allclose(finals, [100 * float(row["val/accuracy"]) for row in recorded.read_cycles()], rtol=1e-6)
    assert len({matplotlib.colors.to_hex(curve.get_color()) for curve in curves}) == 3


@pytest.mark.parametrize(
    ("validation", "validated"),
    [({"check_val_every_n_epoch": None, "val_check_interval": 4}, [4, 8, 12]), ({"check_val_every_n_epoch": 99}, [12])],
    ids=["every 4 steps", "at the end"],
)
def test_trainings_of_so_many_steps_are_drawn_against_the_step(tmp_path, drawn, validation, validated):
    """Each cycle is validated as often as the others, and at the same steps, however many epochs these are."""
    logger = CSVLogger(tmp_path, name=None)
    trainer = {"logger": logger, "max_epochs": -1, "max_steps": 12, **validation}
    run = run_experiment(tmp_path, data=make_data(batch_size=32), trainer=trainer, callbacks=(CycleLogger(),))
    assert [row.epochs for row in run.read_curve()] == [4, 3, 2]
    training.draw_training_curves(run)
    axes = {axis.get_ylabel(): axis for axis in drawn["training_curves.png"].axes if axis.lines}
    assert {axis.get_xlabel() for axis in axes.values()} == {"step"}
    assert [list(curve.get_xdata()) for curve in axes["train/loss"].lines] == [[3, 6, 9, 12], [4, 8, 12], [6, 12]]
    curves = axes["val/accuracy (%)"].lines
    assert [list(curve.get_xdata()) for curve in curves] == [validated] * 3
    finals = [curve.get_ydata()[-1] for curve in curves]
    np.testing.assert_allclose(finals, [100 * float(row["val/accuracy"]) for row in run.read_cycles()], rtol=1e-6)


def test_a_run_gets_a_histogram_of_each_cycles_scores(recorded, drawn):
    training.draw_score_histograms(recorded)
    panels = [axis for axis in drawn["score_histograms.png"].axes if axis.patches]
    assert len(panels) == 2 * 3  # two cycles scored; three scores
    counts = [sum(patch.get_height() for patch in panel.patches) for panel in panels]
    assert counts == [530 + 50] * 3 + [480 + 50] * 3  # pool and queried
    scores = [row.score for row in recorded.read_queries() if row.cycle == 1]
    red = [patch for patch in panels[0].patches[40:] if patch.get_height()]
    assert min(patch.get_x() for patch in red) <= min(scores) and max(p.get_x() + p.get_width() for p in red) >= max(scores) - 1e-6
    assert [text.get_text() for text in panels[3].get_legend().get_texts()] == ["unlabeled pool (480)", "queried (50)"]
    assert panels[0].get_xlim() == panels[3].get_xlim() != panels[1].get_xlim()


# What each process logged, and what counts of it by cycle.
LOGS = {
    "killed in cycle 1, then after cycle 2 before the logger knew it, then in cycle 4, which nobody finished": (
        [["0,0,9.5,", "1,,,0", "1,0,8.5,"], ["1,0,7.5,", "2,1,6.5,", "3,,,1", "3,0,5.5,"], ["4,0,4.5,", "5,,,3", "5,0,3.5,"]],
        {0: [9.5], 1: [7.5, 6.5], 2: [5.5], 3: [4.5]},
    ),
    "killed twice in cycle 1, which goes on after epoch 1, and once after its last epoch": (
        [["0,0,9.5,", "1,,,0", "1,0,8.5,", "2,1,8.4,", "3,2,8.3,"], ["3,2,7.3,", "4,3,7.2,"], ["5,4,6.1,"], ["6,,,1", "6,0,5.5,"]],
        {0: [9.5], 1: [8.5, 8.4, 7.3, 7.2, 6.1]},
    ),
    "killed after cycle 0 before the logger knew it, and twice in cycle 1": (
        [["0,0,9.5,", "1,1,9.4,"], ["2,0,8.5,"], ["2,0,7.5,"], ["3,1,6.5,", "4,,,1"]],
        {0: [9.5, 9.4], 1: [7.5, 6.5]},
    ),
    "ended with cycle 1, which is done again as it goes further, and killed in that": (
        [["0,0,9.5,", "1,,,0", "1,0,8.5,", "2,1,8.4,", "3,,,1"], ["1,0,7.5,"], ["2,1,7.4,", "3,,,1", "3,0,6.5,", "4,1,6.4,"]],
        {0: [9.5], 1: [7.5, 7.4], 2: [6.5, 6.4]},
    ),
    "killed in cycle 1, whose first row has the step at which cycle 0 was evaluated": (
        [["0,0,9.5,", "1,1,9.4,", "2,1,9.3,", "2,,,0", "2,0,8.5,", "3,1,8.4,"], ["4,2,7.3,", "5,,,1"]],
        {0: [9.5, 9.4, 9.3], 1: [8.5, 8.4, 7.3]},
    ),
}


@pytest.mark.parametrize("deaths", LOGS)
def test_a_resumed_run_counts_each_epoch_once(tmp_path, deaths):
    run = RunDirectory(tmp_path)
    logs, counted = LOGS[deaths]
    files = dict(zip(["version_2", "version_9", "version_10", "version_11"], logs, strict=False))
    for version, rows in files.items():
        (tmp_path / version).mkdir()
        text = "".join(f"{row}\n" for row in ["step,epoch,train/loss,active_learning/cycle", *rows])
        (tmp_path / version / "metrics.csv").write_text(text + "9,0,2.")
    for cycle in range(max(counted) + 1):
        run.append_cycle(cycle_row(cycle, 10 + cycle))
    assert {cycle: [row["train/loss"] for row in rows] for cycle, rows in run.read_training().items()} == counted


def test_what_can_not_be_drawn_is_one_error(tmp_path):
    run = run_experiment(tmp_path / "plain", cycles=1, trainer={"max_epochs": 0})
    with pytest.raises(UserError, match=r"found neither.*CSVLogger.*also_record"):
        figures.main(["figures", "--run", str(run.path)])
    with pytest.raises(UserError, match=r"learning_curve.csv in the run directory, but it is missing"):
        figures.main(["figures", "--run", "nowhere"])
    with pytest.raises(UserError, match="Expected --run alone"):
        figures.main(["figures", "--run", str(run.path), "--classes", "3"])
    with pytest.raises(UserError, match="at least 2, got 1"):
        figures.main(["figures", "--classes", "1"])


DAMAGE = {
    "scores garbage": ("cycles/001/scores.csv", bytes(range(256))),
    "scores emptied": ("cycles/000/scores.csv", b""),
    "scores without rows": ("cycles/000/scores.csv", b"index,item,score\n"),
    "scores cut": ("cycles/000/scores.csv", b"index,item,score\n1,x,0.5\n2,y,0"),
    "scores of others than in other cycles": ("cycles/001/scores.csv", b"index,item,score\n1,x,0.5\n"),
    "an index twice": ("cycles/001/scores.csv", b"index,item,score\n1,x,0.5\n1,x,0.5\n"),
    "a score that is no number": ("cycles/001/scores.csv", b"index,item,score\n1,x,nan\n"),
    "metrics garbage": ("metrics.csv", bytes(range(256)) + b"\n"),
    "a metric that is text": ("metrics.csv", b"epoch,step,train/loss\n0,1,high\n"),
    "a cycle that is none": ("metrics.csv", b"epoch,step,active_learning/cycle\n0,1,inf\n"),
    "more cells than columns": ("metrics.csv", b"epoch,step,train/loss\n0,1,0.5,7\n"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named(recorded, tmp_path, damage):
    run = RunDirectory(shutil.copytree(recorded.path, tmp_path / "run"))
    name, content = DAMAGE[damage]
    path = next(run.path.rglob("metrics.csv")) if name == "metrics.csv" else run.path / name
    path.write_bytes(content)
    with pytest.raises(SystemExit, match=name):
        main(["figures", "--run", str(run.path)])


def test_one_cycle_and_metrics_that_are_no_numbers(tmp_path, drawn):
    run = RunDirectory(tmp_path / "$x$_")
    row = {**cycle_row(0, 3), "val/accuracy": float("nan"), "val/miou": None, "val/iou/_road": float("nan"), "val/iou/sky": 0.5}
    run.append_queries([Labeled(0, rank, rank, "x") for rank in range(3)])
    run.append_cycle(row)
    (run.path / "metrics.csv").write_text("epoch,train/loss,val/accuracy,active_learning/cycle\n0,inf,nan,\n0,,,0\n")
    main(["figures", "--run", str(run.path)])
    assert drawn["training_curves.png"].get_suptitle() == "$x$_"
    for picture in (plots.draw_learning_curve(run), plots.draw_iou(run, {})):
        assert image.imread(picture)[..., :3].std() > 0.01


def test_no_cycle_at_all_is_drawn_as_nothing(tmp_path):
    run = RunDirectory(tmp_path)
    run.learning_curve.write_text("cycle,lab")
    assert plots.draw_learning_curve(run).is_file() and plots.draw_iou(run, {}).is_file()


def test_classes_whose_names_begin_with_an_underscore_are_in_the_legend(tmp_path, monkeypatch):
    run = RunDirectory(tmp_path)
    run.append_cycle({**cycle_row(0, 3), "val/iou/_void_": 0.2, "val/iou/road": 0.4})
    kept = []
    monkeypatch.setattr(plots, "save", lambda figure, path: (kept.append(figure), path)[1])
    plots.draw_iou(run, {"road": [128, 64, 128]})
    assert [text.get_text().strip() for text in kept[0].legends[0].get_texts()] == ["road", "_void_"]
    (road, void), (axes,) = kept[0].axes[0].get_lines(), kept[0].axes
    assert matplotlib.colors.to_hex(road.get_color()) == "#804080" != matplotlib.colors.to_hex(void.get_color())
    assert list(road.get_ydata()) == [40] and axes.get_ylabel() == "IoU (%)" and axes.get_ylim() == (0, 100)
