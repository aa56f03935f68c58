"""What a run prints at its end: how it ended, its scores, its files, and what to type next."""

from __future__ import annotations

import shlex
from typing import Any

from rich.console import Console
from rich.table import Table

from workflows import results
from workflows.cli.flags import INTERRUPTED
from workflows.cli.terminal import command, disk, number, python, say
from workflows.experiment.live_views import FAULT_GROUPS, FAULTS, faults
from workflows.programs import ENV_STEPS, GREEDY_RETURN, RETURN
from workflows.results import Run
from workflows.runs import files


def of_search(run: Run, reported: bool) -> int:
    """Print a search's summary; return 0, 1 if a trial failed, or 130 if the search was interrupted."""
    best = run.best()
    if best is not None:
        _say_scores(run, best)
        say(f"picture   {run.folder / files.SAMPLES}/{best['trial_id']}_progress.png")
    _say_files(run, reported)
    failed = run.failed
    for _, trial in failed.iterrows():
        _say_failed(run, trial, f"{trial['trial_id']}: ")
    resume = command(run.program.name, "--resume", run.folder)
    num_trials = run.record["flags"]["num_samples"]
    if run.num_ended < num_trials:
        say(f"interrupted: {run.num_ended} of {num_trials} trials have ended; to go on: {resume}")
        return INTERRUPTED
    if len(failed):
        again = "to try them again from their last checkpoint"
        say(f"{len(failed)} of {len(run.trials)} trials failed; {again}: {resume}")
        return 1
    say(f"next      {command('sample', run.folder)} --output digits.png    draws from the best")
    say(f"          {command(run.program.name)} --num-samples 32    searches wider")
    _say_tensorboard(run)
    return 0


def _say_scores(run: Run, best: Any) -> None:
    """Print scores of the best trial, of the baseline and of real digits, and the best hyperparameters."""
    from algorithms.scoring import Scorer

    columns = run.program.columns
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    rows = [(f"best trial ({best['trial_id']})", best)]
    for _, baseline in run.trials[run.trials["baseline"]].head(1).iterrows():
        rows.append((f"baseline ({baseline['trial_id']})", baseline))
    rows.append(("floor: 10,000 real test digits", Scorer.floor()))
    for label, row in rows:
        table.add_row(label, *(number(row.get(name)) for name in columns))
    Console(width=max(120, Console().width)).print(table)
    if run.test is not None and run.test["trial_id"] == best["trial_id"]:
        shown = {
            name: run.test[name] for name in run.test if name not in ("trial_id", "checkpoint", "dataset")
        }
        words = ", ".join(f"{name} {number(value)}" for name, value in shown.items())
        say(f"test      {words} ({run.folder / results.TEST_FILE})")
    searched = [f"{name} {number(best[f'config/{name}'])}" for name in run.record["baseline"]]
    say(f"best      {', '.join(searched) or 'the preset as it is'}")


def of_training(run: Run, stop_return: float, reported: bool) -> int:
    """Print a training's summary; return 0, 1 if it failed, or 130 if it was interrupted."""
    trial = run.trials.iloc[0]
    if len(run.history):
        _say_returns(run, stop_return)
    _say_files(run, reported)
    resume = command(run.program.name, "--resume", run.folder)
    if trial["status"] == "ERROR":
        _say_failed(run, trial)
        say(f"to try it again from its last checkpoint: {resume}")
        return 1
    if trial["status"] != "TERMINATED":
        begun = isinstance(trial["checkpoint"], str)  # else None or NaN
        how = "interrupted; to go on" if begun else "interrupted before its first checkpoint; to begin anew"
        say(f"{how}: {resume}")
        return INTERRUPTED
    say(f"next      {command('play', run.folder)} --video policy.mp4    shows what it does")
    _say_tensorboard(run)
    return 0


def _say_returns(run: Run, stop_return: float) -> None:
    """Print steps, returns and faults as of the last report."""
    last = run.history.iloc[-1]
    # Not every report evaluates.
    greedy = run.history[GREEDY_RETURN].ffill().iloc[-1] if GREEDY_RETURN in run.history else float("nan")
    updates = int(last["learners/default_policy/num_updates_lifetime"])
    say(f"trained   {int(last[ENV_STEPS]):,} steps and {updates:,} updates in {last['time_total_s']:.1f} s")
    reached = " (the goal)" if greedy >= stop_return else ""
    say(f"return    {number(last.get(RETURN))} over the last episodes, greedy {number(greedy)}{reached}")
    words = faults({group: {name: last.get(f"{group}/{name}") for name in FAULTS} for group in FAULT_GROUPS})
    asked = run.record["flags"]["num_env_runners"]
    healthy = last.get("fault_tolerance/num_healthy_workers", asked)
    if healthy < asked:
        words.append(f"{asked - healthy:g} of {asked} env runners missing at the end")
    if words:
        say(f"faults    {', '.join(words)}")


def _say_files(run: Run, reported: bool) -> None:
    if reported:
        say(f"report    {run.folder}/report.html")
    best = "  best.json" if (run.folder / "best.json").exists() else ""
    say(f"tables    {run.folder}/trials.csv  history.csv{best}")
    say(f"disk      {disk(run.folder)}")


def _say_failed(run: Run, trial: Any, name: str = "") -> None:
    say(f"FAILED    {name}{trial['error']} ({run.folder / trial['trial_id'] / 'error.txt'})")


def _say_tensorboard(run: Run) -> None:
    folder = shlex.quote(str(run.folder))
    say(f"          {python()} -m tensorboard.main --logdir {folder}    shows every curve")
