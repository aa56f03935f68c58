"""What a person sees of a run: a live table while it goes, a summary at its end, and nothing else."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ray.tune import Callback
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from workflows import results
from workflows.cli.flags import INTERRUPTED
from workflows.runs import files as run_files

if TYPE_CHECKING:
    from workflows.experiment.search import Search

MOST_ROWS = 24
_COLORS = {"RUNNING": "cyan", "TERMINATED": "green", "ERROR": "bold red", "PENDING": "dim"}


def note(message: str) -> None:
    """Say that something is not quite as was asked for; nothing if the message is empty."""
    if message:
        Console(stderr=True, soft_wrap=True).print(
            f"note: {message}", highlight=False, markup=False, emoji=False
        )


def say(message: str) -> None:
    """Print a line, whole, whatever the terminal's width."""
    Console(soft_wrap=True).print(message, highlight=False, markup=False, emoji=False)


class LiveView(Callback):
    """What is drawn while a run goes on, and redrawn as results come in; where the output is no terminal, lines instead.

    Tune pickles its callbacks, and a resumed run has a copy, so what is drawn belongs to the class: `shown()` is around the run.
    """

    _live: ClassVar[Live | None] = None

    def __init__(self) -> None:
        self._trials: list[Any] = []
        self._started = time.monotonic()

    @classmethod
    @contextmanager
    def shown(cls) -> Iterator[None]:
        """Show whatever run happens inside, and leave the terminal as it was found."""
        console = Console()
        if not console.is_terminal:
            yield
            return
        with Live(console=console, refresh_per_second=4, transient=True) as LiveView._live:
            try:
                yield
            finally:
                LiveView._live = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the trials behind: Tune saves them itself."""
        return self.__dict__ | {"_trials": []}

    def setup(self, **info: Any) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Redraw with the latest state."""
        self._trials = trials
        if self._live is not None:
            self._live.update(self.picture())

    def picture(self) -> RenderableType:
        """Return what is drawn."""
        raise NotImplementedError


class LiveTable(LiveView):
    """A table of the trials of a search."""

    def __init__(self, metric: str, max_updates: int) -> None:
        super().__init__()
        self._metric, self._max_updates = metric, max_updates

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Print a line where there is no table."""
        if self._live is None:
            progress = (
                f"{result['updates']}/{self._max_updates} updates, {result['updates_per_s']:.1f} updates/s"
            )
            say(
                f"[{clock(self._started)}] trial {trial.trial_id}: {self._metric} {number(result.get(self._metric))}, {progress}"
            )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print a line where there is no table."""
        if self._live is None:
            say(f"[{clock(self._started)}] trial {trial.trial_id}: failed")

    def picture(self) -> RenderableType:
        """Return the table."""
        names = list(self._trials[0].config) if self._trials else []
        table = Table(box=None, pad_edge=False, header_style="bold")
        if Console().width < 60 + 16 * len(names):
            names = []
        for column in ("trial", "status", "updates", self._metric, "updates/s", *names):
            table.add_column(
                column, justify="left" if column in ("trial", "status") else "right", no_wrap=True
            )
        order = {"RUNNING": 0, "ERROR": 1, "PAUSED": 2, "TERMINATED": 3, "PENDING": 4}
        shown = sorted(self._trials, key=lambda trial: order.get(trial.status, 5))[:MOST_ROWS]
        for trial in sorted(shown, key=lambda trial: str(trial.trial_id)):
            last = trial.last_result or {}
            table.add_row(
                str(trial.trial_id).rpartition("_")[2],
                Text(trial.status, style=_COLORS.get(trial.status, "")),
                str(last.get("updates", "")),
                number(last.get(self._metric)),
                number(last.get("updates_per_s")),
                *(number(trial.config.get(name)) for name in names),
            )
        counts = Counter(trial.status for trial in self._trials)
        words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        hidden = (
            f" ({len(self._trials) - len(shown)} more not shown)" if len(shown) < len(self._trials) else ""
        )
        return Group(table, Text(f"{clock(self._started)}  {words}{hidden}", style="bold"))


def resume_command(program: str, run_dir: Path) -> str:
    """Return what to type to go on with a run."""
    return f"{command(program)} --resume {shlex.quote(str(run_dir))}"


