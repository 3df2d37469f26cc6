"""Stress tests with random faults: processes killed at any instant, several starts at once, damaged files. ``make stress`` runs them.

    python -m tools.stress [KILLS RACES FILES [SEED]]

Their number is limited. The exit status is 1 if anything was wrong.
"""

import sys

from tools.stress.killed import kill_and_race
from tools.stress.mutated_data import mutate_data
from tools.stress.mutated_runs import mutate_run_files
from tools.stress.mutated_weights import mutate_weights


def main() -> None:
    """Runs the command line of the module."""
    given = [int(text) for text in sys.argv[1:]]
    kills, races, files, seed = (*given, *(100, 20, 5000, 0)[len(given) :])
    wrong = kill_and_race(kills, races, seed)
    data, weights = mutate_data(files * 2 // 5, seed), mutate_weights(files * 2 // 5, seed)
    runs = mutate_run_files(files // 5, seed)
    for line in [*data.wrong, *weights.wrong]:
        print(line)
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in data.outcomes.items())
    print(f"{files * 2 // 5:,} damaged images and IDX files: {counts}, {len(data.wrong)} wrong\n{weights}\n{runs}")
    sys.exit(1 if wrong or data.wrong or weights.wrong or "0 FAULTS" not in runs else 0)


if __name__ == "__main__":
    main()
