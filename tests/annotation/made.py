"""Items to label for the tests of formats."""

from pathlib import Path

import numpy as np

from al_lightning.annotation.items import Classes, Item

CLASSES = Classes(["ground", "cell & <co>", "edge"], [(1, 2, 3), (255, 0, 16), (9, 9, 200)], dense=True, rest=0)
WHOLE = Classes(["ant", "bee"], [(1, 2, 3), (4, 5, 6)], dense=False)


def items(count=3, folder=Path("run/to_label")):
    """Of sizes that are unequal, in a package's folder."""
    for number in range(count):
        size = (9 + number, 14 + 2 * number)
        predicted = np.random.default_rng(number).choice(3, size).astype(np.uint8)
        yield Item(f"s{number}", folder / f"s{number}.jpg", size, 0.5 - number, predicted)
