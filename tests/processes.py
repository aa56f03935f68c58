"""Workflows run as a person runs them: as processes of their own."""

import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

DEADLINE_S = 120


def start_workflow(workflow: ModuleType, *flags: str | Path) -> subprocess.Popen[str]:
    """Start a workflow that Ctrl-C can interrupt, even where the tests run in the background and ignore
    SIGINT.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what is handled here has its default there
    command = [sys.executable, str(workflow.__file__), *map(str, flags)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end; return its exit code, its output and its errors."""
    try:
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    return process.returncode, out, err
