"""One API for checking options and flags: a rule that fails names the field, the rule and the value."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Self, TypedDict, Unpack

from algorithms.schedules import as_schedule, values


class Bounds(TypedDict, total=False):
    """The bounds of a range: `least` and `most` belong to it, `above` and `below` do not."""

    least: float
    above: float
    most: float
    below: float


LIMITS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


class Checks:
    """Rules for the fields of a frozen dataclass, one after the other.

        Checks(self).whole("depth", least=1).number("lr", above=0).one_of("prior", PRIORS)

    A broken rule raises `error`. `spelling` turns a field's name into the user's word for it, such as a flag.
    """

    def __init__(
        self, fields: Any, error: type[Exception] = ValueError, spelling: Callable[[str], str] = str
    ) -> None:
        self._fields, self._error, self._spelling = fields, error, spelling

    def that(self, condition: bool, name: str, rule: str) -> Self:
        """Check any condition about a field; `rule` says what the value must be."""
        if not condition:
            value = getattr(self._fields, name)
            raise self._error(f"{self._spelling(name)} must be {rule}, got {value!r}")
        return self

    def whole(self, *names: str, **bounds: Unpack[Bounds]) -> Self:
        """Check that fields are whole numbers within bounds."""
        words = _in_words(bounds)
        rule = f"a whole number {'of ' * words.startswith('at ')}{words}".strip()
        for name in names:
            value = getattr(self._fields, name)
            self.that(type(value) is int and _within(value, **bounds), name, rule)
        return self

    def number(self, *names: str, infinite: bool = False, **bounds: Unpack[Bounds]) -> Self:
        """Check that fields are numbers within bounds, and finite unless `infinite` allows otherwise."""
        rule = "a positive number" if bounds == {"above": 0} else _in_words(bounds) or "a finite number"
        if infinite:
            rule += ", or inf"
        elif bounds and bounds != {"above": 0} and not {"most", "below"} & bounds.keys():
            rule += " and finite"
        for name in names:
            value = getattr(self._fields, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            holds = is_number and (infinite or math.isfinite(value)) and _within(value, **bounds)
            self.that(holds, name, rule)
        return self

    def switch(self, *names: str) -> Self:
        """Check that fields are True or False."""
        for name in names:
            self.that(isinstance(getattr(self._fields, name), bool), name, "True or False")
        return self

    def one_of(self, name: str, allowed: Sequence[Any]) -> Self:
        """Check that a field is one of the allowed values."""
        rule = f"one of {', '.join(map(str, allowed))}"
        return self.that(getattr(self._fields, name) in allowed, name, rule)

    def sizes(self, name: str) -> Self:
        """Check that a field is a list of layer sizes, and keep it as a tuple."""
        sizes = getattr(self._fields, name)
        self.that(isinstance(sizes, list | tuple), name, "a list of layer sizes")
        self.that(all(type(size) is int and size >= 1 for size in sizes), name, "whole numbers of at least 1")
        object.__setattr__(self._fields, name, tuple(sizes))
        return self

    def schedule(self, name: str, **bounds: Unpack[Bounds]) -> Self:
        """Check that a field is a schedule with all values within bounds; keep it in canonical form."""
        given = getattr(self._fields, name)
        try:
            checked = as_schedule(given)
        except ValueError as error:
            raise self._error(f"{self._spelling(name)} {error}, got {given!r}") from None
        holds = all(_within(value, **bounds) for value in values(checked))
        self.that(holds, name, _in_words(bounds))
        object.__setattr__(self._fields, name, checked)
        return self


def _within(value: float, **bounds: Unpack[Bounds]) -> bool:
    """Return whether the value is within the bounds; NaN is not within any."""
    given: dict[str, Any] = {**bounds}
    return all(LIMITS[name][1](value, bound) for name, bound in given.items())


def _in_words(bounds: Bounds) -> str:
    """Return the bounds as the end of a sentence."""
    if set(bounds) == {"least", "most"}:
        return f"from {bounds['least']:g} to {bounds['most']:g}"
    return " and ".join(f"{LIMITS[name][0]} {bound:g}" for name, bound in bounds.items())
