"""Schedulers decide which trials continue. SCHEDULERS names them for `--scheduler`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from workflows.runs import files as run_files


class ASHA(FIFOScheduler):
    """Successive halving with reduction factor 2, after ASHA of Li+ 2018 (arXiv:1810.05934).

    The rungs are reports 1, 2, 4, … At a rung a trial waits until it is
    in the better half of all trials that reached the rung.
    The trial with the fewest reports runs first, so that a half is one of as many trials as possible.
    When no trial runs and none may continue, the waiting trials are stopped.
    Ray's own ASHA never waits. It compares with earlier trials only, so with few slots most trials continue.

    The baseline counts in every rung and always runs to its end, as a reference.
    In a resumed search, restored results fill the rungs.
    Under `--max-concurrent`, waiting trials count too, so a half is a half of that many.
    """

    def __init__(self, baseline: dict[str, Any], num_reports: int) -> None:
        super().__init__()
        self._baseline, self._num_reports = baseline, num_reports
        self._rungs: dict[int, dict[str, float]] = {2**k: {} for k in range(num_reports.bit_length())}
        self._compared, self._sign = "", 1.0

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Keep the metric and its direction; Tune calls this first."""
        assert metric
        self._metric = self._compared = metric
        self._sign = -1.0 if mode == "max" else 1.0
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Add a trial. A restored trial fills rungs with its results up to the last save of the search."""
        reports = _num_reports(trial)
        if reports:
            for result in run_files.read_reports(trial.storage.trial_fs_path):
                if result["training_iteration"] <= reports:
                    self._record(trial, result)
            for rung, scores in self._rungs.items():
                # A kill may lose lines of a trial's result file, but not its last result.
                if rung <= reports:
                    scores.setdefault(trial.trial_id, self._sign * trial.last_result[self._compared])

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record the result; return whether the trial continues, pauses or stops."""
        self._record(trial, result)
        report = result["training_iteration"]
        if report >= self._num_reports:
            return str(TrialScheduler.STOP)
        if trial.config == self._baseline:
            return str(TrialScheduler.CONTINUE)
        next_trial = self._next(tune_controller.get_trials()) if report in self._rungs else None
        if self._may_continue(trial, report) and (next_trial is None or _num_reports(next_trial) >= report):
            return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.PAUSE)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial to run next. If there is none and no trial runs, stop the waiting trials."""
        trials = tune_controller.get_trials()
        next_trial = self._next(trials)
        if next_trial is not None:
            return next_trial
        unfinished = [trial for trial in trials if not trial.is_finished()]
        if all(trial.status == Trial.PAUSED for trial in unfinished):
            for trial in unfinished:
                tune_controller.stop_trial(trial)
                # Otherwise Ray 2.60 saves the trial as still paused.
                tune_controller._tune_controller._mark_trial_to_checkpoint(trial)
        return None

    def _next(self, trials: list[Trial]) -> Trial | None:
        """Return the trial with the fewest reports among those that may start or continue."""

        def is_ready(trial: Trial) -> bool:
            may_continue = trial.status == Trial.PAUSED and self._may_continue(trial, _num_reports(trial))
            return trial.status == Trial.PENDING or may_continue

        return min(filter(is_ready, trials), key=_num_reports, default=None)

    def _record(self, trial: Trial, result: dict[str, Any]) -> None:
        scores = self._rungs.get(result["training_iteration"])
        if scores is not None:
            scores[trial.trial_id] = self._sign * result[self._compared]

    def _may_continue(self, trial: Trial, report: int) -> bool:
        """Return whether the trial is in the better half of the last rung that it reached."""
        scores = self._rungs[2 ** (report.bit_length() - 1)]
        num_better = sum(score < scores[trial.trial_id] for score in scores.values())
        return num_better < len(scores) // 2


def _num_reports(trial: Trial) -> int:
    return int(trial.last_result.get("training_iteration", 0))


SCHEDULERS: dict[str, Callable[[dict[str, Any], int], TrialScheduler]] = {
    "asha": ASHA,
    "fifo": lambda baseline, num_reports: FIFOScheduler(),
}
"""name -> factory of a scheduler, from the baseline's config and the number of reports of a full trial."""
