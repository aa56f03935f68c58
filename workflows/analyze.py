"""Tables, figures and one page of any run, in whatever state it is: `python workflows/analyze.py RUN_DIR`.

    run folder(s) --> pandas --> trials.csv, history.csv, best.json, samples/, figures/, report.html
                             --> of several runs: comparison.csv, comparison.html

Nothing is run, and Ray need not be installed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from workflows.cli.flags import UsageError, parse_plain, require, run_main
from workflows.runs.files import RUN_FILE

if TYPE_CHECKING:
    from workflows.results import Run


@dataclass(frozen=True)
class AnalyzeFlags:
    """Write tables, figures and a page to read, of runs of any workflow."""

    run_dirs: Annotated[tuple[str, ...], Positional, arg(metavar="RUN_DIR [RUN_DIR ...]")]
    """The run folders. Several also get comparison.csv and comparison.html."""
    output: str = ""
    """Folder to write to; several runs get a folder each in it (default: each run's own folder)."""


def analyze(argv: Sequence[str]) -> int:
    """Parse the flags, read all runs, then write; return the exit code. One unreadable run stops it."""
    flags = parse_plain(AnalyzeFlags, argv)
    folders = _folders(flags)
    outputs, common = _outputs(folders, flags.output)
    from workflows.runs import folder as run_folder

    running = [
        run_folder.is_running(folder) for folder in folders
    ]  # first: a run that ends meanwhile has ended
    runs = [_load(folder) for folder in folders]
    from workflows import results
    from workflows.report import write

    for run, output, is_running in zip(runs, outputs, running, strict=True):
        with _writing(output):
            write.write(run, output, is_running)
        best = run.best()
        none = f"none: no trial ran to its end with a finite {run.metric}"
        print(f"{run.record.get('program')} {run.folder.name}: {write.state(run, is_running)}")
        print(
            f"best      {none if best is None else f'{best.trial_id}: {run.metric} {best[run.metric]:.4g}'}"
        )
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
    """Return the run folders. Raises UsageError if one is none, or is named twice."""
    if not flags.run_dirs:
        raise UsageError("RUN_DIR is missing: name one run folder or more")
    for flag, given in (*(("RUN_DIR", folder) for folder in flags.run_dirs), ("--output", flags.output)):
        require(given == given.encode(errors="ignore").decode(), flag, given, "must be a name in UTF-8")
    folders = [Path(os.path.abspath(os.path.expanduser(folder))) for folder in flags.run_dirs]
    num_different = len({os.path.realpath(folder) for folder in folders})
    require(num_different == len(folders), "RUN_DIR", " ".join(flags.run_dirs), "must name each run once")
    for folder, given in zip(folders, flags.run_dirs, strict=True):
        is_run = os.path.isfile(folder / RUN_FILE)
        require(is_run, "RUN_DIR", given, f"must be a run folder, with a {RUN_FILE}")
    return folders


def _outputs(folders: list[Path], output: str) -> tuple[list[Path], Path]:
    """Return each run's output folder, and a comparison's. Raises UsageError if one is not writable."""
    if not output:
        outputs, common = folders, folders[0].parent
    else:
        common = Path(os.path.abspath(os.path.expanduser(output)))
        names = [folder.name for folder in folders]
        are_unique = len(set(names)) == len(names)
        require(are_unique, "--output", output, "must be left out for runs of the same name")
        outputs = [common] if len(folders) == 1 else [common / name for name in names]
    for folder in {*outputs, *([common] if len(folders) > 1 else [])}:
        there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        require(writable, "--output", output or str(folder), "must be a folder that may be written to")
    return outputs, common


def _load(folder: Path) -> Run:
    from workflows import results

    try:
        run = results.load(folder)
        require(
            len(run.trials) > 0, "RUN_DIR", str(folder), "must be a run with a trial; this one has none yet"
        )
        if not run.metric or not run.mode:
            raise ValueError("it names no metric")
    except OSError as error:
        raise UsageError(f"{str(folder)!r} can't be read: {error}") from None
    except (LookupError, TypeError, ValueError) as error:
        reason = f"is its {RUN_FILE} broken? ({type(error).__name__}: {error})"
        raise UsageError(f"{str(folder)!r} can't be read; {reason}") from None
    return run


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
