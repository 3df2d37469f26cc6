"""Text as bytes, and as a person can read it.

As bytes: every file is in UTF-8; names of files, which may be any bytes, are in it as those bytes (in Python they have surrogate escapes,
PEP 383). For people: names of runs, files, classes and strategies, whatever characters they have.
"""

import io
import re
import sys
import unicodedata
from collections.abc import Sequence

_CODES = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def encoded(text: str) -> bytes:
    """Text as UTF-8; a file's name that is no UTF-8 becomes its bytes."""
    return text.encode("utf-8", "surrogateescape")


def decoded(content: bytes) -> str:
    """The opposite of :func:`encoded`."""
    return content.decode("utf-8", "surrogateescape")


def is_unicode(name: str) -> bool:
    """Whether a file's name is UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def print_any_name() -> None:
    """Makes standard output print a character that its encoding lacks as a code, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    r"""A text in which control characters, and bytes that are no UTF-8, are replaced by their codes.

    Example:
        >>> printable("a\nb \udcff")
        'a\\nb \\xff'
    """
    return _CODES.sub(lambda found: _code(found.group()), text)


def listed(names: Sequence[object], most: int = 5) -> str:
    """The first names, and how many more there are.

    Example:
        >>> listed("abc", 2), listed([1, 2], 2)
        ('a, b and 1 more', '1, 2')
    """
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def shortened(text: str, longest: int) -> str:
    """A text of at most so many characters: a longer one loses its middle.

    Example:
        >>> shortened("0123456789", 5), shortened("0123456789", 4)
        ('01…89', '0…9')
    """
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def shortened_apart(texts: Sequence[str], longest: int) -> list[str]:
    """Texts of at most so many characters, see :func:`shortened`; of as many more as it takes for different ones to look different.

    Example:
        >>> shortened_apart(["f(alpha=1)", "f(alpha=2)", "g"], 6), shortened_apart(["f(1, 2, 3)", "f(1, 4, 3)"], 6)
        (['f(a…1)', 'f(a…2)', 'g'], ['f(1, 2, 3)', 'f(1, 4, 3)'])
    """
    while len({*(short := [shortened(text, longest) for text in texts])}) < len({*texts}):
        longest += 2
    return short


def _code(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode() if unicodedata.category(character) != "Cs" else f"\\u{ord(character):04x}"
