"""How strategies and aggregations are written in tables: as a call of their constructor."""

import inspect


def described(thing: object) -> str:
    """``Class(argument=value, ...)`` with the arguments that differ from their defaults; each is read from the attribute of that name.

    Example:
        >>> from al_lightning.acquisition import CountAbove, Odin
        >>> described(Odin(temperature=0.1, aggregation=CountAbove(0.5)))
        'Odin(temperature=0.1, aggregation=CountAbove(threshold=0.5))'
    """
    arguments = []
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        value = getattr(thing, name, parameter.default)
        if value != parameter.default:
            arguments.append(f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}")
    return f"{type(thing).__name__}({', '.join(arguments)})" if arguments else type(thing).__name__
