"""Writes tables, figures and one page of any run, finished or not: `python workflows/analyze.py RUN_DIR`.

    run folder(s) --> pandas --> trials.csv, history.csv, best.json, samples/, figures/, report.html
                             --> of several runs: comparison.csv, comparison.html

It needs neither Ray nor torch.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from workflows.cli.flags import UsageError, absolute, parse_plain, require, run_main
from workflows.runs.folder import given_run


@dataclass(frozen=True)
class AnalyzeFlags:
    """Write tables, figures and a page to read, of runs of any workflow."""

    run_dirs: Annotated[tuple[str, ...], Positional, arg(metavar="RUN_DIR [RUN_DIR ...]")]
    """The run folders. Several also get comparison.csv and comparison.html."""
    output: str = ""
    """Folder to write to; several runs get a folder each in it (default: each run's own folder)."""


def analyze(argv: Sequence[str]) -> int:
    """Parse the flags, read all runs, write, return the exit code. If a run can't be read, write nothing."""
    flags = parse_plain(AnalyzeFlags, argv)
    folders = _folders(flags)
    outputs, common = _outputs(folders, flags.output)
    from workflows import results
    from workflows.runs.folder import is_running

    running = [is_running(folder) for folder in folders]  # first, because a run may end while it is read
    runs = [results.open_run(folder) for folder in folders]
    from workflows.report import write

    for run, output, goes_on in zip(runs, outputs, running, strict=True):
        with _writing(output):
            write.write(run, output, goes_on)
        best = run.best()
        score = "none: no trial ran to its end with a finite " + run.metric
        if best is not None:
            score = f"{best.trial_id}: {run.metric} {best[run.metric]:.4g}"
        print(f"{run.program.name} {run.folder.name}: {write.state(run, goes_on)}")
        print(f"best      {score}")
        print(f"tables    {output}/trials.csv  history.csv" + ("" if best is None else "  best.json"))
        print(f"report    {output}/report.html, its figures as PNG in {output}/{write.FIGURES}")
    if len(runs) > 1:
        with _writing(common):
            write.write_comparison(runs, common)
        columns = ["run", "program", "trials", "failed", "metric", "value", "time_total_s"]
        print(results.compare(runs)[columns].to_string(index=False))
        print(f"together  {common}/comparison.html  comparison.csv")
    return 0


def _folders(flags: AnalyzeFlags) -> list[Path]:
    """Return the run folders. Raises UsageError if one is no run, or is named twice."""
    if not flags.run_dirs:
        raise UsageError("RUN_DIR is missing: name one run folder or more")
    for flag, given in (*(("RUN_DIR", folder) for folder in flags.run_dirs), ("--output", flags.output)):
        require(given == given.encode(errors="ignore").decode(), flag, given, "must be a name in UTF-8")
    folders = [given_run(folder) for folder in flags.run_dirs]
    num_different = len({os.path.realpath(folder) for folder in folders})
    require(num_different == len(folders), "RUN_DIR", " ".join(flags.run_dirs), "must name each run once")
    return folders


def _outputs(folders: list[Path], output: str) -> tuple[list[Path], Path]:
    """Return the folders for each run's files and for a comparison. Raises UsageError if one is read-only."""
    outputs, common = folders, folders[0].parent
    if output:
        names = [folder.name for folder in folders]
        are_unique = len(set(names)) == len(names)
        require(are_unique, "--output", output, "must be left out for runs of the same name")
        common = absolute(output)
        outputs = [common] if len(folders) == 1 else [common / name for name in names]
    for folder in {*outputs, *([common] if len(folders) > 1 else [])}:
        there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        require(writable, "--output", output or str(folder), "must be a folder that you may write to")
    return outputs, common


@contextlib.contextmanager
def _writing(output: Path) -> Iterator[None]:
    """Turn errors of the file system into a UsageError."""
    try:
        yield
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{str(output)!r} can't be written: {reason}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run `analyze` with one-line errors."""
    return run_main(analyze, "analyze.py", argv)


if __name__ == "__main__":
    sys.exit(main())
