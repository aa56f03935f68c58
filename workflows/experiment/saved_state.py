"""Tune's state files, kept whole: Tune rewrites them in place, so a kill or a full disk at the wrong moment leaves half of one.

While a run goes on, `StateKeeper` copies them to RUN_DIR/.saved whenever all can be read. Before a run is resumed, `recover` reads every
file that Tune will restore (it would quietly start over where one is broken) and puts the copies in the place of broken ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune import Callback

from workflows.cli.flags import UsageError
from workflows.runs.files import SAVED, STATE

KEEP_PERIOD_S = 1.0

READERS: dict[str, Callable[[bytes], Any]] = {
    STATE: lambda blob: json.loads(blob)["trial_data"],
    "basic-variant-state-*.json": cloudpickle.loads,
    "tuner.pkl": cloudpickle.loads,
}
"""Pattern of a state file -> what reads it, or raises."""


class StateKeeper(Callback):
    """Keeps copies of the state files of the run that it is called back from, wherever its folder lies now."""

    def __init__(self) -> None:
        self._kept_at = float("-inf")

    def setup(self, **info: Any) -> None:
        """Start the clock: a resumed run has a pickled copy, of another machine's clock perhaps."""
        self._kept_at = float("-inf")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Copy what Tune has saved, at most every KEEP_PERIOD_S."""
        if trials and time.monotonic() - self._kept_at >= KEEP_PERIOD_S:
            keep(Path(trials[0].storage.experiment_fs_path))
            self._kept_at = time.monotonic()


def keep(run_dir: Path) -> bool:
    """Copy the newest file of each kind to RUN_DIR/.saved; return False, and copy none, unless all can be read."""
    found = _read(run_dir)
    if any(problem for _, _, problem in found.values()):
        return False
    saved = run_dir / SAVED
    saved.mkdir(exist_ok=True)
    for pattern, (name, blob, _) in found.items():
        temporary = saved / "part"
        temporary.write_bytes(blob)
        temporary.replace(saved / name)
        for older in saved.glob(pattern):
            if older.name != name:
                older.unlink()
    return True


def recover(run_dir: Path) -> str:
    """Return "" if every state file can be read, else put the copies in their place and return a line that says so.

    Raises UsageError where there are no whole copies either; then nothing is changed.
    """
    require_recoverable(run_dir)
    problems = [problem for _, _, problem in _read(run_dir).values() if problem]
    if not problems:
        return ""
    for pattern, (name, blob, _) in _read(run_dir / SAVED).items():
        for file in run_dir.glob(pattern):
            file.rename(file.with_name(file.name + ".broken"))
        (run_dir / name).write_bytes(blob)
    return f"{problems[0]}; going on from the copies in {run_dir / SAVED}"


def require_recoverable(run_dir: Path) -> None:
    """Raise UsageError where neither the state files nor their copies are whole; change nothing."""
    problems = [problem for _, _, problem in _read(run_dir).values() if problem]
    if problems and any(problem for _, _, problem in _read(run_dir / SAVED).values()):
        raise UsageError(f"--resume {str(run_dir)!r} can't be resumed: {problems[0]}")


def _read(folder: Path) -> dict[str, tuple[str, bytes, str]]:
    """Return, by pattern, the newest file's name, its bytes, and what is wrong with it ("" if nothing)."""
    found = {}
    for pattern, read in READERS.items():
        names = sorted(path.name for path in folder.glob(pattern))
        name, blob, problem = names[-1] if names else pattern, b"", ""
        try:
            blob = (folder / name).read_bytes()
            read(blob)
        except FileNotFoundError:
            problem = f"it has no {name} (it ended before its state was first saved)"
        except Exception as error:  # whatever unpickling may raise
            problem = f"{name} is broken ({type(error).__name__})"
        found[pattern] = (name, blob, problem)
    return found
