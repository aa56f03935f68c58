"""Every hyperparameter of a model as a flag: given, it holds for every trial; left out, it is the preset's, or searched."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from algorithms.schedules import Schedule, as_schedule
from workflows.cli.flags import UsageError

if TYPE_CHECKING:
    from algorithms.mnist import MNIST

OptionsT = TypeVar("OptionsT")


def flags_of(options_class: type, hint: str = "(default: the preset's, or searched)") -> type:
    """Return a frozen dataclass with the fields of `options_class`, each None where it is left out, to inherit flags from."""
    docs, types = _field_docs(options_class), get_type_hints(options_class)
    fields = [
        (
            field.name,
            Annotated[
                Any, _reader(types[field.name]), tyro.conf.arg(help=docs[field.name], help_behavior_hint=hint)
            ],
            dataclasses.field(default=None),
        )
        for field in dataclasses.fields(options_class)
    ]
    return dataclasses.make_dataclass(options_class.__name__ + "Flags", fields, frozen=True)


def _reader(value_type: Any) -> PrimitiveConstructorSpec[Any]:
    """Return how tyro reads a value that may be left out, and names it in `--help`; without this it would offer None as a value."""
    read, metavar = _readers(value_type)
    return PrimitiveConstructorSpec(
        1, metavar, read, is_instance=lambda value: True, str_from_instance=lambda value: [str(value)]
    )


def _readers(value_type: Any) -> tuple[Callable[[list[str]], Any], str]:
    """Return what makes a value of this type from the words of the command line, and how to name it."""
    allowed = get_args(value_type)
    if value_type is bool:
        allowed = ("true", "false")

    def read(words: list[str]) -> Any:
        (word,) = words
        if value_type == Schedule:
            return _schedule(word)
        if value_type == tuple[int, ...]:
            return _sizes(word)
        if allowed and word not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, got {word!r}")
        if value_type is bool:
            return word == "true"
        return word if allowed else value_type(word)

    if value_type == Schedule:
        return read, "FLOAT|STEPS:FLOAT,…"
    if value_type == tuple[int, ...]:
        return read, "INT,…"
    return read, "{" + ",".join(allowed) + "}" if allowed else value_type.__name__.upper()


def _sizes(word: str) -> tuple[int, ...]:
    """Read 64,64, or nothing at all."""
    try:
        return tuple(int(part) for part in word.split(",") if part)
    except ValueError:
        raise ValueError(f"must be whole numbers such as 64,64, got {word!r}") from None


def _schedule(word: str) -> Schedule:
    """Read 0.05, or 0:1.0,10000:0.05."""
    try:
        if ":" not in word:
            return float(word)
        points = [point.split(":") for point in word.split(",")]
        return as_schedule([(int(steps), float(value)) for steps, value in points])
    except ValueError:
        raise ValueError(
            f"must be a number, or steps from 0 on with their values such as 0:1.0,10000:0.05, got {word!r}"
        ) from None


def given(flags: Any, options_class: type) -> dict[str, Any]:
    """Return the hyperparameters that the flags name, with their values."""
    values = {field.name: getattr(flags, field.name) for field in dataclasses.fields(options_class)}
    return {name: value for name, value in values.items() if value is not None}


def over(preset: OptionsT, flags: Any) -> OptionsT:
    """Return the preset with the flags' hyperparameters. Raises UsageError for those out of range or that exclude each other."""
    try:
        return dataclasses.replace(preset, **given(flags, type(preset)))  # type: ignore[type-var]
    except ValueError as error:
        raise UsageError(as_flags(str(error), type(preset))) from None


def left_out(space: dict[str, Any], flags: Any, options_class: type) -> dict[str, Any]:
    """Return the search space without the hyperparameters that the flags name."""
    return {name: domain for name, domain in space.items() if name not in given(flags, options_class)}


def require_space(preset: Any, space: dict[str, Any], num_samples: int, data: MNIST) -> None:
    """Raise UsageError where some trial could not be: a combination of the space's choices, beside the flags, that the options refuse.

    Also where there are too few digits, and where nothing is left to search but several trials are asked for.
    """
    if not space and num_samples > 1:
        raise UsageError(
            f"--num-samples must be 1 where every hyperparameter that is searched is given, got {num_samples}"
        )
    choices = {name: domain.categories for name, domain in space.items() if hasattr(domain, "categories")}
    try:
        for values in [(), *itertools.product(*choices.values())]:
            options = dataclasses.replace(preset, **dict(zip(choices, values, strict=False)))
            options.num_train(len(data.train_images))
    except ValueError as error:
        raise UsageError(as_flags(str(error), type(preset))) from None


def as_flags(message: str, options_class: type) -> str:
    """Return the message of an options' error with each field's name as its flag: `latent_size must be …` as `--latent-size must be …`."""
    names = {field.name for field in dataclasses.fields(options_class)}
    return " ".join("--" + word.replace("_", "-") if word in names else word for word in message.split(" "))


def _field_docs(options_class: type) -> dict[str, str]:
    """Return the string below each field, which documents it; a field without one has its base class's."""
    docs: dict[str, str] = {}
    for cls in reversed(options_class.__mro__[:-1]):
        (body,) = (
            node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef)
        )
        for field, doc in itertools.pairwise(body):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
                docs[field.target.id] = inspect.cleandoc(str(doc.value.value))
    return docs
