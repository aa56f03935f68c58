"""Live views of a run in a terminal: a table of trials, or a line of a training. Else lines are printed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from ray.tune import Callback
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workflows.cli.terminal import clock, number, say
from workflows.programs import ENV_STEPS

MOST_ROWS = 24
LINE_PERIOD_S = 5.0
"""Seconds between a training's lines where the output is no terminal."""
_ORDER = ("RUNNING", "ERROR", "PAUSED", "TERMINATED", "PENDING")
"""Which trials are shown first if there are too many."""
_COLORS = {"RUNNING": "cyan", "TERMINATED": "green", "ERROR": "bold red", "PENDING": "dim"}

FAULT_GROUPS = ("fault_tolerance", "env_runners")
"""Groups of metrics with counts of faults."""
FAULTS = {
    "num_remote_worker_restarts": "env runners replaced",
    "num_env_runners_hung": "env runners hung",
    "num_env_failures": "environments failed",
    "num_dropped_env_steps": "steps dropped",
    "num_episodes_lost": "episodes lost",
    "num_rollouts_lost": "rollouts lost",
    "num_env_runners_reset_on_restore": "env runners begun with new episodes",
}


class LiveView(Callback):
    """A picture that is redrawn as results come in. Where the output is no terminal, subclasses print lines.

    Tune pickles its callbacks, and a resumed run has a copy. So the display belongs to the class.
    """

    _live: ClassVar[Live | None] = None

    def __init__(self) -> None:
        self._trials: list[Any] = []
        self._started = time.monotonic()

    @classmethod
    @contextmanager
    def shown(cls) -> Iterator[None]:
        """Show the run that happens inside; clear the display at the end."""
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
        """Leave out the trials, which Tune saves."""
        return self.__dict__ | {"_trials": []}

    def setup(self, **info: Any) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Redraw with the latest state."""
        self._trials = trials
        if self._live is not None:
            self._live.update(self.picture())

    def print_line(self, text: str) -> None:
        """Print a line with the time, unless a picture is shown."""
        if self._live is None:
            say(f"[{clock(self._started)}] {text}")

    def picture(self) -> RenderableType:
        """Return what is drawn."""
        raise NotImplementedError


class LiveTable(LiveView):
    """A table of the trials of a search."""

    def __init__(self, metric: str, max_updates: int) -> None:
        super().__init__()
        self._metric = metric
        self._max_updates = max_updates

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Print a line where there is no table."""
        progress = f"{result['updates']}/{self._max_updates} updates, {result['updates_per_s']:.1f} updates/s"
        score = f"{self._metric} {number(result.get(self._metric))}"
        self.print_line(f"trial {trial.trial_id}: {score}, {progress}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print a line where there is no table."""
        self.print_line(f"trial {trial.trial_id}: failed")

    def picture(self) -> RenderableType:
        """Return the table."""
        names = list(self._trials[0].config) if self._trials else []
        if Console().width < 60 + 16 * len(names):
            names = []
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("trial", "status"):
            table.add_column(column, no_wrap=True)
        for column in ("updates", self._metric, "updates/s", *names):
            table.add_column(column, justify="right", no_wrap=True)
        order = {status: place for place, status in enumerate(_ORDER)}
        shown = sorted(self._trials, key=lambda trial: order.get(trial.status, len(order)))[:MOST_ROWS]
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
        return Group(table, Text(self._counts(len(self._trials) - len(shown)), style="bold"))

    def _counts(self, num_hidden: int) -> str:
        """Return the time and how many trials have which status."""
        counts = Counter(trial.status for trial in self._trials)
        words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        hidden = f" ({num_hidden} more not shown)" if num_hidden else ""
        return f"{clock(self._started)}  {words}{hidden}"


class LiveLine(LiveView):
    """Steps, returns and speeds of a training in a line."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at = float("-inf")
        self._greedy: float | None = None

    def setup(self, **info: Any) -> None:
        """Start the clock."""
        super().setup(**info)
        self._said_at = float("-inf")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Remember the last evaluation; print a line now and then where nothing is drawn."""
        if "evaluation" in result:
            self._greedy = result["evaluation"]["env_runners"].get("episode_return_mean")
        if time.monotonic() - self._said_at >= LINE_PERIOD_S:
            self._said_at = time.monotonic()
            self.print_line(report_line(result, self._greedy))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print a line where nothing is drawn."""
        self.print_line("failed")

    def picture(self) -> RenderableType:
        """Return the line."""
        result = self._trials[0].last_result if self._trials else {}
        words = report_line(result, self._greedy) if "env_runners" in result else "starting"
        return Text(f"{clock(self._started)}  {words}", style="bold")


def report_line(result: dict[str, Any], greedy: float | None) -> str:
    """Return a report in a line, with the mean return of the last evaluation."""
    parts = [
        f"{int(result[ENV_STEPS]):,} steps",
        f"return {number(result['env_runners'].get('episode_return_mean'))}",
        f"greedy {number(greedy)}",
        f"{result['env_steps_per_s']:,.0f} steps/s",
        f"{result['updates_per_s']:,.0f} updates/s",
    ]
    if "epsilon" in result:
        parts.append(f"epsilon {result['epsilon']:.2f}")
    if (entropy := result["learners"]["default_policy"].get("entropy")) is not None:
        parts.append(f"entropy {entropy:.2f}")
    return "  ".join([*parts, *faults(result)])


def faults(result: dict[str, Any]) -> list[str]:
    """Return the faults so far with their counts, in words."""
    found = []
    for name, words in FAULTS.items():
        for group in FAULT_GROUPS:
            count = result.get(group, {}).get(name)
            if count is not None and count > 0:
                found.append(f"{count:g} {words}")
    return found
