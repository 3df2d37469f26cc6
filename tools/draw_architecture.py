"""Draws docs/architecture.svg, which shows one cycle and the files that it writes: `python -m tools.draw_architecture`.

The picture is narrow, so that it can be read on a phone. It has only words and lines, so that a diff shows each change.
"""

from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "architecture.svg"
# Each step: its name, what it does, and the files that it writes into the run directory.
STEPS = [
    ("train", "on the labeled items, as a fresh process would", "cycles/NNN/training.ckpt, between epochs"),
    ("keep", "the weights that evaluate and query", "cycles/NNN/last.ckpt"),
    ("evaluate", "on images that are never queried", ""),
    ("score", "the unlabeled pool, shared out among all processes", ""),
    ("choose", "what is worth labeling most; the seed breaks ties", "cycles/NNN/scores.csv"),
    ("label", "by the data set, or by a person", "queries.csv, queried.csv; or asked.csv"),
    ("finish", "one row says that all of this is there", "learning_curve.csv"),
]
WIDTH, LEFT, TOP, GAP = 480, 44, 16, 20


def drawn() -> str:
    """Returns the picture as SVG."""
    height = _top(len(STEPS)) - GAP + TOP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14" fill="#222">',
        "<title>One cycle, and the files that it writes</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#4051b5"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#fff"/>',
        *(_step(number, *step) for number, step in enumerate(STEPS)),
        _line(f"M{LEFT} {_top(len(STEPS) - 1) + 32} H18 V{_top(0) + 32} H{LEFT}"),
        f'<text transform="translate(34 {height // 2}) rotate(-90)" text-anchor="middle" font-size="13">the next cycle</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _step(number: int, name: str, what: str, file: str) -> str:
    top, middle = _top(number), WIDTH // 2
    lines = [
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - 16}" height="{_box(file)}" rx="6" fill="#eef1fb" stroke="#4051b5"/>',
        f'<text x="{LEFT + 14}" y="{top + 27}"><tspan font-weight="bold">{name}</tspan> {what}</text>',
        f'<text x="{LEFT + 14}" y="{top + 49}" font-family="monospace" font-size="13" fill="#4051b5">{file}</text>' if file else "",
        _line(f"M{middle} {top + _box(file)} v{GAP}") if number + 1 < len(STEPS) else "",
    ]
    return "\n".join(filter(None, lines))


def _top(number: int) -> int:
    return TOP + sum(_box(file) + GAP for _, _, file in STEPS[:number])


def _box(file: str) -> int:
    return 64 if file else 42


def _line(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#4051b5" stroke-width="1.5" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    PICTURE.write_text(drawn())