def command(program: str) -> str:
    """Return a workflow as a person would start it from here, wherever here is."""
    script = Path(__file__).parents[1] / f"{program}.py"
    return f"{python()} {shlex.quote(min(os.path.relpath(script), str(script), key=len))}"


def python() -> str:
    """Return this interpreter as a person would type it here, whether or not its environment is activated."""
    relative = os.path.relpath(sys.executable)
    return shlex.quote(min(relative, sys.executable, key=len))


def summary(run_dir: Path, search: Search, num_samples: int, reported: bool) -> int:
    """Print how the run ended and what to type next; return the exit code: 0, 1 if a trial failed, 130 if the run was interrupted."""
    trials = results.load_trials(run_dir)
    ended = results.load(run_dir).num_ended
    failed = trials[trials["status"] == "ERROR"]
    best = results.best(run_dir, search.metric, search.mode)
    if best is not None:
        _print_scores(run_dir, search, trials, best)
        say(f"picture   {run_dir / run_files.SAMPLES}/{best['trial_id']}_progress.png")
    if reported:
        say(f"report    {run_dir}/report.html")
    say(f"tables    {run_dir}/trials.csv  history.csv" + ("  best.json" if best is not None else ""))
    say(f"disk      {disk(run_dir)}")
    for _, trial in failed.iterrows():
        say(f"FAILED    {trial['trial_id']}: {trial['error']} ({run_dir / trial['trial_id'] / 'error.txt'})")
    resume = resume_command(search.program, run_dir)
    if ended < num_samples:
        say(f"interrupted: {ended} of {num_samples} trials have ended; to go on: {resume}")
        return INTERRUPTED
    if len(failed):
        say(
            f"{len(failed)} of {len(trials)} trials failed; to try them again from their last checkpoint: {resume}"
        )
        return 1
    say(
        f"next      {command('sample')} {shlex.quote(str(run_dir))} --output digits.png    draws from the best"
    )
    say(f"          {command(search.program)} --num-samples 32    searches wider")
    say(f"          {python()} -m tensorboard.main --logdir {shlex.quote(str(run_dir))}    shows every curve")
    return 0


def _print_scores(run_dir: Path, search: Search, trials: Any, best: Any) -> None:
    from algorithms.scoring import Scorer

    floor = Scorer.floor()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in search.columns:
        table.add_column(name, justify="right")
    rows = [("best trial", best)]
    baseline = trials[trials["baseline"]]
    if len(baseline):
        rows.append(("baseline", baseline.iloc[0]))
    for label, row in rows:
        table.add_row(f"{label} ({row['trial_id']})", *(number(row.get(name)) for name in search.columns))
    table.add_row("floor: 10,000 real test digits", *(number(floor.get(name)) for name in search.columns))
    Console(width=max(120, Console().width)).print(table)
    test = results.read_test(run_dir)
    if test is not None and test["trial_id"] == best["trial_id"]:
        words = ", ".join(
            f"{name} {number(value)}"
            for name, value in test.items()
            if name not in ("trial_id", "checkpoint", "dataset")
        )
        say(f"test      {words} ({run_dir / results.TEST_FILE})")
    searched = run_files.read_run(run_dir)["baseline"]
    say(
        "best      "
        + (
            ", ".join(f"{name} {number(best[f'config/{name}'])}" for name in searched)
            or "the preset as it is"
        )
    )


@contextmanager
def progress(what: str, message: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar that is told (done, total); where the output is no terminal, the message once instead."""
    console = Console()
    if not console.is_terminal:
        say(message)
        yield lambda done, total: None
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def number(value: Any) -> str:
    """Return a number in four digits, and a dash for what is none."""
    if value is None or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def clock(since: float) -> str:
    """Return the time since then as minutes and seconds."""
    minutes, seconds = divmod(int(time.monotonic() - since), 60)
    return f"{minutes:3d}:{seconds:02d}"


def disk(run_dir: Path) -> str:
    """Return what a run takes on disk, and what of it its checkpoints do, in words."""
    sizes = {path: path.stat().st_size for path in run_dir.rglob("*") if path.is_file()}
    checkpoints = sum(
        size for path, size in sizes.items() if any(part.startswith("checkpoint_") for part in path.parts)
    )
    total, of_it = (
        f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
        for size in (sum(sizes.values()), checkpoints)
    )
    return f"{total}, {of_it} of it checkpoints"
