"""What a person sees of a training: a live line while it goes, and a summary at its end."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from workflows import results
from workflows.cli.flags import INTERRUPTED
from workflows.experiment.console import LiveView, clock, command, disk, number, python, resume_command, say
from workflows.experiment.training import ENV_STEPS, GREEDY_RETURN, RETURN
from workflows.runs import files as run_files

LINE_PERIOD_S = 5.0
"""Seconds between lines where the output is no terminal."""

GROUPS = ("fault_tolerance", "env_runners")
"""Where RLlib and the collector report what went wrong."""

FAULTS = {
    "num_remote_worker_restarts": "env runners replaced",
    "num_env_runners_hung": "env runners hung",
    "num_env_failures": "environments failed",
    "num_dropped_env_steps": "steps dropped",
    "num_episodes_lost": "episodes lost",
    "num_rollouts_lost": "rollouts lost",
    "num_env_runners_reset_on_restore": "env runners begun with new episodes",
}


class LiveLine(LiveView):
    """Steps, returns and speeds in a line."""

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
        if self._live is None and time.monotonic() - self._said_at >= LINE_PERIOD_S:
            self._said_at = time.monotonic()
            say(f"[{clock(self._started)}] {line(result, self._greedy)}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print a line where nothing is drawn."""
        if self._live is None:
            say(f"[{clock(self._started)}] failed")

    def picture(self) -> RenderableType:
        """Return the line."""
        result = self._trials[0].last_result if self._trials else {}
        return Text(
            f"{clock(self._started)}  {line(result, self._greedy) if 'env_runners' in result else 'starting'}",
            style="bold",
        )


def line(result: dict[str, Any], greedy: float | None) -> str:
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
    """Return what went wrong so far, counted, in words."""
    counts = [(result.get(group, {}).get(name), words) for name, words in FAULTS.items() for group in GROUPS]
    return [f"{count:g} {words}" for count, words in counts if count is not None and count > 0]


def summary(run_dir: Path, program: str, stop_return: float, reported: bool) -> int:
    """Print how the training ended and what to type next; return the exit code: 0, 1 if it failed, 130 if it was interrupted."""
    trials, history = results.load_trials(run_dir), results.load_history(run_dir)
    trial = trials.iloc[0]
    resume = resume_command(program, run_dir)
    if len(history):
        last = history.iloc[-1]
        greedy = (
            history[GREEDY_RETURN].ffill().iloc[-1] if GREEDY_RETURN in history else float("nan")
        )  # not every report evaluates
        reached = " (the goal)" if greedy >= stop_return else ""
        steps, updates = (
            f"{int(last[ENV_STEPS]):,} steps",
            f"{int(last['learners/default_policy/num_updates_lifetime']):,} updates",
        )
        say(f"trained   {steps} and {updates} in {last['time_total_s']:.1f} s")
        say(f"return    {number(last.get(RETURN))} over the last episodes, greedy {number(greedy)}{reached}")
        what = faults({group: {name: last.get(f"{group}/{name}") for name in FAULTS} for group in GROUPS})
        asked = run_files.read_run(run_dir)["flags"]["num_env_runners"]
        if (there := last.get("fault_tolerance/num_healthy_workers", asked)) < asked:
            what.append(f"{asked - there:g} of {asked} env runners missing at the end")
        if what:
            say(f"faults    {', '.join(what)}")
    if reported:
        say(f"report    {run_dir}/report.html")
    say(
        f"tables    {run_dir}/trials.csv  history.csv"
        + ("  best.json" if (run_dir / "best.json").exists() else "")
    )
    say(f"disk      {disk(run_dir)}")
    if trial["status"] == "ERROR":
        say(f"FAILED    {trial['error']} ({run_dir / trial['trial_id'] / 'error.txt'})")
        say(f"to try it again from its last checkpoint: {resume}")
        return 1
    if trial["status"] != "TERMINATED":
        begun = trial["checkpoint"] == trial["checkpoint"] and trial["checkpoint"]  # neither NaN nor empty
        say(
            f"interrupted; to go on: {resume}"
            if begun
            else f"interrupted before its first checkpoint; to begin anew: {resume}"
        )
        return INTERRUPTED
    say(f"next      {command('play')} {shlex.quote(str(run_dir))} --video policy.mp4    shows what it does")
    say(f"          {python()} -m tensorboard.main --logdir {shlex.quote(str(run_dir))}    shows every curve")
    return 0
