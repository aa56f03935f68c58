"""What a workflow prints: lines, notes, a progress bar, and values in words."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIRST_PROGRESS_S = 2.0


def say(message: str) -> None:
    """Print a line at once, unwrapped."""
    print(message, flush=True)


def note(message: str) -> None:
    """Print a note to stderr; print nothing if the message is empty."""
    if message:
        print(f"note: {message}", file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, message: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar and yield its update function `(done, total)`. Without a terminal, print the message."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console()
    if not console.is_terminal:
        say(message)
        yield lambda done, total: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def less_and_less(what: str, total: int) -> Callable[[int], None]:
    """Return a function that prints how many are done: after FIRST_PROGRESS_S, then twice as long."""
    began, due_s = time.monotonic(), FIRST_PROGRESS_S

    def report(done: int) -> None:
        nonlocal due_s
        elapsed_s = time.monotonic() - began
        if elapsed_s > due_s and done < total:
            say(f"{done} of {total} {what} after {elapsed_s:.0f} s")
            due_s *= 2

    return report


def number(value: Any) -> str:
    """Return a number in four digits, and a dash for None or NaN."""
    if value is None or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def several(count: float, what: str) -> str:
    """Return a count with its noun: 1 GPU, 2 GPUs."""
    return f"{count:g} {what}{'' if count == 1 else 's'}"


def clock(since: float) -> str:
    """Return the time since a reading of `time.monotonic` as minutes and seconds."""
    minutes, seconds = divmod(int(time.monotonic() - since), 60)
    return f"{minutes:3d}:{seconds:02d}"


def python() -> str:
    """Return a path of this interpreter that works from here without activating its environment."""
    relative = os.path.relpath(sys.executable)
    return shlex.quote(min(relative, sys.executable, key=len))


def command(program: str, *arguments: str | Path) -> str:
    """Return the command line that starts a workflow from the current folder."""
    script = Path(__file__).parents[1] / f"{program}.py"
    shortest = min(os.path.relpath(script), str(script), key=len)
    return " ".join([python(), *(shlex.quote(str(word)) for word in (shortest, *arguments))])


def error_text(error: BaseException) -> str:
    """Return the type and the message of an exception in one line of bounded length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def disk(run_dir: Path) -> str:
    """Return the size of a run folder, and that of its checkpoints, in words."""
    total = checkpoints = 0
    for path in run_dir.rglob("*"):
        if path.is_file():
            size = path.stat().st_size
            total += size
            if any(part.startswith("checkpoint_") for part in path.parts):
                checkpoints += size
    return f"{_bytes(total)}, {_bytes(checkpoints)} of it checkpoints"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
