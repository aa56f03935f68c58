"""The folder of a run: a new one that nobody has, or one to go on with. Nothing is loaded here, and what is wrong is a UsageError."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workflows.cli.flags import RunFlags, UsageError
from workflows.runs.files import RUN_FILE


def saved_flags(run_dir: str) -> dict[str, Any]:
    """Return the flags of the run in `run_dir`. Raises UsageError where it is no run of ours or can't be read."""
    flags = read_run(run_dir).get("flags")
    if not isinstance(flags, dict):
        raise UsageError(f"--resume {run_dir!r} can't be resumed: {RUN_FILE} is broken (it has no flags)")
    return flags


def read_run(run_dir: str) -> dict[str, Any]:
    """Return the run's record. Raises UsageError where it is no run of ours or can't be read."""
    try:
        record = json.loads(Path(os.path.expanduser(run_dir), RUN_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"--resume {run_dir!r} is no run folder: it has no {RUN_FILE}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"--resume {run_dir!r} can't be resumed: {RUN_FILE} is broken ({error})") from None
    return record if isinstance(record, dict) else {}


def choose(flags: RunFlags, program: str, preset: Any) -> Path:
    """Return the folder of the run: of the one to resume, or of a new one, which is not made yet. Raises UsageError where it can't be."""
    return _resumed(flags, program, preset) if flags.resume else _new(flags, program)


def _new(flags: RunFlags, program: str) -> Path:
    storage = Path(os.path.abspath(os.path.expanduser(flags.storage_path)))
    run_dir = storage / (flags.name or time.strftime(f"{program}_%Y-%m-%d_%H-%M-%S"))
    if os.path.lexists(run_dir):
        raise _taken(run_dir)
    parent = next(folder for folder in (storage, *storage.parents) if os.path.lexists(folder))
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise UsageError(
            f"--storage-path {flags.storage_path!r} can't be written: {parent} is no folder that may be written to"
        )
    return run_dir


def _taken(run_dir: Path) -> UsageError:
    return UsageError(
        f"--name {run_dir.name!r} exists in {run_dir.parent}; choose another, or go on with --resume {shlex.quote(str(run_dir))}"
    )


def make(run_dir: Path, require: Callable[[Path], None]) -> None:
    """Make the folder of a new run; where `require` then raises, nothing is left."""
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
    run_dir = Path(os.path.abspath(os.path.expanduser(flags.resume)))
    record = read_run(flags.resume)
    if record.get("program") != program:
        raise UsageError(f"--resume {flags.resume!r} is a run of {record.get('program')}, not of {program}")
    if not os.access(run_dir, os.W_OK | os.X_OK):
        raise UsageError(f"--resume {flags.resume!r} can't be written to")
    now, defaults = (json.loads(json.dumps(asdict(options))) for options in (preset, type(preset)()))
    before = record.get("preset")
    before = (
        defaults | before if isinstance(before, dict) else {}
    )  # an option that is newer than the run has its default
    if before != now:
        changed = [
            name
            for name in {**now, **before}
            if name not in before or name not in now or before[name] != now[name]
        ]
        raise UsageError(
            f"--resume {flags.resume!r} was begun with another preset than this version's (see {', '.join(changed)})"
        )
    return run_dir


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run's lock, so that no other process resumes it meanwhile; it is free again when this process ends, however it ends."""
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
    """Return whether a process of this machine holds the run's lock; it is only looked at, so a run of somebody else's may be asked for."""
    import fcntl

    try:
        with open(run_dir / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
