"""Checks: the rules in words, the error's class and spelling, and what is kept."""

import dataclasses
import re
from typing import Any

import pytest

from algorithms.checks import Checks


@dataclasses.dataclass(frozen=True)
class Fields:
    num_steps: Any = 3
    share: Any = 0.5


class Refused(Exception):
    pass


@pytest.mark.parametrize(
    ("bounds", "rule"),
    [
        ({"least": 4}, "a whole number of at least 4"),
        ({"most": 2}, "a whole number of at most 2"),
        ({"above": 3}, "a whole number above 3"),
        ({"least": 5, "most": 9}, "a whole number from 5 to 9"),
        ({"least": 1, "below": 3}, "a whole number of at least 1 and below 3"),
    ],
)
def test_a_whole_numbers_rule_in_words(bounds: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^num_steps must be {rule}, got 3$"):
        Checks(Fields()).whole("num_steps", **bounds)


@pytest.mark.parametrize(
    ("bounds", "rule"),
    [
        ({}, "a finite number"),
        ({"above": 0}, "a positive number"),
        ({"above": 0, "infinite": True}, "a positive number, or inf"),
        ({"least": 0}, "at least 0 and finite"),
        ({"least": 0, "below": 1}, "at least 0 and below 1"),
        ({"least": 0, "most": 1}, "from 0 to 1"),
    ],
)
def test_a_numbers_rule_in_words(bounds: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^share must be {rule}, got nan$"):
        Checks(Fields(share=float("nan"))).number("share", **bounds)


def test_inf_is_refused_unless_the_rule_allows_it() -> None:
    fields = Fields(share=float("inf"))
    Checks(fields).number("share", above=0, infinite=True)
    with pytest.raises(ValueError, match=r"^share must be at least 0 and finite, got inf$"):
        Checks(fields).number("share", least=0)


def test_flags_are_checked_with_their_own_error_and_spelling() -> None:
    checks = Checks(Fields(), Refused, lambda name: "--" + name.replace("_", "-"))
    with pytest.raises(Refused, match=re.escape("--num-steps must be one of 1, 2, got 3")):
        checks.whole("num_steps", least=1).one_of("num_steps", (1, 2))
    with pytest.raises(Refused, match=re.escape("--share must be a number or (env_steps, value) pairs")):
        Checks(Fields(share="much"), Refused, lambda name: "--" + name).schedule("share")


def test_lists_are_kept_as_tuples_in_a_frozen_dataclass() -> None:
    fields = Fields(num_steps=[4, 2], share=[[0, 1], [5, 0]])
    Checks(fields).sizes("num_steps").schedule("share", least=0, most=1)
    assert fields == Fields(num_steps=(4, 2), share=((0, 1.0), (5, 0.0)))
