"""Whole copies of Tune's state files. Tune rewrites them in place; a kill or a full disk leaves half a file.

During a run, `StateKeeper` copies the files to RUN_DIR/.saved whenever all can be read.
Before a run is resumed, `recover` replaces broken files by the copies. Tune itself would start over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune import Callback

from workflows import __version__
from workflows.cli.flags import UsageError
from workflows.runs.files import SAVED, STATE, read_run

KEEP_PERIOD_S = 1.0
READERS: dict[str, Callable[[bytes], Any]] = {
    STATE: lambda blob: json.loads(blob)["trial_data"],
    "basic-variant-state-*.json": cloudpickle.loads,
    "tuner.pkl": cloudpickle.loads,
}
"""Pattern of a state file -> its reader, which raises if the file is broken."""


@dataclass(frozen=True)
class StateFile:
    """The newest state file of a kind."""

    name: str
    content: bytes
    problem: str
    """Why it can't be read; "" if it can."""
    is_foreign: bool = False
    """Whether it is whole, but pickled by a version whose modules are gone."""


class StateKeeper(Callback):
    """Keeps copies of the state files of the run whose callback it is, wherever the run's folder lies now."""

    def __init__(self) -> None:
        self._kept_at = float("-inf")

    def setup(self, **info: Any) -> None:
        """Start the clock: a resumed run has a pickled copy, perhaps from another machine."""
        self._kept_at = float("-inf")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Copy what Tune has saved, at most every KEEP_PERIOD_S."""
        if trials and time.monotonic() - self._kept_at >= KEEP_PERIOD_S:
            keep(Path(trials[0].storage.experiment_fs_path))
            self._kept_at = time.monotonic()


def keep(run_dir: Path) -> bool:
    """Copy the newest file of each kind to RUN_DIR/.saved; return False if one can't be read."""
    found = _read(run_dir)
    if any(file.problem for file in found.values()):
        return False
    saved = run_dir / SAVED
    saved.mkdir(exist_ok=True)
    for pattern, file in found.items():
        temporary = saved / "part"
        temporary.write_bytes(file.content)
        temporary.replace(saved / file.name)
        for older in saved.glob(pattern):
            if older.name != file.name:
                older.unlink()
    return True


def recover(run_dir: Path) -> str:
    """Replace broken state files by their copies; return "" if none is broken, else a line that says so.

    Raises UsageError, and changes nothing, if the copies are broken, too.
    """
    problem = require_recoverable(run_dir)
    if not problem:
        return ""
    for pattern, file in _read(run_dir / SAVED).items():
        for broken in run_dir.glob(pattern):
            broken.rename(broken.with_name(broken.name + ".broken"))
        (run_dir / file.name).write_bytes(file.content)
    return f"{problem}; going on from the copies in {run_dir / SAVED}"


def require_recoverable(run_dir: Path) -> str:
    """Return the first problem of the state files, or "". Changes nothing.

    Raises UsageError if neither the files nor their copies can be read, or if another version wrote them.
    """
    problems = [file for file in _read(run_dir).values() if file.problem]
    if not problems:
        return ""
    refused = f"--resume {str(run_dir)!r} can't be resumed"
    for file in problems:
        if file.is_foreign:
            version = read_run(run_dir).get("versions", {}).get("ray-training-workflows", "unknown")
            advice = f"this is version {__version__}, so resume it with the version that began it"
            raise UsageError(f"{refused}: version {version} began it, {file.problem}; {advice}")
    if any(file.problem for file in _read(run_dir / SAVED).values()):
        raise UsageError(f"{refused}: {problems[0].problem}")
    return problems[0].problem


def _read(folder: Path) -> dict[str, StateFile]:
    """Return the newest file of each pattern."""
    return {pattern: _read_newest(folder, pattern, read) for pattern, read in READERS.items()}


def _read_newest(folder: Path, pattern: str, read: Callable[[bytes], Any]) -> StateFile:
    name = max((path.name for path in folder.glob(pattern)), default=pattern)
    try:
        content = (folder / name).read_bytes()
        read(content)
        return StateFile(name, content, "")
    except FileNotFoundError:
        return StateFile(name, b"", f"it has no {name} (it ended before its state was first saved)")
    except (ModuleNotFoundError, AttributeError) as error:
        return StateFile(name, b"", f"and {name} needs code that is gone ({error})", is_foreign=True)
    except Exception as error:  # unpickling may raise anything
        return StateFile(name, b"", f"{name} is broken ({type(error).__name__})")
