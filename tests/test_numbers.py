import pytest
from jsonargparse import ArgumentParser

from al_lightning.errors import UserError
from al_lightning.numbers import DropRate, IntFrom2, PositiveInt, checked


class Network:
    @checked
    def __init__(self, rate: DropRate = 0.5, sizes: tuple[PositiveInt, ...] = (1, 2), passes: "IntFrom2 | None" = None, name: str = ""):
        self.given = rate, sizes, passes, name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rate": 1.5}, "rate of Network to be a number >=0.0 and <1.0, got 1.5"),
        ({"rate": float("nan")}, "got nan"),
        ({"sizes": (3, 0)}, "sizes of Network to be a number >0, got 0"),
        ({"passes": 1}, "passes of Network to be a number >=2, got 1"),
        ({"passes": 2.5}, "got 2.5"),
        ({"passes": True}, "got True"),
    ],
)
def test_a_range_is_refused_in_python_and_by_a_parser(arguments, said):
    with pytest.raises(UserError, match=said):
        Network(**arguments)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Network, "network")
    with pytest.raises(Exception, match=r"does not conform|not a number|not an integer"):
        parser.parse_object({"network": arguments})


def test_numbers_in_range_arrive_as_plain_ones_and_help_says_the_range():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Network, "network")
    parsed = parser.instantiate(parser.parse_args(["--network.rate=0.25", "--network.sizes=[4, 5]", "--network.passes=3"])).network
    for network in (parsed, Network(0.25, (4, 5), 3)):
        assert network.given == (0.25, (4, 5), 3, "")
        assert [type(value) for value in (network.given[0], *network.given[1], network.given[2])] == [float, int, int, int]
    assert "DropRate (0 <= v < 1)" in parser.format_help()
