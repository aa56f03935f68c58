"""Checks that options classes share; each raises ValueError, naming the field, the rule and the value."""

from collections.abc import Callable
from typing import Any

from algorithms.schedules import as_schedule, values


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Raise ValueError unless the condition holds."""
    if not condition:
        raise ValueError(f"{name} {rule}, got {value!r}")


def require_number(options: Any, name: str, rule: str, holds: Callable[[float], bool]) -> None:
    """Check that the field is a number that holds."""
    value = getattr(options, name)
    require(isinstance(value, int | float) and not isinstance(value, bool) and holds(value), name, rule, value)


def require_switch(options: Any, *names: str) -> None:
    """Check that these fields are True or False."""
    for name in names:
        require(isinstance(getattr(options, name), bool), name, "must be True or False", getattr(options, name))


def require_whole(options: Any, *names: str, least: int = 1) -> None:
    """Check that these fields are whole numbers of at least `least`."""
    for name in names:
        value = getattr(options, name)
        require(type(value) is int and value >= least, name, f"must be a whole number of at least {least}", value)


def require_schedule(options: Any, name: str, rule: str, holds: Callable[[float], bool]) -> None:
    """Check that the field of a frozen dataclass is a schedule whose every value holds, and keep it in its canonical form."""
    given = getattr(options, name)
    try:
        checked = as_schedule(given)
    except ValueError as error:
        raise ValueError(f"{name} {error}, got {given!r}") from None
    require(all(map(holds, values(checked))), name, rule, given)
    object.__setattr__(options, name, checked)


def require_sizes(options: Any, name: str) -> None:
    """Check that the field of a frozen dataclass is a list of layers' sizes, and keep it as a tuple."""
    sizes = getattr(options, name)
    require(isinstance(sizes, list | tuple), name, "must be a list of sizes", sizes)
    sizes = tuple(sizes)
    object.__setattr__(options, name, sizes)
    require(all(type(size) is int and size >= 1 for size in sizes), name, "must be whole numbers of at least 1", sizes)
