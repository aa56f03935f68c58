"""Tables, figures and one page of any run: `python workflows/analyze.py RUN_DIR`, while it goes on, after it ended or was killed.
run folder(s) --> pandas --> trials.csv, history.csv, best.json, samples/, figures/, report.html; of several runs a comparison, too"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
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
    """Write tables, figures and a page to read, of runs of any workflow. Nothing is run, and Ray need not be there."""

    run_dirs: Annotated[tuple[str, ...], Positional, arg(metavar="RUN_DIR [RUN_DIR ...]")]
    """The runs' folders; of more than one, comparison.csv and comparison.html are written, too."""
    output: str = ""
    """Folder to write to (default: each run's own, and a comparison beside the first run); of several runs each has its folder in it."""


def analyze(argv: Sequence[str]) -> int:
    """Parse the flags, read all runs, then write; return the exit code. Nothing is written unless all of them can be read."""
    flags = parse_plain(AnalyzeFlags, argv)
    if not flags.run_dirs:
        raise UsageError("RUN_DIR is missing: name one run folder or more")
    for flag, given in (*(("RUN_DIR", folder) for folder in flags.run_dirs), ("--output", flags.output)):
        require(
            given == given.encode(errors="ignore").decode(), flag, given, "must be a name in UTF-8"
        )  # the page and the tables are
    folders = [Path(os.path.abspath(os.path.expanduser(folder))) for folder in flags.run_dirs]
    require(
        len({os.path.realpath(folder) for folder in folders}) == len(folders),
        "RUN_DIR",
        " ".join(flags.run_dirs),
        "must name each run once",
    )
    for folder, given in zip(folders, flags.run_dirs, strict=True):
        require(
            os.path.isfile(folder / RUN_FILE), "RUN_DIR", given, f"must be a run folder, with a {RUN_FILE}"
        )
    outputs, common = _outputs(folders, flags.output)
    from workflows.runs import folder as run_folder

    running = [
        run_folder.is_running(folder) for folder in folders
    ]  # asked first: a run that ends meanwhile was not interrupted
    runs = [_load(folder) for folder in folders]
    from workflows import results
    from workflows.report import write as analysis

    for run, output, goes_on in zip(runs, outputs, running, strict=True):
        _writing(output, lambda run=run, output=output, goes_on=goes_on: analysis.write(run, output, goes_on))
        best = run.best(run.metric, run.mode)
        print(f"{run.record.get('program')} {run.folder.name}: {analysis.state(run, goes_on)}")
        none = f"none: no trial ran to its end with a finite {run.metric}"
        print(
            f"best      {none if best is None else f'{best.trial_id}: {run.metric} {best[run.metric]:.4g}'}"
        )
        print(f"tables    {output}/trials.csv  history.csv" + ("" if best is None else "  best.json"))
        print(f"report    {output}/report.html, its figures as PNG in {output}/{analysis.FIGURES}")
    if len(runs) > 1:
        _writing(common, lambda: analysis.write_comparison(runs, common))
        table = results.compare(runs)[
            ["run", "program", "trials", "failed", "metric", "value", "time_total_s"]
        ]
        print(table.to_string(index=False))
        print(f"together  {common}/comparison.html  comparison.csv")
    return 0


def _outputs(folders: list[Path], output: str) -> tuple[list[Path], Path]:
    """Return where each run's files go, and a comparison's. Raises UsageError where they can't."""
    if not output:
        outputs, common = folders, folders[0].parent
    else:
        common = Path(os.path.abspath(os.path.expanduser(output)))
        names = [folder.name for folder in folders]
        require(
            len(set(names)) == len(names), "--output", output, "must be left out for runs of the same name"
        )
        outputs = [common] if len(folders) == 1 else [common / name for name in names]
    for folder in {*outputs, *([common] if len(folders) > 1 else [])}:
        there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        require(
            there.is_dir() and os.access(there, os.W_OK | os.X_OK),
            "--output",
            output or str(folder),
            "must be a folder that may be written to",
        )
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
        raise UsageError(
            f"{str(folder)!r} can't be read; is its {RUN_FILE} broken? ({type(error).__name__}: {error})"
        ) from None
    return run


def _writing(output: Path, write: object) -> None:
    try:
        write()  # type: ignore[operator]
    except (OSError, UnicodeEncodeError) as error:
        raise UsageError(
            f"{str(output)!r} can't be written: {getattr(error, 'strerror', None) or error}"
        ) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run `analyze` with one-line errors."""
    return run_main(analyze, "analyze.py", argv)


if __name__ == "__main__":
    sys.exit(main())
