"""Flags of the workflows: a frozen dataclass each, and one line with exit code 2 for whatever is wrong. No heavy import here."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


MAY_DIFFER = ("resume", "address", "data_dir")
"""Flags that a resumed run may have of its own: where it runs and where its data lies, not what it is."""


class UsageError(Exception):
    """The user's mistake: its text is one line that names the value and what is allowed."""


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """What every workflow takes."""

    name: str = ""
    """The run's folder is STORAGE_PATH/NAME (default: the workflow's name and the time)."""
    storage_path: str = "~/ray_results"
    """Folder that holds the runs; on a cluster, one that every machine sees."""
    seed: int = 0
    """Seed of everything random."""
    resume: str = ""
    """RUN_DIR of an earlier run to go on with, under its own flags."""
    smoke: bool = False
    """A very short run of the whole path, to see that it works."""
    address: str = ""
    """Ray cluster to run on (default: the one that `ray start` or `ray up` left here, else a local one)."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "--seed", self.seed, "must be at least 0 and below 2**32")
        plain = (
            "/" not in self.name
            and self.name not in (".", "..")
            and self.name == self.name.strip()
            and len(os.fsencode(self.name)) <= 200
        )
        require(
            plain,
            "--name",
            self.name,
            "must be a folder's name: no slash, no blank at its ends, at most 200 bytes",
        )
        require(
            "://" not in self.storage_path,
            "--storage-path",
            self.storage_path,
            "must be a folder, not a bucket (copy to it later)",
        )


FlagsT = TypeVar("FlagsT", bound=RunFlags)
DataclassT = TypeVar("DataclassT")


def require(condition: bool, flag: str, value: object, rule: str) -> None:
    """Raise UsageError unless `condition` holds."""
    if not condition:
        raise UsageError(f"{flag} {rule}, got {value!r}")


def parse(
    flags_class: type[FlagsT],
    argv: Sequence[str],
    *,
    smoke: dict[str, Any],
    saved: Callable[[str], dict[str, Any]],
) -> FlagsT:
    """Turn `argv` into flags. Raises UsageError for anything wrong with them.

    `smoke` replaces defaults under `--smoke`; `saved(run_dir)` gives the flags of the run that `--resume` names, which then hold: any other
    flag may only repeat them, because half a search under one setting and half under another is no search.
    """
    flags = parse_plain(flags_class, argv, flags_class(**(smoke if "--smoke" in argv else {})))
    require(
        bool(flags.resume) or not any(word.split("=")[0] == "--resume" for word in argv),
        "--resume",
        flags.resume,
        "must name a run folder",
    )
    if not flags.resume:
        return flags
    kept_flags = saved(flags.resume)
    try:
        of_run = flags_class(**(kept_flags | {"resume": flags.resume}))
    except (TypeError, UsageError) as error:
        raise UsageError(
            f"--resume {flags.resume!r} can't be resumed: its flags are not this version's ({error})"
        ) from None
    flags = parse_plain(flags_class, argv, of_run)
    for field in dataclasses.fields(flags_class):
        value, kept = getattr(flags, field.name), getattr(of_run, field.name)
        same = json.loads(json.dumps(value)) == json.loads(
            json.dumps(kept)
        )  # a tuple comes back from a record as a list
        if not same and field.name not in MAY_DIFFER:
            flag = "--" + field.name.replace("_", "-")
            own = f"its own {flag} {kept!r}" if kept is not None else "its own flags, which left it out"
            raise UsageError(f"{flag} {value!r} can't be used with --resume: the run goes on under {own}")
    return flags


def parse_plain(
    flags_class: type[DataclassT], argv: Sequence[str], default: DataclassT | None = None
) -> DataclassT:
    """Turn `argv` into any dataclass, whose defaults those of `default` replace. Raises UsageError with what tyro says, in one line."""
    said, columns = io.StringIO(), os.environ.get("COLUMNS")
    if not {"-h", "--help"} & set(argv):
        os.environ["COLUMNS"] = "10000"  # so that tyro breaks no word of an error
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                flags_class, args=list(argv), default=tyro.MISSING_NONPROP if default is None else default
            )
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise UsageError(_one_line(said.getvalue())) from None
    finally:
        os.environ.pop("COLUMNS", None)
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _one_line(box: str) -> str:
    """Return what tyro's box says, without the box (of ASCII where the output knows no better), its title, its pointers to --help."""
    parts: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]:  # in a terminal it is coloured
        text = line.strip("│|╭╮╰╯+ ")
        if set(text) <= set("─-"):
            parts.append([])
        else:
            parts[-1].append(text)
    texts = [" ".join(part) for part in parts]
    return " ".join(
        text for text in texts if text and "full helptext" not in text and "Argument helptext" not in text
    )


def run_main(workflow: Callable[[Sequence[str]], int], program: str, argv: Sequence[str] | None) -> int:
    """Run a workflow's body and return its exit code: a UsageError is printed as one line (2), Ctrl-C ends it quietly (130)."""
    try:
        return workflow(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `--help | head -1`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
