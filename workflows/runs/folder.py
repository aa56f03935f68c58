"""The folder of a run: a new one, or one to resume. What is wrong is a UsageError."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workflows import __version__
from workflows.cli.flags import RunFlags, UsageError, absolute, require
from workflows.runs.files import RUN_FILE, read_run

PACKAGE = "ray-training-workflows"
RESUMABLE_SINCE = "0.2"
"""The oldest version whose runs can be resumed: their pickles name modules of that version."""


def given_run(run_dir: str) -> Path:
    """Return the absolute path of a run folder that a command was given. Raises UsageError if it is none."""
    folder = absolute(run_dir)
    is_run = os.path.isfile(folder / RUN_FILE)
    require(is_run, "RUN_DIR", run_dir, f"must be a run folder, with a {RUN_FILE}")
    return folder


def saved_flags(run_dir: str) -> dict[str, Any]:
    """Return the flags of the run in `run_dir`. Raises UsageError if it is no run or can't be read."""
    flags = read_record(run_dir).get("flags")
    if not isinstance(flags, dict):
        raise UsageError(f"--resume {run_dir!r} can't be resumed: {RUN_FILE} is broken (it has no flags)")
    return flags


def read_record(run_dir: str) -> dict[str, Any]:
    """Return the record of the run to resume. Raises UsageError for no run, a broken or a too old one."""
    try:
        record = read_run(run_dir)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"--resume {run_dir!r} is no run folder: it has no {RUN_FILE}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"--resume {run_dir!r} can't be resumed: {RUN_FILE} is broken ({error})") from None
    _require_version(run_dir, record)
    return record


def choose(flags: RunFlags, program: str, preset: Any) -> Path:
    """Return the folder of the run to resume, or of a new run, which is not made yet. Raises UsageError."""
    return _resumed(flags, program, preset) if flags.resume else _new(flags, program)


def _new(flags: RunFlags, program: str) -> Path:
    storage = absolute(flags.storage_path)
    run_dir = storage / (flags.name or time.strftime(f"{program}_%Y-%m-%d_%H-%M-%S"))
    if os.path.lexists(run_dir):
        raise _taken(run_dir)
    parent = next(folder for folder in (storage, *storage.parents) if os.path.lexists(folder))
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        reason = f"{parent} is no folder that may be written to"
        raise UsageError(f"--storage-path {flags.storage_path!r} can't be written: {reason}")
    return run_dir


def _taken(run_dir: Path) -> UsageError:
    resume = f"--resume {shlex.quote(str(run_dir))}"
    return UsageError(
        f"--name {run_dir.name!r} exists in {run_dir.parent}; choose another name, or go on with {resume}"
    )


def make(run_dir: Path, require: Callable[[Path], None]) -> None:
    """Make the folder of a new run; if `require` then raises, remove it."""
    made = [folder for folder in (run_dir, *run_dir.parents) if not folder.exists()]
    try:
        run_dir.mkdir(parents=True)
    except FileExistsError:
        raise _taken(run_dir) from None
    except OSError as error:
        raise UsageError(
            f"--storage-path {str(run_dir.parent)!r} can't be written: {error.strerror}"
        ) from None
    try:
        require(run_dir)
    except BaseException:
        for folder in made:
            folder.rmdir()
        raise


def _resumed(flags: RunFlags, program: str, preset: Any) -> Path:
    """Return the run's folder, once it is clear that it can be resumed."""
    run_dir = absolute(flags.resume)
    record = read_record(flags.resume)
    if record.get("program") != program:
        raise UsageError(f"--resume {flags.resume!r} is a run of {record.get('program')}, not of {program}")
    if not os.access(run_dir, os.W_OK | os.X_OK):
        raise UsageError(f"--resume {flags.resume!r} can't be written to")
    now = json.loads(json.dumps(asdict(preset)))
    defaults = json.loads(json.dumps(asdict(type(preset)())))
    before = defaults | record.get("preset", {})  # an option that is newer than the run has its default
    changed = [name for name in {**now, **before} if now.get(name, ...) != before.get(name, ...)]
    if changed:
        names = ", ".join(changed)
        raise UsageError(
            f"--resume {flags.resume!r} was started with another preset than this version's (see {names})"
        )
    return run_dir


def _require_version(run_dir: str, record: dict[str, Any]) -> None:
    """Raise UsageError for a run whose pickles name modules that this version does not have."""
    wrote = str(record.get("versions", {}).get(PACKAGE, RESUMABLE_SINCE))
    if _numbers(wrote) < _numbers(RESUMABLE_SINCE):
        raise UsageError(
            f"--resume {run_dir!r} was written by version {wrote}, which version {__version__} can't resume; "
            f"use version {wrote} for that (analyze.py, sample.py and play.py can read it)"
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", version)[:2]]


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run's lock, so that no other process resumes it; the lock ends with this process."""
    from filelock import FileLock, Timeout

    lock = FileLock(run_dir / ".lock", timeout=1)  # `is_running` may hold it for an instant
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"--resume {str(run_dir)!r} is still running, in another process") from None
    try:
        yield
    finally:
        lock.release()


def is_running(run_dir: Path) -> bool:
    """Return whether a process of this machine holds the run's lock. The run may be another user's."""
    import fcntl

    try:
        with open(run_dir / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
