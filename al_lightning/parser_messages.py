"""What jsonargparse says about a wrong setting, in one line: which key, what was expected, what came."""

import difflib
import re
from collections.abc import Iterable

_KEY = re.compile(r'Parser key "([^"]+)"')
_CAME = re.compile(
    r"(?:Given value|Got value|path string): (.*)|(\S+) does not conform to|(?:with base 10|string to float): '(.*)'$", re.MULTILINE
)
# Lines without information that other lines lack.
_NOISE = re.compile(
    r"$|Parser key |Does not validate |Subtypes: |Errors:|Given value|Subclass types expect|a class path |a dict with|Unable to load "
    r"config |Expected a path but .* not accessible|Expected a <class 'NoneType'>"
)
# jsonargparse's words for a type, and ours; others are kept as they are.
_TYPES = {
    r"Expected an? <class '(?:[\w.]+\.)?(\w+)'>.*": r"\1",
    r"Expected an? typing\.Literal\[(.*?)\].*": r"one of \1",
    r"Expected a dot import path string.*|Not a valid subclass of .*": "the name or the import path of a class",
    r".*does not conform to restriction (.*)": r"a number \1",
    r"Not of type (.+?): .*": r"\1",
}
_NUMBERS = {
    "PositiveInt": "a whole number above 0",
    "NonNegativeInt": "a whole number from 0 on",
    "IntFrom2": "a whole number from 2 on",
    "Unlimited": "a whole number from -1 on",
    "PositiveFloat": "a number above 0",
    "NonNegativeFloat": "a number from 0 on",
}
_ONLY_WHERE = re.compile(r"Problem with given class_path '[\w.]+':")
_UNKNOWN = re.compile(r"(?:unrecognized arguments: --|ption '|does not accept option ')([\w.+]+)")


def shortened(message: str) -> str:
    """A message of jsonargparse without the types that it tried, and without the value if that is a structure.

    Example:
        >>> shortened('Parser key "trainer.devices":\\n  Expected a <class \\'int\\'>. Got value: many')
        'Expected trainer.devices to be int, got many.'
    """
    lines = [re.sub(r"^\s*(- )?|\. Got value: .*$", "", line) for line in message.splitlines()]
    leaves = list(dict.fromkeys(line for line in lines if not _NOISE.match(line)))
    types = {leaf: name for leaf in leaves if (name := _type(leaf)) is not None}
    keys, came = _KEY.findall(message), ["".join(found) for found in _CAME.findall(message)]
    said = " ".join(leaf for leaf in leaves if leaf not in types)
    if said and not (types and _ONLY_WHERE.fullmatch(said)):
        return f"{keys[-1]}: {said}" if keys else said
    if not types:
        return " ".join(message.split())
    plain = [each for each in came if not each.startswith(("{", "Namespace("))]
    got = f", got {(plain or came)[-1]}" if came else ""
    return f"Expected {keys[-1] if keys else 'a setting'} to be {' or '.join(dict.fromkeys(types.values()))}{got}."


def _type(leaf: str) -> str | None:
    for pattern, name in _TYPES.items():
        if found := re.fullmatch(pattern, leaf):
            words = re.sub(r"\bv(?=[<>=!])", "", found.expand(name))
            return _NUMBERS.get(words, words)
    return None


def with_nearest(message: str, known: Iterable[str]) -> str:
    """The message; if it is about an unknown key, with the nearest known one.

    Args:
        message: of the parser.
        known: the keys that the parser takes.

    Example:
        >>> with_nearest("Option 'widht' is not accepted", ["width", "dropout"])
        "Option 'widht' is not accepted. Is it width?"
    """
    unknown = _UNKNOWN.search(message)
    near = difflib.get_close_matches(unknown[1], known, n=1) if unknown else []
    return f"{message}. Is it {near[0]}?" if near else message
