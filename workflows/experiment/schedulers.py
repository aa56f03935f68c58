"""Which trials go on: Tune's schedulers, by the names of `--scheduler`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from workflows.runs import files as run_files


class ASHA(FIFOScheduler):
    """Asynchronous successive halving, after Li+ 2018 (arXiv:1810.05934), with reduction factor 2.

    At reports 1, 2, 4, … (the rungs) a trial waits, and it goes on only while it is in the better half of all that have come as far. Those
    that have come least far go first, so that each half is one of as many as possible. When nothing runs and nobody may go on, those that
    wait are stopped. Ray's scheduler of this name never waits: it lets on whatever is better than most of what came before it, which on
    a few slots is most of a search.

    The baseline counts in every rung and runs to its end, so that there is always something to compare with. A resumed search has the rungs
    of the results that its trials bring along. Under `--max-concurrent` those that wait count as well, so that halves are of that many.
    """

    def __init__(self, baseline: dict[str, Any], num_reports: int) -> None:
        super().__init__()
        self._baseline, self._num_reports = baseline, num_reports
        self._rungs: dict[int, dict[str, float]] = {2**k: {} for k in range(num_reports.bit_length())}
        self._compared, self._sign = "", 1.0

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Learn what is compared; called by Tune."""
        assert metric
        self._metric = self._compared = metric
        self._sign = -1.0 if mode == "max" else 1.0
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take a trial in; one that was restored brings the results it had when the search was last saved."""
        reports = _num_reports(trial)
        if reports:
            for result in run_files.read_reports(trial.storage.trial_fs_path):
                if result["training_iteration"] <= reports:
                    self._record(trial, result)
            for rung, scores in self._rungs.items():
                if (
                    rung <= reports
                ):  # a killed search may have lost the last lines of a trial's results, but not its last one
                    scores.setdefault(trial.trial_id, self._sign * trial.last_result[self._compared])

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record the result, and decide: on, wait, or at its end."""
        self._record(trial, result)
        report = result["training_iteration"]
        if report >= self._num_reports:
            return str(TrialScheduler.STOP)
        if trial.config == self._baseline:
            return str(TrialScheduler.CONTINUE)
        next_trial = self._next(tune_controller.get_trials()) if report in self._rungs else None
        if self._may_go_on(trial, report) and (next_trial is None or _num_reports(next_trial) >= report):
            return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.PAUSE)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial that goes on or begins next; if there is none and none runs, nobody need wait any longer."""
        trials = tune_controller.get_trials()
        next_trial = self._next(trials)
        if next_trial is None and all(
            trial.is_finished() or trial.status == Trial.PAUSED for trial in trials
        ):
            for trial in trials:
                if trial.status == Trial.PAUSED:
                    tune_controller.stop_trial(trial)
                    tune_controller._tune_controller._mark_trial_to_checkpoint(
                        trial
                    )  # Ray 2.60 would save it as still waiting
        return next_trial

    def _next(self, trials: list[Trial]) -> Trial | None:
        ready = [
            trial
            for trial in trials
            if trial.status == Trial.PENDING
            or (trial.status == Trial.PAUSED and self._may_go_on(trial, _num_reports(trial)))
        ]
        return min(ready, key=_num_reports, default=None)

    def _record(self, trial: Trial, result: dict[str, Any]) -> None:
        if result["training_iteration"] in self._rungs:
            self._rungs[result["training_iteration"]][trial.trial_id] = self._sign * result[self._compared]

    def _may_go_on(self, trial: Trial, report: int) -> bool:
        scores = self._rungs[2 ** (report.bit_length() - 1)]  # of the last rung that it has passed
        num_better = sum(score < scores[trial.trial_id] for score in scores.values())
        return num_better < len(scores) // 2


def _num_reports(trial: Trial) -> int:
    return int(trial.last_result.get("training_iteration", 0))


SCHEDULERS: dict[str, Callable[[dict[str, Any], int], TrialScheduler]] = {
    "asha": ASHA,
    "fifo": lambda baseline, num_reports: FIFOScheduler(),
}
"""name -> scheduler of (the baseline's config, reports of a full trial)."""
