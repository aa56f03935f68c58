"""Every hyperparameter as a flag. A given flag fixes the value; else it is the preset's, or searched."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from tyro.constructors import PrimitiveConstructorSpec

from algorithms.schedules import Schedule, as_schedule
from workflows.cli.flags import UsageError
from workflows.cli.help import as_flag, choices, field_docs

OptionsT = TypeVar("OptionsT")
Space = dict[str, Any]
"""A search space: name of an option -> ("loguniform", 1e-4, 1e-2), ("choice", [16, 32]) and the like.

A tuple names a function of `ray.tune` and its arguments. A domain of Tune's own serves, too."""


def flags_of(preset: Any, space: Space | None = None, group: str = "model") -> type:
    """Return a frozen dataclass to inherit flags from: the preset's fields, each None by default.

    `--help` lists them under `group`, with the preset's values and the searched ranges.
    """
    options_class = type(preset)
    docs, types = field_docs(options_class), get_type_hints(options_class)
    fields: list[Any] = [("GROUP", ClassVar[str], group)]
    for field in dataclasses.fields(options_class):
        read, metavar = _reader(types[field.name])
        # tyro would offer None as a value without a reader of ours.
        reader = PrimitiveConstructorSpec(1, metavar, read, is_instance=_any, str_from_instance=_shown)
        values = get_args(types[field.name]) if get_origin(types[field.name]) is Literal else ()
        extra = {
            "help": docs[field.name],
            "metavar": metavar,
            "hidden": len(values) == 1,
            "default": getattr(preset, field.name),
            "domain": (space or {}).get(field.name),
        }
        default = dataclasses.field(default=None, metadata=extra)
        fields.append((field.name, Annotated[Any, reader], default))
    return dataclasses.make_dataclass(options_class.__name__ + "Flags", fields, frozen=True)


def _any(value: Any) -> bool:
    return True


def _shown(value: Any) -> list[str]:
    return [str(value)]


def _reader(value_type: Any) -> tuple[Callable[[list[str]], Any], str]:
    """Return the function that reads a value of this type, and the value's name in `--help`."""
    if value_type == Schedule:
        return _schedule, "FLOAT|STEPS:FLOAT,…"
    if value_type == tuple[int, ...]:
        return _sizes, "INT,…"
    allowed = ("true", "false") if value_type is bool else get_args(value_type)
    if not allowed:
        return lambda words: value_type(words[0]), value_type.__name__.upper()

    def read(words: list[str]) -> Any:
        if words[0] not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, got {words[0]!r}")
        return words[0] == "true" if value_type is bool else words[0]

    return read, "{" + ",".join(allowed) + "}"


def _sizes(words: list[str]) -> tuple[int, ...]:
    """Read 64,64, or an empty list."""
    try:
        return tuple(int(part) for part in words[0].split(",") if part)
    except ValueError:
        raise ValueError(f"must be whole numbers such as 64,64, got {words[0]!r}") from None


def _schedule(words: list[str]) -> Schedule:
    """Read 0.05, or 0:1.0,10000:0.05."""
    rule = "must be a number, or steps from 0 on with their values such as 0:1.0,10000:0.05"
    try:
        if ":" not in words[0]:
            return float(words[0])
        points = [point.split(":") for point in words[0].split(",")]
        return as_schedule([(int(steps), float(value)) for steps, value in points])
    except ValueError:
        raise ValueError(f"{rule}, got {words[0]!r}") from None


def given(flags: Any, options_class: type) -> dict[str, Any]:
    """Return the hyperparameters that the flags give, with their values."""
    values = {field.name: getattr(flags, field.name) for field in dataclasses.fields(options_class)}
    return {name: value for name, value in values.items() if value is not None}


def apply_flags(preset: OptionsT, flags: Any) -> OptionsT:
    """Return the preset with the given hyperparameters. Raises UsageError if the options refuse them."""
    try:
        return dataclasses.replace(preset, **given(flags, type(preset)))  # type: ignore[type-var]
    except ValueError as error:
        raise UsageError(as_flags(str(error), type(preset))) from None


def not_given(space: Space, flags: Any, options_class: type) -> Space:
    """Return the search space without the hyperparameters that the flags give."""
    return {name: domain for name, domain in space.items() if name not in given(flags, options_class)}


def require_space(options: Any, space: Space, num_trials: int, num_items: int) -> None:
    """Raise UsageError if the options refuse a combination of choices, or training on `num_items` items.

    Also if several trials are asked for and nothing is left to search.
    """
    if not space and num_trials > 1:
        rule = "must be 1 when every searched hyperparameter is given"
        raise UsageError(f"--num-samples {rule}, got {num_trials}")
    searched = {name: values for name, domain in space.items() if (values := choices(domain)) is not None}
    try:
        options.num_train(num_items)
        for drawn in itertools.product(*searched.values()):
            trial = dataclasses.replace(options, **dict(zip(searched, drawn, strict=True)))
            trial.num_train(num_items)
    except ValueError as error:
        raise UsageError(as_flags(str(error), type(options))) from None


def as_flags(message: str, options_class: type) -> str:
    """Return an options' error with flags for field names: `--latent-size` for `latent_size`."""
    names = {field.name for field in dataclasses.fields(options_class)}
    return " ".join(as_flag(word) if word in names else word for word in message.split(" "))
