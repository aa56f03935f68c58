"""Flags of the workflows, as frozen dataclasses. A wrong flag is one line on stderr and exit code 2."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import tyro

from algorithms.checks import Checks
from workflows.cli.help import as_flag, print_help

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""
MAY_DIFFER = ("resume", "address", "data_dir")
"""Flags that may change when a run is resumed: they say where it runs, not what it is."""


class UsageError(Exception):
    """A mistake of the user's; its text is one line that names the value and what is allowed."""


def checks(flags: Any) -> Checks:
    """Return the checks of a flags dataclass: they raise UsageError and name flags."""
    return Checks(flags, UsageError, as_flag)


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """Flags of every workflow that makes a run."""

    GROUP: ClassVar[str] = "run"
    RESOURCES: ClassVar[tuple[str, ...]] = ("address",)
    """Fields that `--help` lists under resources; it lists the others under GROUP."""

    name: str = ""
    """Folder of the run below --storage-path (default: the workflow's name and the time)."""
    storage_path: str = "~/ray_results"
    """Folder that holds the runs; on a cluster, every machine must see it."""
    seed: int = 0
    """Seed of all random numbers."""
    resume: str = ""
    """RUN_DIR of an earlier run to continue, under the flags it was started with."""
    smoke: bool = False
    """Make a very short run, to see that the whole path works."""
    address: str = ""
    """Ray cluster (default: the one that `ray start` or `ray up` left here, else a new local one)."""

    def __post_init__(self) -> None:
        name, folder_rule = self.name, "a folder's name without slashes, blanks at its ends or over 200 bytes"
        is_folder_name = "/" not in name and name not in (".", "..") and name == name.strip()
        check = checks(self)
        check.that(0 <= self.seed < 2**32, "seed", "at least 0 and below 2**32")
        check.that(is_folder_name and len(os.fsencode(name)) <= 200, "name", folder_rule)
        check.that(
            "://" not in self.storage_path, "storage_path", "a folder, not a bucket (copy it there later)"
        )


FlagsT = TypeVar("FlagsT", bound=RunFlags)
DataclassT = TypeVar("DataclassT")


def require(condition: bool, flag: str, value: object, rule: str) -> None:
    """Raise UsageError unless `condition` holds."""
    if not condition:
        raise UsageError(f"{flag} {rule}, got {value!r}")


def absolute(path: str) -> Path:
    """Return the path that the user means, with ~ and relative parts resolved."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def may_write(path: Path) -> bool:
    """Return whether a file can be written there: its folder exists, and it is no folder itself."""
    is_open = os.path.isdir(path.parent) and os.access(path.parent, os.W_OK | os.X_OK)
    return is_open and not os.path.isdir(path)


def parse(
    flags_class: type[FlagsT],
    argv: Sequence[str],
    *,
    smoke: dict[str, Any],
    saved: Callable[[str], dict[str, Any]],
) -> FlagsT:
    """Turn `argv` into flags. Raises UsageError if a flag is wrong.

    `smoke` replaces defaults under `--smoke`. `saved(run_dir)` returns the flags of the run to resume.
    Other values for those flags are refused, because they would mix two settings in one run.
    """
    if {"-h", "--help"} & set(argv):
        print_help(flags_class)
        raise SystemExit(0)
    flags = parse_plain(flags_class, argv, flags_class(**(smoke if "--smoke" in argv else {})))
    asks_to_resume = any(word.split("=")[0] == "--resume" for word in argv)
    require(bool(flags.resume) or not asks_to_resume, "--resume", flags.resume, "must name a run folder")
    if not flags.resume:
        return flags
    kept_flags = saved(flags.resume) | {"resume": flags.resume}
    try:
        kept = flags_class(**kept_flags)
    except (TypeError, UsageError) as error:
        message = f"--resume {flags.resume!r} can't be resumed: its flags are not this version's ({error})"
        raise UsageError(message) from None
    flags = parse_plain(flags_class, argv, kept)
    _require_same(flags, kept)
    return flags


def _require_same(flags: Any, kept: Any) -> None:
    """Raise UsageError if a flag differs from the flag that the run was started with."""
    for field in dataclasses.fields(flags):
        value, before = getattr(flags, field.name), getattr(kept, field.name)
        # A record keeps a tuple as a list.
        if field.name not in MAY_DIFFER and json.dumps(value) != json.dumps(before):
            flag = as_flag(field.name)
            own = "without that flag" if before is None else f"under its own {flag} {before!r}"
            raise UsageError(f"{flag} {value!r} can't be used with --resume: the run goes on {own}")


def parse_plain(
    flags_class: type[DataclassT], argv: Sequence[str], default: DataclassT | None = None
) -> DataclassT:
    """Turn `argv` into any dataclass with these defaults. Raises UsageError with tyro's message."""
    said, columns = io.StringIO(), os.environ.get("COLUMNS")
    if not {"-h", "--help"} & set(argv):
        os.environ["COLUMNS"] = "10000"  # tyro would break the words of an error
    try:
        with contextlib.redirect_stderr(said):
            defaults = tyro.MISSING_NONPROP if default is None else default
            return tyro.cli(flags_class, args=list(argv), default=defaults)
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise UsageError(_one_line(said.getvalue())) from None
    finally:
        os.environ.pop("COLUMNS", None)
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _one_line(box: str) -> str:
    """Return the text of tyro's error box without frame, title, colours and pointers to --help."""
    parts: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]:
        text = line.strip("│|╭╮╰╯+ ")
        if set(text) <= set("─-"):
            parts.append([])
        else:
            parts[-1].append(text)
    texts = [" ".join(part) for part in parts]
    return " ".join(text for text in texts if text and not re.search("(full|Argument) helptext", text))


def run_main(workflow: Callable[[Sequence[str]], int], program: str, argv: Sequence[str] | None) -> int:
    """Run a workflow and return its exit code. Print a UsageError and return 2; return 130 after Ctrl-C."""
    try:
        return workflow(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of `--help | head -1` has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
