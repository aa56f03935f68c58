"""Moving code changes no number: a few updates of every algorithm give what same_numbers.json says, to the
last bit.

The record holds for one kind of processor and one set of versions. Elsewhere these tests skip and name both.
Where a change is meant to change numbers, `python tests/numbers_record.py` writes the record anew.
"""

import json
from collections.abc import Callable
from typing import Any

import numbers_record as numbers
import pytest

from algorithms import mnist

RECORD = json.loads(numbers.RECORD.read_text())
same_machine = pytest.mark.skipif(
    numbers.processor() != RECORD["processor"],
    reason=f"the record is of {RECORD['processor']}; this is {numbers.processor()}",
)


def differences(found: dict[str, Any]) -> list[str]:
    """Return where the found numbers are not the recorded ones."""
    wanted = {name: RECORD[name] for name in found}
    flat_found, flat_wanted = numbers.flat(found), numbers.flat(wanted)
    names = sorted(flat_found.keys() | flat_wanted.keys())
    pairs = [(name, flat_found.get(name), flat_wanted.get(name)) for name in names]
    return [f"{name}: {one!r}, recorded {other!r}" for name, one, other in pairs if repr(one) != repr(other)]


@same_machine
def test_the_generative_models_have_the_recorded_numbers(digits: mnist.MNIST, one_thread: None) -> None:
    assert differences(json.loads(json.dumps(numbers.of_generative(digits)))) == []


@same_machine
def test_the_rl_algorithms_have_the_recorded_numbers(built: Callable[[Any], Any]) -> None:
    assert differences(json.loads(json.dumps(numbers.of_rl(built)))) == []
