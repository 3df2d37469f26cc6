import pytest

from al_lightning.parser_messages import shortened

UNION = """Parser key "{key}":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
{errors}
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: {value}"""


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ('Parser key "width":\n  Expected a <class \'int\'>. Got value: wide', "Expected width to be int, got wide."),
        (UNION.format(key="a.b", errors="    - Expected a <class 'int'>", value="ten"), "Expected a.b to be int, got ten."),
        (UNION.format(key="a", errors="    - does not conform to restriction v>0", value="0"), "Expected a to be a number >0, got 0."),
        (
            UNION.format(
                key="a", errors="    - Problem with given class_path 'b.C':\n        it is\n        not there", value="Namespace(x=1)"
            ),
            "a: Problem with given class_path 'b.C': it is not there",
        ),
        (
            "Parser key \"a\":\n  Problem with given class_path 'b.C':\n    Parser key \"k\":\n      "
            "Not of type IntFrom2: 1 does not conform to restriction v>=2",
            "Expected k to be a number >=2, got 1.",
        ),
        ('Parser key "a":\n  Expected a typing.Literal[\'x\', \'y\']. Got value: z', "Expected a to be one of 'x', 'y', got z."),
        ('Parser key "a":\n\n  - Expected a path but C either not accessible or invalid\n  - Expected a dot import path string: C',
         "Expected a to be the name or the import path of a class, got C."),
        ('Parser key "t":\nUnable to load config \'{a: b}\'\n  - Parser key "t.a":\n    Expected a <class \'int\'>. Got value: b',
         "Expected t.a to be int, got b."),
        ("the following arguments are required: monitor", "the following arguments are required: monitor"),
    ],
)  # fmt: skip
def test_one_line_of_many(message, line):
    assert shortened(message) == line
