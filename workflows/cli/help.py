"""`--help` of a workflow: flags in groups, each with its default and, where it is searched, its range."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import itertools
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

INDENT = 36
"""Column of the explanations."""
NARROWEST, WIDEST = 60, 120


def print_help(flags_class: type) -> None:
    """Print the help of a flags dataclass, as wide as the terminal up to WIDEST."""
    width = max(NARROWEST, min(shutil.get_terminal_size().columns, WIDEST))
    print(f"usage: {Path(sys.argv[0]).name} [FLAGS]\n")
    paragraphs = inspect.cleandoc(flags_class.__doc__ or "").split("\n\n")
    print("\n\n".join(textwrap.fill(paragraph, width) for paragraph in paragraphs))
    for group, fields in _groups(flags_class).items():
        print(f"\n{group}:")
        for name, explanation in fields:
            for line in _aligned(name, explanation, width):
                print(line)


def _aligned(name: str, explanation: str, width: int) -> Iterator[str]:
    """Yield the lines of a flag: its name on the left, or above if it is long, and its explanation."""
    lines = textwrap.wrap(explanation, width - INDENT, break_on_hyphens=False) or [""]
    if len(name) + 4 > INDENT:
        # A long list of choices may break after a comma.
        spaced = name.replace(",", ", ") if len(name) + 2 > width else name
        yield from textwrap.wrap(spaced, width, initial_indent="  ", subsequent_indent=" " * 6)
    else:
        yield f"  {name}".ljust(INDENT) + lines.pop(0)
    for line in lines:
        yield " " * INDENT + line


def _groups(flags_class: type) -> dict[str, list[tuple[str, str]]]:
    """Return the shown flags by group: each as it is typed, and its explanation."""
    docs, types = field_docs(flags_class), get_type_hints(flags_class)
    groups: dict[str, list[tuple[str, str]]] = {"run": [("-h, --help", "Show this help and exit.")]}
    for field in dataclasses.fields(flags_class):
        group = _group(flags_class, field.name)
        metavar = field.metadata.get("metavar") or _metavar(types[field.name])
        if field.metadata.get("hidden", get_origin(types[field.name]) is Literal and "," not in metavar):
            continue
        words = [field.metadata.get("help") or docs[field.name]]
        default = _default(field.metadata.get("default", field.default))
        is_said = "(default" in words[0] or not metavar
        parts = [f"default: {default}"] if default and not is_said else []
        if field.metadata.get("domain") is not None:
            parts.append(f"searched: {in_words(field.metadata['domain'])}")
        words += [f"({'; '.join(parts)})"] if parts else []
        groups.setdefault(group, []).append((f"{as_flag(field.name)} {metavar}".strip(), " ".join(words)))
    order = sorted(groups, key=lambda group: (group.startswith("model"), group == "resources"))
    return {group: groups[group] for group in order}


def _group(flags_class: Any, name: str) -> str:
    """Return the group of a field: that of the class that declares it, or resources."""
    (owner, *_) = (base for base in reversed(flags_class.__mro__) if name in inspect.get_annotations(base))
    if name in getattr(owner, "RESOURCES", ()):
        return "resources"
    # A workflow's own flags belong to the group of its last base: search or training.
    return str(vars(owner).get("GROUP") or owner.__bases__[-1].GROUP)


def _metavar(value_type: Any) -> str:
    """Return how a value of this type is written in `--help`; a switch takes none."""
    if get_origin(value_type) is Literal:
        return "{" + ",".join(get_args(value_type)) + "}"
    (first, *_) = get_args(value_type) or (value_type,)
    return "" if first is bool else first.__name__.upper()


def _default(value: Any) -> str:
    """Return a default as it is typed; "" for one that says nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list) and value and isinstance(value[0], tuple | list):
        return ",".join(f"{steps}:{number:g}" for steps, number in value)
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def in_words(domain: Any) -> str:
    """Return a domain of a search space in words: a list of choices, or a range."""
    values = choices(domain)
    if values is not None:
        return ", ".join(map(str, values))
    if not isinstance(domain, tuple):
        return str(domain)
    kind, low, high, *_ = domain
    return f"{low:g} to {high:g}" + (" on a log scale" if "log" in kind else "")


def as_flag(name: str) -> str:
    """Return a field's name as it is typed: `--latent-size` for `latent_size`."""
    return "--" + name.replace("_", "-")


def choices(domain: Any) -> list[Any] | None:
    """Return the values of a categorical domain, and None for another."""
    if isinstance(domain, tuple):
        return list(domain[1]) if domain[0] == "choice" else None
    return getattr(domain, "categories", None)


def field_docs(cls: type) -> dict[str, str]:
    """Return the string below each field of a dataclass and of its bases; Python keeps none of them."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        with contextlib.suppress(OSError, TypeError):  # a class without source, as `flags_of` makes
            docs |= _own_docs(ast.parse(inspect.getsource(base)).body[0])
    return docs


def _own_docs(definition: ast.AST) -> dict[str, str]:
    docs = {}
    for field, doc in itertools.pairwise(getattr(definition, "body", [])):
        is_field = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if is_field and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            docs[field.target.id] = inspect.cleandoc(str(doc.value.value))
    return docs
