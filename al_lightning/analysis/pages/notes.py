"""Sentences of the report: warnings that a reader must know before trusting a comparison, and its results."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from al_lightning import settings
from al_lightning.analysis.numbers import tables
from al_lightning.analysis.numbers.comparison import Comparison, Panel, Series
from al_lightning.analysis.numbers.findings import Contrast
from al_lightning.analysis.numbers.recorded import Run
from al_lightning.analysis.numbers.setup import NOT_RECORDED
from al_lightning.analysis.numbers.statistics import LEVEL
from al_lightning.analysis.numbers.trends import Trend
from al_lightning.analysis.pages import columns
from al_lightning.percent import unsigned
from al_lightning.run_tables import VALIDATED
from al_lightning.settings import Settings
from al_lightning.text import listed

_ALIKE = 1e-3  # metrics of cycle 0 that differ by less, as on two machines, are taken for the same
_NAMED = 5  # the most runs that one sentence names

NO_FULL = (
    "There are no normalised curves: they need the metric of the whole pool. Add runs with --data.init_args.initial_size all and otherwise "
    "the same settings, or give the value with --full."
)
NOT_ABOVE = (
    "There are no normalised curves: the whole pool's metric ({}) is not above that of the first training sets ({}), so that better curves "
    "would come out lower."
)
NEVER = (
    "never: not within the range of labels that strategies have in common. The mean curve does not end above the baseline's "
    "(break-even), is nowhere above it (first above), or does not reach the level."
)
SUMMARISED = (
    "Differences are means over the budgets after the first training set, in percentage points. The corrected p decides: an interval "
    "that excludes 0 is only one test of several, and not a finding yet."
)


def warnings(comparison: Comparison) -> list[str]:
    """Warnings about all runs together."""
    return [
        *_skipped(comparison),
        *_more_than_strategy_and_seed(comparison),
        *_of_no_use(comparison),
        *_duplicates(comparison),
        *_unfinished(comparison),
        *_not_a_number(comparison),
        *_other_labels(comparison),
        *_environments(comparison),
    ]


def panel_warnings(panel: Panel) -> list[str]:
    """Warnings about a panel."""
    return [*_baseline(panel), *_first_sets(panel), *_seeds(panel), *_budgets(panel)]


def other_labels(trend: Trend) -> str:
    """Says where the points of a trend are of other numbers of labels than each other; empty if they are not."""
    ends = {panel.name: f"{panel.queried[0]:,} to {panel.queried[-1]:,}" for panel in trend.panels if panel.queried}
    if len({*ends.values()}) < 2:
        return ""
    each = listed([f"{name}: {its}" for name, its in ends.items()], _NAMED)
    return f" The points are not over the same numbers of labels ({each}), so that a difference between them may be one of budgets."


def measured_on(comparison: Comparison) -> str:
    """Says on which images the curves are measured, and on which images trainings are validated."""
    held = sorted({run.validation for run in comparison.runs})
    if held == [0]:
        return (
            "on the evaluation set, which trainings are validated on too (data.init_args.validation_size holds out other images for that)"
        )
    images = f"{', '.join(str(count) for count in held if count)} labeled images that are held out for that"
    if comparison.metric.startswith(VALIDATED):
        others = "; runs that hold out none are validated on the evaluation set" if 0 in held else ""
        return f"which trainings are validated on, {images}; the evaluation set is test/...{others}"
    others = ", some on the evaluation set itself" if 0 in held else ""
    return f"on the evaluation set; trainings are validated on {images}{others}"


def verdict(test: Contrast) -> str:
    """Says the result of a test in a sentence.

    Example: "Entropy is 0.84 points above Random (95 % interval of the difference 0.48 to 1.16, corrected p = 0.028, 4 seeds)."
    """
    difference = test.difference
    if not difference.seeds:
        return f"{test.first} can't be compared with {test.second}: {difference.note}."
    points = unsigned(abs(difference.mean))
    size = f"{points} points {'above' if difference.mean > 0 else 'below'} {test.second}"
    if points == unsigned(0.0) and not test.corrected < LEVEL:
        size = f"level with {test.second}"
    if math.isnan(test.corrected):
        return f"{test.first} is {size}, with no test: {difference.note}."
    seeds = f"{len(difference.seeds)} seeds" + (f"; {difference.note}" if difference.note else "")
    interval = f"95 % interval of the difference {unsigned(difference.low)} to {unsigned(difference.high)}"
    numbers = f"({interval}, corrected p {p_value(test.corrected)}, {seeds})"
    if test.corrected < LEVEL:
        return f"{test.first} is {size} {numbers}."
    return f"{test.first} can't be told apart from {test.second}: it is {size} {numbers}."


def p_value(p: float) -> str:
    """A p-value with a sign before it: ``= 0.028``, ``< 0.001``."""
    shown = columns.probability(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _skipped(comparison: Comparison) -> Iterator[str]:
    for path, reason in comparison.skipped.items():
        yield f"{path} is left out: {reason.rstrip('.')}."


def _more_than_strategy_and_seed(comparison: Comparison) -> Iterator[str]:
    keys = settings.differing([panel.settings for panel in comparison.panels])
    if keys:
        yield (
            f"These runs differ in more than strategy and seed: {', '.join(keys)}. Strategies are compared within each setting only; "
            "the table of settings has the values."
        )
    if keys == [settings.CONTENT] and any(_draws_evaluation(run.settings) for run in comparison.runs):
        yield (
            "Each seed draws evaluation images of its own here, so that seeds are not put together: one data.init_args.pool_seed for all "
            "runs draws the same ones."
        )


def _draws_evaluation(its: Settings) -> bool:
    drawn = "active_learning.evaluation_first" in its or isinstance(its.get(settings.EVALUATION), float)
    return drawn and "data.init_args.pool_seed" not in its


def _of_no_use(comparison: Comparison) -> Iterator[str]:
    """Names runs on the whole pool and runs of cycle 0 that have settings like those of no learning curve."""
    begun = [settings.without_later_cycles(panel.settings) for panel in comparison.panels]
    whole = [settings.without_pool_size(panel.settings) for panel in comparison.panels]
    for what, shared, runs in (
        ("on the whole pool", whole, [(run, settings.without_pool_size(run.comparable)) for run in comparison.full_runs]),
        ("of cycle 0 alone", begun, [(run, settings.without_later_cycles(run.comparable)) for run in comparison.starts]),
    ):
        if found := [(run, its) for run, its in runs if its not in shared]:
            nearest = min((settings.differing([found[0][1], each]) for each in shared), key=len)
            have = f"{'has' if len(found) == 1 else 'have'} other settings than every learning curve ({', '.join(nearest)})"
            yield f"{_count(len(found), 'run')} {what} {have}: {_named([run for run, _ in found])}."


def _duplicates(comparison: Comparison) -> Iterator[str]:
    if found := comparison.duplicates:
        are = "is" if len(found) == 1 else "are"
        yield (
            f"{_count(len(found), 'run')} {are} left out, as another run with the same settings and seed has as many cycles, or more: "
            f"{_named(found)}."
        )


def _unfinished(comparison: Comparison) -> Iterator[str]:
    if found := [run for run in comparison.runs if not run.finished]:
        are = "is" if len(found) == 1 else "are"
        yield f"{_count(len(found), 'run')} {are} not finished: {_named(found)}. Their finished cycles count."


def _not_a_number(comparison: Comparison) -> Iterator[str]:
    for run in comparison.runs:
        missing = len(run.rows) - len(run.curve(comparison.metric))
        if missing:
            yield f"{run.path} has no number for {comparison.metric} in {_count(missing, 'cycle')}, left out."


def _environments(comparison: Comparison) -> Iterator[str]:
    known = [tables.environment(run) for run in comparison.runs]
    for name in dict.fromkeys(name for each in known for name in each):
        counts = Counter(each.get(name, NOT_RECORDED) for each in known)
        if len(counts) > 1:
            values = ", ".join(f"{value} ({_count(runs, 'run')})" for value, runs in counts.most_common())
            yield f"Not all runs have the same {name}: {values}."
    unrecorded = sum(not each for each in known)
    if unrecorded:
        yield f"{_count(unrecorded, 'run')} did not record what {'they' if unrecorded > 1 else 'it'} ran on."


def _baseline(panel: Panel) -> Iterator[str]:
    if panel.baseline is None:
        yield (
            "The baseline is not among these runs, so there are no differences to it and no break-even points. "
            f"There are {', '.join(series.label for series in panel.series)}; --baseline names another one."
        )
    elif panel.baseline not in panel.compared:
        yield f"The baseline {panel.baseline.label} {_no_curve(panel.baseline)}, so nothing is compared with it yet."
    for series in panel.series:
        if series not in panel.compared:
            yield f"{series.label} {_no_curve(series)}: it is {'drawn, but ' if series.budgets else ''}not compared."


def _no_curve(series: Series) -> str:
    return "has finished one cycle only" if series.budgets else "has no number for the metric in any cycle"


def _first_sets(panel: Panel) -> Iterator[str]:
    if len({settings.first_set(series.choice) for series in panel.series}) > 1:
        yield (
            "Not all strategies begin with the same initial set (active_learning.initial_strategy): a difference between two that don't is "
            "one of initial sets and queries together."
        )
    elif seeds := [seed for seed in sorted({seed for each in panel.series for seed in each.runs}) if not _one_start(panel, seed)]:
        yield (
            f"Not all strategies begin with the same cycle 0 for {_seeds_named(seeds)} (active_learning.initial_run, another initial set, "
            "or a training that came out otherwise): a difference between two that don't is one of cycle 0 and queries together."
        )


def _one_start(panel: Panel, seed: int) -> bool:
    """Whether all strategies begin with the same items and metric, and, where they begin with other runs, with the same metrics at all."""
    having = [series for series in panel.series if seed in series.runs]
    runs = [series.runs[seed] for series in having]
    began, starts = {settings.key_of(run.began) for run in runs}, {run.start for run in runs}
    first = [value for each in having if (value := each.curves[seed].get(each.runs[seed].rows[0].labeled)) is not None]
    return len({run.first for run in runs}) < 2 and (len(began) < 2 or len(starts) < 2) and (not first or max(first) - min(first) < _ALIKE)


def _other_labels(comparison: Comparison) -> Iterator[str]:
    """Names files of labels that were changed between two runs on the same images."""
    found: dict[tuple[object, str], set[str]] = {}
    for run in comparison.runs:
        for file, content in run.labels.items():
            found.setdefault((run.environment.get("data", {}).get("sha256"), file), set()).add(content)
    if changed := sorted(file for (_, file), contents in found.items() if len(contents) > 1):
        yield (
            f"{_count(len(changed), 'label')} of the pool {'was' if len(changed) == 1 else 'were'} changed between these runs: "
            f"{listed(changed, _NAMED)}. A difference between them is one of labels, too."
        )


def _seeds(panel: Panel) -> Iterator[str]:
    everyone = sorted({seed for series in panel.series for seed in series.runs})
    for series in panel.series:
        if missing := [seed for seed in everyone if seed not in series.runs]:
            yield f"{series.label} lacks {_seeds_named(missing)}, which others have; differences are over common seeds."
    alone = [series.label for series in panel.series if len(series.runs) == 1]
    if alone:
        yield f"One seed: {', '.join(alone)}. Such a line has no interval, and a difference with one common seed has no test."


def _budgets(panel: Panel) -> Iterator[str]:
    if not panel.budgets:
        return
    first, last = panel.budgets[0], panel.budgets[-1]
    reached = sorted({max(curve) for series in panel.compared for curve in series.curves.values() if curve})
    ends = f"Runs end at {reached[0]:,} to {reached[-1]:,} labeled items. " if len(reached) > 1 else ""
    without = sorted({labeled for series in panel.compared for labeled in series.budgets if first < labeled < last} - {*panel.budgets})
    cut = [text for series in panel.compared if (text := _seeds_cut_off(panel, series))]
    if ends or without or cut:
        yield (
            f"{ends}Numbers of whole curves are over {first:,} to {last:,}, which most seeds of all strategies have"
            + (f"; without {listed([f'{labeled:,}' for labeled in without], _NAMED)}, where some have no number" if without else "")
            + (f"; without {', '.join(cut)}, which lack some of these." if cut else ".")
        )
    if (ends or cut) and any(settings.value(run.settings, settings.TARGET) for series in panel.compared for run in series.runs.values()):
        yield (
            "Runs end where they reach a target (active_learning.target): of a larger number of labels there are the slower seeds only, so "
            "that curves and means over them are too low for strategies that are fast."
        )
    if first in panel.queried:
        yield f"Not all strategies have a number for cycle 0: means over the budgets after cycle 0 begin with {first:,} labeled items."


def _seeds_cut_off(panel: Panel, series: Series) -> str:
    short = sorted(set(series.curves) - set(series.over(panel.budgets)))
    return f"{_seeds_named(short)} of {series.label}" if short else ""


def _named(runs: Sequence[Run]) -> str:
    return listed([run.path for run in runs], _NAMED)


def _seeds_named(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")
