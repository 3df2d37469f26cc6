"""Text as bytes: UTF-8 in every file, and names of files, which may be any bytes, as Python has them (surrogate escapes, PEP 383)."""

import io
import sys


def encoded(text: str) -> bytes:
    """Text as UTF-8; a file's name that is no UTF-8 as its bytes."""
    return text.encode("utf-8", "surrogateescape")


def decoded(content: bytes) -> str:
    """The opposite of :func:`encoded`."""
    return content.decode("utf-8", "surrogateescape")


def is_unicode(name: str) -> bool:
    """Whether a file's name is UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def print_any_name() -> None:
    """Lets standard output have what its encoding lacks, as standard error does: by its code."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
